//! This member's Raft: a `RawNode`, kept to the order persist, send, apply, advance.
//!
//! Messages that promise something wait here until what they promise is on disk. Election timeouts come
//! from the caller's seed: Raft's own draw is overwritten after everything that may have drawn.

use super::{
    bugs::{Bug, Planted},
    config::{
        CAUGHT_UP_WITHIN, ELECTION_TICKS, HEARTBEAT_TICKS, MAX_APPEND_BYTES, MAX_APPENDS_IN_FLIGHT,
        MAX_ELECTION_TICKS, MachineConfig,
    },
    io::{PersistBatch, RestoreError, Restored},
    log::MemoryLog,
};
use raft::{
    Config, RawNode, StateRole,
    eraftpb::{ConfState, Entry, Message, MessageType, Snapshot},
    prelude::ConfChangeV2,
};
use std::collections::VecDeque;

pub(super) struct Member {
    node: RawNode<MemoryLog>,
    /// Numbers of the batches not yet on disk.
    unsynced: VecDeque<u64>,
    /// Messages that wait for all batches up to a number.
    held: VecDeque<(u64, Vec<Message>)>,
    /// The number of the last ready.
    last_ready: u64,
    timeouts: Timeouts,
    bugs: Planted,
    /// To be written with the next batch.
    compact_to: Option<u64>,
    /// Applied, and not on disk yet.
    applied_early: Option<u64>,
}

/// Index and term of the entry before the first one kept. A cluster begins with its members at index 1,
/// as if in a snapshot: whoever joins later must be sent one, since no entry names them.
fn base_of(restored: &Restored) -> (u64, u64) {
    match &restored.snapshot {
        Some(snapshot) => (snapshot.index, snapshot.term),
        None if restored.conf_state.voters.is_empty() => (0, 0),
        None => (1, 1),
    }
}

/// What Raft wants done next.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) persist: Option<PersistBatch>,
    pub(super) send: Vec<Message>,
    pub(super) snapshot: Option<Snapshot>,
    pub(super) committed: Vec<Entry>,
}

impl Member {
    /// `base` is the index and term of the snapshot that the store was restored from.
    pub(super) fn new(config: &MachineConfig, restored: Restored) -> Result<Self, RestoreError> {
        let base = base_of(&restored);
        let mut hard_state = restored.hard_state;
        hard_state.commit = hard_state.commit.max(base.0);
        hard_state.term = hard_state.term.max(base.1);
        let entries: Vec<Entry> = restored
            .entries
            .into_iter()
            .filter(|entry| entry.index > base.0)
            .collect();
        check_gapless(base.0, &entries)?;
        let last = entries.last().map_or(base.0, |entry| entry.index);
        if last < hard_state.commit {
            return Err(RestoreError::CommittedMissing {
                last,
                commit: hard_state.commit,
            });
        }
        let mut log = MemoryLog::new(hard_state, restored.conf_state, base);
        log.append(&entries);
        let raft = Config {
            id: config.raft_id,
            election_tick: ELECTION_TICKS,
            heartbeat_tick: HEARTBEAT_TICKS,
            min_election_tick: ELECTION_TICKS,
            max_election_tick: MAX_ELECTION_TICKS,
            applied: base.0,
            max_size_per_msg: MAX_APPEND_BYTES,
            max_inflight_msgs: MAX_APPENDS_IN_FLIGHT,
            check_quorum: true,
            pre_vote: true,
            ..Config::default()
        };
        let failed = |error: raft::Error| RestoreError::Raft {
            reason: error.to_string(),
        };
        let node = RawNode::new(&raft, log, &config.logger).map_err(failed)?;
        let mut member = Self {
            node,
            unsynced: VecDeque::new(),
            held: VecDeque::new(),
            last_ready: 0,
            timeouts: Timeouts {
                seed: config.seed,
                drawn: 0,
                key: None,
                ticks: ELECTION_TICKS,
            },
            bugs: config.bugs,
            compact_to: None,
            applied_early: None,
        };
        member.settle();
        if member.is_sole_voter() {
            // Nobody else could win: waiting for the timeout would only delay the start.
            member.node.campaign().map_err(failed)?;
            member.settle();
        }
        Ok(member)
    }

    pub(super) fn id(&self) -> u64 {
        self.node.raft.id
    }

    pub(super) fn term(&self) -> u64 {
        self.node.raft.term
    }

    pub(super) fn is_leader(&self) -> bool {
        self.node.raft.state == StateRole::Leader
    }

    pub(super) fn leader(&self) -> Option<u64> {
        Some(self.node.raft.leader_id).filter(|id| *id != 0)
    }

