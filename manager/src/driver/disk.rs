//! The thread that owns the log, and what the loop hears from it.
//!
//! Batches that have gathered while one was synced are written together. A full disk is said once and the
//! same batches are tried again until there is room; any other failure ends the manager, since what is
//! on the disk is no longer known.

use crate::{
    crash,
    machine::{Codec, PersistBatch, SnapshotJob},
    storage::{LogStore, SavedSnapshot, Storage, StorageError},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc as blocking,
    },
    thread,
    time::Duration,
};
use tokio::{sync::mpsc, task::JoinHandle};

/// Batches written in one transaction: the machine has at most this many entries in flight.
const BATCHES_TOGETHER: usize = 256;

/// Between two tries at a full disk: soon after room is made, and no load meanwhile.
const FULL_PAUSE: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct Disk {
    jobs: blocking::Sender<Job>,
    /// Unbounded, because the machine bounds what is in flight.
    done: mpsc::UnboundedReceiver<Done>,
    waits: Arc<AtomicBool>,
    codec: fn() -> Box<dyn Codec>,
    writer: JoinHandle<()>,
}

#[derive(Debug)]
enum Job {
    Write(PersistBatch),
    Snapshot(SavedSnapshot),
}

#[derive(Debug)]
pub(super) enum Done {
    /// This batch and all before it are durable.
    Written {
        last: u64,
    },
    /// Said once for each wait.
    Full(StorageError),
    Failed(StorageError),
    SnapshotSaved {
        index: u64,
    },
    SnapshotNotSaved {
        index: u64,
        error: StorageError,
    },
}

impl Disk {
    pub(super) fn start(storage: Storage, codec: fn() -> Box<dyn Codec>) -> Self {
        let (jobs, received) = blocking::channel();
        let (finished, done) = mpsc::unbounded_channel();
        let waits = Arc::new(AtomicBool::new(false));
        let writer = Writer {
            storage,
            jobs: received,
            done: finished,
            waits: Arc::clone(&waits),
        };
        Self {
            jobs,
            done,
            waits,
            codec,
            writer: tokio::task::spawn_blocking(move || writer.run()),
        }
    }

    /// Returns when the log is closed and can be opened again.
    pub(super) async fn close(self) {
        drop((self.jobs, self.done));
        if let Err(error) = self.writer.await {
            tracing::error!(%error, "the log's writer ended badly");
        }
    }

    /// Never ends: the writer lives as long as this.
    pub(super) async fn next(&mut self) -> Done {
        match self.done.recv().await {
            Some(done) => done,
            None => std::future::pending().await,
        }
    }

    pub(super) fn write(&self, batch: PersistBatch) {
        self.send(Job::Write(batch));
    }

    /// Encodes away from the loop, then writes in its turn.
    pub(super) fn save_snapshot(&self, job: SnapshotJob) {
        let (jobs, codec) = (self.jobs.clone(), self.codec);
        tokio::task::spawn_blocking(move || {
            let data = codec().encode_snapshot(&job.store.export());
            let (index, term, conf_state) = (job.index, job.term, job.conf_state);
            drop(jobs.send(Job::Snapshot(SavedSnapshot {
                index,
                term,
                conf_state,
                data,
            })));
        });
    }

    /// Is there a batch that found no room and is tried again?
    pub(super) fn waits_for_room(&self) -> bool {
        self.waits.load(Ordering::Acquire)
    }

    fn send(&self, job: Job) {
        // The writer ends only with this sender or after a failure that it has told.
        if self.jobs.send(job).is_err() {
            tracing::debug!("a write after the log was closed");
        }
    }
}

struct Writer {
    storage: Storage,
    jobs: blocking::Receiver<Job>,
    done: mpsc::UnboundedSender<Done>,
    waits: Arc<AtomicBool>,
}

impl Writer {
    fn run(mut self) {
        let mut ahead = None;
        while let Some(job) = ahead.take().or_else(|| self.jobs.recv().ok()) {
            match job {
                Job::Write(batch) => {
                    let (batches, next) = self.gather(batch);
                    ahead = next;
                    if !self.write(&batches) {
                        return;
                    }
                }
                Job::Snapshot(snapshot) => {
                    let index = snapshot.index;
                    let done = match self.storage.save_snapshot(&snapshot) {
                        Ok(()) => Done::SnapshotSaved { index },
                        Err(error) => Done::SnapshotNotSaved { index, error },
                    };
                    drop(self.done.send(done));
                }
            }
        }
    }

    /// Everything that is there by now, up to the next job of another kind.
    fn gather(&self, first: PersistBatch) -> (Vec<PersistBatch>, Option<Job>) {
        let mut batches = vec![first];
        while batches.len() < BATCHES_TOGETHER {
            match self.jobs.try_recv() {
                Ok(Job::Write(batch)) => batches.push(batch),
                Ok(other) => return (batches, Some(other)),
                Err(_) => break,
            }
        }
        (batches, None)
    }

    /// False when there is no sense in going on.
    fn write(&mut self, batches: &[PersistBatch]) -> bool {
        loop {
            crash::reached("manager.write.2-on-its-way");
            match self.storage.write(batches) {
                Ok(()) => {
                    crash::reached("manager.write.3-synced");
                    self.waits.store(false, Ordering::Release);
                    let last = batches.last().map_or(0, |batch| batch.number);
                    return self.done.send(Done::Written { last }).is_ok();
                }
                Err(error) if error.is_disk_full() => {
                    if !self.waits.swap(true, Ordering::AcqRel) && self.done.send(Done::Full(error)).is_err()
                    {
                        return false;
                    }
                    thread::park_timeout(FULL_PAUSE);
                    if self.done.is_closed() {
                        return false;
                    }
                }
                Err(error) => {
                    drop(self.done.send(Done::Failed(error)));
                    return false;
                }
            }
        }
    }
}
