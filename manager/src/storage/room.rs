//! How much room the disk has, asked of the file system each time: it is a microsecond.
//!
//! The bound is what a log file grows by at once plus a transaction of the largest size.

use super::StorageError;
use std::path::{Path, PathBuf};

/// A user's transaction is at most 4 MiB, and redb writes it beside the pages that it replaces.
const NEEDED_BYTES: u64 = 12 << 20;

/// Knows the disk by a folder on it.
#[derive(Clone, Debug)]
pub struct Room {
    folder: PathBuf,
}

impl Room {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    /// Is there room for a user's write? Refusing early leaves the last of the disk to the system's own
    /// reports, so that a full disk is said plainly before anything fails.
    pub fn check(&self) -> Result<(), StorageError> {
        match free(&self.folder) {
            Some(free) if free < NEEDED_BYTES => Err(StorageError::DiskFull {
                path: self.folder.clone(),
                free,
                needed: NEEDED_BYTES,
            }),
            // A file system that cannot say how full it is will say so when it is written to.
            Some(_) | None => Ok(()),
        }
    }
}

/// The error for a write that found no room.
pub(super) fn full(path: &Path) -> StorageError {
    StorageError::DiskFull {
        path: path.to_owned(),
        free: free(path).unwrap_or(0),
        needed: NEEDED_BYTES,
    }
}

fn free(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}
