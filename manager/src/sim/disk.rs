//! A member's disk: what is durable, what was only written, and what a crash leaves of it.
//!
//! A write reaches the disk in one piece or not at all once it is synced. A crash loses what was not: of
//! the writes on their way, some first ones may have arrived, and the next may be torn, which the real
//! log store notices by its checksums.

use super::{
    codec::PostcardCodec,
    counters::{Counters, Fault},
    rng::Rng,
};
use crate::machine::{Codec, PersistBatch, Restored, RestoredSnapshot, SnapshotJob};
use raft::eraftpb::{ConfState, Entry, HardState};
use shoal_core::store::Store;
use std::collections::{BTreeMap, VecDeque};

#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    durable: Durable,
    written: VecDeque<PersistBatch>,
    pub(super) full: bool,
    /// Syncs take this much longer.
    pub(super) stall: u64,
    /// A planted bug: a torn write is taken for a whole one.
    pub(super) accepts_torn: bool,
}

#[derive(Clone, Debug, Default)]
struct Durable {
    hard_state: HardState,
    conf_state: ConfState,
    snapshot: Option<SavedSnapshot>,
    log: BTreeMap<u64, Entry>,
}

#[derive(Clone, Debug)]
struct SavedSnapshot {
    index: u64,
    term: u64,
    conf_state: ConfState,
    bytes: Vec<u8>,
}

impl Disk {
    pub(super) fn new(voters: Vec<u64>) -> Self {
        let conf_state = ConfState {
            voters,
            ..ConfState::default()
        };
        Self {
            durable: Durable {
                conf_state,
                ..Durable::default()
            },
            ..Self::default()
        }
    }

    pub(super) fn write(&mut self, batch: PersistBatch) {
        self.written.push_back(batch);
    }

    /// The sync that the batch of this number waited for is done.
    pub(super) fn synced(&mut self, number: u64) {
        while self.written.front().is_some_and(|batch| batch.number <= number) {
            if let Some(batch) = self.written.pop_front() {
                self.durable.take(batch);
            }
        }
    }

    /// The number of the newest write, if any is not synced.
    pub(super) fn newest_unsynced(&self) -> Option<u64> {
        self.written.back().map(|batch| batch.number)
    }

    pub(super) fn save_snapshot(&mut self, job: &SnapshotJob) {
        let older = self
            .durable
            .snapshot
            .as_ref()
            .is_none_or(|saved| saved.index < job.index);
        if older {
            self.durable.snapshot = Some(SavedSnapshot {
                index: job.index,
                term: job.term,
                conf_state: job.conf_state.clone(),
                bytes: PostcardCodec.encode_snapshot(&job.store.export()),
            });
        }
    }

    /// The process ends; what it wrote is the kernel's.
    pub(super) fn process_ended(&mut self) {
        for batch in std::mem::take(&mut self.written) {
            self.durable.take(batch);
        }
    }

    /// The power goes.
    pub(super) fn crash(&mut self, rng: &mut Rng, counters: &mut Counters) {
        let mut writes = std::mem::take(&mut self.written);
        self.full = false;
        self.stall = 0;
        while let Some(mut batch) = writes.pop_front() {
            if rng.chance(400) {
                self.durable.take(batch);
                continue;
            }
            counters.fault(Fault::UnsyncedLost);
            if !batch.entries.is_empty() && rng.chance(500) {
                counters.fault(Fault::WriteTorn);
                if self.accepts_torn {
                    tear(&mut batch);
                    self.durable.take(batch);
                }
            }
            break;
        }
    }

    /// An entry that was once written here.
    pub(super) fn any_entry(&self, rng: &mut Rng) -> Option<Vec<u8>> {
        let entries: Vec<&Entry> = self
            .durable
            .log
            .values()
            .filter(|entry| is_transaction(entry))
            .collect();
        rng.pick(&entries).map(|entry| entry.data.clone())
    }

    /// What a member finds when it starts.
    pub(super) fn restore(&self) -> Result<Restored, String> {
        let durable = &self.durable;
        let mut restored = Restored {
            hard_state: durable.hard_state.clone(),
            conf_state: durable.conf_state.clone(),
            ..Restored::default()
        };
        let mut from = 0;
        if let Some(saved) = &durable.snapshot {
            let export = PostcardCodec
                .decode_snapshot(&saved.bytes)
                .map_err(|error| error.to_string())?;
            let mut store = Store::import(export).map_err(|error| error.to_string())?;
            store.skip(saved.index);
            restored.snapshot = Some(RestoredSnapshot {
                index: saved.index,
                term: saved.term,
                store,
            });
            restored.conf_state = saved.conf_state.clone();
            from = saved.index + 1;
        }
        restored.entries = durable
            .log
            .range(from..)
            .map(|(_, entry)| entry.clone())
            .collect();
        Ok(restored)
    }
}

impl Durable {
    fn take(&mut self, batch: PersistBatch) {
        if let Some(snapshot) = batch.snapshot {
            let meta = snapshot.metadata.unwrap_or_default();
            self.log.clear();
            self.snapshot = Some(SavedSnapshot {
                index: meta.index,
                term: meta.term,
                conf_state: meta.conf_state.unwrap_or_default(),
                bytes: snapshot.data,
            });
        }
        if let Some(first) = batch.entries.first() {
            self.log.split_off(&first.index);
        }
        self.log
            .extend(batch.entries.into_iter().map(|entry| (entry.index, entry)));
        if let Some(hard_state) = batch.hard_state {
            self.hard_state = hard_state;
        }
        if let Some(conf_state) = batch.conf_state {
            self.conf_state = conf_state;
        }
        if let Some(to) = batch.compact_to {
            self.log = self.log.split_off(&(to + 1));
        }
    }
}

fn is_transaction(entry: &Entry) -> bool {
    entry.entry_type == 0 && !entry.data.is_empty()
}

/// What a torn write looks like to a reader that checks nothing.
fn tear(batch: &mut PersistBatch) {
    let keep = batch.entries.len().div_ceil(2);
    batch.entries.truncate(keep);
    if let Some(last) = batch.entries.last_mut() {
        last.data.truncate(last.data.len() / 2);
    }
}
