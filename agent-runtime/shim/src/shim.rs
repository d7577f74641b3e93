//! The state of a shim and its one loop.
//!
//! ```text
//! new ─create→ creating ─process→ created ─start→ starting ─execve→ running ─┐
//!  └ nobody came     └ failed ─────────┴─ killed ────┴─ failed ──────────────┴→ ending ─log drained→ over
//! ```

mod attach;
mod container;
mod exec;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use shoal_run_dir::conf::ShimConf;
use shoal_run_dir::exit::ExitRecord;
use shoal_run_dir::message::{OLDEST_PROTOCOL, PROTOCOL, Reply, Request};

use crate::connection::{Connection, Incoming};
use crate::follower::{Followers, LEAVING};
use crate::log::Log;
use crate::process::{self, Reaped};
use crate::reports::Reports;
use crate::stream::{Read, Source};
use crate::sys;

use container::Failed;
use exec::Exec;

/// Connections at once, one for each exec: more than the health checks and sessions of one container come to.
const MAX_CONNECTIONS: usize = 256;

/// A shim whose daemon died before it asked for a container ends itself.
const LONELY: Duration = Duration::from_secs(10);

/// What is left in the pipes of an ended container is read at once, unless somebody outside holds their other ends.
const DRAIN: Duration = Duration::from_secs(2);

#[derive(Debug)]
enum Phase {
    New { until: Instant },
    Creating,
    Created,
    Starting,
    Running { at_ns: u64 },
    Ending { until: Instant, record: ExitRecord },
    Over { until: Instant },
}

/// One shim.
#[derive(Debug)]
pub(crate) struct Shim {
    conf: ShimConf,
    listener: OwnedFd,
    children: OwnedFd,
    /// Held, not used: released when we are gone.
    _snapshot_lock: OwnedFd,
    phase: Phase,
    init: Option<container::First>,
    reports: Option<Reports>,
    ready: bool,
    failed: Option<Failed>,
    /// Whether the code of the start was let go of.
    settled: bool,
    /// Ended before `shoal-spawn` could name them.
    unclaimed: Vec<process::Ended>,
    /// Connections that wait for the container to be created or started.
    waiting: Vec<u64>,
    console: Option<OwnedFd>,
    /// Where the container's standard input comes from, as long as it is to stay open.
    stdin: Option<OwnedFd>,
    sources: Vec<Source>,
    followers: Followers,
    log: Log,
    connections: Vec<Connection>,
    last_connection: u64,
    execs: Vec<Exec>,
}

#[derive(Debug, Clone, Copy)]
enum Token {
    Listener,
    Children,
    Console,
    Reports,
    Source(usize),
    Follower { id: u64, gone: bool },
    Connection(u64),
}

impl Shim {
    pub(crate) fn new(conf: ShimConf, listener: OwnedFd, lock: OwnedFd) -> std::io::Result<Self> {
        rustix::io::ioctl_fionbio(&listener, true)?;
        Ok(Self {
            children: sys::child_signals()?,
            listener,
            _snapshot_lock: lock,
            phase: Phase::New {
                until: Instant::now() + LONELY,
            },
            init: None,
            reports: None,
            ready: false,
            failed: None,
            settled: false,
            unclaimed: Vec::new(),
            waiting: Vec::new(),
            console: None,
            stdin: None,
            sources: Vec::new(),
            followers: Followers::default(),
            log: Log::new(
                conf.log_dir.clone(),
                conf.id.clone(),
                conf.log_max_size,
                conf.log_max_files,
            ),
            connections: Vec::new(),
            last_connection: 0,
            execs: Vec::new(),
            conf,
        })
    }

    /// Until the container has ended and everything is written down.
    pub(crate) fn run(mut self) -> std::io::Result<()> {
        self.crash_point("shim.create.1-up");
        loop {
            let tokens = self.poll()?;
            self.read_reports();
            for token in tokens {
                self.handle(token);
            }
            let childless = self.reap();
            if self.advance(childless) {
                return Ok(());
            }
            if matches!(self.phase, Phase::Running { .. }) && self.connections.is_empty() && !self.settled {
                self.settled = true;
                sys::let_go_of_code();
            }
        }
    }

