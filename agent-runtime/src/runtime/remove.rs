//! Removing a container: its processes, cgroup, snapshot and run directory. Its log files stay.
//!
//! Each step may be repeated; the run directory goes last, so that what is left can be found.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use shoal_run_dir::layout::{self, RunDir};
use shoal_run_dir::pid::PidRecord;

use crate::container::id::ContainerId;

use super::create::chain;
use super::process::Process;
use super::{Runtime, cgroup};

/// A shim whose container has ended writes the rest of the log, and is gone; longer only if its disk hangs.
const SHIM_LIMIT: Duration = Duration::from_secs(5);

/// A container could not be removed; calling again takes up where it stopped.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// Its processes did not end although killed.
    #[error(
        "a process of container {id} does not end although killed (pid {pid}): it may hang in the kernel"
    )]
    Stuck {
        /// The container.
        id: ContainerId,
        /// The process.
        pid: u32,
    },
    /// A part of it could not be taken away.
    #[error("removing {what} of container {id}")]
    Io {
        /// The container.
        id: ContainerId,
        /// Which part.
        what: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Runtime {
    /// Kills the container if it runs and takes away everything but its log. Idempotent; an unknown id is fine.
    pub async fn remove(&self, id: &ContainerId) -> Result<(), RemoveError> {
        let entry = self.inner.entry(id);
        let turn = entry.turn().await;
        self.inner.crash_point("shoald.remove.1-asked");
        self.take_away(id).await?;
        entry.removed();
        drop(turn);
        self.inner.forget(id);
        Ok(())
    }

    /// The steps, for a container in any state.
    pub(super) async fn take_away(&self, id: &ContainerId) -> Result<(), RemoveError> {
        let directory = self.inner.run_dir(id);
        let place = cgroup::place(&self.inner.facts.cgroups, &self.inner.config.tag, id.as_str());
        let failed = |what: &str| {
            let what = what.to_owned();
            move |source| RemoveError::Io {
                id: id.clone(),
                what,
                source,
            }
        };
        kill_first(&directory).map_err(failed("the first process"))?;
        self.end_shim(id, &directory).await.map_err(failed("the shim"))?;
        cgroup::kill_all(&place)
            .await
            .map_err(|stuck| RemoveError::Stuck {
                id: id.clone(),
                pid: stuck.0,
            })?;
        self.inner.crash_point("shoald.remove.2-killed");
        cgroup::remove(&place).await.map_err(failed("the cgroup"))?;
        self.inner.crash_point("shoald.remove.3-cgroup-gone");
        let released = self.inner.snapshots.release(id.as_str()).await;
        released
            .map_err(|error| io::Error::other(chain(&error)))
            .map_err(failed("the snapshot"))?;
        self.inner.crash_point("shoald.remove.4-snapshot-released");
        match fs::remove_dir_all(directory.path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other.map_err(failed("the run directory"))?,
        }
        self.inner.crash_point("shoald.remove.5-directory-gone");
        Ok(())
    }

    /// The shim ends with its container, or when nobody asks it for one; it is killed if it does not.
    async fn end_shim(&self, id: &ContainerId, directory: &RunDir) -> io::Result<()> {
        let recorded = PidRecord::read(&directory.join(layout::SHIM_PID)).map_err(io::Error::other)?;
        let created = directory.join(layout::INIT_PID).exists();
        let shim = match recorded {
            Some(record) => Process::of_record(&record)?,
            None if directory.path().exists() => find_shim(&self.inner.config.tag, id)?,
            None => None,
        };
        let Some(shim) = shim else { return Ok(()) };
        let ended = created && shim.ended_within(SHIM_LIMIT).await;
        if !ended {
            shim.signal(libc::SIGKILL)?;
            if !shim.ended_within(SHIM_LIMIT).await {
                return Err(io::Error::other(format!(
                    "the shim (pid {}) does not end although killed",
                    shim.pid
                )));
            }
        }
        Ok(())
    }
}

fn kill_first(directory: &RunDir) -> io::Result<()> {
    let record = PidRecord::read(&directory.join(layout::INIT_PID)).map_err(io::Error::other)?;
    match record.as_ref().map(Process::of_record).transpose()?.flatten() {
        Some(first) => first.signal(libc::SIGKILL),
        None => Ok(()),
    }
}

/// A shim that has not written down its pid yet: by its command line, which carries our tag.
fn find_shim(tag: &str, id: &ContainerId) -> io::Result<Option<Process>> {
    let wanted = format!("\0{tag}\0{id}\0");
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let line = Path::new("/proc").join(pid.to_string()).join("cmdline");
        let line = fs::read(line).unwrap_or_default();
        if String::from_utf8_lossy(&line).ends_with(&wanted) {
            return Process::of_pid(pid);
        }
    }
    Ok(None)
}
