//! The streams of an exec, held by this process: pipes, or the master of a terminal.
//!
//! Made when an exec starts, handed to its session; dropping them closes the ends that the program sees.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::Stream;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe::{Receiver, Sender};

use super::{ExecOutput, Terminal};

/// Read at once: as much as a pipe holds by default would be more than most writers write.
const CHUNK: usize = 16 * 1024;

/// The standard input of an exec'd process: an `AsyncWrite`.
#[derive(Debug)]
pub struct ExecStdin(Input);

#[derive(Debug)]
enum Input {
    Pipe(Sender),
    Terminal(Terminal),
}

/// What an exec'd process writes: a `Stream` of [`ExecOutput`].
#[derive(Debug)]
pub struct ExecStream(Output);

#[derive(Debug)]
enum Output {
    Pipes {
        stdout: Option<Receiver>,
        stderr: Option<Receiver>,
        stderr_first: bool,
    },
    Terminal(Option<Terminal>),
}

impl ExecStdin {
    pub(crate) fn pipe(end: OwnedFd) -> io::Result<Self> {
        Ok(Self(Input::Pipe(Sender::from_owned_fd(end)?)))
    }

    pub(crate) fn terminal(terminal: &Terminal) -> Self {
        Self(Input::Terminal(Arc::clone(terminal)))
    }
}

impl ExecStream {
    pub(crate) fn pipes(stdout: OwnedFd, stderr: OwnedFd) -> io::Result<Self> {
        Ok(Self(Output::Pipes {
            stdout: Some(Receiver::from_owned_fd(stdout)?),
            stderr: Some(Receiver::from_owned_fd(stderr)?),
            stderr_first: false,
        }))
    }

    pub(crate) fn terminal(terminal: &Terminal) -> Self {
        Self(Output::Terminal(Some(Arc::clone(terminal))))
    }
}

impl AsyncWrite for ExecStdin {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Input::Pipe(pipe) => Pin::new(pipe).poll_write(context, bytes),
            Input::Terminal(terminal) => loop {
                let mut guard = ready!(terminal.poll_write_ready(context))?;
                let written = guard.try_io(|inner| Ok(rustix::io::write(inner.get_ref(), bytes)?));
                if let Ok(written) = written {
                    return Poll::Ready(written);
                }
            },
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Stream for ExecStream {
    type Item = io::Result<ExecOutput>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match &mut self.0 {
            Output::Terminal(terminal) => {
                let Some(open) = terminal else {
                    return Poll::Ready(None);
                };
                let chunk = ready!(poll_terminal(open, context));
                if !matches!(chunk, Some(Ok(_))) {
                    *terminal = None;
                }
                Poll::Ready(chunk.map(|chunk| chunk.map(ExecOutput::Stdout)))
            }
            Output::Pipes {
                stdout,
                stderr,
                stderr_first,
            } => {
                // In turns, so that a busy stream does not starve the other.
                *stderr_first = !*stderr_first;
                for is_stderr in [*stderr_first, !*stderr_first] {
                    let (pipe, wrap): (_, fn(Bytes) -> ExecOutput) = if is_stderr {
                        (&mut *stderr, ExecOutput::Stderr)
                    } else {
                        (&mut *stdout, ExecOutput::Stdout)
                    };
                    if let Poll::Ready(Some(chunk)) = poll_pipe(pipe, context) {
                        return Poll::Ready(Some(chunk.map(wrap)));
                    }
                }
                if stdout.is_none() && stderr.is_none() {
                    Poll::Ready(None)
                } else {
                    Poll::Pending
                }
            }
        }
    }
}

/// `Ready(None)` when the pipe has ended, which it is then taken for.
fn poll_pipe(pipe: &mut Option<Receiver>, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
    let Some(open) = pipe else {
        return Poll::Ready(None);
    };
    let mut space = vec![0; CHUNK];
    let mut buffer = ReadBuf::new(&mut space);
    match ready!(Pin::new(open).poll_read(context, &mut buffer)) {
        Ok(()) if buffer.filled().is_empty() => {
            *pipe = None;
            Poll::Ready(None)
        }
        Ok(()) => {
            let count = buffer.filled().len();
            space.truncate(count);
            Poll::Ready(Some(Ok(Bytes::from(space))))
        }
        Err(error) => {
            *pipe = None;
            Poll::Ready(Some(Err(error)))
        }
    }
}

fn poll_terminal(terminal: &AsyncFd<OwnedFd>, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
    loop {
        let mut guard = ready!(terminal.poll_read_ready(context))?;
        let mut space = vec![0; CHUNK];
        match guard.try_io(|inner| Ok(rustix::io::read(inner.get_ref(), &mut space)?)) {
            Ok(Ok(0)) => return Poll::Ready(None),
            Ok(Ok(count)) => {
                space.truncate(count);
                return Poll::Ready(Some(Ok(Bytes::from(space))));
            }
            // The last process of the terminal has closed it.
            Ok(Err(error)) if error.raw_os_error() == Some(libc::EIO) => return Poll::Ready(None),
            Ok(Err(error)) => return Poll::Ready(Some(Err(error))),
            Err(_not_ready_after_all) => {}
        }
    }
}
