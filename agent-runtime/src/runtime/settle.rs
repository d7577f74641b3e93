//! How a container ended: read from its run directory, or written there for a shim that is gone.
//!
//! One task a container waits for its shim to end, which it does when the exit is recorded, or when it is killed. A
//! program cannot be tied to its shim by the parent-death signal alone: that is cleared when the program changes its
//! user, as many images do first thing.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use shoal_run_dir::conf::ShimConf;
use shoal_run_dir::exit::{ExitReason as Reason, ExitRecord};
use shoal_run_dir::layout::{self, RunDir};
use shoal_run_dir::pid::PidRecord;

use crate::container::id::ContainerId;
use crate::container::status::{Exit, ExitReason};

use super::process::Process;
use super::{Entry, Inner, cgroup};

/// Whoever inherits the children of a killed shim reaps them at once; on an old kernel nothing comes of waiting.
const REAPED_WITHIN: Duration = Duration::from_millis(200);
const REAPED_PAUSE: Duration = Duration::from_millis(5);

/// Waits for the end of a container, and publishes it.
pub(super) async fn watch(inner: Arc<Inner>, entry: Arc<Entry>, id: ContainerId) {
    let directory = inner.run_dir(&id);
    // Held from here on, so that the kernel can be asked how it ended, whoever reaped it.
    let first = first_process(&directory).unwrap_or_default();
    let shim = PidRecord::read(&directory.join(layout::SHIM_PID)).ok().flatten();
    if let Some(Ok(Some(shim))) = shim.as_ref().map(Process::of_record)
        && let Err(error) = shim.ended().await
    {
        tracing::error!(container = %id, %error, "cannot wait for a shim");
        return;
    }
    // Whoever removes it takes the record of its end with it; that is not to be looked for, nor written again.
    let _turn = entry.turn().await;
    if entry.is_removed() || !directory.path().exists() {
        return;
    }
    match settle(&inner, &id, &directory, first).await {
        Ok(exit) => entry.publish(exit),
        Err(error) => tracing::error!(container = %id, %error, "cannot learn how a container ended"),
    }
}

/// The end of a container whose shim is gone: what it recorded, else that it was lost, and the container with it.
async fn settle(
    inner: &Inner,
    id: &ContainerId,
    directory: &RunDir,
    first: Option<Process>,
) -> io::Result<Exit> {
    if let Some(exit) = read(directory)? {
        return Ok(exit);
    }
    let place = cgroup::place(&inner.facts.cgroups, &inner.config.tag, id.as_str());
    let first = match first {
        None => first_process(directory)?,
        held => held,
    };
    if let Some(first) = &first {
        first.signal(libc::SIGKILL)?;
    }
    cgroup::kill_all(&place)
        .await
        .map_err(|stuck| io::Error::other(format!("process {} does not end although killed", stuck.0)))?;
    let noted = ExitRecord::read(&directory.join(layout::ENDING)).map_err(io::Error::other)?;
    let record = match noted {
        Some(record) => record,
        None => unnoted(first.as_ref(), oom_kills(directory)).await,
    };
    if let Err(error) = record.write(&directory.join(layout::EXIT)) {
        // It has ended all the same, and whoever looks again comes to the same end.
        tracing::warn!(container = %id, %error, "the end of a container was not written down");
    }
    Ok(exit_of(record))
}

fn first_process(directory: &RunDir) -> io::Result<Option<Process>> {
    let record = PidRecord::read(&directory.join(layout::INIT_PID)).map_err(io::Error::other)?;
    let process = record.as_ref().map(Process::of_record).transpose()?;
    Ok(process.flatten())
}

/// The end that no shim could note. A first process that ended by itself was ahead of its shim's death, even if the
/// shim had no time to say so: the kernel (6.15 and later) still knows how. Otherwise it went with the shim.
async fn unnoted(first: Option<&Process>, oom_kills: u64) -> ExitRecord {
    let lost = ExitRecord {
        code: 128 + libc::SIGKILL,
        signal: Some(libc::SIGKILL),
        oom_kills,
        reason: Reason::ShimLost,
        message: String::new(),
        at_ns: now_ns(),
    };
    let Some(first) = first else { return lost };
    let until = Instant::now() + REAPED_WITHIN;
    let status = loop {
        match first.exit_status() {
            None if Instant::now() < until => tokio::time::sleep(REAPED_PAUSE).await,
            status => break status,
        }
    };
    match status {
        Some(status) if libc::WIFEXITED(status) => ExitRecord {
            code: libc::WEXITSTATUS(status),
            signal: None,
            reason: Reason::Exited,
            ..lost
        },
        Some(status) if libc::WIFSIGNALED(status) && libc::WTERMSIG(status) != libc::SIGKILL => ExitRecord {
            code: 128 + libc::WTERMSIG(status),
            signal: Some(libc::WTERMSIG(status)),
            reason: Reason::Exited,
            ..lost
        },
        Some(_) | None => lost,
    }
}

/// As the shim counts them: its cgroup outlives it.
fn oom_kills(directory: &RunDir) -> u64 {
    let conf = ShimConf::read(directory.path()).ok();
    let text = conf
        .and_then(|conf| std::fs::read_to_string(conf.oom_file?).ok())
        .unwrap_or_default();
    let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
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
