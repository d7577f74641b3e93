//! Processes that are not our children, by pidfd: never mistaken for another, and waited for without polling.
//!
//! Used by every operation that signals or waits; never by number alone.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use shoal_run_dir::pid::PidRecord;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::sys;

/// A living (or not yet reaped) process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: u32,
    handle: AsyncFd<OwnedFd>,
}

impl Process {
    /// The process of a record; `None` if it has gone.
    pub(super) fn of_record(record: &PidRecord) -> io::Result<Option<Self>> {
        let process = Self::of_pid(record.pid)?;
        // Compared after the handle was taken: from here on the pid cannot become another's.
        Ok(process.filter(|_held| record.is_current()))
    }

    /// The process that has this pid now.
    pub(super) fn of_pid(pid: u32) -> io::Result<Option<Self>> {
        let Some(number) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
            return Ok(None);
        };
        match pidfd_open(number, PidfdFlags::NONBLOCK) {
            Ok(handle) => Ok(Some(Self {
                pid,
                handle: sys::watched(handle, Interest::READABLE)?,
            })),
            Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Sends a signal; a process that has ended is no error.
    pub(super) fn signal(&self, signal: i32) -> io::Result<()> {
        match sys::signal_process(self.handle.get_ref().as_fd(), signal) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            other => other,
        }
    }

    /// Until it has ended.
    pub(super) async fn ended(&self) -> io::Result<()> {
        self.handle.readable().await.map(|_ready| ())
    }

    /// How it ended, as wait(2) says it: known for a while after it was reaped, where the kernel keeps it.
    pub(super) fn exit_status(&self) -> Option<i32> {
        sys::exit_status(self.handle.get_ref().as_fd())
    }

    /// Whether it ended in time.
    pub(super) async fn ended_within(&self, limit: Duration) -> bool {
        matches!(tokio::time::timeout(limit, self.ended()).await, Ok(Ok(())))
    }
}
