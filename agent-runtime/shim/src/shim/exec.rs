//! Execs: started by `shoal-spawn` as our children, one for each connection.
//!
//! Their streams belong to the daemon, who made them; here they are started, signalled and reaped. An exec whose
//! connection closes is killed: nobody is left who could see it.

use std::os::fd::{AsFd, OwnedFd};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, kill_process, kill_process_group};
use shoal_run_dir::message::{FailureKind, Reply};
use shoal_run_dir::report::Report;

use super::container::{Failed, REPORT};
use super::{Phase, Shim};
use crate::process::{self, Ended};
use crate::reports::Reports;
use crate::sys;

/// Descriptor numbers that `shoal-spawn` expects.
const REQUEST: i32 = 4;
const CONTAINER: i32 = 5;
const CONSOLE: i32 = 6;

/// One exec.
#[derive(Debug)]
pub(super) struct Exec {
    pub(super) connection: u64,
    pub(super) reports: Option<Reports>,
    pid: Option<u32>,
    ready: bool,
    failed: Option<Failed>,
    ended: Option<Ended>,
    abandoned: bool,
}

impl Exec {
    fn is_unnamed(&self) -> bool {
        self.pid.is_none() && self.reports.is_some()
    }
}

impl Shim {
    pub(super) fn exec(&mut self, id: u64, descriptors: Vec<OwnedFd>) {
        if !matches!(self.phase, Phase::Running { .. }) {
            self.refuse(id, "the container is not running");
            return;
        }
        if self.execs.iter().any(|e| e.connection == id) {
            self.refuse(id, "this connection has an exec already");
            return;
        }
        self.crash_point("shim.exec.1-asked");
        match self.spawn_exec(&descriptors) {
            Ok(reports) => self.execs.push(Exec {
                connection: id,
                reports: Some(reports),
                pid: None,
                ready: false,
                failed: None,
                ended: None,
                abandoned: false,
            }),
            Err(error) => self.reply(
                id,
                &Failed::runtime(&format!("starting shoal-spawn: {error}")).reply(),
            ),
        }
        self.crash_point("shim.exec.2-spawn-running");
    }

