//! Attaching to the first process of a container, before its program starts or later.
//!
//! Called for users. The shim hands over the ends of the streams; from then on it is not asked any more, and neither it
//! nor the container minds when they close.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use futures::StreamExt;
use rustix::pipe::{PipeFlags, pipe_with};
use shoal_run_dir::layout::{self, RunDir};
use shoal_run_dir::message::{FailureKind, Input, Reply, Request};
use tokio::io::Interest;

use crate::attach::{AttachControl, AttachError, AttachSession, AttachSpec, AttachStream};
use crate::container::id::ContainerId;
use crate::exec::{ExecOutput, ExecStdin, ExecStream, Terminal};
use crate::logs::{LogRecord, LogStream, replay};
use crate::sys;

use super::Runtime;
use super::client::{ShimClient, unexpected};

/// Of the shim's protocol: where attaching was added.
const ATTACH: u32 = 2;

/// What the shim gave.
struct Attached {
    input: Input,
    log_size: u64,
    given: Vec<OwnedFd>,
}

impl Runtime {
    /// The streams of a container's first process. Before [`start`](Self::start), nothing that the program writes is
    /// missed; a container that has ended is refused, since its log says it all.
    pub async fn attach(&self, id: &ContainerId, spec: AttachSpec) -> Result<AttachSession, AttachError> {
        let failed = |source| AttachError::Shim {
            id: id.clone(),
            source,
        };
        let shim = self.shim_to_attach_to(id).await?;
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|errno| failed(errno.into()));
        let ((stdout, stdout_write), (stderr, stderr_write)) = (pipe()?, pipe()?);
        let request = Request::Attach { replay: spec.replay };
        let pipes = [stdout_write.as_fd(), stderr_write.as_fd()];
        let answer = shim.call_for_descriptors(&request, &pipes).await;
        let answer = match answer {
            Err(_gone) if has_ended(&self.inner.run_dir(id)) => {
                return Err(AttachError::NotRunning(id.clone()));
            }
            other => other.map_err(failed)?,
        };
        let attached = match answer {
            (Reply::Attached { input, log_size }, given) => Attached {
                input,
                log_size,
                given,
            },
            (
                Reply::Failed {
                    kind: FailureKind::State,
                    ..
                },
                _,
            ) => return Err(AttachError::NotRunning(id.clone())),
            (Reply::Failed { message, .. }, _) => return Err(failed(io::Error::other(message))),
            (other, _) => return Err(failed(unexpected(&other))),
        };
        self.inner.crash_point("shoald.attach.1-attached");
        let live = ExecStream::pipes(stdout, stderr).map_err(failed)?;
        session(id, spec, attached, live)
    }

    /// Closes a container's standard input: its program sees the end of it once every session's
    /// [`stdin`](AttachSession::stdin) is dropped. May be repeated; one that has ended needs no closing, and a
    /// terminal has no such end.
    pub async fn close_stdin(&self, id: &ContainerId) -> Result<(), AttachError> {
        let shim = match self.shim_to_attach_to(id).await {
            Err(AttachError::NotRunning(_)) => return Ok(()),
            other => other?,
        };
        let failed = |source| AttachError::Shim {
            id: id.clone(),
            source,
        };
        match shim.call(&Request::CloseStdin, &[]).await.map_err(failed)? {
            Reply::Done => Ok(()),
            other => Err(failed(unexpected(&other))),
        }
    }

    async fn shim_to_attach_to(&self, id: &ContainerId) -> Result<ShimClient, AttachError> {
        let directory = self.inner.run_dir(id);
        if !directory.join(layout::INIT_PID).exists() {
            return Err(AttachError::NotFound(id.clone()));
        }
        let shim = match ShimClient::connect(directory.path()).await {
            Err(_gone) if has_ended(&directory) => return Err(AttachError::NotRunning(id.clone())),
            other => other.map_err(|source| AttachError::Shim {
                id: id.clone(),
                source,
            })?,
        };
        if shim.version() < ATTACH {
            return Err(AttachError::OldShim(id.clone()));
        }
        Ok(shim)
    }
}

fn has_ended(directory: &RunDir) -> bool {
    directory.join(layout::EXIT).exists()
}

fn session(
    id: &ContainerId,
    spec: AttachSpec,
    attached: Attached,
    live: ExecStream,
) -> Result<AttachSession, AttachError> {
    let failed = |source| AttachError::Shim {
        id: id.clone(),
        source,
    };
    let incomplete = || failed(io::Error::other("less arrived than the shim said"));
    let mut given = attached.given.into_iter();
    let (stdin, terminal) = match attached.input {
        Input::None => (None, None),
        Input::Pipe => {
            let end = given.next().ok_or_else(incomplete)?;
            (Some(ExecStdin::pipe(end).map_err(failed)?), None)
        }
        Input::Terminal => {
            let master = given.next().ok_or_else(incomplete)?;
            let master = sys::watched(master, Interest::WRITABLE).map_err(failed)?;
            let terminal = Terminal::new(master);
            (Some(ExecStdin::terminal(&terminal)), Some(terminal))
        }
    };
    if spec.stdin && stdin.is_none() {
        return Err(AttachError::NoStdin(id.clone()));
    }
    let before = replay(given.map(File::from), attached.log_size).map(|record| Ok(output(record?)));
    Ok(AttachSession {
        stdin: stdin.filter(|_| spec.stdin),
        output: AttachStream(before.chain(live).boxed()),
        control: AttachControl {
            id: id.clone(),
            terminal,
        },
    })
}

fn output(record: LogRecord) -> ExecOutput {
    match record.stream {
        LogStream::Stdout => ExecOutput::Stdout(record.text),
        LogStream::Stderr => ExecOutput::Stderr(record.text),
    }
}
