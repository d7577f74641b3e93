//! What can go wrong on a manager's disk, in words that name the file.
//!
//! A full disk is told apart from every other failure, because it heals by itself.

use std::{
    io,
    path::{Path, PathBuf},
};

#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("the disk that holds {} is full ({free} bytes free, {needed} needed): make room on it; reads go on, writes are taken again by themselves", path.display())]
    DiskFull { path: PathBuf, free: u64, needed: u64 },
    #[error("cannot {action} {}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is damaged: {reason}; restore this manager from the others or from a backup", path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error("{} cannot be unsealed: it belongs to another cluster, another member or another key", path.display())]
    Foreign { path: PathBuf },
    #[error("{} has format {found}, this version reads up to {ours}: upgrade this manager", path.display())]
    TooNew { path: PathBuf, found: u8, ours: u8 },
    #[error("{} is in use: another shoald runs on this state directory; stop it, or give this one its own with --state-dir", path.display())]
    InUse { path: PathBuf },
    #[error("the log in {} failed", path.display())]
    Log {
        path: PathBuf,
        #[source]
        source: Box<redb::Error>,
    },
}

impl StorageError {
    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        if is_full(&source) {
            return super::room::full(path);
        }
        Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    pub(super) fn log(path: &Path, source: impl Into<redb::Error>) -> Self {
        match source.into() {
            redb::Error::Io(source) => Self::io("write", path, source),
            redb::Error::Corrupted(reason) => Self::Damaged {
                path: path.to_owned(),
                reason,
            },
            redb::Error::DatabaseAlreadyOpen => Self::InUse {
                path: path.to_owned(),
            },
            source => Self::Log {
                path: path.to_owned(),
                source: Box::new(source),
            },
        }
    }

    /// Will trying again later do?
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::DiskFull { .. })
    }
}

/// No space, or none left in the quota.
fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
