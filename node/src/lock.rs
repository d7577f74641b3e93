//! One `shoald` per state directory and per run directory: advisory locks, held for the life of the process.
//!
//! The file also names its holder, so that a second one can say who is in the way.

use shoal_agent_runtime::has_ended;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes of the lock file that are read: a pid and a line feed.
const PID_LIMIT: u64 = 32;

const LOCK: &str = "lock";

/// A process that was killed while it started another leaves it with a copy of its files, until that one executes its
/// program: a moment, but for a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(5);

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
    /// Takes the lock of a directory, which must exist. Waits for a moment if the holder has ended, which only lets go
    /// of what it held.
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
        let give_up = Instant::now() + PATIENCE;
        while let Err(error) = file.try_lock() {
            if let TryLockError::Error(source) = error {
                return Err(fail(source));
            }
            let pid = holder(&mut file);
            let ended = pid.parse().is_ok_and(has_ended);
            if !ended || Instant::now() > give_up {
                let dir = dir.to_owned();
                return Err(LockError::Held { dir, pid });
            }
            thread::park_timeout(PAUSE);
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

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file
        .rewind()
        .and_then(|()| file.take(PID_LIMIT).read_to_string(&mut text));
    match read {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        Ok(_) | Err(_) => "unknown".to_owned(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::fs;
    use std::process::{Command, Stdio};

    /// Waits until nobody holds it: a program that another test starts has a copy of this process's files for a moment.
    pub(crate) fn released(dir: &Path) {
        let deadline = Instant::now() + PATIENCE;
        while StateLock::is_held(dir) {
            assert!(Instant::now() < deadline, "{} is held", dir.display());
            thread::park_timeout(PAUSE);
        }
    }

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
        released(dir.path());
        drop(StateLock::take(dir.path()).unwrap());
    }

    #[test]
    fn what_a_killed_holder_left_to_its_child_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        // The child has a copy of the open file, and with it the lock.
        let left = File::create(dir.path().join(LOCK)).unwrap();
        left.lock().unwrap();
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(left)
            .spawn()
            .unwrap();
        let mut holder = Command::new("true").spawn().unwrap();
        fs::write(dir.path().join(LOCK), holder.id().to_string()).unwrap();
        holder.wait().unwrap();
        assert!(StateLock::is_held(dir.path()));
        thread::scope(|scope| {
            let waiting = scope.spawn(|| StateLock::take(dir.path()));
            thread::park_timeout(PAUSE * 10);
            assert!(!waiting.is_finished());
            drop(child.stdin.take());
            child.wait().unwrap();
            waiting.join().unwrap().unwrap();
        });
    }
}
