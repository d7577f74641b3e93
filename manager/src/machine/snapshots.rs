//! Snapshots: when to make one, what a saved one allows to forget, sending and taking them in.
//!
//! The state is carried to the shell as it is, without a copy, and encoded there. A snapshot from
//! another member is decoded and checked before Raft sees the message: a bad one changes nothing.

use super::{
    Bug, Machine, Output, SnapshotJob, StopReason,
    config::{ENTRIES_KEPT, MOST_BYTES_FACTOR, TASK_BYTES},
};
use raft::eraftpb::{Message, MessageType, Snapshot, SnapshotMetadata};
use shoal_core::store::{Export, Object, Store};

#[derive(Debug)]
pub(super) struct Snapshots {
    /// The last snapshot on disk.
    saved: u64,
    /// The one being written.
    saving: Option<u64>,
    /// Decoded from a message that Raft has not handed back yet.
    arrived: Option<(u64, Store)>,
}

impl Snapshots {
    pub(super) fn new(saved: u64) -> Self {
        Self {
            saved,
            saving: None,
            arrived: None,
        }
    }

    pub(super) fn not_saved(&mut self, index: u64) {
        if self.saving == Some(index) {
            self.saving = None;
        }
    }
}

impl Machine {
    /// Asks for a snapshot once enough was applied since the last.
    pub(super) fn consider_snapshot(&mut self, index: u64, term: u64) {
        let entries = index.saturating_sub(self.snapshots.saved);
        let due = entries >= self.config.snapshot_every_entries
            || self.member.log().bytes() >= self.snapshot_every_bytes();
        if !due || self.snapshots.saving.is_some() || self.disk_full {
            return;
        }
        self.snapshots.saving = Some(index);
        let job = SnapshotJob {
            index,
            term,
            conf_state: self.member.conf_state().clone(),
            store: self.store.clone(),
        };
        self.outputs.push(Output::SaveSnapshot(Box::new(job)));
    }

    /// A snapshot is the whole state: of a large one, as many bytes of entries come before it as it has itself, up to a
    /// bound, so that it costs no more than they do.
    fn snapshot_every_bytes(&self) -> usize {
        let least = self.config.snapshot_every_bytes;
        let state = self.store.view().task_count().saturating_mul(TASK_BYTES);
        state.clamp(least, least.saturating_mul(MOST_BYTES_FACTOR))
    }

    pub(super) fn snapshot_saved(&mut self, index: u64) {
        self.snapshots.not_saved(index);
        self.snapshots.saved = self.snapshots.saved.max(index);
        let entries = ENTRIES_KEPT.min(self.config.snapshot_every_entries / 2);
        let bytes = self.snapshot_every_bytes() / 2;
        let compact = self.member.log().surplus(index, entries, bytes);
        if compact >= self.member.log().first() {
            self.member.compact(compact);
        }
    }

    /// Makes the snapshot that Raft asked for on behalf of a follower far behind.
    pub(super) fn offer_snapshot(&mut self) {
        if !self.member.log().snapshot_wanted() {
            return;
        }
        let index = self.store.view().index();
        let Ok(term) = raft::Storage::term(self.member.log(), index) else {
            return;
        };
        let snapshot = Snapshot {
            data: self.codec.encode_snapshot(&self.export()),
            metadata: Some(SnapshotMetadata {
                conf_state: Some(self.member.conf_state().clone()),
                index,
                term,
            }),
        };
        self.member.offer_snapshot(snapshot);
    }

    /// A Raft message; a snapshot in it must be whole before anything else happens.
    pub(super) fn receive(&mut self, message: Message) {
        if message.get_msg_type() == MessageType::MsgSnapshot {
            let Ok(export) = self.codec.decode_snapshot(&message.get_snapshot().data) else {
                return;
            };
            let Ok(store) = Store::import(export) else { return };
            self.snapshots.arrived = Some((message.get_snapshot().get_metadata().index, store));
        }
        self.member.receive(message);
    }

    /// Raft has accepted a snapshot: it takes the place of the state.
    pub(super) fn install(&mut self, snapshot: Snapshot) {
        let index = snapshot.get_metadata().index;
        let arrived = self.snapshots.arrived.take().filter(|(at, _)| *at == index);
        let Some((_, mut store)) = arrived else {
            self.halt(StopReason::Raft {
                reason: format!("the snapshot at {index} was never checked"),
            });
            return;
        };
        store.skip(index);
        self.store = store;
        self.snapshots.saved = index;
        self.snapshots.saving = None;
        self.member.applied(index);
        self.outputs.push(Output::Resync);
        self.resync_all_sessions();
    }

    fn export(&self) -> Export {
        let mut export = self.store.export();
        if self.config.bugs.has(Bug::SnapshotMissesTable) {
            export.objects.retain(|object| !matches!(object, Object::Task(_)));
            export.digest_version = 0;
        }
        export
    }
}
