//! One netlink socket: requests out, their answers in.
//!
//! Used by `nft`, `rtnl` and `conntrack`. Waits for nothing: what the kernel has not answered when a send returns, it
//! never will.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::{self as kinds, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::{Batch, attributes, u16_ne, u32_ne};
use crate::sys::{NetlinkOption, set_netlink_option};

/// Room for the largest transaction: a table of 1,000 services with 10 backends each takes 580 kB.
const SEND_BUFFER: usize = 32 << 20;
/// Room for the answers to it, should every message fail.
const RECEIVE_BUFFER: usize = 8 << 20;
/// The kernel never makes a part of a dump longer than 32 KiB, but for one message that alone is.
const PART: usize = 128 << 10;

const ERROR: u16 = 2;
const DONE: u16 = 3;
const DUMP: u16 = 0x300;
const INTERRUPTED: u16 = 0x10;
const WITH_TEXT: u16 = 0x200;
const TEXT: u16 = 1;

/// Which part of the kernel a socket speaks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Links, addresses, routes, neighbours.
    Route,
    /// Tables, and the tracking of connections.
    Netfilter,
    /// Sockets of processes.
    SocketDiag,
}

/// A request could not be sent, or its answers not be understood.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// A call failed.
    #[error("netlink: {call}: {errno}")]
    Call {
        /// Which.
        call: &'static str,
        /// How.
        errno: Errno,
    },
    /// The kernel refused.
    #[error("netlink: {0}")]
    Refused(Failure),
    /// A part of a transaction is larger than an attribute can be.
    #[error("netlink: an attribute is longer than 65,535 bytes")]
    TooLong,
    /// What a dump lists kept changing under it.
    #[error("netlink: a dump was interrupted again and again")]
    Interrupted,
    /// An answer was missing.
    #[error("netlink: no answer")]
    NoAnswer,
}

/// The kernel's refusal of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its place in the batch.
    pub message: u32,
    /// Its type.
    pub kind: u16,
    /// The kernel's reason.
    pub errno: Errno,
    /// The kernel's words, if it has any.
    pub text: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            message, kind, errno, ..
        } = self;
        write!(f, "message {message} of type {kind:#x}: {errno}")?;
        if !self.text.is_empty() {
            write!(f, " ({})", self.text)?;
        }
        Ok(())
    }
}

/// A socket, in the namespace that its thread was in when it was opened.
#[derive(Debug)]
pub struct Socket {
    descriptor: OwnedFd,
    part: Vec<u8>,
}

impl Socket {
    /// Opens one in the calling thread's namespace.
    pub fn open(protocol: Protocol) -> Result<Self, NetlinkError> {
        Self::open_as(protocol, ANY)
    }

    /// Opens one that notifications name by this number, or by any if somebody in the namespace has it already.
    pub fn open_as(protocol: Protocol, port_id: u32) -> Result<Self, NetlinkError> {
        let descriptor = open(protocol, port_id, 0)?;
        for option in [NetlinkOption::ExtendedAnswers, NetlinkOption::CapAnswers] {
            set_netlink_option(&descriptor, option).map_err(call("setsockopt"))?;
        }
        if protocol == Protocol::Route {
            set_netlink_option(&descriptor, NetlinkOption::StrictCheck).map_err(call("setsockopt"))?;
        }
        // Without the right to go past the machine's limit, large transactions fail and say so.
        let _limited = rustix::net::sockopt::set_socket_send_buffer_size_force(&descriptor, SEND_BUFFER);
        Ok(Self {
            descriptor,
            part: vec![0; PART],
        })
    }

    /// The number by which notifications name what this socket did.
    pub fn port_id(&self) -> Result<u32, NetlinkError> {
        let address = rustix::net::getsockname(&self.descriptor).map_err(call("getsockname"))?;
        let address = SocketAddrNetlink::try_from(address).map_err(call("getsockname"))?;
        Ok(address.pid())
    }

    /// Sends all messages at once and gives back which of them were refused.
    pub fn send(&mut self, batch: &Batch) -> Result<Vec<Failure>, NetlinkError> {
        if batch.too_long() {
            return Err(NetlinkError::TooLong);
        }
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        self.drain()?;
        self.out(batch)?;
        let mut failures = Vec::new();
        loop {
            let part = match self.receive() {
                Ok(length) => &self.part[..length],
                Err(NetlinkError::NoAnswer) => return Ok(failures),
                Err(error) => return Err(error),
            };
            for message in messages(part) {
                if let Some(failure) = refusal(&message, batch) {
                    failures.push(failure);
                }
            }
        }
    }

    /// Sends all messages and takes the first refusal for the failure of all.
    pub fn send_all(&mut self, batch: &Batch) -> Result<(), NetlinkError> {
        match self.send(batch)?.into_iter().next() {
            None => Ok(()),
            Some(failure) => Err(NetlinkError::Refused(failure)),
        }
    }

