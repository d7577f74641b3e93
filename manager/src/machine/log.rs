//! The Raft log as Raft reads it: in memory, from the last snapshot on.
//!
//! Entries get here before they are on disk; which of them are is Raft's own book-keeping, told by
//! `Persisted`. Snapshots bound its size. A snapshot for a follower is made on demand by the machine.

use raft::{
    Error, GetEntriesContext, RaftState, Result, Storage, StorageError,
    eraftpb::{ConfState, Entry, HardState, Snapshot},
};
use std::{cell::Cell, collections::VecDeque};

#[derive(Debug, Default)]
pub(super) struct MemoryLog {
    pub(super) hard_state: HardState,
    pub(super) conf_state: ConfState,
    /// Index and term of the last entry that is no longer here.
    base: (u64, u64),
    entries: VecDeque<Entry>,
    bytes: usize,
    /// The snapshot that followers are sent, if one was asked for.
    outgoing: Option<Snapshot>,
    /// Raft asked for a snapshot that was not there.
    wanted: Cell<bool>,
}

impl MemoryLog {
    pub(super) fn new(hard_state: HardState, conf_state: ConfState, base: (u64, u64)) -> Self {
        Self {
            hard_state,
            conf_state,
            base,
            ..Self::default()
        }
    }

    pub(super) fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        while self.entries.back().is_some_and(|last| last.index >= first.index) {
            if let Some(removed) = self.entries.pop_back() {
                self.bytes -= removed.data.len();
            }
        }
        self.bytes += entries.iter().map(|entry| entry.data.len()).sum::<usize>();
        self.entries.extend(entries.iter().cloned());
    }

    /// Forgets everything: a snapshot up to `base` takes its place.
    pub(super) fn replace(&mut self, base: (u64, u64), conf_state: ConfState) {
        *self = Self::new(self.hard_state.clone(), conf_state, base);
    }

    /// Forgets entries up to `index`, which a saved snapshot holds.
    pub(super) fn compact(&mut self, index: u64) {
        while self.entries.front().is_some_and(|first| first.index <= index) {
            if let Some(removed) = self.entries.pop_front() {
                self.base = (removed.index, removed.term);
                self.bytes -= removed.data.len();
            }
        }
        if self
            .outgoing
            .as_ref()
            .is_some_and(|snapshot| snapshot.get_metadata().index < self.base.0)
        {
            self.outgoing = None;
        }
    }

    /// Up to where to forget, so that no more than these entries and bytes stay of those that a snapshot at `saved` holds.
    pub(super) fn surplus(&self, saved: u64, entries: u64, bytes: usize) -> u64 {
        let held = self.entries.iter().rev().filter(|entry| entry.index <= saved);
        let mut left = bytes;
        let mut surplus = saved;
        for entry in held.take_while(|entry| entry.index + entries > saved) {
            let Some(rest) = left.checked_sub(entry.data.len()) else {
                break;
            };
            left = rest;
            surplus = entry.index - 1;
        }
        surplus
    }

    /// Bytes of the entries kept.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn first(&self) -> u64 {
        self.base.0 + 1
    }

    pub(super) fn last(&self) -> u64 {
        self.entries.back().map_or(self.base.0, |last| last.index)
    }

    pub(super) fn snapshot_wanted(&self) -> bool {
        self.wanted.replace(false)
    }

    pub(super) fn offer_snapshot(&mut self, snapshot: Snapshot) {
        self.outgoing = Some(snapshot);
    }

    fn position(&self, index: u64) -> Option<usize> {
        usize::try_from(index.checked_sub(self.first())?).ok()
    }
}

impl Storage for MemoryLog {
    fn initial_state(&self) -> Result<RaftState> {
        Ok(RaftState {
            hard_state: self.hard_state.clone(),
            conf_state: self.conf_state.clone(),
        })
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _: GetEntriesContext,
    ) -> Result<Vec<Entry>> {
        let (Some(from), Some(to)) = (self.position(low), self.position(high)) else {
            return Err(Error::Store(StorageError::Compacted));
        };
        if to > self.entries.len() {
            return Err(Error::Store(StorageError::Unavailable));
        }
        let mut left = max_size.into().unwrap_or(u64::MAX);
        let mut found = Vec::new();
        for entry in self.entries.range(from..to) {
            let size = u64::try_from(entry.data.len() + ENTRY_OVERHEAD).unwrap_or(u64::MAX);
            if size > left && !found.is_empty() {
                break;
            }
            left = left.saturating_sub(size);
            found.push(entry.clone());
        }
        Ok(found)
    }

    fn term(&self, index: u64) -> Result<u64> {
        if index == self.base.0 {
            return Ok(self.base.1);
        }
        let position = self
            .position(index)
            .ok_or(Error::Store(StorageError::Compacted))?;
        let entry = self
            .entries
            .get(position)
            .ok_or(Error::Store(StorageError::Unavailable))?;
        Ok(entry.term)
    }

    fn first_index(&self) -> Result<u64> {
        Ok(self.first())
    }

    fn last_index(&self) -> Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, request_index: u64, _to: u64) -> Result<Snapshot> {
        match &self.outgoing {
            Some(snapshot) if snapshot.get_metadata().index >= request_index.max(self.base.0) => {
                Ok(snapshot.clone())
            }
            _ => {
                self.wanted.set(true);
                Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable))
            }
        }
    }
}

/// Index, term and type of an entry, encoded.
const ENTRY_OVERHEAD: usize = 16;
