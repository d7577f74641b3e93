//! All sockets from one process to its successor, so that no question and no connection is refused in between.
//!
//! The predecessor stops reading and sends; what waits in a socket is read by the successor, once it has been told
//! the tables. Each message is a frame like any other, with descriptors along with its first byte.

use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_error;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

use crate::desired::{EndpointId, PortKey};
use crate::message::{Asker, FRAME_MOST, Frames, frame};
use crate::sys::unread;

/// Of the messages here; a successor that does not know it starts without.
const VERSION: u32 = 2;
/// The kernel takes 253 descriptors at once.
const AT_ONCE: usize = 64;
/// What a predecessor had said to its network and nobody read: of which ports could not be had, at most once a second.
const UNREAD_MOST: usize = 100;
/// Neither side has anything else to do meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);
/// The kernel does not tell when all was read.
const STEP: Duration = Duration::from_millis(1);

/// What a group of descriptors is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Item {
    /// The socket that updates come by: one.
    Control,
    /// An endpoint's: for datagrams, for streams.
    Endpoint(EndpointId, Asker),
    /// Of a published port: one or two.
    Port(PortKey, usize),
}

#[derive(Debug, Serialize, Deserialize)]
struct Message {
    version: u32,
    items: Vec<Item>,
    last: bool,
}

impl Item {
    fn descriptors(&self) -> usize {
        match self {
            Self::Control => 1,
            Self::Endpoint(..) => 2,
            Self::Port(_, count) => *count,
        }
    }
}