    fn poll(&self) -> std::io::Result<Vec<Token>> {
        let mut tokens: Vec<(Token, BorrowedFd<'_>)> = vec![
            (Token::Listener, self.listener.as_fd()),
            (Token::Children, self.children.as_fd()),
        ];
        tokens.extend(self.console.iter().map(|c| (Token::Console, c.as_fd())));
        tokens.extend(self.reports.iter().map(|r| (Token::Reports, r.pipe.as_fd())));
        let execs = self.execs.iter().filter_map(|e| e.reports.as_ref());
        tokens.extend(execs.map(|r| (Token::Reports, r.pipe.as_fd())));
        // What an ended container has left is read while there is room for it: its end is not to wait for a reader.
        let ending = matches!(self.phase, Phase::Ending { .. });
        let room = if ending { LEAVING } else { 0 };
        tokens.extend(
            self.sources
                .iter()
                .enumerate()
                .filter(|(_, s)| !self.followers.hold_up(s.stream(), room))
                .map(|(i, s)| (Token::Source(i), s.descriptor.as_fd())),
        );
        tokens.extend(
            self.connections
                .iter()
                .map(|c| (Token::Connection(c.id), c.socket.as_fd())),
        );
        let mut polled: Vec<PollFd<'_>> = tokens
            .iter()
            .map(|(_, fd)| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
            .collect();
        for (id, pipe, flags) in self.followers.watched() {
            tokens.push((Token::Follower { id, gone: false }, pipe));
            polled.push(PollFd::from_borrowed_fd(pipe, flags));
        }
        let timeout = self.deadline().map(|until| {
            let left = until.saturating_duration_since(Instant::now());
            // Rounded up, so that the deadline has passed when poll returns.
            Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            }
        });
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let ready = polled
            .iter()
            .zip(&tokens)
            .filter(|(fd, _)| !fd.revents().is_empty());
        Ok(ready
            .map(|(fd, (token, _))| match token {
                Token::Follower { id, .. } => Token::Follower {
                    id: *id,
                    gone: fd.revents().contains(PollFlags::ERR),
                },
                other => *other,
            })
            .collect())
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::New { until } if self.connections.is_empty() => Some(*until),
            Phase::Ending { until, .. } | Phase::Over { until } => Some(*until),
            Phase::New { .. }
            | Phase::Creating
            | Phase::Created
            | Phase::Starting
            | Phase::Running { .. } => None,
        }
    }

    /// Moves on where only time or the end of something else decides. True when there is nothing left to do.
    fn advance(&mut self, childless: bool) -> bool {
        let late = self.deadline().is_some_and(|until| Instant::now() >= until);
        match &self.phase {
            Phase::New { .. } => late,
            Phase::Ending { .. } => {
                if late || self.sources.is_empty() {
                    self.finish();
                    // Nothing may wake us up again: whoever is waited for next has often ended already.
                    return childless && self.followers.is_idle();
                }
                false
            }
            Phase::Over { .. } => late || (childless && self.followers.is_idle()),
            Phase::Creating | Phase::Created | Phase::Starting | Phase::Running { .. } => false,
        }
    }

    fn handle(&mut self, token: Token) {
        match token {
            Token::Listener => self.accept(),
            Token::Children => {
                let mut information = [0; 1024];
                // What it says is asked again with waitpid.
                let _only_a_hint = rustix::io::read(&self.children, &mut information);
            }
            Token::Console => self.receive_console(),
            // Read already.
            Token::Reports => {}
            Token::Source(index) => self.read_source(index),
            Token::Follower { id, gone } => self.followers.ready(id, gone),
            Token::Connection(id) => self.receive(id),
        }
    }

    fn read_source(&mut self, index: usize) {
        let at_ns = process::now_ns();
        let mut records = Vec::new();
        let Some(source) = self.sources.get_mut(index) else {
            return;
        };
        let (read, count) = source.read(&mut records, at_ns, &mut self.followers);
        self.log.append(&records, count, at_ns);
        // Removed when all were handled, so that the other indexes stay right: an ended source is readable again.
        if read == Read::End {
            let ended = self.sources.remove(index);
            self.followers.end(ended.stream());
        }
    }

    fn accept(&mut self) {
        while let Some(connection) = Connection::accept(&self.listener, self.last_connection + 1) {
            self.last_connection += 1;
            if self.connections.len() < MAX_CONNECTIONS {
                self.connections.push(connection);
            } else {
                connection.refuse("this container has too many sessions");
            }
        }
    }

    fn receive(&mut self, id: u64) {
        let Some(connection) = self.connections.iter().find(|c| c.id == id) else {
            return;
        };
        match connection.receive() {
            Incoming::Nothing => {}
            Incoming::Closed => self.closed(id),
            Incoming::Malformed => {
                connection.refuse("not understood");
                self.closed(id);
            }
            Incoming::Request(request, descriptors) => self.request(id, &request, descriptors),
        }
    }

    fn request(&mut self, id: u64, request: &Request, descriptors: Vec<OwnedFd>) {
        let Some(connection) = self.connections.iter_mut().find(|c| c.id == id) else {
            return;
        };
        match request {
            Request::Hello { min, max } => {
                let version = PROTOCOL.min(*max);
                if version >= OLDEST_PROTOCOL.max(*min) {
                    connection.greeted = true;
                    connection.send(&Reply::Hello { version });
                } else {
                    connection.refuse(&format!("this shim speaks version {PROTOCOL}"));
                }
            }
            _ if !connection.greeted => connection.refuse("say hello first"),
            Request::Create => self.create(id, descriptors),
            Request::Start => self.start(id),
            Request::Exec => self.exec(id, descriptors),
            Request::ExecSignal { signal } => self.exec_signal(id, *signal),
            Request::Attach { replay } => self.attach(id, *replay, descriptors),
            Request::CloseStdin => self.close_stdin(id),
        }
    }

    fn closed(&mut self, id: u64) {
        self.connections.retain(|c| c.id != id);
        self.waiting.retain(|waiting| *waiting != id);
        self.abandon_exec(id);
    }

    fn reply(&self, id: u64, reply: &Reply) {
        if let Some(connection) = self.connections.iter().find(|c| c.id == id) {
            connection.send(reply);
        }
    }

    fn read_reports(&mut self) {
        self.read_container_reports();
        self.read_exec_reports();
    }

    /// True when there are no children any more.
    fn reap(&mut self) -> bool {
        loop {
            match process::reap() {
                Reaped::Child(ended) => self.child_ended(ended),
                Reaped::Nothing => return false,
                Reaped::NoChildren => return true,
            }
        }
    }

    fn child_ended(&mut self, ended: process::Ended) {
        // A short program may have begun and ended since the pipes were looked at: who it was and that it ran was said
        // before its end, and counts before it.
        self.read_reports();
        if self.init.as_ref().is_some_and(|init| init.pid == ended.pid) {
            self.container_ended(ended);
        } else if !self.exec_ended(ended) && matches!(self.phase, Phase::Creating) {
            self.unclaimed.push(ended);
            self.helper_ended(ended);
        }
    }

    #[expect(clippy::unused_self, reason = "reads as an act of the shim")]
    fn crash_point(&self, name: &str) {
        shoal_run_dir::crash::reached(std::path::Path::new("../.."), name);
    }
}

#[cfg(test)]
mod tests;
