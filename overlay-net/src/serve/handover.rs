//! All sockets from one process to its successor, so that no question and no connection is refused in between.
//!
//! The predecessor stops reading and sends; what waits in a socket is read by the successor, once it has been told
//! the tables. Each message is a frame like any other, with descriptors along with its first byte.

use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

use crate::desired::{EndpointId, PortKey};
use crate::message::{Asker, FRAME_MOST, Frames, frame};

/// Of the messages here; a successor that does not know it starts without.
const VERSION: u32 = 1;
/// The kernel takes 253 descriptors at once.
const AT_ONCE: usize = 64;
/// Neither side has anything else to do meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);

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

/// Receives everything.
pub(super) fn take(from: &UnixStream) -> io::Result<Vec<(Item, Vec<OwnedFd>)>> {
    from.set_nonblocking(false)?;
    from.set_read_timeout(Some(PATIENCE))?;
    let mut all = Vec::new();
    loop {
        let (message, descriptors) = receive(from)?;
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

fn receive(from: &UnixStream) -> io::Result<(Message, Vec<OwnedFd>)> {
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
    let message = frames.take()?.ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok((message, descriptors))
}

#[cfg(test)]
mod tests {
    use super::{Item, give, take};
    use crate::desired::{PortKey, Protocol};
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
    fn less_than_was_said_is_an_error() {
        let (here, there) = UnixStream::pair().unwrap();
        give(&here, vec![(Item::Control, vec![])]).unwrap();
        assert!(take(&there).is_err());
        drop(here);
        assert!(take(&there).is_err());
    }
}
