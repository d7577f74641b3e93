//! One connection of the daemon: packets in, packets and descriptors.
//!
//! Called by the shim's loop; never blocks, and drops a daemon that does not keep to the protocol.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, accept_with, recvmsg, sendmsg,
};
use shoal_run_dir::message::{FailureKind, MAX_DESCRIPTORS, MAX_LOG_FILES, MAX_MESSAGE, Reply, Request};

/// One connection of the daemon.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) socket: OwnedFd,
    /// Never reused within a shim's life.
    pub(crate) id: u64,
    /// Whether the client has said which version it speaks.
    pub(crate) greeted: bool,
}

/// What a connection brought.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A request and its descriptors.
    Request(Request, Vec<OwnedFd>),
    /// Something that is not one.
    Malformed,
    /// Nothing more for now.
    Nothing,
    /// The client is gone.
    Closed,
}

impl Connection {
    /// The next waiting connection.
    pub(crate) fn accept(listener: &OwnedFd, id: u64) -> Option<Self> {
        let socket = accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK).ok()?;
        Some(Self {
            socket,
            id,
            greeted: false,
        })
    }

    /// The next packet.
    pub(crate) fn receive(&self) -> Incoming {
        let mut bytes = [0; MAX_MESSAGE];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(
            &self.socket,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        );
        let count = match received {
            Ok(message) => message.bytes,
            Err(Errno::AGAIN | Errno::INTR) => return Incoming::Nothing,
            Err(_broken) => return Incoming::Closed,
        };
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        if count == 0 {
            return Incoming::Closed;
        }
        match Request::decode(&bytes[..count]) {
            Ok(request) => Incoming::Request(request, descriptors),
            Err(_malformed) => Incoming::Malformed,
        }
    }

    /// Answers. A client that does not read its few answers, or is gone, misses them.
    pub(crate) fn send(&self, reply: &Reply) {
        self.send_with(reply, &[]);
    }

    /// Answers, and hands descriptors over.
    pub(crate) fn send_with(&self, reply: &Reply, descriptors: &[OwnedFd]) {
        let bytes = reply.encode();
        let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_LOG_FILES + 1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !borrowed.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&borrowed)) {
            return self.refuse("more descriptors than an answer carries");
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let _missed = sendmsg(&self.socket, &[IoSlice::new(&bytes)], &mut control, flags);
    }

    /// Answers that it cannot be done now.
    pub(crate) fn refuse(&self, message: &str) {
        self.send(&Reply::Failed {
            kind: FailureKind::State,
            code: 0,
            message: message.to_owned(),
        });
    }
}
