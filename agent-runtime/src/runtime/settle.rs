//! How a container ended: read from its run directory, or written there for a shim that is gone.
//!
//! One task a container waits for its shim to end, which it does when the exit is recorded, or when it is killed. A
//! program cannot be tied to its shim by the parent-death signal alone: that is cleared when the program changes its
//! user, as many images do first thing.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use shoal_run_dir::exit::{ExitReason as Reason, ExitRecord};
use shoal_run_dir::layout::{self, RunDir};
use shoal_run_dir::pid::PidRecord;

use crate::container::id::ContainerId;
use crate::container::status::{Exit, ExitReason};

use super::process::Process;
use super::{Entry, Inner, cgroup};

/// Waits for the end of a container, and publishes it.
pub(super) async fn watch(inner: Arc<Inner>, entry: Arc<Entry>, id: ContainerId) {
    let directory = inner.run_dir(&id);
    let shim = PidRecord::read(&directory.join(layout::SHIM_PID)).ok().flatten();
    if let Some(Ok(Some(shim))) = shim.as_ref().map(Process::of_record)
        && let Err(error) = shim.ended().await
    {
        tracing::error!(container = %id, %error, "cannot wait for a shim");
        return;
    }
    if !directory.path().exists() {
        return;
    }
    match settle(&inner, &id, &directory).await {
        Ok(exit) => entry.publish(exit),
        Err(error) => tracing::error!(container = %id, %error, "cannot learn how a container ended"),
    }
}

/// The end of a container whose shim is gone: what it recorded, else that it was lost, and the container with it.
pub(super) async fn settle(inner: &Inner, id: &ContainerId, directory: &RunDir) -> io::Result<Exit> {
    if let Some(exit) = read(directory)? {
        return Ok(exit);
    }
    let place = cgroup::place(&inner.facts.cgroups, &inner.config.tag, id.as_str());
    if let Some(first) = PidRecord::read(&directory.join(layout::INIT_PID)).map_err(io::Error::other)?
        && let Some(first) = Process::of_record(&first)?
    {
        first.signal(libc::SIGKILL)?;
    }
    cgroup::kill_all(&place)
        .await
        .map_err(|stuck| io::Error::other(format!("process {} does not end although killed", stuck.0)))?;
    let noted = ExitRecord::read(&directory.join(layout::ENDING)).map_err(io::Error::other)?;
    let record = noted.unwrap_or_else(|| ExitRecord {
        code: 128 + libc::SIGKILL,
        signal: Some(libc::SIGKILL),
        oom_kills: 0,
        reason: Reason::ShimLost,
        message: String::new(),
        at_ns: now_ns(),
    });
    record.write(&directory.join(layout::EXIT))?;
    Ok(exit_of(record))
}

/// The recorded end; `None` while there is none.
pub(super) fn read(directory: &RunDir) -> io::Result<Option<Exit>> {
    let record = ExitRecord::read(&directory.join(layout::EXIT)).map_err(io::Error::other)?;
    Ok(record.map(exit_of))
}

fn exit_of(record: ExitRecord) -> Exit {
    Exit {
        code: record.code,
        signal: record.signal,
        oom_killed: record.oom_kills > 0,
        reason: match record.reason {
            Reason::Exited => ExitReason::Exited,
            Reason::ShimLost => ExitReason::ShimLost,
            Reason::NeverStarted => ExitReason::NeverStarted {
                message: record.message,
            },
        },
        at: time_of(record.at_ns),
    }
}

/// When a container's program was started, if it was.
pub(super) fn started_at(directory: &RunDir) -> Option<SystemTime> {
    let text = std::fs::read_to_string(directory.join(layout::STARTED)).ok()?;
    text.trim().parse().ok().map(time_of)
}

pub(super) fn time_of(ns: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(ns)
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
