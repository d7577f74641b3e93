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
    AddressFamily, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, recvmsg, sendmsg, socket_with,
};
use shoal_run_dir::layout::SHIM_SOCKET;
use shoal_run_dir::message::{MAX_DESCRIPTORS, MAX_MESSAGE, Reply, Request};
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
        };
        let version = shoal_run_dir::VERSION;
        match client
            .call(
                &Request::Hello {
                    min: version,
                    max: version,
                },
                &[],
            )
            .await?
        {
            Reply::Hello { .. } => Ok(client),
            Reply::Failed { message, .. } => Err(io::Error::other(message)),
            other => Err(unexpected(&other)),
        }
    }

    /// Sends a request and waits for its answer.
    pub(super) async fn call(&self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> io::Result<Reply> {
        self.send(request, descriptors).await?;
        tokio::time::timeout(ANSWER_LIMIT, self.receive())
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
        let bytes = self
            .socket
            .async_io(Interest::READABLE, |socket| {
                let mut bytes = vec![0; MAX_MESSAGE];
                let mut none = RecvAncillaryBuffer::default();
                let received = recvmsg(
                    socket,
                    &mut [IoSliceMut::new(&mut bytes)],
                    &mut none,
                    RecvFlags::CMSG_CLOEXEC,
                )?;
                bytes.truncate(received.bytes);
                Ok(bytes)
            })
            .await?;
        if bytes.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the shim has gone"));
        }
        Reply::decode(&bytes).map_err(io::Error::other)
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
