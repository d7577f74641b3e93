//! The streams of a container's first process, for somebody who comes and goes.
//!
//! What it writes is copied to whoever is attached, beside its log; what is written to it goes straight into its pipe or
//! terminal. Dropping a session leaves the container as it is.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use futures::stream::BoxStream;
use rustix::termios::{Winsize, tcsetwinsize};

use crate::container::id::ContainerId;
use crate::exec::{ExecOutput, ExecStdin, Terminal, TerminalSize};

/// What is wanted of a container's streams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AttachSpec {
    /// Whether the caller will write to its standard input: of a container that has a terminal, or whose spec says
    /// `stdin_open`.
    pub stdin: bool,
    /// Whether what it wrote before comes first: as much as its log has, and then without a gap what follows.
    pub replay: bool,
}

/// The streams of a container could not be had.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// There is no such container.
    #[error("no container {0}")]
    NotFound(ContainerId),
    /// The container has ended: what it wrote is in its log.
    #[error("container {0} is not running")]
    NotRunning(ContainerId),
    /// Its spec does not keep its standard input open, or somebody has closed it.
    #[error("the standard input of container {0} is not open")]
    NoStdin(ContainerId),
    /// The container's shim is of a version that cannot be attached to.
    #[error("container {0} was made by an older shoal, and cannot be attached to until it is made anew")]
    OldShim(ContainerId),
    /// The container's shim could not be reached, broke off, or refused.
    #[error("talking to the shim of container {id}")]
    Shim {
        /// The container.
        id: ContainerId,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A client at the streams of a container's first process. Its parts can be used side by side.
#[derive(Debug)]
pub struct AttachSession {
    /// Its standard input, where the caller asked for one. Dropping it does not close it: another may go on writing;
    /// [`Runtime::close_stdin`](crate::Runtime::close_stdin) does.
    pub stdin: Option<ExecStdin>,
    /// What it writes, until it has ended or closed its streams. It has to be read: a container whose output nobody
    /// takes is held up once pipes are full, so that nothing is lost.
    pub output: AttachStream,
    /// The size of its terminal.
    pub control: AttachControl,
}

/// What a container writes: a `Stream` of [`ExecOutput`].
pub struct AttachStream(pub(crate) BoxStream<'static, io::Result<ExecOutput>>);

impl Stream for AttachStream {
    type Item = io::Result<ExecOutput>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(context)
    }
}

impl fmt::Debug for AttachStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("AttachStream")
    }
}

/// The terminal of a container.
#[derive(Debug, Clone)]
pub struct AttachControl {
    pub(crate) id: ContainerId,
    pub(crate) terminal: Option<Terminal>,
}

impl AttachControl {
    /// Sets the size of its terminal; the program is told by SIGWINCH. Without a terminal there is nothing to do.
    pub fn resize(&self, size: TerminalSize) -> Result<(), AttachError> {
        let Some(terminal) = &self.terminal else {
            return Ok(());
        };
        let size = Winsize {
            ws_col: size.columns,
            ws_row: size.rows,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(terminal.get_ref(), size).map_err(|errno| AttachError::Shim {
            id: self.id.clone(),
            source: errno.into(),
        })
    }
}