/// Sends everything.
pub(super) fn give(to: &UnixStream, all: Vec<(Item, Vec<BorrowedFd<'_>>)>) -> io::Result<()> {
    to.set_nonblocking(false)?;
    to.set_write_timeout(Some(PATIENCE))?;
    let mut rest = all.as_slice();
    loop {
        let mut fit = 0;
        let mut count = 0;
        for (item, _) in rest {
            count += item.descriptors();
            if count > AT_ONCE {
                break;
            }
            fit += 1;
        }
        let (now, later) = rest.split_at(fit);
        let message = Message {
            version: VERSION,
            items: now.iter().map(|(item, _)| item.clone()).collect(),
            last: later.is_empty(),
        };
        let descriptors: Vec<_> = now.iter().flat_map(|(_, fds)| fds.iter().copied()).collect();
        send(to, &frame(&message)?, &descriptors)?;
        rest = later;
        if rest.is_empty() {
            return Ok(());
        }
    }
}

/// Waits until what was sent was read; fails if the other end is gone before that: then nobody has it but who sent it. One
/// that only takes its time has it.
pub(super) fn until_read(to: &UnixStream) -> io::Result<()> {
    let step = Timespec::try_from(STEP).map_err(io::Error::other)?;
    let start = Instant::now();
    while start.elapsed() < PATIENCE && unread(to)? > 0 {
        let mut other_end = [PollFd::new(to, PollFlags::empty())];
        // Interrupted or not: what counts is asked again.
        let _gone = poll(&mut other_end, Some(&step));
    }
    // What whoever ended had not read was thrown away, and that is noted here before it is.
    Ok(socket_error(to)??)
}

/// Receives everything. What was said before and not read is passed over: it comes without descriptors, of which the
/// first message here always has some.
pub(super) fn take(from: &UnixStream) -> io::Result<Vec<(Item, Vec<OwnedFd>)>> {
    from.set_nonblocking(false)?;
    from.set_read_timeout(Some(PATIENCE))?;
    let mut all = Vec::new();
    let mut received = receive(from)?;
    for _ in 0..UNREAD_MOST {
        if !received.1.is_empty() {
            break;
        }
        received = receive(from)?;
    }
    loop {
        let (mut frames, descriptors) = received;
        let message: Message = frames.take()?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if message.version != VERSION {
            return Err(io::Error::other(format!(
                "handed over in version {}, expected {VERSION}",
                message.version
            )));
        }
        let mut descriptors = descriptors.into_iter();
        for item in message.items {
            let own: Vec<_> = descriptors.by_ref().take(item.descriptors()).collect();
            if own.len() != item.descriptors() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            all.push((item, own));
        }
        if message.last {
            return Ok(all);
        }
        received = receive(from)?;
    }
}

fn send(to: &UnixStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    let sent = sendmsg(
        to.as_fd(),
        &[IoSlice::new(bytes)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    let mut rest = to;
    rest.write_all(&bytes[sent..])
}

/// One frame, not yet understood.
fn receive(from: &UnixStream) -> io::Result<(Frames, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut header = [0; 4];
    let mut parts = [IoSliceMut::new(&mut header)];
    let received = recvmsg(from.as_fd(), &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(given) = message {
            descriptors.extend(given);
        }
    }
    let mut rest = from;
    rest.read_exact(&mut header[received.bytes..])?;
    let length = usize::try_from(u32::from_le_bytes(header)).unwrap_or(usize::MAX);
    if received.bytes == 0 || length > FRAME_MOST {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut frames = Frames::default();
    frames.input().extend_from_slice(&header);
    frames.input().resize(header.len() + length, 0);
    rest.read_exact(&mut frames.input()[header.len()..])?;
    Ok((frames, descriptors))
}

#[cfg(test)]
mod tests {
    use super::{Item, UNREAD_MOST, give, take, until_read};
    use crate::desired::{PortKey, Protocol};
    use crate::message::{Reply, frame};
    use std::io::{self, Read as _, Write as _};
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::MetadataExt as _;
    use std::os::unix::net::UnixStream;

    #[test]
    fn all_descriptors_arrive_with_what_they_are() {
        let (here, there) = UnixStream::pair().unwrap();
        let files: Vec<_> = (0..200).map(|_| tempfile::tempfile().unwrap()).collect();
        let key = |port| PortKey {
            protocol: Protocol::Udp,
            address: None,
            port,
        };
        let mut items = vec![(Item::Control, vec![files[0].as_fd()])];
        for (place, pair) in files[1..].chunks(2).enumerate() {
            let port = u16::try_from(place).unwrap();
            let fds: Vec<_> = pair.iter().map(|file| file.as_fd()).collect();
            items.push((Item::Port(key(port), fds.len()), fds));
        }
        give(&here, items).unwrap();
        let taken = take(&there).unwrap();
        assert_eq!(taken[0].0, Item::Control);
        assert_eq!(taken[100].0, Item::Port(key(99), 1));
        let inode = |file: std::fs::File| file.metadata().unwrap().ino();
        let found: Vec<u64> = taken
            .into_iter()
            .flat_map(|(_, fds)| fds)
            .map(|fd| inode(fd.into()))
            .collect();
        let expect: Vec<u64> = files.iter().map(|file| file.metadata().unwrap().ino()).collect();
        assert_eq!(found, expect);
    }

    #[test]
    fn it_is_known_whether_all_was_read() {
        let file = tempfile::tempfile().unwrap();
        let given = || vec![(Item::Control, vec![file.as_fd()])];
        let (here, there) = UnixStream::pair().unwrap();
        give(&here, given()).unwrap();
        let taken = std::thread::spawn(move || take(&there).map(|taken| (taken.len(), there)));
        until_read(&here).unwrap();
        assert_eq!(taken.join().unwrap().unwrap().0, 1);
        let (here, mut there) = UnixStream::pair().unwrap();
        give(&here, given()).unwrap();
        there.read_exact(&mut [0; 1]).unwrap();
        drop(there);
        assert_eq!(
            until_read(&here).unwrap_err().kind(),
            io::ErrorKind::ConnectionReset
        );
    }

    #[test]
    fn less_than_was_said_is_an_error() {
        let (here, there) = UnixStream::pair().unwrap();
        let file = tempfile::tempfile().unwrap();
        let key = PortKey {
            protocol: Protocol::Tcp,
            address: None,
            port: 80,
        };
        let port = (Item::Port(key, 2), vec![file.as_fd()]);
        give(&here, vec![(Item::Control, vec![file.as_fd()]), port]).unwrap();
        assert!(take(&there).is_err());
        drop(here);
        assert!(take(&there).is_err());
    }

    #[test]
    fn what_was_said_before_is_passed_over() {
        let long = |port| {
            let key = PortKey {
                protocol: Protocol::Tcp,
                address: None,
                port,
            };
            (key, "taken by somebody whose name is long".repeat(9))
        };
        for before in [vec![Vec::new()], vec![Vec::new(), (0..40).map(long).collect()]] {
            let (mut here, there) = UnixStream::pair().unwrap();
            for taken in &before {
                here.write_all(&frame(&Reply::Taken(taken.clone())).unwrap())
                    .unwrap();
            }
            let file = tempfile::tempfile().unwrap();
            give(&here, vec![(Item::Control, vec![file.as_fd()])]).unwrap();
            let taken = take(&there).unwrap();
            assert_eq!((taken.len(), &taken[0].0), (1, &Item::Control), "{before:?}");
        }
        // Not for ever.
        let (mut here, there) = UnixStream::pair().unwrap();
        for _ in 0..UNREAD_MOST + 2 {
            here.write_all(&frame(&Reply::Taken(Vec::new())).unwrap())
                .unwrap();
        }
        assert_eq!(take(&there).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
