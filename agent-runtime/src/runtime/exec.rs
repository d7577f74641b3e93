//! Starting a further process in a running container.
//!
//! Called for users and health checks; the process is confined like the first one or not started.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSliceMut, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, memfd_create, openat};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType, recvmsg,
    socketpair,
};
use rustix::pipe::{PipeFlags, pipe_with};
use shoal_run_dir::layout::{self, RunDir};
use shoal_run_dir::message::{FailureKind, Reply, Request};
use shoal_run_dir::pid::PidRecord;
use shoal_run_dir::process::FinalProcess;
use shoal_run_dir::request::ExecRequest;
use tokio::io::Interest;
use tokio::sync::{mpsc, oneshot};

use crate::container::id::ContainerId;
use crate::container::spec::ContainerSpec;
use crate::exec::{
    ExecControl, ExecError, ExecExit, ExecSession, ExecSpec, ExecStdin, ExecStream, SignalRequest, Terminal,
};
use crate::image::ImageConfig;
use crate::oci_spec::{ExecInputs, build_exec};
use crate::sys;
use crate::user::{self, Accounts};

use super::client::{ShimClient, unexpected};
use super::create::chain;
use super::{Runtime, bundle, cgroup};

/// Signals that wait to be sent: a caller that sends more waits.
const MAX_SIGNALS: usize = 8;

/// Our ends of an exec's streams, and the ends that it gets.
enum Streams {
    Pipes {
        ours: [OwnedFd; 3],
        theirs: [OwnedFd; 3],
    },
    Terminal {
        ours: OwnedFd,
        theirs: OwnedFd,
    },
}

impl Runtime {
    /// Starts a process in a running container, confined exactly as its first one.
    pub async fn exec(&self, id: &ContainerId, spec: ExecSpec) -> Result<ExecSession, ExecError> {
        let directory = self.inner.run_dir(id);
        if !directory.path().exists() {
            return Err(ExecError::NotFound(id.clone()));
        }
        if !directory.join(layout::STARTED).exists() || directory.join(layout::EXIT).exists() {
            return Err(ExecError::NotRunning(id.clone()));
        }
        let io_error = |source| ExecError::Shim {
            id: id.clone(),
            source,
        };
        let process = self.exec_process(id, &directory, &spec).await?;
        if process.apparmor.is_some() {
            // Loaded again if somebody unloaded it: the process would not be started without it.
            self.inner.apparmor.profile().await;
        }
        let request = ExecRequest {
            version: shoal_run_dir::VERSION,
            process,
            cgroup: cgroup::place(&self.inner.facts.cgroups, &self.inner.config.tag, id.as_str()),
            stdin: spec.stdin,
            terminal_size: spec.tty.map(|size| (size.columns, size.rows)),
        };
        let request = in_memory(&request).map_err(io_error)?;
        let streams = Streams::new(spec.tty.is_some()).map_err(io_error)?;
        self.inner.crash_point("shoald.exec.1-asked");
        let shim = ShimClient::connect(directory.path())
            .await
            .map_err(|_gone| ExecError::NotRunning(id.clone()))?;
        let mut descriptors = vec![self.inner.spawn.as_fd(), request.as_fd()];
        match &streams {
            Streams::Pipes { theirs, .. } => descriptors.extend(theirs.iter().map(AsFd::as_fd)),
            Streams::Terminal { theirs, .. } => descriptors.push(theirs.as_fd()),
        }
        let answer = shim.call(&Request::Exec, &descriptors).await.map_err(io_error)?;
        self.inner.crash_point("shoald.exec.2-started");
        match answer {
            Reply::ExecStarted { .. } => session(id, shim, streams, spec.stdin).map_err(io_error),
            Reply::Failed {
                kind: FailureKind::Command,
                code,
                message,
            } => Err(ExecError::Command {
                message,
                exit_code: code,
            }),
            Reply::Failed {
                kind: FailureKind::State,
                ..
            } => Err(ExecError::NotRunning(id.clone())),
            Reply::Failed { message, .. } => Err(ExecError::Spawn {
                id: id.clone(),
                message,
            }),
            other => Err(io_error(unexpected(&other))),
        }
    }

    /// The process, its user looked up in the container as it is now.
    async fn exec_process(
        &self,
        id: &ContainerId,
        directory: &RunDir,
        exec: &ExecSpec,
    ) -> Result<FinalProcess, ExecError> {
        let (id, directory, exec) = (id.clone(), directory.clone(), exec.clone());
        let failed_id = id.clone();
        let built = tokio::task::spawn_blocking(move || {
            let io_error = |source| ExecError::Shim {
                id: id.clone(),
                source,
            };
            let spec: ContainerSpec = bundle::read_json(&directory.join(layout::SPEC)).map_err(io_error)?;
            let image: ImageConfig = bundle::read_json(&directory.join(layout::IMAGE)).map_err(io_error)?;
            let first: FinalProcess =
                bundle::read_json(&directory.join(layout::PROCESS)).map_err(io_error)?;
            let user = match exec.user.as_deref().filter(|user| !user.is_empty()) {
                None => None,
                Some(name) => {
                    let root = open_root(&directory)
                        .map_err(io_error)?
                        .ok_or(ExecError::NotRunning(id.clone()))?;
                    let wrong = |message| ExecError::Spec {
                        field: "user".to_owned(),
                        message,
                    };
                    let accounts =
                        Accounts::from_directory(root.as_fd()).map_err(|error| wrong(chain(&error)))?;
                    Some(
                        user::resolve(Some(name), &spec.groups, &accounts)
                            .map_err(|error| wrong(chain(&error)))?,
                    )
                }
            };
            let inputs = ExecInputs {
                exec: &exec,
                spec: &spec,
                image: &image,
                first: &first,
                user: user.as_ref(),
            };
            build_exec(&inputs).map_err(|error| ExecError::Spec {
                field: error.field,
                message: error.message,
            })
        });
        built.await.unwrap_or_else(|error| {
            Err(ExecError::Spawn {
                id: failed_id,
                message: error.to_string(),
            })
        })
    }
}

