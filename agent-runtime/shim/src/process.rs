//! Children: how they ended, and the words for it.
//!
//! Called when the kernel tells of a child's end; never decides what follows from it.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, WaitOptions, WaitStatus};

/// A child that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) pid: u32,
    /// 128 plus the signal's number where a signal ended it.
    pub(crate) code: i32,
    pub(crate) signal: Option<i32>,
}

/// What there is to reap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reaped {
    /// This child.
    Child(Ended),
    /// Children live, none has ended.
    Nothing,
    /// There are no children.
    NoChildren,
}

/// The next child that has ended, if any.
pub(crate) fn reap() -> Reaped {
    match rustix::process::wait(WaitOptions::NOHANG) {
        Ok(Some((pid, status))) => Reaped::Child(ended(pid, status)),
        Ok(None) => Reaped::Nothing,
        Err(_none) => Reaped::NoChildren,
    }
}

fn ended(pid: Pid, status: WaitStatus) -> Ended {
    let signal = status.terminating_signal();
    let code = match signal {
        Some(signal) => 128 + signal,
        None => status.exit_status().unwrap_or(255),
    };
    Ended {
        pid: number(pid),
        code,
        signal,
    }
}

/// A pid as the protocol carries it.
pub(crate) fn number(pid: Pid) -> u32 {
    pid.as_raw_nonzero().get().cast_unsigned()
}

/// A pid of a child that is not reaped yet.
pub(crate) fn pid(number: u32) -> Option<Pid> {
    i32::try_from(number).ok().and_then(Pid::from_raw)
}

/// Nanoseconds since 1970.
pub(crate) fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
