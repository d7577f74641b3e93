//! The thread that the loop runs on, and the way to it.
//!
//! Held by [`crate::Net`]. Ends when its handle is dropped, after what it was asked for before.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use tokio::sync::{mpsc, oneshot, watch};

use super::{ApplyError, AttachError, Engine, KernelError, NetStatus};
use crate::desired::{Desired, Endpoint, EndpointId, Tables, Tag};
use crate::namespace::Namespace;

/// A loop that lags this far behind makes its callers wait.
const QUEUE: usize = 256;

/// What the loop is asked for. With [`Input`]'s other cases, all that it ever acts on.
#[derive(Debug)]
pub(crate) enum Command {
    /// New tables.
    Apply(Arc<Tables>, oneshot::Sender<Result<(), ApplyError>>),
    /// An endpoint.
    Attach(Box<Endpoint>, oneshot::Sender<Result<(), AttachError>>),
    /// An endpoint less.
    Detach(EndpointId, oneshot::Sender<Result<(), KernelError>>),
}

/// One turn of the loop.
enum Input {
    Command(Command),
    Heard,
    Deadline,
    Closed,
}

/// The way to the loop.
#[derive(Debug)]
pub(crate) struct EngineThread {
    /// None once it is to end.
    commands: Option<mpsc::Sender<Command>>,
    wake: Arc<OwnedFd>,
    thread: Option<std::thread::JoinHandle<()>>,
    /// How the network is: what the loop sees of it, and what others add.
    pub(crate) tell: watch::Sender<NetStatus>,
}

impl EngineThread {
    /// Starts the thread, in the caller's namespace; returns once the kernel is what is desired.
    pub(crate) fn start(tag: Tag, router: Namespace, desired: Desired) -> Result<Self, KernelError> {
        let failed = |error: io::Error| KernelError(format!("start a thread: {error}"));
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let wake = Arc::new(wake.map_err(|errno| failed(errno.into()))?);
        let (commands, mut queue) = mpsc::channel(QUEUE);
        let tell = watch::Sender::new(NetStatus::default());
        let (opened, result) = std::sync::mpsc::sync_channel(1);
        let woken = Arc::clone(&wake);
        let teller = tell.clone();
        let body = move || match Engine::open(tag, &router, desired) {
            Ok(engine) => {
                teller.send_if_modified(|told| told.take_kernel(engine.status()));
                if opened.send(Ok(())).is_ok() {
                    run(engine, &mut queue, &woken, &teller);
                }
            }
            Err(error) => drop(opened.send(Err(error))),
        };
        let thread = std::thread::Builder::new()
            .name("overlay-net".to_owned())
            .spawn(body);
        let thread = thread.map_err(failed)?;
        let panicked = |_gone| Err(KernelError("the network's thread ended".to_owned()));
        result.recv().unwrap_or_else(panicked)?;
        Ok(Self {
            commands: Some(commands),
            wake,
            thread: Some(thread),
            tell,
        })
    }

    /// Sends a command; false when the loop has ended. Waits behind a full queue.
    pub(crate) async fn send(&self, command: Command) -> bool {
        let sent = match &self.commands {
            Some(commands) => commands.send(command).await.is_ok(),
            None => false,
        };
        self.wake();
        sent
    }

    fn wake(&self) {
        // A counter that is full wakes as well.
        let _counted = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}

impl Drop for EngineThread {
    fn drop(&mut self) {
        self.commands = None;
        self.wake();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the network's thread panicked");
        }
    }
}

fn run(
    mut engine: Engine,
    queue: &mut mpsc::Receiver<Command>,
    wake: &OwnedFd,
    tell: &watch::Sender<NetStatus>,
) {
    loop {
        match next(&engine, queue, wake) {
            Input::Closed => return,
            Input::Command(command) => obey(&mut engine, command),
            Input::Heard => engine.heard(Instant::now()),
            Input::Deadline => engine.due(Instant::now()),
        }
        tell.send_if_modified(|told| told.take_kernel(engine.status()));
    }
}

fn obey(engine: &mut Engine, command: Command) {
    // Who asked may have stopped waiting.
    match command {
        Command::Apply(tables, reply) => drop(reply.send(engine.apply(tables))),
        Command::Attach(endpoint, reply) => drop(reply.send(engine.attach(*endpoint))),
        Command::Detach(id, reply) => drop(reply.send(engine.detach(&id))),
    }
}

/// Commands first, then what is due, then what the kernel says.
fn next(engine: &Engine, queue: &mut mpsc::Receiver<Command>, wake: &OwnedFd) -> Input {
    loop {
        match queue.try_recv() {
            Ok(command) => return Input::Command(command),
            Err(mpsc::error::TryRecvError::Disconnected) => return Input::Closed,
            Err(mpsc::error::TryRecvError::Empty) => {}
        }
        let now = Instant::now();
        let deadline = engine.next_deadline();
        if deadline.is_some_and(|at| at <= now) {
            return Input::Deadline;
        }
        let timeout = deadline
            .map(|at| at - now)
            .and_then(|left| Timespec::try_from(left).ok());
        let ears = engine.watch.descriptors();
        let mut descriptors: Vec<_> = ears
            .iter()
            .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
            .collect();
        descriptors.push(PollFd::from_borrowed_fd(wake.as_fd(), PollFlags::IN));
        match poll(&mut descriptors, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => {
                tracing::error!(%error, "the network's thread cannot wait, and ends");
                return Input::Closed;
            }
        }
        let _count = rustix::io::read(wake, &mut [0_u8; 8]);
        if descriptors[..ears.len()]
            .iter()
            .any(|fd| !fd.revents().is_empty())
        {
            return Input::Heard;
        }
    }
}