    fn spawn_exec(&self, descriptors: &[OwnedFd]) -> std::io::Result<Reports> {
        let incomplete = || std::io::Error::from(std::io::ErrorKind::InvalidInput);
        let first = self.init.as_ref().ok_or_else(incomplete)?;
        let (reading, report) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&reading, true)?;
        let words = ["shoal-spawn", "exec", &self.conf.tag, &self.conf.id];
        let fixed = |request: &OwnedFd| -> std::io::Result<[(i32, OwnedFd); 3]> {
            Ok([
                (REPORT, report.try_clone()?),
                (REQUEST, request.try_clone()?),
                (CONTAINER, first.handle.try_clone()?),
            ])
        };
        let (program, mut given) = match descriptors {
            [program, request, console] => {
                let mut given = Vec::from(fixed(request)?);
                given.push((CONSOLE, console.try_clone()?));
                (program, given)
            }
            [program, request, input, output, error] => {
                let mut given = Vec::from(fixed(request)?);
                for (number, stream) in [(0, input), (1, output), (2, error)] {
                    given.push((number, stream.try_clone()?));
                }
                (program, given)
            }
            _ => return Err(incomplete()),
        };
        let borrowed: Vec<_> = given.iter().map(|(number, fd)| (*number, fd.as_fd())).collect();
        sys::start(program.as_fd(), &words, &borrowed)?;
        given.clear();
        Ok(Reports::new(reading))
    }

    pub(super) fn read_exec_reports(&mut self) {
        let mut known = false;
        for exec in &mut self.execs {
            let Some(reports) = &mut exec.reports else {
                continue;
            };
            for line in reports.read() {
                match line {
                    Report::Process { pid } => {
                        exec.pid = Some(pid);
                        exec.ended = self.unclaimed.iter().find(|ended| ended.pid == pid).copied();
                        known = true;
                    }
                    Report::Ready => exec.ready = true,
                    Report::Failed { kind, code, message } => {
                        exec.failed.get_or_insert(Failed { kind, code, message });
                    }
                }
            }
        }
        if known {
            self.crash_point("shim.exec.3-process-known");
            for exec in self
                .execs
                .iter()
                .filter(|exec| exec.abandoned && exec.ended.is_none())
            {
                exec.pid.into_iter().for_each(|pid| kill(pid, Signal::KILL));
            }
        }
        self.settle_execs();
    }

    /// Tells clients what has become of their execs, and forgets the ones that are over.
    fn settle_execs(&mut self) {
        let mut replies = Vec::new();
        self.execs.retain_mut(|exec| {
            let started = exec.reports.is_none();
            if !started && exec.reports.as_ref().is_some_and(Reports::ended) {
                exec.reports = None;
                let failed = match exec.failed.take() {
                    Some(failed) => Some(failed),
                    None if exec.ready => None,
                    None => Some(Failed::runtime("the process was killed before its program ran")),
                };
                if let Some(failed) = failed {
                    replies.push((exec.connection, failed.reply()));
                    return false;
                }
                replies.push((
                    exec.connection,
                    Reply::ExecStarted {
                        pid: exec.pid.unwrap_or_default(),
                    },
                ));
            }
            match (exec.reports.is_none(), exec.ended) {
                (true, Some(ended)) => {
                    replies.push((exec.connection, Reply::ExecEnded { code: ended.code }));
                    false
                }
                _ => true,
            }
        });
        for (connection, reply) in replies {
            self.reply(connection, &reply);
        }
        if !matches!(self.phase, Phase::Creating) && !self.execs.iter().any(Exec::is_unnamed) {
            self.unclaimed.clear();
        }
    }

    /// Whether the child was an exec's process, or may have been: one that is killed can be over before `shoal-spawn`
    /// has had the time to name it.
    pub(super) fn exec_ended(&mut self, ended: Ended) -> bool {
        let Some(exec) = self.execs.iter_mut().find(|e| e.pid == Some(ended.pid)) else {
            let unnamed = self.execs.iter().any(Exec::is_unnamed);
            if unnamed {
                self.unclaimed.push(ended);
            }
            return unnamed;
        };
        exec.ended = Some(ended);
        self.settle_execs();
        true
    }

    pub(super) fn exec_signal(&mut self, id: u64, signal: i32) {
        let exec = self
            .execs
            .iter()
            .find(|e| e.connection == id && e.ended.is_none());
        let Some(pid) = exec.and_then(|e| e.pid).and_then(process::pid) else {
            self.refuse(id, "this connection has no running exec");
            return;
        };
        match sys::kill(pid, signal) {
            Ok(()) => self.reply(id, &Reply::Done),
            Err(error) => {
                let (code, message) = (
                    error.raw_os_error().unwrap_or(0),
                    format!("signal {signal}: {error}"),
                );
                self.reply(
                    id,
                    &Reply::Failed {
                        kind: FailureKind::Runtime,
                        code,
                        message,
                    },
                );
            }
        }
    }

    pub(super) fn abandon_exec(&mut self, id: u64) {
        if let Some(exec) = self.execs.iter_mut().find(|e| e.connection == id) {
            exec.abandoned = true;
            if let (Some(pid), None) = (exec.pid, exec.ended) {
                kill(pid, Signal::KILL);
            }
        }
    }
}

/// An exec leads a session and a group of its own; it is our child and not reaped, so the pid is its own.
fn kill(pid: u32, signal: Signal) {
    if let Some(pid) = process::pid(pid) {
        let _no_group_yet = kill_process_group(pid, signal);
        let _gone_already = kill_process(pid, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shim::tests::{answer, shim};

    #[test]
    fn an_exec_that_is_over_before_it_is_named_has_its_end_told() {
        let folder = tempfile::tempdir().unwrap();
        let (mut shim, daemon) = shim(&folder);
        shim.phase = Phase::Running { at_ns: 1 };
        let (reading, report) = pipe_with(PipeFlags::NONBLOCK).unwrap();
        shim.execs.push(Exec {
            connection: 1,
            reports: Some(Reports::new(reading)),
            pid: None,
            ready: false,
            failed: None,
            ended: None,
            abandoned: false,
        });
        let ended = |pid, code| Ended {
            pid,
            code,
            signal: None,
        };
        // The helper and the command itself, before the helper's words were read.
        assert!(shim.exec_ended(ended(70, 0)) && shim.exec_ended(ended(71, 7)));
        let lines = Report::Process { pid: 71 }.encode() + &Report::Ready.encode();
        rustix::io::write(&report, lines.as_bytes()).unwrap();
        drop(report);
        shim.read_exec_reports();
        for expect in [Reply::ExecStarted { pid: 71 }, Reply::ExecEnded { code: 7 }] {
            assert_eq!(answer(&daemon), expect);
        }
        assert!(shim.execs.is_empty() && shim.unclaimed.is_empty());
        assert!(!shim.exec_ended(ended(72, 0)), "nobody waits for it");
    }
}