    pub(super) fn last_index(&self) -> u64 {
        self.node.raft.raft_log.last_index()
    }

    pub(super) fn log(&self) -> &MemoryLog {
        self.node.store()
    }

    pub(super) fn conf_state(&self) -> &ConfState {
        &self.node.store().conf_state
    }

    /// Leadership is being handed over: nothing may be proposed meanwhile.
    pub(super) fn hands_over(&self) -> bool {
        self.node.raft.lead_transferee.is_some()
    }

    /// While a snapshot is on its way to the disk, Raft could not campaign: it would look for entries that
    /// the snapshot has replaced.
    pub(super) fn tick(&mut self) {
        if self.applied_early.is_none() {
            self.node.tick();
            self.settle();
        }
    }

    /// A message from another member. What Raft refuses is a message that came too late to matter.
    pub(super) fn receive(&mut self, message: Message) {
        let kind = message.get_msg_type();
        let would_campaign = kind == MessageType::MsgTimeoutNow && self.applied_early.is_some();
        if kind != MessageType::MsgPropose && !would_campaign && message.to == self.id() {
            self.node.step(message).ok();
            self.settle();
        }
    }

    /// Appends an entry; returns its index, or `None` if nothing can be proposed now.
    pub(super) fn propose(&mut self, data: Vec<u8>) -> Option<u64> {
        if !self.is_leader() {
            return None;
        }
        self.node.propose(Vec::new(), data).ok()?;
        Some(self.last_index())
    }

    /// Appends a membership change; `None` if an earlier one is not applied yet, or nothing can be proposed.
    pub(super) fn propose_members(&mut self, change: ConfChangeV2) -> Option<u64> {
        if self.node.raft.has_pending_conf() {
            return None;
        }
        self.node.propose_conf_change(Vec::new(), change).ok()?;
        Some(self.last_index())
    }

    /// Has a learner all but the newest entries?
    pub(super) fn is_caught_up(&self, member: u64) -> bool {
        let progress = self.node.raft.prs().get(member);
        progress.is_some_and(|progress| progress.matched + CAUGHT_UP_WITHIN >= self.last_index())
    }

    /// A committed membership change takes effect here.
    pub(super) fn apply_members(&mut self, change: &ConfChangeV2) -> Result<(), raft::Error> {
        // Not written by itself: a restart begins with the members of its snapshot and applies this again.
        self.node.mut_store().conf_state = self.node.apply_conf_change(change)?;
        self.settle();
        Ok(())
    }

    /// Asks the voter that is furthest along to take over; false if there is none.
    pub(super) fn hand_over(&mut self) -> bool {
        let id = self.id();
        let voters = self.conf_state().voters.clone();
        let progress = self.node.raft.prs();
        let best = voters
            .into_iter()
            .filter(|voter| *voter != id)
            .filter_map(|voter| Some((progress.get(voter)?.matched, voter)))
            .max();
        let Some((_, voter)) = best.filter(|_| self.is_leader()) else {
            return false;
        };
        self.node.transfer_leader(voter);
        self.settle();
        true
    }

    pub(super) fn unreachable(&mut self, member: u64) {
        self.node.report_unreachable(member);
        self.settle();
    }

    pub(super) fn snapshot_sent(&mut self, member: u64, arrived: bool) {
        let status = if arrived {
            raft::SnapshotStatus::Finish
        } else {
            raft::SnapshotStatus::Failure
        };
        self.node.report_snapshot(member, status);
        self.settle();
    }

    pub(super) fn offer_snapshot(&mut self, snapshot: Snapshot) {
        self.node.mut_store().offer_snapshot(snapshot);
    }

    pub(super) fn compact(&mut self, index: u64) {
        self.node.mut_store().compact(index);
        self.compact_to = Some(index);
    }

    /// The batch of this number and all before it are on disk: what waited for them may go out.
    pub(super) fn persisted(&mut self, number: u64) -> Vec<Message> {
        while self.unsynced.front().is_some_and(|first| *first <= number) {
            self.unsynced.pop_front();
        }
        let synced = self.unsynced.front().map_or(self.last_ready, |first| first - 1);
        self.node.on_persist_ready(synced);
        self.settle();
        if let Some(index) = self.applied_early.take() {
            self.applied(index);
        }
        let mut send = Vec::new();
        while self.held.front().is_some_and(|(number, _)| *number <= synced) {
            if let Some((_, messages)) = self.held.pop_front() {
                send.extend(messages);
            }
        }
        send
    }

