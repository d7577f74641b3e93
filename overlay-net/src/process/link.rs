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

/// A greeting's answer never changes, and has eleven bytes at most.
const HELLO_MOST: usize = 64;

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
            match link.first().await? {
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

    /// The first reply, and not a byte of what comes after it: that may be a successor's to read.
    async fn first(&mut self) -> io::Result<Reply> {
        let mut header = [0; 4];
        self.stream.read_exact(&mut header).await?;
        let length = usize::try_from(u32::from_le_bytes(header)).unwrap_or(usize::MAX);
        if length > HELLO_MOST {
            return Err(io::Error::other(format!("greeted with {length} bytes")));
        }
        let mut reply = [0; HELLO_MOST];
        self.stream.read_exact(&mut reply[..length]).await?;
        let input = self.frames.input();
        input.extend_from_slice(&header);
        input.extend_from_slice(&reply[..length]);
        let reply = self.frames.take()?;
        reply.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
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

#[cfg(test)]
mod tests {
    use super::Link;
    use crate::message::{Reply, VERSION, frame};
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::{UnixListener, UnixStream};

    #[tokio::test]
    async fn nothing_is_read_beyond_the_greeting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let opened = tokio::spawn(async move { Link::open(&path, &[]).await });
        let (mut there, _) = tokio::task::spawn_blocking(move || listener.accept())
            .await
            .unwrap()
            .unwrap();
        let hello = Reply::Hello {
            version: VERSION,
            pid: 7,
        };
        let after = frame(&Reply::Taken(Vec::new())).unwrap();
        let both = [frame(&hello).unwrap(), after.clone()].concat();
        there.write_all(&both).unwrap();
        let link = opened.await.unwrap().unwrap();
        assert_eq!((link.pid(), link.version()), (7, VERSION));
        let mut rest = UnixStream::from(link.descriptor().unwrap());
        rest.set_nonblocking(true).unwrap();
        let mut found = vec![0; 100];
        let length = rest.read(&mut found).unwrap();
        assert_eq!(found[..length], after);
    }
}
