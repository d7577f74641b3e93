//! The sled database under the records: durable writes, room to write on a full disk, and a fresh start after a
//! failure.
//!
//! sled refuses everything after the first failed write, so a disk that was full for a moment would stop the store
//! until a restart. Here the database is opened anew for the next write, and reads are served from a copy in memory
//! meanwhile (all records of a node are a few hundred kilobytes). A ballast file gives its room to removals when
//! nothing else is free: removing images is how a full disk gets room again.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use rustix::fs::FlockOperation;

use super::RecordError;
use crate::content::disk::{DiskError, DiskResult, free_bytes, is_full};

/// sled's default cache is 1 GiB; all records of a node are a few hundred kilobytes.
const CACHE_BYTES: u64 = 2 << 20;

/// What one change may need: two of sled's segments of 512 KiB.
const ROOM_BYTES: u64 = 1 << 20;

/// Given up by removals on a full disk.
const BALLAST_BYTES: u64 = 2 << 20;

/// Much longer than sled's threads take to end what they were doing.
const RELEASE_LIMIT: Duration = Duration::from_secs(5);

type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

/// A change of several records.
#[derive(Debug, Default)]
pub(super) struct Batch(Vec<(Vec<u8>, Option<Vec<u8>>)>);

impl Batch {
    pub(super) fn insert(&mut self, key: &str, value: Vec<u8>) {
        self.0.push((key.as_bytes().to_vec(), Some(value)));
    }

    pub(super) fn remove(&mut self, key: &str) {
        self.0.push((key.as_bytes().to_vec(), None));
    }
}

/// An open database that opens itself again.
#[derive(Debug)]
pub(super) struct Database {
    path: PathBuf,
    ballast: PathBuf,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    /// None after a failed write, until the next one.
    db: Option<sled::Db>,
    /// What is durable in it.
    contents: Contents,
}

impl Database {
    pub(super) fn open(path: &Path) -> Result<Self, RecordError> {
        let db = open(path)?;
        let contents = read_all(path, &db)?;
        let open = Mutex::new(Open {
            db: Some(db),
            contents,
        });
        let database = Self {
            path: path.to_owned(),
            ballast: path.with_extension("ballast"),
            open,
        };
        database.restore_ballast();
        Ok(database)
    }

    pub(super) fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.lock().contents.get(key.as_bytes()).cloned()
    }

    /// The records whose key starts with `prefix`, by key.
    pub(super) fn scan(&self, prefix: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
        let open = self.lock();
        let from = open.contents.range(prefix.as_bytes().to_vec()..);
        let found = from.take_while(|(key, _)| key.starts_with(prefix.as_bytes()));
        found.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// Applies changes and makes them durable. Refuses beforehand what the disk has no room for.
    pub(super) fn apply(&self, batch: Batch) -> Result<(), RecordError> {
        if free_bytes(&self.path)? < ROOM_BYTES {
            return Err(DiskError::new("write", &self.path, rustix::io::Errno::NOSPC).into());
        }
        self.write(batch)
    }

    /// Applies changes that free room elsewhere, on a full disk too.
    pub(super) fn apply_removal(&self, batch: Batch) -> Result<(), RecordError> {
        if free_bytes(&self.path)? < ROOM_BYTES {
            match std::fs::remove_file(&self.ballast) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                result => result.on("remove", &self.ballast)?,
            }
        }
        self.write(batch)
    }

    /// Makes the ballast again once there is room. Without it removals on a full disk may fail, nothing else.
    pub(super) fn restore_ballast(&self) {
        let size = std::fs::metadata(&self.ballast)
            .map(|metadata| metadata.len())
            .unwrap_or(0);
        let room = free_bytes(&self.path).unwrap_or(0);
        if size == BALLAST_BYTES || room < 4 * BALLAST_BYTES {
            return;
        }
        let flags = rustix::fs::FallocateFlags::empty();
        let made = File::create(&self.ballast)
            .and_then(|file| Ok(rustix::fs::fallocate(&file, flags, 0, BALLAST_BYTES)?))
            .on("create", &self.ballast);
        if let Err(error) = made {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "the image store has no reserve for removals on a full disk"
            );
        }
    }

    fn write(&self, batch: Batch) -> Result<(), RecordError> {
        let mut open = self.lock();
        if open.db.is_none() {
            wait_until_released(&self.path);
            let db = self::open(&self.path)?;
            // A write that failed may have reached the disk after all.
            open.contents = read_all(&self.path, &db)?;
            open.db = Some(db);
        }
        let mut changes = sled::Batch::default();
        for (key, value) in &batch.0 {
            match value {
                Some(value) => changes.insert(key.as_slice(), value.as_slice()),
                None => changes.remove(key.as_slice()),
            }
        }
        let written = open.db.as_ref().map_or(Ok(()), |db| {
            db.apply_batch(changes)?;
            db.flush()?;
            // Not sled's own flush: that one starts the writing and does not wait for the disk's cache.
            File::open(self.path.join("db"))
                .and_then(|file| file.sync_data())
                .map_err(sled::Error::Io)
        });
        if let Err(source) = written {
            open.db = None;
            return Err(failed(&self.path, source));
        }
        for (key, value) in batch.0 {
            match value {
                Some(value) => open.contents.insert(key, value),
                None => open.contents.remove(&key),
            };
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Database {
    /// Whoever opens it next finds it free.
    fn drop(&mut self) {
        self.lock().db = None;
        wait_until_released(&self.path);
    }
}

/// sled's own threads may hold a database that failed, and its lock, for a moment after it was dropped; its kind of
/// lock can be waited for. Who holds it longer is found out when it is opened.
fn wait_until_released(path: &Path) {
    let (told, heard) = mpsc::channel();
    let Ok(file) = File::open(path.join("db")) else {
        return;
    };
    let waiting = std::thread::Builder::new().spawn(move || {
        let locked = rustix::fs::flock(&file, FlockOperation::LockExclusive);
        drop(file);
        let _nobody_waits = told.send(locked);
    });
    if waiting.is_ok() {
        let _in_time = heard.recv_timeout(RELEASE_LIMIT);
    }
}

fn read_all(path: &Path, db: &sled::Db) -> Result<Contents, RecordError> {
    let entries = db
        .iter()
        .map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec())));
    entries
        .collect::<sled::Result<Contents>>()
        .map_err(|source| failed(path, source))
}

fn open(path: &Path) -> Result<sled::Db, RecordError> {
    let opened = sled::Config::new()
        .path(path)
        .cache_capacity(CACHE_BYTES)
        // Every change is flushed where it is made.
        .flush_every_ms(None)
        .open();
    opened.map_err(|source| match source {
        sled::Error::Io(source) if source.to_string().contains("could not acquire lock") => {
            RecordError::Locked {
                path: path.to_owned(),
            }
        }
        source => failed(path, source),
    })
}

fn failed(path: &Path, source: sled::Error) -> RecordError {
    match source {
        sled::Error::Io(source) if is_full(&source) => DiskError::new("write", path, source).into(),
        source => RecordError::Database {
            path: path.to_owned(),
            source,
        },
    }
}