    /// Asks for a list; `each` gets the type and the body of every message of it. Starts again, after `restart`,
    /// when the kernel says that the list changed meanwhile.
    pub fn dump<S>(
        &mut self,
        kind: u16,
        header: &[u8],
        fill: impl Fn(&mut super::Message<'_>),
        start: impl Fn() -> S,
        each: impl Fn(&mut S, u16, &[u8]),
    ) -> Result<S, NetlinkError> {
        let mut batch = Batch::new();
        batch.message(kind, DUMP, header, &fill);
        // Each round means a change by somebody else within a millisecond.
        for _ in 0..50 {
            let mut state = start();
            self.drain()?;
            self.out(&batch)?;
            if self.collect(&batch, &mut state, &each)? {
                return Ok(state);
            }
        }
        Err(NetlinkError::Interrupted)
    }

    /// Asks for one object: the type and body of the answer, or none if there is no such object.
    pub fn get(
        &mut self,
        kind: u16,
        header: &[u8],
        fill: impl super::Fill,
    ) -> Result<Option<(u16, Vec<u8>)>, NetlinkError> {
        let mut batch = Batch::new();
        batch.message(kind, 0, header, fill);
        self.drain()?;
        self.out(&batch)?;
        let length = self.receive()?;
        for message in messages(&self.part[..length]) {
            match refusal(&message, &batch) {
                Some(failure) if matches!(failure.errno, Errno::NOENT | Errno::NODEV | Errno::NXIO) => {
                    return Ok(None);
                }
                Some(failure) => return Err(NetlinkError::Refused(failure)),
                None if message.kind != ERROR => return Ok(Some((message.kind, message.body.to_vec()))),
                None => {}
            }
        }
        Err(NetlinkError::NoAnswer)
    }

    fn collect<S>(
        &mut self,
        batch: &Batch,
        state: &mut S,
        each: &impl Fn(&mut S, u16, &[u8]),
    ) -> Result<bool, NetlinkError> {
        let mut whole = true;
        loop {
            let length = self.receive()?;
            for message in messages(&self.part[..length]) {
                whole &= message.flags & INTERRUPTED == 0;
                match message.kind {
                    DONE => return Ok(whole),
                    ERROR => match refusal(&message, batch) {
                        Some(failure) => return Err(NetlinkError::Refused(failure)),
                        None => return Ok(whole),
                    },
                    kind => each(state, kind, message.body),
                }
            }
        }
    }

    fn out(&self, batch: &Batch) -> Result<(), NetlinkError> {
        rustix::net::send(&self.descriptor, batch.as_bytes(), SendFlags::empty()).map_err(call("send"))?;
        Ok(())
    }

    fn receive(&mut self) -> Result<usize, NetlinkError> {
        loop {
            match rustix::net::recv(&self.descriptor, self.part.as_mut_slice(), RecvFlags::DONTWAIT) {
                Ok((length, _)) => return Ok(length),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Err(NetlinkError::NoAnswer),
                Err(errno) => return Err(call("recv")(errno)),
            }
        }
    }

    /// Answers that an earlier failure left.
    fn drain(&mut self) -> Result<(), NetlinkError> {
        loop {
            match self.receive() {
                Ok(_old) => {}
                Err(NetlinkError::NoAnswer) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// One message that came in.
pub(super) struct Incoming<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    pub(super) port_id: u32,
    pub(super) body: &'a [u8],
}

/// The messages of one part.
pub(super) fn messages(mut part: &[u8]) -> impl Iterator<Item = Incoming<'_>> {
    std::iter::from_fn(move || {
        let length = u32_ne(part)? as usize;
        let message = Incoming {
            kind: u16_ne(part.get(4..)?)?,
            flags: u16_ne(part.get(6..)?)?,
            sequence: u32_ne(part.get(8..)?)?,
            port_id: u32_ne(part.get(12..)?)?,
            body: part.get(16..length)?,
        };
        part = part.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

fn refusal(message: &Incoming<'_>, batch: &Batch) -> Option<Failure> {
    if message.kind != ERROR {
        return None;
    }
    let code = message.body.first_chunk().copied().map(i32::from_ne_bytes)?;
    if code == 0 {
        return None;
    }
    let text = match message.flags & WITH_TEXT {
        0 => "",
        _ => attributes(message.body.get(20..)?).text(TEXT).unwrap_or_default(),
    };
    Some(Failure {
        message: message.sequence,
        kind: batch.kind_of(message.sequence).unwrap_or_default(),
        errno: Errno::from_raw_os_error(-code),
        text: text.to_owned(),
    })
}

/// The kernel chooses a number: mostly the process's own, as it is counted where it runs.
pub(super) const ANY: u32 = 0;

pub(super) fn open(protocol: Protocol, port_id: u32, groups: u32) -> Result<OwnedFd, NetlinkError> {
    let protocol = match protocol {
        Protocol::Route => None,
        Protocol::Netfilter => Some(kinds::NETFILTER),
        Protocol::SocketDiag => Some(kinds::SOCK_DIAG),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let descriptor = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)
        .map_err(call("socket"))?;
    let _limited = rustix::net::sockopt::set_socket_recv_buffer_size_force(&descriptor, RECEIVE_BUFFER);
    let bind = |port_id| rustix::net::bind(&descriptor, &SocketAddrNetlink::new(port_id, groups));
    match bind(port_id) {
        Err(Errno::ADDRINUSE) if port_id != ANY => bind(ANY),
        bound => bound,
    }
    .map_err(call("bind"))?;
    Ok(descriptor)
}

pub(super) fn call(call: &'static str) -> impl FnOnce(Errno) -> NetlinkError {
    move |errno| NetlinkError::Call { call, errno }
}
