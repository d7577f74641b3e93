//! The container itself: created by `shoal-spawn`, started through `libcontainer`'s socket, ended by itself.
//!
//! Called by the shim's loop; never enters the container's namespaces.

use std::fs;
use std::io::{IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Instant;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{PidfdFlags, Signal, kill_process, pidfd_open};
use rustix::termios::{Winsize, tcsetwinsize};
use shoal_run_dir::exit::{ExitReason, ExitRecord};
use shoal_run_dir::layout;
use shoal_run_dir::log::Stream;
use shoal_run_dir::message::{FailureKind, Reply};
use shoal_run_dir::pid::PidRecord;
use shoal_run_dir::report::Report;

use super::{DRAIN, Phase, Shim};
use crate::process::{self, Ended};
use crate::reports::Reports;
use crate::stream::Source;
use crate::sys;

/// Descriptor numbers that `shoal-spawn` expects.
pub(super) const REPORT: i32 = 3;

/// The first process of the container.
#[derive(Debug)]
pub(super) struct First {
    pub(super) pid: u32,
    pub(super) handle: OwnedFd,
}

/// Why something could not be started, as `shoal-spawn` said it.
#[derive(Debug, Clone)]
pub(super) struct Failed {
    pub(super) kind: FailureKind,
    pub(super) code: i32,
    pub(super) message: String,
}

impl Failed {
    pub(super) fn runtime(message: &str) -> Self {
        Self {
            kind: FailureKind::Runtime,
            code: 125,
            message: message.to_owned(),
        }
    }

    pub(super) fn reply(&self) -> Reply {
        Reply::Failed {
            kind: self.kind,
            code: self.code,
            message: self.message.clone(),
        }
    }
}

impl Shim {
    pub(super) fn create(&mut self, id: u64, descriptors: Vec<OwnedFd>) {
        match (&self.phase, self.init.as_ref(), descriptors.into_iter().next()) {
            (Phase::New { .. }, _, Some(spawn)) => {
                self.waiting.push(id);
                if let Err(error) = self.spawn_container(&spawn) {
                    self.create_failed(Failed::runtime(&format!("starting shoal-spawn: {error}")));
                }
            }
            (Phase::Creating, ..) => self.waiting.push(id),
            (Phase::Created | Phase::Starting | Phase::Running { .. }, Some(first), _) => {
                self.reply(id, &Reply::Created { pid: first.pid });
            }
            _ => self.refuse(id, "the container cannot be created in this state"),
        }
    }

    fn spawn_container(&mut self, spawn: &OwnedFd) -> std::io::Result<()> {
        let (reading, report) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&reading, true)?;
        self.reports = Some(Reports::new(reading));
        self.phase = Phase::Creating;
        let words = ["shoal-spawn", "create", &self.conf.tag, &self.conf.id];
        if self.conf.terminal {
            let listener = UnixListener::bind(layout::CONSOLE)?;
            listener.set_nonblocking(true)?;
            self.console = Some(listener.into());
            sys::start(spawn.as_fd(), &words, &[(REPORT, report.as_fd())])?;
        } else {
            let (out_read, out) = pipe_with(PipeFlags::CLOEXEC)?;
            let (err_read, err) = pipe_with(PipeFlags::CLOEXEC)?;
            for (reading, stream) in [(out_read, Stream::Stdout), (err_read, Stream::Stderr)] {
                rustix::io::ioctl_fionbio(&reading, true)?;
                self.sources.push(Source::new(reading, stream));
            }
            let mut streams = vec![(1, out.as_fd()), (2, err.as_fd()), (REPORT, report.as_fd())];
            let input;
            if self.conf.stdin {
                let writing;
                (input, writing) = pipe_with(PipeFlags::CLOEXEC)?;
                self.stdin = Some(writing);
                streams.push((0, input.as_fd()));
            }
            sys::start(spawn.as_fd(), &words, &streams)?;
        }
        self.crash_point("shim.create.2-spawn-running");
        Ok(())
    }

    /// The terminal arrives in two steps: a connection, and later its master over it.
    pub(super) fn receive_console(&mut self) {
        let Some(socket) = &self.console else { return };
        if let Ok(connection) = rustix::net::accept_with(socket, rustix::net::SocketFlags::CLOEXEC) {
            self.console = Some(connection);
            let _already_listening_for_one = fs::remove_file(layout::CONSOLE);
            return;
        }
        let mut bytes = [0; 64];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT,
        );
        if received.is_ok() {
            let rights = control.drain().find_map(|message| match message {
                RecvAncillaryMessage::ScmRights(mut rights) => rights.next(),
                _ => None,
            });
            if let Some(master) = rights.filter(|master| rustix::io::ioctl_fionbio(master, true).is_ok()) {
                if let Some((ws_col, ws_row)) = self.conf.terminal_size {
                    let size = Winsize {
                        ws_col,
                        ws_row,
                        ws_xpixel: 0,
                        ws_ypixel: 0,
                    };
                    // It is a terminal: nothing else would have arrived.
                    let _without_size = tcsetwinsize(&master, size);
                }
                self.sources.push(Source::new(master, Stream::Stdout));
            }
        }
        self.console = None;
    }

    pub(super) fn read_container_reports(&mut self) {
        let Some(reports) = &mut self.reports else { return };
        let (lines, ended) = (reports.read(), reports.ended());
        for line in lines {
            match line {
                Report::Process { pid } if matches!(self.phase, Phase::Creating) => self.created(pid),
                Report::Process { .. } => {}
                Report::Ready => self.ready = true,
                Report::Failed { kind, code, message } => {
                    self.failed.get_or_insert(Failed { kind, code, message });
                }
            }
        }
        if ended {
            self.reports = None;
            match &self.phase {
                Phase::Creating => {
                    let why = self.failed.take().unwrap_or_else(|| self.spawn_died());
                    self.create_failed(why);
                }
                Phase::Starting if self.failed.is_none() && self.ready => self.started(),
                // Its first process ends, and the reaper says how.
                _ => {}
            }
        }
        if let (Phase::Starting, Some(failed)) = (&self.phase, &self.failed) {
            let reply = failed.reply();
            self.answer_waiting(&reply);
        }
    }

    /// One of those that make the container: it holds the report pipe together with the others, so that the end of the
    /// pipe does not tell of it.
    pub(super) fn helper_ended(&mut self, ended: Ended) {
        if ended.code != 0 {
            // What it had to say comes first.
            self.read_container_reports();
            if matches!(self.phase, Phase::Creating) {
                let why = self.failed.take().unwrap_or_else(|| self.spawn_died());
                self.create_failed(why);
            }
        }
    }

    fn spawn_died(&self) -> Failed {
        if self.oom_kills() > 0 {
            return Failed::runtime("the container's memory limit is too small to start anything: raise it");
        }
        Failed::runtime("shoal-spawn was killed")
    }

    fn created(&mut self, pid: u32) {
        self.crash_point("shim.create.3-process-known");
        let recorded = process::pid(pid)
            .ok_or(std::io::ErrorKind::InvalidData.into())
            .and_then(|known| Ok(pidfd_open(known, PidfdFlags::empty())?))
            .and_then(|handle| {
                PidRecord::of(pid)?
                    .write(Path::new(layout::INIT_PID))
                    .map(|()| handle)
            });
        match recorded {
            Ok(handle) => {
                self.init = Some(First { pid, handle });
                self.phase = Phase::Created;
                self.crash_point("shim.create.4-recorded");
                self.answer_waiting(&Reply::Created { pid });
                if let Some(ended) = self.unclaimed.iter().find(|ended| ended.pid == pid).copied() {
                    self.container_ended(ended);
                }
                self.unclaimed = Vec::new();
            }
            Err(error) => self.create_failed(Failed::runtime(&format!(
                "recording the container's process: {error}"
            ))),
        }
    }

    /// Nothing of a container that could not be created stays alive.
    fn create_failed(&mut self, why: Failed) {
        for member in fs::read_to_string(self.conf.cgroup.join("cgroup.procs"))
            .unwrap_or_default()
            .lines()
        {
            if let Some(pid) = member.parse().ok().and_then(process::pid) {
                let _gone_already = kill_process(pid, Signal::KILL);
            }
        }
        self.answer_waiting(&why.reply());
        let record = ExitRecord {
            code: why.code,
            signal: None,
            oom_kills: self.oom_kills(),
            reason: ExitReason::NeverStarted,
            message: why.message,
            at_ns: process::now_ns(),
        };
        self.phase = Phase::Ending {
            until: Instant::now() + DRAIN,
            record,
        };
    }

    pub(super) fn start(&mut self, id: u64) {
        match (&self.phase, self.init.as_ref()) {
            (Phase::Created, Some(_)) => {
                self.crash_point("shim.start.1-asked");
                self.waiting.push(id);
                let released = UnixStream::connect(layout::NOTIFY).and_then(|mut s| s.write_all(b"start"));
                match released {
                    Ok(()) => {
                        self.phase = Phase::Starting;
                        self.crash_point("shim.start.2-released");
                    }
                    Err(error) => {
                        let why = Failed::runtime(&format!("releasing the container's program: {error}"));
                        self.answer_waiting(&why.reply());
                    }
                }
            }
            (Phase::Starting, _) => self.waiting.push(id),
            (Phase::Running { at_ns }, Some(first)) => {
                self.reply(
                    id,
                    &Reply::Started {
                        pid: first.pid,
                        at_ns: *at_ns,
                    },
                );
            }
            _ => self.refuse(id, "the container cannot be started in this state"),
        }
    }

    fn started(&mut self) {
        let at_ns = process::now_ns();
        self.phase = Phase::Running { at_ns };
        // Only the display of the start time suffers where it cannot be written.
        let temporary = format!("{}.new", layout::STARTED);
        let _display_only =
            fs::write(&temporary, at_ns.to_string()).and_then(|()| fs::rename(&temporary, layout::STARTED));
        self.crash_point("shim.start.3-recorded");
        if let Some(pid) = self.init.as_ref().map(|first| first.pid) {
            self.answer_waiting(&Reply::Started { pid, at_ns });
        }
    }

    pub(super) fn container_ended(&mut self, ended: Ended) {
        self.crash_point("shim.exit.1-ended");
        self.answer_waiting(&Failed::runtime("the container ended before its program ran").reply());
        let mut record = ExitRecord {
            code: ended.code,
            signal: ended.signal,
            oom_kills: self.oom_kills(),
            reason: ExitReason::Exited,
            message: String::new(),
            at_ns: process::now_ns(),
        };
        if let (Phase::Starting, Some(failed)) = (&self.phase, self.failed.take()) {
            record = ExitRecord {
                code: failed.code,
                signal: None,
                reason: ExitReason::NeverStarted,
                message: failed.message,
                ..record
            };
        }
        let _the_last_record_counts = record.write(Path::new(layout::ENDING));
        self.crash_point("shim.exit.2-noted");
        self.init = None;
        self.stdin = None;
        self.phase = Phase::Ending {
            until: Instant::now() + DRAIN,
            record,
        };
    }

    /// The log is complete: now the end may be known.
    pub(super) fn finish(&mut self) {
        let at_ns = process::now_ns();
        for mut source in std::mem::take(&mut self.sources) {
            let mut records = Vec::new();
            let count = source.flush(&mut records, at_ns);
            self.log.append(&records, count, at_ns);
            self.followers.end(source.stream());
        }
        self.crash_point("shim.exit.3-drained");
        if let Phase::Ending { record, .. } = &self.phase {
            // Where there is no room for it, what was noted says the same. If that fails too, the daemon finds
            // `ending`, or a shim that is gone.
            let _ending_says_it_too = record
                .write(Path::new(layout::EXIT))
                .or_else(|_full| fs::rename(layout::ENDING, layout::EXIT));
        }
        self.crash_point("shim.exit.4-recorded");
        self.phase = Phase::Over {
            until: Instant::now() + DRAIN,
        };
    }

    fn oom_kills(&self) -> u64 {
        let text = self
            .conf
            .oom_file
            .as_ref()
            .and_then(|file| fs::read_to_string(file).ok())
            .unwrap_or_default();
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
    }

    fn answer_waiting(&mut self, reply: &Reply) {
        for id in std::mem::take(&mut self.waiting) {
            self.reply(id, reply);
        }
    }

    pub(super) fn refuse(&self, id: u64, message: &str) {
        self.reply(
            id,
            &Reply::Failed {
                kind: FailureKind::State,
                code: 0,
                message: message.to_owned(),
            },
        );
    }
}
