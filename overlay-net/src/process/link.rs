//! One connection to the process: a greeting, then requests out and replies in.
//!
//! Used by `process` alone. Knows how long to wait, and not what is said.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::patience::attended;
use crate::message::{Frames, Reply, Request, VERSION, frame};

#[derive(Debug)]
pub(super) struct Link {
    stream: UnixStream,
    frames: Frames,
    pid: u32,
    version: u32,
}

impl Link {
    /// Connects and greets; these processes may take their time for it.
    pub(super) async fn open(socket: &Path, pids: &[u32]) -> io::Result<Self> {
        let greeting = async {
            let stream = UnixStream::connect(socket).await?;
            let mut link = Self {
                stream,
                frames: Frames::default(),
                pid: 0,
                version: 0,
            };
            let hello = frame(&Request::Hello { version: VERSION })?;
            link.stream.write_all(&hello).await?;
            match link.next().await? {
                Reply::Hello { version, pid } => Ok(Self { pid, version, ..link }),
                other => Err(io::Error::other(format!("greeted with {other:?}"))),
            }
        };
        attended(pids, greeting).await
    }

    /// Of the process.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Of what it understands.
    pub(super) fn version(&self) -> u32 {
        self.version
    }

    /// The next reply. Nothing is lost if it is not waited for.
    pub(super) async fn next(&mut self) -> io::Result<Reply> {
        loop {
            if let Some(reply) = self.frames.take()? {
                return Ok(reply);
            }
            if self.stream.read_buf(self.frames.input()).await? == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "it closed the connection",
                ));
            }
        }
    }

    /// The next reply, unless it hangs.
    pub(super) async fn next_attended(&mut self) -> io::Result<Reply> {
        attended(&[self.pid], self.next()).await
    }

    /// Sends, unless it hangs. After an error nothing more is to be said.
    pub(super) async fn send(&mut self, request: &Request) -> io::Result<()> {
        let bytes = frame(request)?;
        let sent = async { self.stream.write_all(&bytes).await };
        attended(&[self.pid], sent).await
    }

    /// The connection, for a successor to read on.
    pub(super) fn descriptor(&self) -> io::Result<OwnedFd> {
        self.stream.as_fd().try_clone_to_owned()
    }
}
