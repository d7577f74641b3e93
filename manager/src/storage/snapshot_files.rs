//! Snapshots of the state, one sealed file each: `<index, 20 digits>.snapshot`.
//!
//! Written beside, synced and renamed. The newest is what counts; the one before it is kept until the next
//! save, since a reader may still have it open. A newest file that is damaged is an error, never passed
//! over: the log behind it is gone.

use super::{
    StorageError,
    log_store::SavedSnapshot,
    records,
    sealing::{DataKey, Sealed, write_durably},
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The newest and the one before.
const KEPT: usize = 2;

const ENDING: &str = "snapshot";

/// A snapshot's own head: term, then the length of the members' record.
const HEAD_BYTES: usize = 16;

#[derive(Debug)]
pub(super) struct SnapshotFiles {
    folder: PathBuf,
    key: DataKey,
}

impl SnapshotFiles {
    /// Opens the folder and sweeps what a crash left half written.
    pub(super) fn open(folder: &Path, key: DataKey) -> Result<Self, StorageError> {
        fs::create_dir_all(folder).map_err(|source| StorageError::io("make", folder, source))?;
        let files = Self {
            folder: folder.to_owned(),
            key,
        };
        for path in files
            .paths()?
            .into_iter()
            .filter(|path| path.extension().is_some_and(|end| end == "tmp"))
        {
            fs::remove_file(&path).map_err(|source| StorageError::io("remove", &path, source))?;
        }
        Ok(files)
    }

    pub(super) fn save(&self, snapshot: &SavedSnapshot) -> Result<(), StorageError> {
        let members = records::encode_members(&snapshot.conf_state);
        let mut plain = Vec::with_capacity(HEAD_BYTES + members.len() + snapshot.data.len());
        plain.extend_from_slice(&snapshot.term.to_be_bytes());
        plain.extend_from_slice(&u64::try_from(members.len()).unwrap_or(0).to_be_bytes());
        plain.extend_from_slice(&members);
        plain.extend_from_slice(&snapshot.data);
        let sealed = self.key.seal(Sealed::Snapshot(snapshot.index), &plain);
        write_durably(&self.path(snapshot.index), &sealed)?;
        self.drop_old()
    }

    pub(super) fn newest(&self) -> Result<Option<SavedSnapshot>, StorageError> {
        let Some(index) = self.indexes()?.pop() else {
            return Ok(None);
        };
        let path = self.path(index);
        let sealed = fs::read(&path).map_err(|source| StorageError::io("read", &path, source))?;
        let plain = self.key.open(Sealed::Snapshot(index), &sealed, &path)?;
        let short = || StorageError::Damaged {
            path: path.clone(),
            reason: "it is too short".to_owned(),
        };
        let (head, rest) = plain.split_at_checked(HEAD_BYTES).ok_or_else(short)?;
        let number = |bytes: &[u8]| bytes.try_into().map(u64::from_be_bytes).unwrap_or(0);
        let (term, length) = (number(&head[..8]), number(&head[8..]));
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let (members, data) = rest.split_at_checked(length).ok_or_else(short)?;
        let conf_state = records::decode_members(members, &path)?;
        Ok(Some(SavedSnapshot {
            index,
            term,
            conf_state,
            data: data.to_vec(),
        }))
    }

    fn path(&self, index: u64) -> PathBuf {
        self.folder.join(format!("{index:020}.{ENDING}"))
    }

    /// Ascending.
    fn indexes(&self) -> Result<Vec<u64>, StorageError> {
        let mut indexes: Vec<u64> = self
            .paths()?
            .iter()
            .filter(|path| path.extension().is_some_and(|end| end == ENDING))
            .filter_map(|path| path.file_stem()?.to_str()?.parse().ok())
            .collect();
        indexes.sort_unstable();
        Ok(indexes)
    }

    fn paths(&self) -> Result<Vec<PathBuf>, StorageError> {
        let failed = |source| StorageError::io("list", &self.folder, source);
        fs::read_dir(&self.folder)
            .map_err(failed)?
            .map(|entry| entry.map(|entry| entry.path()).map_err(failed))
            .collect()
    }

    fn drop_old(&self) -> Result<(), StorageError> {
        let indexes = self.indexes()?;
        for index in &indexes[..indexes.len().saturating_sub(KEPT)] {
            let path = self.path(*index);
            fs::remove_file(&path).map_err(|source| StorageError::io("remove", &path, source))?;
        }
        Ok(())
    }
}
