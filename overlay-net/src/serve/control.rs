//! The socket that the process is told by: one connection at a time, the latest, of its own user.
//!
//! Read by the loop in `serve`. Whoever is connected may go at any time, and nothing changes by that.

use std::future::pending;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net as std_net;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use crate::message::{Frames, Reply, Request, frame};

/// Who does not read replies for so long is gone.
const PATIENCE: Duration = Duration::from_secs(2);
/// After a failure to accept: this process has too much open.
const PAUSE: Duration = Duration::from_millis(100);

/// The socket and who is connected.
#[derive(Debug)]
pub(super) struct Control {
    listener: UnixListener,
    connection: Option<Connection>,
}

/// Who is connected.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    frames: Frames,
}

impl Control {
    pub(super) fn new(listener: std_net::UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener: UnixListener::from_std(listener)?,
            connection: None,
        })
    }

    /// The next request, of whoever is connected. Nothing is lost if it is not waited for.
    pub(super) async fn next(&mut self) -> io::Result<Request> {
        loop {
            let Self { listener, connection } = self;
            let read = async {
                match connection {
                    Some(connection) => connection.next().await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                // Before anybody else is let in: what was asked to hand over would else be lost.
                request = read => match request {
                    Ok(Some(request)) => return Ok(request),
                    Ok(None) => {
                        tracing::info!("the network has gone; going on without");
                        self.connection = None;
                    }
                    Err(error) => {
                        tracing::error!(%error, "the network cannot be understood");
                        self.connection = None;
                    }
                },
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => self.welcome(stream),
                    Err(error) => {
                        tracing::warn!(%error, "a network cannot be accepted");
                        tokio::time::sleep(PAUSE).await;
                    }
                },
            }
        }
    }

    /// Only the user that this process is of has anything to say.
    fn welcome(&mut self, stream: UnixStream) {
        let own = rustix::process::geteuid().as_raw();
        match stream.peer_cred() {
            Ok(peer) if peer.uid() == own => {
                let frames = Frames::default();
                self.connection = Some(Connection { stream, frames });
            }
            Ok(peer) => tracing::warn!(user = peer.uid(), "somebody else wanted to say something"),
            Err(error) => tracing::warn!(%error, "it is not known who wanted to say something"),
        }
    }

    /// Replies, if anybody is connected that listens.
    pub(super) async fn reply(&mut self, reply: &Reply) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let sent = match frame(reply) {
            Ok(bytes) => timeout(PATIENCE, connection.stream.write_all(&bytes)).await,
            Err(error) => Ok(Err(error.into())),
        };
        if !matches!(sent, Ok(Ok(()))) {
            tracing::warn!("the network does not listen");
            self.connection = None;
        }
    }

    /// Whether nobody is connected.
    pub(super) fn is_alone(&self) -> bool {
        self.connection.is_none()
    }

    pub(super) fn close(&mut self) {
        self.connection = None;
    }

    pub(super) fn take_connection(&mut self) -> Option<Connection> {
        self.connection.take()
    }

    pub(super) fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Connection {
    pub(super) fn into_std(self) -> io::Result<std_net::UnixStream> {
        self.stream.into_std()
    }

    /// None at its end.
    async fn next(&mut self) -> io::Result<Option<Request>> {
        loop {
            if let Some(request) = self.frames.take()? {
                return Ok(Some(request));
            }
            if self.stream.read_buf(self.frames.input()).await? == 0 {
                return Ok(None);
            }
        }
    }
}

/// Waits until a successor says that it is over; if it only goes, there is nobody left to say so.
pub(super) async fn told_to_end(successor: std_net::UnixStream) -> io::Result<()> {
    successor.set_nonblocking(true)?;
    let mut connection = Connection {
        stream: UnixStream::from_std(successor)?,
        frames: Frames::default(),
    };
    loop {
        match connection.next().await {
            Ok(Some(Request::End)) => return Ok(()),
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => pending().await,
        }
    }
}

/// Says so to a predecessor, which may be gone.
pub(super) fn end(mut predecessor: std_net::UnixStream) {
    let said = frame(&Request::End)
        .map_err(io::Error::from)
        .and_then(|bytes| predecessor.write_all(&bytes));
    if let Err(error) = said {
        tracing::debug!(%error, "the predecessor has ended already");
    }
}
