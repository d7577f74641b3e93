//! The Raft log in redb: a table of sealed entries by index, a table with the two states.
//!
//! redb syncs with fdatasync when a durable transaction commits. After an input or output error it refuses
//! everything until it is opened again, so the file is closed then and the next write opens it anew.

use super::{
    StorageError,
    log_store::Restore,
    records,
    sealing::{DataKey, Sealed},
};
use crate::machine::PersistBatch;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");
const STATES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("states");
const HARD_STATE: &str = "hard-state";
const MEMBERS: &str = "members";

/// The log is compacted and mostly appended to: redb's own default of 1 GiB would be memory for nothing.
const CACHE_BYTES: usize = 4 << 20;

/// A process that is just being started by another thread holds a copy of the log's lock until its exec:
/// a lock that was our own a moment ago is waited for. Another shoald's stays.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);
const LOCK_PAUSE: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(super) struct RedbLog {
    path: PathBuf,
    key: DataKey,
    /// Closed after a failed write.
    database: Option<Database>,
}

impl RedbLog {
    pub(super) fn open(path: &Path, key: DataKey) -> Result<Self, StorageError> {
        let mut log = Self {
            path: path.to_owned(),
            key,
            database: None,
        };
        // The tables are made at once, so that reading never finds them missing.
        log.write(&[PersistBatch {
            sync: true,
            ..PersistBatch::default()
        }])?;
        Ok(log)
    }

    pub(super) fn read(&mut self) -> Result<Restore, StorageError> {
        self.whole(Self::try_read)
    }

    /// redb takes its own pages on trust once a file was closed in order, and panics over one that makes
    /// no sense. That is a damaged file, to be named like any other.
    fn whole<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let done = catch_unwind(AssertUnwindSafe(|| work(self)));
        done.unwrap_or_else(|_| {
            let database = self.database.take();
            // Closing may stumble over the same page; there is nothing left to save.
            drop(catch_unwind(AssertUnwindSafe(|| drop(database))));
            Err(StorageError::Damaged {
                path: self.path.clone(),
                reason: "its pages do not hold together".to_owned(),
            })
        })
    }

    fn try_read(&mut self) -> Result<Restore, StorageError> {
        let mut restore = Restore::default();
        let transaction = self
            .database()?
            .begin_read()
            .map_err(|error| self.failed(error))?;
        let states = transaction
            .open_table(STATES)
            .map_err(|error| self.failed(error))?;
        if let Some(sealed) = states.get(HARD_STATE).map_err(|error| self.failed(error))? {
            let plain = self.key.open(Sealed::HardState, sealed.value(), &self.path)?;
            restore.hard_state = records::decode_hard_state(&plain, &self.path)?;
        }
        if let Some(sealed) = states.get(MEMBERS).map_err(|error| self.failed(error))? {
            let plain = self.key.open(Sealed::Members, sealed.value(), &self.path)?;
            restore.conf_state = records::decode_members(&plain, &self.path)?;
        }
        let entries = transaction
            .open_table(ENTRIES)
            .map_err(|error| self.failed(error))?;
        for row in entries.iter().map_err(|error| self.failed(error))? {
            let (index, sealed) = row.map_err(|error| self.failed(error))?;
            let plain = self
                .key
                .open(Sealed::Entry(index.value()), sealed.value(), &self.path)?;
            restore.entries.push(records::decode_entry(&plain, &self.path)?);
        }
        Ok(restore)
    }

    pub(super) fn write(&mut self, batches: &[PersistBatch]) -> Result<(), StorageError> {
        let written = self.whole(|log| log.try_write(batches));
        if written.is_err() {
            self.database = None;
        }
        written
    }

    fn try_write(&mut self, batches: &[PersistBatch]) -> Result<(), StorageError> {
        self.database()?;
        let Some(database) = &self.database else {
            return Ok(());
        };
        let mut transaction = database.begin_write().map_err(|error| self.failed(error))?;
        let durability = if batches.iter().any(|batch| batch.sync) {
            Durability::Immediate
        } else {
            Durability::None
        };
        transaction
            .set_durability(durability)
            .map_err(|error| self.failed(error))?;
        self.fill(&transaction, batches)
            .map_err(|error| self.failed(error))?;
        transaction.commit().map_err(|error| self.failed(error))
    }

    fn fill(&self, transaction: &WriteTransaction, batches: &[PersistBatch]) -> Result<(), redb::Error> {
        let mut entries = transaction.open_table(ENTRIES)?;
        let mut states = transaction.open_table(STATES)?;
        for batch in batches {
            self.fill_entries(&mut entries, batch)?;
            if let Some(state) = &batch.hard_state {
                let sealed = self
                    .key
                    .seal(Sealed::HardState, &records::encode_hard_state(state));
                states.insert(HARD_STATE, sealed.as_slice())?;
            }
            let from_snapshot = batch
                .snapshot
                .as_ref()
                .map(|snapshot| snapshot.get_metadata().get_conf_state());
            if let Some(members) = batch.conf_state.as_ref().or(from_snapshot) {
                let sealed = self.key.seal(Sealed::Members, &records::encode_members(members));
                states.insert(MEMBERS, sealed.as_slice())?;
            }
        }
        Ok(())
    }

    fn fill_entries(
        &self,
        entries: &mut Table<'_, u64, &'static [u8]>,
        batch: &PersistBatch,
    ) -> Result<(), redb::Error> {
        if batch.snapshot.is_some() {
            entries.retain(|_, _| false)?;
        }
        if let Some(first) = batch.entries.first() {
            entries.retain_in(first.index.., |_, _| false)?;
        }
        for entry in &batch.entries {
            let sealed = self
                .key
                .seal(Sealed::Entry(entry.index), &records::encode_entry(entry));
            entries.insert(entry.index, sealed.as_slice())?;
        }
        if let Some(last) = batch.compact_to {
            entries.retain_in(..=last, |_, _| false)?;
        }
        Ok(())
    }

    fn database(&mut self) -> Result<&Database, StorageError> {
        if self.database.is_none() {
            self.database = Some(self.open_file()?);
        }
        self.database.as_ref().ok_or_else(|| StorageError::Damaged {
            path: self.path.clone(),
            reason: "it did not open".to_owned(),
        })
    }

    fn open_file(&self) -> Result<Database, StorageError> {
        let give_up = Instant::now() + LOCK_PATIENCE;
        loop {
            let opened = Database::builder().set_cache_size(CACHE_BYTES).create(&self.path);
            let error = match opened {
                Ok(database) => return Ok(database),
                Err(error) => StorageError::log(&self.path, error),
            };
            if !matches!(error, StorageError::InUse { .. }) || Instant::now() > give_up {
                return Err(error);
            }
            thread::park_timeout(LOCK_PAUSE);
        }
    }

    fn failed(&self, error: impl Into<redb::Error>) -> StorageError {
        StorageError::log(&self.path, error)
    }
}
