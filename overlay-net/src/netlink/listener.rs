//! What the kernel tells of its own accord: who changed what, in this namespace and in those it has ids for.
//!
//! A message that did not fit is not lost without a word: the listener then says that it missed some.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, NetlinkAddr, recvmsg};
use rustix::io::Errno;

use super::socket::{ANY, Incoming, NetlinkError, Protocol, call, messages, open};
use super::u32_ne;
use crate::sys::{NetlinkOption, set_netlink_option};

/// One notification is a few hundred bytes, and a datagram holds one or a few of them.
const PART: usize = 64 << 10;

/// A socket that only listens.
#[derive(Debug)]
pub struct Listener {
    descriptor: OwnedFd,
    part: Vec<u8>,
}

/// One notification.
#[derive(Debug, Clone, Copy)]
pub struct Heard<'a> {
    /// Its type.
    pub kind: u16,
    /// The port id of the socket whose request caused it; 0 for the kernel itself.
    pub by: u32,
    /// The namespace's id here, if it is another one.
    pub namespace: Option<u32>,
    /// The family's header and attributes.
    pub body: &'a [u8],
}

impl Listener {
    /// Listens to groups (by number, at most 32) in the calling thread's namespace and in all that have an id there.
    pub fn open(protocol: Protocol, groups: &[u32]) -> Result<Self, NetlinkError> {
        let mask = groups.iter().fold(0, |mask, group| mask | 1 << (group - 1));
        let descriptor = open(protocol, ANY, mask)?;
        set_netlink_option(&descriptor, NetlinkOption::ListenAllNamespaces).map_err(call("setsockopt"))?;
        Ok(Self {
            descriptor,
            part: vec![0; PART],
        })
    }

    /// Gives everything that has been heard to `each`; false when some was missed, so that only a look tells.
    pub fn hear(&mut self, mut each: impl FnMut(Heard<'_>)) -> Result<bool, NetlinkError> {
        let mut whole = true;
        loop {
            match self.receive() {
                Ok((length, namespace)) => {
                    for message in messages(&self.part[..length]) {
                        each(heard(&message, namespace));
                    }
                }
                Err(Errno::AGAIN) => return Ok(whole),
                Err(Errno::INTR) => {}
                Err(Errno::NOBUFS) => whole = false,
                Err(errno) => return Err(call("recvmsg")(errno)),
            }
        }
    }

    fn receive(&mut self) -> Result<(usize, Option<u32>), Errno> {
        let mut control = nix::cmsg_space!([u32; 16]);
        let mut parts = [IoSliceMut::new(&mut self.part)];
        let message = recvmsg::<NetlinkAddr>(
            self.descriptor.as_raw_fd(),
            &mut parts,
            Some(&mut control),
            MsgFlags::MSG_DONTWAIT,
        )
        .map_err(|errno| Errno::from_raw_os_error(errno as i32))?;
        let namespace = message
            .cmsgs()
            .into_iter()
            .flatten()
            .find_map(|control| match control {
                ControlMessageOwned::Unknown(other)
                    if other.cmsg_header.cmsg_level == libc::SOL_NETLINK
                        && other.cmsg_header.cmsg_type == libc::NETLINK_LISTEN_ALL_NSID =>
                {
                    u32_ne(&other.data_bytes)
                }
                _ => None,
            });
        Ok((message.bytes, namespace))
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

fn heard<'a>(message: &Incoming<'a>, namespace: Option<u32>) -> Heard<'a> {
    Heard {
        kind: message.kind,
        by: message.port_id,
        namespace,
        body: message.body,
    }
}