    /// The next work, if there is any. Apply what it commits, then say so with `applied`.
    pub(super) fn work(&mut self) -> Option<Work> {
        if !self.node.has_ready() && self.compact_to.is_none() {
            return None;
        }
        let mut ready = self.node.ready();
        self.last_ready = ready.number();
        let mut work = Work {
            send: ready.take_messages(),
            committed: ready.take_committed_entries(),
            ..Work::default()
        };
        let promises = ready.take_persisted_messages();
        let mut batch = PersistBatch {
            number: ready.number(),
            hard_state: ready.hs().cloned(),
            compact_to: self.compact_to.take(),
            sync: ready.must_sync(),
            ..PersistBatch::default()
        };
        if !ready.snapshot().is_empty() {
            let snapshot = ready.snapshot().clone();
            let meta = snapshot.get_metadata();
            let conf_state = meta.get_conf_state().clone();
            self.node
                .mut_store()
                .replace((meta.index, meta.term), conf_state.clone());
            batch.conf_state = Some(conf_state);
            batch.snapshot = Some(snapshot.clone());
            work.snapshot = Some(snapshot);
        }
        batch.entries = ready.take_entries();
        self.node.mut_store().append(&batch.entries);
        if let Some(hard_state) = &batch.hard_state {
            self.node.mut_store().hard_state = hard_state.clone();
        }
        self.node.advance_append_async(ready);
        self.hold(batch, promises, &mut work);
        self.settle();
        Some(work)
    }

    /// Everything up to this index is applied. A snapshot is applied before it is on disk; Raft is told
    /// when it is.
    pub(super) fn applied(&mut self, index: u64) {
        let log = &self.node.raft.raft_log;
        if index > log.persisted {
            self.applied_early = Some(index);
        } else if index > log.applied {
            self.node.advance_apply_to(index);
            self.settle();
        }
    }

    /// Sends promises at once if nothing is left to be synced, else keeps them.
    fn hold(&mut self, mut batch: PersistBatch, promises: Vec<Message>, work: &mut Work) {
        if self.bugs.has(Bug::VoteForgotten)
            && let Some(hard_state) = &mut batch.hard_state
        {
            hard_state.vote = 0;
        }
        let empty = PersistBatch {
            number: batch.number,
            ..PersistBatch::default()
        };
        let number = batch.number;
        if batch != empty {
            self.unsynced.push_back(number);
            work.persist = Some(batch);
        }
        if !promises.is_empty() {
            self.held.push_back((number, promises));
        }
        if self.unsynced.is_empty() || self.bugs.has(Bug::AcknowledgedBeforeSync) {
            let sent = self.persisted(number);
            work.send.extend(sent);
        }
    }

    fn is_sole_voter(&self) -> bool {
        let conf_state = self.conf_state();
        conf_state.voters == [self.id()] && conf_state.voters_outgoing.is_empty()
    }

    /// Puts the caller's election timeout in the place of whatever Raft has drawn.
    fn settle(&mut self) {
        let raft = &mut self.node.raft;
        let ticks = self.timeouts.ticks((raft.term, raft.state, raft.leader_id));
        raft.set_randomized_election_timeout(ticks);
    }
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Member")
            .field("id", &self.id())
            .field("term", &self.term())
            .field("role", &self.node.raft.state)
            .finish_non_exhaustive()
    }
}

/// Election timeouts from a seed: a new one whenever term, role or leader change, as Raft draws them.
#[derive(Debug)]
struct Timeouts {
    seed: u64,
    drawn: u64,
    key: Option<(u64, StateRole, u64)>,
    ticks: usize,
}

impl Timeouts {
    fn ticks(&mut self, key: (u64, StateRole, u64)) -> usize {
        if self.key != Some(key) {
            self.key = Some(key);
            self.drawn += 1;
            let span = MAX_ELECTION_TICKS - ELECTION_TICKS;
            let draw = mix(self
                .seed
                .wrapping_add(self.drawn.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
            self.ticks = ELECTION_TICKS + usize::try_from(draw % span as u64).unwrap_or(0);
        }
        self.ticks
    }
}

/// The finaliser of SplitMix64: neighbouring numbers give unrelated ones.
fn mix(number: u64) -> u64 {
    let a = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let b = (a ^ (a >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    b ^ (b >> 31)
}

fn check_gapless(base: u64, entries: &[Entry]) -> Result<(), RestoreError> {
    for (entry, expected) in entries.iter().zip(base + 1..) {
        if entry.index != expected {
            return Err(RestoreError::Gap {
                expected,
                found: entry.index,
            });
        }
    }
    Ok(())
}
