//! What a manager keeps on its disk: the Raft log in redb, snapshots beside it, both sealed.
//!
//! The driver carries the machine's `Persist` and `SaveSnapshot` outputs here and answers when they are
//! durable; nothing else writes to the folder. A full disk is an error like any other to the caller, who
//! tries the same batch again: the log heals when there is room. It never decides what to write.

mod error;
mod log_store;
mod records;
mod redb_log;
mod room;
mod sealing;
mod snapshot_files;
#[cfg(test)]
mod tests;

pub use error::StorageError;
pub use log_store::{LogStore, Restore, SavedSnapshot};
pub use room::Room;
pub use sealing::{ClusterKey, Owner, WrappingKey};

use crate::machine::PersistBatch;
use redb_log::RedbLog;
use sealing::DataKey;
use snapshot_files::SnapshotFiles;
use std::{fs, path::Path};

/// The log's file in the folder.
pub(crate) const LOG_FILE: &str = "log.redb";

/// The log and the snapshots of one manager, below `<state>/raft`.
#[derive(Debug)]
pub struct Storage {
    log: RedbLog,
    snapshots: SnapshotFiles,
    room: Room,
}

impl Storage {
    /// Opens or begins the folder. `owner` is bound into every sealed byte: what another cluster or
    /// member wrote is refused by name.
    pub fn open(folder: &Path, owner: Owner, wrapping: &WrappingKey) -> Result<Self, StorageError> {
        fs::create_dir_all(folder).map_err(|source| StorageError::io("make", folder, source))?;
        let key = DataKey::load_or_create(&folder.join("key"), owner, wrapping)?;
        Ok(Self {
            log: RedbLog::open(&folder.join(LOG_FILE), key.clone())?,
            snapshots: SnapshotFiles::open(&folder.join("snapshots"), key)?,
            room: Room::new(folder),
        })
    }

    /// Seals the data key with another wrapping key, when the node's own key changes.
    pub fn rewrap(
        folder: &Path,
        owner: Owner,
        old: &WrappingKey,
        new: &WrappingKey,
    ) -> Result<(), StorageError> {
        DataKey::load_or_create(&folder.join("key"), owner, old)?.store(&folder.join("key"), new)
    }

    /// Asks how much room the disk has, from any thread.
    pub fn room(&self) -> Room {
        self.room.clone()
    }

    /// Writes a snapshot of the state; durable when it returns. Older ones are dropped then.
    pub fn save_snapshot(&mut self, snapshot: &SavedSnapshot) -> Result<(), StorageError> {
        self.snapshots.save(snapshot)
    }
}

impl LogStore for Storage {
    fn restore(&mut self) -> Result<Restore, StorageError> {
        let snapshot = self.snapshots.newest()?;
        let mut restore = self.log.read()?;
        if let Some(snapshot) = &snapshot {
            restore.begin_after(snapshot);
        }
        restore.snapshot = snapshot;
        Ok(restore)
    }

    fn write(&mut self, batches: &[PersistBatch]) -> Result<(), StorageError> {
        for snapshot in batches.iter().filter_map(|batch| batch.snapshot.as_ref()) {
            self.snapshots.save(&SavedSnapshot::from_raft(snapshot))?;
        }
        self.log.write(batches)
    }
}
