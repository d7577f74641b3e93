//! A further process in a running container, confined exactly as its first one.
//!
//! The streams are pipes (or a terminal) that this process holds itself; the shim only starts, signals and reaps.
//! Dropping a session ends its process: nobody is left who could see it.

mod streams;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes;
use rustix::termios::{Winsize, tcsetwinsize};
use serde::{Deserialize, Serialize};
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};

use crate::container::id::ContainerId;
use crate::container::signal::Signal;

pub use streams::{ExecStdin, ExecStream};

/// The terminal of an exec, shared by its streams and whoever sets its size.
pub(crate) type Terminal = Arc<AsyncFd<OwnedFd>>;

/// A further process in a running container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecSpec {
    /// The whole command line; the first is looked up in the container's `PATH`.
    pub args: Vec<String>,
    /// Added to the container's environment; the last of a name wins.
    pub env: Vec<(String, String)>,
    /// Default: the container's.
    pub workdir: Option<String>,
    /// Default: the container's.
    pub user: Option<String>,
    /// With a terminal of this size; stdout and stderr are then one stream.
    pub tty: Option<TerminalSize>,
    /// Whether the caller will write to its standard input; else it reads from `/dev/null`.
    pub stdin: bool,
}

/// The size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Characters in a row.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
}

/// What an exec'd process wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecOutput {
    /// To standard output, or to its terminal.
    Stdout(Bytes),
    /// To standard error.
    Stderr(Bytes),
}

/// An exec could not be started, or ended without an exit code.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// There is no such container.
    #[error("no container {0}")]
    NotFound(ContainerId),
    /// The container is not running.
    #[error("container {0} is not running")]
    NotRunning(ContainerId),
    /// The command cannot be run: not found (127) or not executable (126), as Docker reports them.
    #[error("{message}")]
    Command {
        /// What is wrong with it.
        message: String,
        /// 126 or 127.
        exit_code: i32,
    },
    /// The runtime could not start it.
    #[error("starting a process in container {id}: {message}")]
    Spawn {
        /// The container.
        id: ContainerId,
        /// What went wrong.
        message: String,
    },
    /// The spec asks for what cannot be had.
    #[error("{field}: {message}")]
    Spec {
        /// The field of the spec.
        field: String,
        /// What is wrong and what to do.
        message: String,
    },
    /// The container's shim could not be reached or broke off.
    #[error("talking to the shim of container {id}")]
    Shim {
        /// The container.
        id: ContainerId,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A running exec. Its parts can be used side by side; dropping `exit` ends the process.
#[derive(Debug)]
pub struct ExecSession {
    /// Its standard input, where the caller asked for one; dropping it closes it (a terminal it leaves open).
    pub stdin: Option<ExecStdin>,
    /// What it writes, until it and all its children have closed it.
    pub output: ExecStream,
    /// Signals and terminal size.
    pub control: ExecControl,
    /// Its end.
    pub exit: ExecExit,
}

/// A signal to send, and where to say what came of it.
pub(crate) type SignalRequest = (Signal, oneshot::Sender<io::Result<()>>);

/// Signals and terminal size of an exec'd process.
#[derive(Debug, Clone)]
pub struct ExecControl {
    pub(crate) id: ContainerId,
    pub(crate) terminal: Option<Terminal>,
    pub(crate) signals: mpsc::Sender<SignalRequest>,
}

/// The end of an exec'd process.
#[derive(Debug)]
pub struct ExecExit {
    pub(crate) id: ContainerId,
    pub(crate) outcome: oneshot::Receiver<io::Result<i32>>,
}

impl ExecControl {
    /// Sets the size of its terminal; the program is told by SIGWINCH. Without a terminal there is nothing to do.
    pub fn resize(&self, size: TerminalSize) -> Result<(), ExecError> {
        let Some(terminal) = &self.terminal else {
            return Ok(());
        };
        let size = Winsize {
            ws_col: size.columns,
            ws_row: size.rows,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(terminal.get_ref(), size).map_err(|errno| self.failed(errno.into()))
    }

    /// Sends it a signal. One that has ended is not there to be signalled, which is an error of the shim.
    pub async fn signal(&self, signal: Signal) -> Result<(), ExecError> {
        let (answer, answered) = oneshot::channel();
        let gone = || self.failed(io::Error::new(io::ErrorKind::NotFound, "the process has ended"));
        self.signals
            .send((signal, answer))
            .await
            .map_err(|_ended| gone())?;
        answered
            .await
            .map_err(|_ended| gone())?
            .map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> ExecError {
        ExecError::Shim {
            id: self.id.clone(),
            source,
        }
    }
}

impl ExecExit {
    /// Waits for its end: the exit code, 128 plus the signal's number where a signal ended it. Cancel-safe; to be
    /// asked once.
    pub async fn wait(&mut self) -> Result<i32, ExecError> {
        let outcome = (&mut self.outcome).await;
        outcome
            .unwrap_or_else(|_gone| Err(io::ErrorKind::BrokenPipe.into()))
            .map_err(|source| ExecError::Shim {
                id: self.id.clone(),
                source,
            })
    }
}