/// The container's root directory; `None` if the container has ended.
fn open_root(directory: &RunDir) -> io::Result<Option<OwnedFd>> {
    let Some(first) = PidRecord::read(&directory.join(layout::INIT_PID)).map_err(io::Error::other)? else {
        return Ok(None);
    };
    let path = format!("/proc/{}/root", first.pid);
    let root = openat(
        CWD,
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    );
    // Compared after it was opened: another process's root is not looked into.
    Ok(root.ok().filter(|_held| first.is_current()))
}

fn in_memory(request: &ExecRequest) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("shoal-exec", MemfdFlags::CLOEXEC)?);
    file.write_all(&serde_json::to_vec(request)?)?;
    file.rewind()?;
    Ok(file.into())
}

impl Streams {
    fn new(terminal: bool) -> io::Result<Self> {
        if terminal {
            let flags = SocketFlags::CLOEXEC;
            let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
            return Ok(Self::Terminal { ours, theirs });
        }
        let (stdin_read, stdin) = pipe_with(PipeFlags::CLOEXEC)?;
        let (stdout, stdout_write) = pipe_with(PipeFlags::CLOEXEC)?;
        let (stderr, stderr_write) = pipe_with(PipeFlags::CLOEXEC)?;
        Ok(Self::Pipes {
            ours: [stdin, stdout, stderr],
            theirs: [stdin_read, stdout_write, stderr_write],
        })
    }
}

fn session(
    id: &ContainerId,
    shim: ShimClient,
    streams: Streams,
    wants_stdin: bool,
) -> io::Result<ExecSession> {
    let (stdin, output, terminal) = match streams {
        Streams::Pipes {
            ours: [stdin, stdout, stderr],
            theirs,
        } => {
            drop(theirs);
            (ExecStdin::pipe(stdin)?, ExecStream::pipes(stdout, stderr)?, None)
        }
        Streams::Terminal { ours, .. } => {
            let terminal = receive_terminal(&ours)?;
            (
                ExecStdin::terminal(&terminal),
                ExecStream::terminal(&terminal),
                Some(terminal),
            )
        }
    };
    let (signals, requests) = mpsc::channel(MAX_SIGNALS);
    let (outcome, ended) = oneshot::channel();
    tokio::spawn(attend(shim, requests, outcome));
    Ok(ExecSession {
        stdin: wants_stdin.then_some(stdin),
        output,
        control: ExecControl {
            id: id.clone(),
            terminal,
            signals,
        },
        exit: ExecExit {
            id: id.clone(),
            outcome: ended,
        },
    })
}

/// Sent before the program was started, so it is there.
fn receive_terminal(socket: &OwnedFd) -> io::Result<Terminal> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut control, flags)?;
    let master = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut rights) => rights.next(),
        _ => None,
    });
    let master = master.ok_or_else(|| io::Error::other("the terminal did not arrive"))?;
    rustix::io::ioctl_fionbio(&master, true)?;
    Ok(Terminal::new(sys::watched(
        master,
        Interest::READABLE | Interest::WRITABLE,
    )?))
}

/// Holds the connection: while it is open the process lives, and its end is told over it.
async fn attend(
    shim: ShimClient,
    mut requests: mpsc::Receiver<SignalRequest>,
    mut outcome: oneshot::Sender<io::Result<i32>>,
) {
    let mut answers = VecDeque::new();
    let ended = loop {
        tokio::select! {
            () = outcome.closed() => return,
            Some((signal, answer)) = requests.recv() => {
                match shim.send(&Request::ExecSignal { signal: signal.number() }, &[]).await {
                    Ok(()) => answers.push_back(answer),
                    Err(error) => break Err(error),
                }
            }
            reply = shim.receive() => match reply {
                Ok(Reply::ExecEnded { code }) => break Ok(code),
                Ok(Reply::Done) => answer_next(&mut answers, Ok(())),
                Ok(Reply::Failed { message, .. }) => answer_next(&mut answers, Err(io::Error::other(message))),
                Ok(other) => break Err(unexpected(&other)),
                Err(error) => break Err(error),
            },
        }
    };
    // Whoever asked may have stopped waiting.
    let _nobody_waits = outcome.send(ended);
}

fn answer_next(answers: &mut VecDeque<oneshot::Sender<io::Result<()>>>, outcome: io::Result<()>) {
    if let Some(answer) = answers.pop_front() {
        let _nobody_waits = answer.send(outcome);
    }
}
