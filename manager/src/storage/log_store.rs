//! The log as the driver sees it, whatever holds it.
//!
//! `write` returns when the batches are durable: fdatasync, not a hint to the kernel. Batches go in
//! whole and in order or not at all.

use super::StorageError;
use crate::machine::PersistBatch;
use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use std::fmt;

pub trait LogStore: fmt::Debug + Send {
    /// Everything that a starting member needs.
    fn restore(&mut self) -> Result<Restore, StorageError>;

    /// Writes the batches in one transaction. After an error nothing of them counts, and the same batches
    /// may be tried again.
    fn write(&mut self, batches: &[PersistBatch]) -> Result<(), StorageError>;
}

/// What a member finds on its disk.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Restore {
    pub hard_state: HardState,
    pub conf_state: ConfState,
    pub snapshot: Option<SavedSnapshot>,
    /// Ascending, without gaps, after the snapshot's index.
    pub entries: Vec<Entry>,
}

/// A snapshot of the state, encoded by the caller.
#[derive(Clone, PartialEq)]
pub struct SavedSnapshot {
    pub index: u64,
    pub term: u64,
    pub conf_state: ConfState,
    pub data: Vec<u8>,
}

impl SavedSnapshot {
    pub(super) fn from_raft(snapshot: &Snapshot) -> Self {
        let metadata = snapshot.get_metadata();
        Self {
            index: metadata.index,
            term: metadata.term,
            conf_state: metadata.get_conf_state().clone(),
            data: snapshot.data.clone(),
        }
    }
}

impl fmt::Debug for SavedSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SavedSnapshot(index {}, term {}, {} bytes)",
            self.index,
            self.term,
            self.data.len()
        )
    }
}

impl Restore {
    /// Keeps of the log what follows the snapshot. If the log does not hold the snapshot's own entry, what
    /// lies after it was never part of the same history and goes.
    pub(super) fn begin_after(&mut self, snapshot: &SavedSnapshot) {
        let first = self.entries.first().map_or(0, |entry| entry.index);
        let continues = first > snapshot.index
            || self
                .entries
                .iter()
                .any(|entry| entry.index == snapshot.index && entry.term == snapshot.term);
        if continues {
            self.entries.retain(|entry| entry.index > snapshot.index);
        } else {
            self.entries.clear();
        }
        if self.hard_state.commit < snapshot.index {
            self.hard_state.commit = snapshot.index;
            self.hard_state.term = self.hard_state.term.max(snapshot.term);
            self.conf_state = snapshot.conf_state.clone();
        }
    }
}
