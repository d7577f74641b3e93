//! A node's place on its machine: directories, lock, tag, and the runtime opened in them.
//!
//! Shared by the daemon and by `shoald down`, which must find exactly what the daemon left.

use crate::config::NodeConfig;
use crate::files::{FileError, make_dir};
use crate::lock::{LockError, StateLock};
use sha2::{Digest, Sha256};
use shoal_agent_runtime::{OpenError, Runtime, RuntimeConfig};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// State is for root alone; the run directory lets the group of the socket through.
const STATE_MODE: u32 = 0o700;
const RUN_MODE: u32 = 0o755;

/// The directories are there and this process holds them.
#[derive(Debug)]
pub struct Place {
    pub tag: String,
    _lock: StateLock,
}

/// The place could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    #[error(
        "shoald needs root to make containers, and runs as user id {uid}: start it with sudo or as a system service (rootless operation is not built yet)"
    )]
    NotRoot { uid: String },
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error("resolving {path}")]
    Canonical {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

impl Place {
    /// Makes the directories and locks them.
    pub fn take(config: &NodeConfig) -> Result<Self, PlaceError> {
        refuse_unprivileged()?;
        make_dir(&config.state_dir, STATE_MODE)?;
        let lock = StateLock::take(&config.state_dir)?;
        for name in ["node", "raft", "runtime", "worker", "logs", "volumes"] {
            make_dir(&config.state(name), STATE_MODE)?;
        }
        make_dir(&config.run_dir, RUN_MODE)?;
        Ok(Self {
            tag: tag(&config.state_dir)?,
            _lock: lock,
        })
    }

    /// Opens the runtime in these directories.
    pub async fn open_runtime(&self, config: &NodeConfig) -> Result<Runtime, OpenError> {
        Runtime::open(RuntimeConfig {
            state_dir: config.state("runtime"),
            run_dir: config.run_dir.clone(),
            logs_dir: config.state("logs"),
            volumes_dir: config.state("volumes"),
            tag: self.tag.clone(),
            shim: config.programs.shim.clone(),
            spawn: config.programs.spawn.clone(),
            insecure_registries: config.insecure_registries.clone(),
            favordynmods: config.favordynmods,
        })
        .await
    }
}

/// The mark of this state directory in every cgroup, name and title that is made here.
fn tag(state_dir: &Path) -> Result<String, PlaceError> {
    let path = state_dir.canonicalize().map_err(|source| PlaceError::Canonical {
        path: state_dir.to_owned(),
        source,
    })?;
    let digest = Sha256::digest(path.as_os_str().as_bytes());
    Ok(hex::encode(digest.get(..4).unwrap_or_default()))
}

fn refuse_unprivileged() -> Result<(), PlaceError> {
    // The effective user id: the second number of the line, as proc(5) has it.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uid = status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().nth(1))
        .unwrap_or("unknown");
    if uid == "0" {
        Ok(())
    } else {
        Err(PlaceError::NotRoot { uid: uid.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_follows_the_real_path() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::fs::create_dir(dir.path().join("real")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("real"), &link).unwrap();
        let one = tag(&link).unwrap();
        assert_eq!(one, tag(&dir.path().join("real")).unwrap());
        assert_eq!(one.len(), 8);
        assert_ne!(one, tag(dir.path()).unwrap());
    }
}
