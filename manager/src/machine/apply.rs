//! Committed entries into the store, in the order of the log, and what follows from each.
//!
//! An entry that this code cannot read, or that a newer version wrote, stops the member: applying it
//! wrongly would make it diverge without a word.

use super::{Bug, Leadership, Machine, Now, Output, StopReason, config::DIGESTS_KEPT, leading::Waiting};
use raft::eraftpb::{ConfChangeSingle, ConfChangeType, Entry as RaftEntry, EntryType};
use shoal_core::store::{Applied, DIGEST_VERSION, DigestCheck, ENTRY_VERSION, Entry, Event};
use std::collections::VecDeque;

/// Hashes of the state at some indexes, to compare with those of others.
#[derive(Debug, Default)]
pub(super) struct Digests {
    known: VecDeque<(u64, [u8; 32])>,
    /// The newest that this member, while leading, has put into an entry.
    sent: u64,
}

impl Digests {
    fn record(&mut self, index: u64, digest: [u8; 32]) {
        if self.known.len() == DIGESTS_KEPT {
            self.known.pop_front();
        }
        self.known.push_back((index, digest));
    }

    /// What the next entry shall carry, if something new is known.
    pub(super) fn next_check(&mut self) -> Option<DigestCheck> {
        let (index, digest) = *self.known.back()?;
        if index <= self.sent {
            return None;
        }
        self.sent = index;
        Some(DigestCheck {
            index,
            version: DIGEST_VERSION,
            digest,
        })
    }

    fn differs(&self, check: &DigestCheck) -> bool {
        check.version == DIGEST_VERSION
            && self
                .known
                .iter()
                .any(|(index, digest)| *index == check.index && *digest != check.digest)
    }
}

impl Machine {
    pub(super) fn apply_committed(&mut self, entries: &[RaftEntry], now: Now) {
        let mut events = Vec::new();
        let begun = self.outputs.len();
        for entry in entries {
            if let Err(reason) = self.apply_one(entry, &mut events, now) {
                self.publish(events, begun);
                self.halt(reason);
                return;
            }
        }
        self.publish(events, begun);
        if let Some(last) = entries.last() {
            self.member.applied(last.index);
            self.finish_draining(now);
            self.consider_snapshot(last.index, last.term);
        }
    }

    fn apply_one(&mut self, entry: &RaftEntry, events: &mut Vec<Event>, now: Now) -> Result<(), StopReason> {
        match entry.get_entry_type() {
            EntryType::EntryNormal if entry.data.is_empty() => {
                self.store.skip(entry.index);
                let own = matches!(self.leadership, Leadership::Awaiting { term } if term == entry.term);
                if own {
                    self.establish(now);
                }
            }
            EntryType::EntryNormal => self.apply_transaction(entry, events)?,
            EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => {
                self.apply_members(entry)?;
                self.store.skip(entry.index);
                self.resolve(entry.index, true);
            }
        }
        if entry.index.is_multiple_of(self.config.digest_every) {
            self.digests.record(entry.index, self.store.digest());
        }
        Ok(())
    }

    fn apply_transaction(&mut self, raft: &RaftEntry, events: &mut Vec<Event>) -> Result<(), StopReason> {
        let index = raft.index;
        let entry = self
            .codec
            .decode_entry(&raft.data)
            .map_err(|error| StopReason::Undecodable {
                index,
                reason: error.to_string(),
            })?;
        if entry
            .check
            .as_ref()
            .is_some_and(|check| self.digests.differs(check))
        {
            return Err(StopReason::Diverged { index });
        }
        let entry = self.with_bugs(entry, raft.term);
        match self.store.apply(index, raft.term, &entry) {
            Applied::Took(new) => {
                events.extend(new);
                self.resolve(index, true);
                Ok(())
            }
            Applied::Dropped(reason) => {
                self.outputs.push(Output::Dropped { index, reason });
                self.resolve(index, false);
                Ok(())
            }
            Applied::TooNew { min_version } => Err(StopReason::TooOld {
                index,
                min_version,
                ours: ENTRY_VERSION,
            }),
        }
    }

    fn with_bugs(&self, mut entry: Entry, raft_term: u64) -> Entry {
        if self.config.bugs.has(Bug::FenceSkipped) {
            entry.term = raft_term;
            entry.planned_after = self.store.view().last_effective_index();
        }
        if self.config.bugs.has(Bug::RequestNotDeduplicated) {
            entry.request = entry
                .request
                .filter(|id| self.store.view().request_outcome(id).is_none());
        }
        entry
    }

    fn apply_members(&mut self, entry: &RaftEntry) -> Result<(), StopReason> {
        let index = entry.index;
        let undecodable = |reason: String| StopReason::Undecodable { index, reason };
        if entry.get_entry_type() == EntryType::EntryConfChange {
            return Err(undecodable(
                "no version of Shoal writes this kind of membership change".to_owned(),
            ));
        }
        let change = shoal_api::storage::decode_member_change(&entry.data)
            .map_err(|error| undecodable(error.to_string()))?;
        self.member
            .apply_members(&change)
            .map_err(|error| StopReason::Raft {
                reason: error.to_string(),
            })?;
        // Ids are never reused: a member that is removed does not come back.
        let removes_this = |single: &ConfChangeSingle| {
            single.node_id == self.member.id() && single.get_change_type() == ConfChangeType::RemoveNode
        };
        if change.changes.iter().any(removes_this) {
            Err(StopReason::Removed)
        } else {
            Ok(())
        }
    }

    /// Tells whoever waits for an entry of this leader. A dropped one means that the overlay is wrong:
    /// nothing more is planned until everything proposed so far is applied.
    fn resolve(&mut self, index: u64, took: bool) {
        let Leadership::Leading(leading) = &mut self.leadership else {
            return;
        };
        let entry = leading.take(index);
        if !took {
            let last = self.member.last_index();
            leading.drain_to = Some(leading.drain_to.map_or(last, |to| to.max(last)));
        }
        for waiting in entry.into_iter().flat_map(|entry| entry.waiting) {
            if took {
                self.answer(waiting);
            } else {
                self.answer_lost(waiting);
            }
        }
    }

    fn finish_draining(&mut self, now: Now) {
        let Leadership::Leading(leading) = &mut self.leadership else {
            return;
        };
        if leading.drain_to.is_some_and(|to| self.store.view().index() >= to) {
            leading.drain_to = None;
            leading.overlay = self.store.snapshot();
            self.planning.replan(&leading.overlay, leading.cluster_time(now));
        }
    }

    pub(super) fn answer(&mut self, waiting: Waiting) {
        match waiting {
            Waiting::Writer { token, response } => {
                self.outputs.push(Output::Reply {
                    token,
                    result: Ok(response),
                });
            }
            Waiting::Reader { token, result } => self.outputs.push(Output::Reply { token, result }),
            Waiting::Reports { via, node, sequence } => self.reports_taken(via, node, sequence),
        }
    }

    /// Hands events to watchers and sessions: before the answers of the same entries, which stand from `begun` on, so that
    /// whoever is answered finds what was done.
    fn publish(&mut self, mut events: Vec<Event>, begun: usize) {
        if events.is_empty() {
            return;
        }
        let view = self.store.snapshot();
        if self.config.bugs.has(Bug::EventDropped) {
            let kept: Vec<Event> = events
                .iter()
                .filter(|event| event.index % 5 != 0)
                .cloned()
                .collect();
            self.assign(&view, &kept);
            events = kept;
        } else {
            self.assign(&view, &events);
        }
        self.outputs.insert(begun, Output::Events(events));
    }
}
