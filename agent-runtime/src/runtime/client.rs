//! The daemon's end of a shim's socket.
//!
//! Used by every operation on a living container; never waits for a shim without a bound.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, recvmsg,
    sendmsg, socket_with,
};
use shoal_run_dir::layout::SHIM_SOCKET;
use shoal_run_dir::message::{
    MAX_DESCRIPTORS, MAX_LOG_FILES, MAX_MESSAGE, OLDEST_PROTOCOL, PROTOCOL, Reply, Request,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::sys;

/// A shim that lives answers at once; creating a container takes milliseconds, on a machine short of memory seconds.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Waiting connections: the daemon is the only client.
const BACKLOG: i32 = 64;

/// A connection to a shim.
#[derive(Debug)]
pub(super) struct ShimClient {
    socket: AsyncFd<OwnedFd>,
    version: u32,
}

/// Makes the socket that a shim will listen on, so that it can be connected to before the shim is up.
pub(super) fn listen_in(directory: &Path) -> io::Result<OwnedFd> {
    let listener = packet_socket(SocketFlags::CLOEXEC)?;
    let (address, _open) = address(directory)?;
    bind(&listener, &address)?;
    listen(&listener, BACKLOG)?;
    Ok(listener)
}

impl ShimClient {
    /// Connects, and agrees on a version.
    pub(super) async fn connect(directory: &Path) -> io::Result<Self> {
        let socket = packet_socket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
        let (address, _open) = address(directory)?;
        connect(&socket, &address)?;
        let client = Self {
            socket: sys::watched(socket, Interest::READABLE | Interest::WRITABLE)?,
            version: PROTOCOL,
        };
        let hello = Request::Hello {
            min: OLDEST_PROTOCOL,
            max: PROTOCOL,
        };
        match client.call(&hello, &[]).await? {
            Reply::Hello { version } => Ok(Self { version, ..client }),
            Reply::Failed { message, .. } => Err(io::Error::other(message)),
            other => Err(unexpected(&other)),
        }
    }

    /// The version that both speak.
    pub(super) fn version(&self) -> u32 {
        self.version
    }

    /// Sends a request and waits for its answer.
    pub(super) async fn call(&self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> io::Result<Reply> {
        let answer = self.call_for_descriptors(request, descriptors).await?;
        Ok(answer.0)
    }

    /// The same for an answer that brings descriptors.
    pub(super) async fn call_for_descriptors(
        &self,
        request: &Request,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<(Reply, Vec<OwnedFd>)> {
        self.send(request, descriptors).await?;
        tokio::time::timeout(ANSWER_LIMIT, self.receive_with_descriptors())
            .await
            .unwrap_or_else(|_late| {
                Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the shim does not answer",
                ))
            })
    }

    pub(super) async fn send(&self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = request.encode();
        self.socket
            .async_io(Interest::WRITABLE, |socket| {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
                let mut control = SendAncillaryBuffer::new(&mut space);
                if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
                    return Err(io::ErrorKind::InvalidInput.into());
                }
                sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
                Ok(())
            })
            .await
    }

    /// The next packet. Cancel-safe.
    pub(super) async fn receive(&self) -> io::Result<Reply> {
        Ok(self.receive_with_descriptors().await?.0)
    }

    async fn receive_with_descriptors(&self) -> io::Result<(Reply, Vec<OwnedFd>)> {
        let (bytes, descriptors) = self
            .socket
            .async_io(Interest::READABLE, |socket| {
                let mut bytes = vec![0; MAX_MESSAGE];
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_LOG_FILES + 1))];
                let mut control = RecvAncillaryBuffer::new(&mut space);
                let received = recvmsg(
                    socket,
                    &mut [IoSliceMut::new(&mut bytes)],
                    &mut control,
                    RecvFlags::CMSG_CLOEXEC,
                )?;
                bytes.truncate(received.bytes);
                let mut descriptors = Vec::new();
                for message in control.drain() {
                    if let RecvAncillaryMessage::ScmRights(rights) = message {
                        descriptors.extend(rights);
                    }
                }
                Ok((bytes, descriptors))
            })
            .await?;
        if bytes.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the shim has gone"));
        }
        let reply = Reply::decode(&bytes).map_err(io::Error::other)?;
        Ok((reply, descriptors))
    }
}

/// An answer that does not belong to its question.
pub(super) fn unexpected(reply: &Reply) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("unexpected answer from the shim: {reply:?}"),
    )
}

fn packet_socket(flags: SocketFlags) -> io::Result<OwnedFd> {
    Ok(socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        flags,
        None,
    )?)
}

/// By way of a descriptor of the directory: a socket's path is bounded by 108 bytes, a run directory's is not.
fn address(directory: &Path) -> io::Result<(SocketAddrUnix, OwnedFd)> {
    let open = openat(
        CWD,
        directory,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let path = format!("/proc/self/fd/{}/{SHIM_SOCKET}", open.as_fd().as_raw_fd());
    Ok((SocketAddrUnix::new(path)?, open))
}
