//! One `shoald` per state directory and per run directory: advisory locks, held for the life of the process.
//!
//! The file also names its holder, so that a second one can say who is in the way.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Bytes of the lock file that are read: a pid and a line feed.
const PID_LIMIT: u64 = 32;

const LOCK: &str = "lock";

/// The lock; released when dropped or when the process ends.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

/// The directory could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error(
        "{dir} is in use by another shoald (pid {pid}): stop it, or give this one its own --state-dir and --run-dir"
    )]
    Held { dir: PathBuf, pid: String },
    #[error("locking {path}")]
    Io {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

impl StateLock {
    /// Takes the lock of a directory, which must exist.
    pub fn take(dir: &Path) -> Result<Self, LockError> {
        let path = dir.join(LOCK);
        let fail = |source| LockError::Io {
            path: path.clone(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(fail)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held {
                    dir: dir.to_owned(),
                    pid: holder(&file),
                });
            }
            Err(TryLockError::Error(source)) => return Err(fail(source)),
        }
        file.set_len(0).map_err(fail)?;
        file.rewind().map_err(fail)?;
        writeln!(file, "{}", std::process::id()).map_err(fail)?;
        Ok(Self { _file: file })
    }

    /// Does a process hold the directory's lock now? Changes nothing.
    pub fn is_held(dir: &Path) -> bool {
        let locked = |file: File| matches!(file.try_lock(), Err(TryLockError::WouldBlock));
        File::open(dir.join(LOCK)).is_ok_and(locked)
    }
}

fn holder(file: &File) -> String {
    let mut text = String::new();
    match file.take(PID_LIMIT).read_to_string(&mut text) {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        Ok(_) | Err(_) => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let lock = StateLock::take(dir.path()).unwrap();
        let error = StateLock::take(dir.path()).unwrap_err().to_string();
        assert!(
            error.contains(&format!("(pid {})", std::process::id())),
            "{error}"
        );
        assert!(StateLock::is_held(dir.path()));
        drop(lock);
        assert!(!StateLock::is_held(dir.path()));
        StateLock::take(dir.path()).unwrap();
    }
}
