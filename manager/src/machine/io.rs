//! What goes into the machine and what comes out: two closed enums.
//!
//! The shell turns sockets, disk and clock into inputs and carries outputs out, in order; the simulator
//! does the same with a seeded world. Nothing else passes between them.

use raft::eraftpb::{ConfState, Entry as RaftEntry, HardState, Message, Snapshot};
use shoal_core::{
    dispatcher::{Assignments, TaskReport},
    model::{NodeDescription, NodeId, RequestId, WallTime},
    refusal::Refusal,
    request::{Request, Response},
    store::{DropReason, Event, Store},
};

/// The caller's two clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Nanoseconds that never go back, from whatever zero this process likes.
    pub mono_ns: u64,
    pub wall: WallTime,
}

/// The caller's name for a question, given back with its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

#[derive(Debug)]
pub enum Input {
    /// Every `TICK`. After a pause the missed ones are not made up for.
    Tick,
    /// `next_deadline` has come.
    Wake,
    /// From another member. `MsgPropose` is refused.
    Raft(Box<Message>),
    /// The batch of this number, and all before it, are on disk.
    Persisted {
        number: u64,
    },
    /// The snapshot asked for with `SaveSnapshot` is on disk.
    SnapshotSaved {
        index: u64,
    },
    /// It could not be written; the machine asks again later.
    SnapshotNotSaved {
        index: u64,
    },
    /// A message to this member could not be sent.
    Unreachable {
        member: u64,
    },
    /// A snapshot message to this member arrived, or did not.
    SnapshotSent {
        member: u64,
        arrived: bool,
    },
    /// A user's write; answered by exactly one `Reply`.
    Propose {
        token: Token,
        request: Box<Request>,
        id: Option<RequestId>,
    },
    /// A worker's session opened on this manager. Answered by full `Assignments`.
    SessionOpened {
        node: NodeId,
        description: Box<NodeDescription>,
    },
    /// The node says of itself what has changed.
    Described {
        node: NodeId,
        description: Box<NodeDescription>,
    },
    SessionClosed {
        node: NodeId,
        /// The node shuts down on purpose.
        goodbye: bool,
    },
    /// The worker cannot apply a diff: it wants everything.
    Resync {
        node: NodeId,
    },
    Heartbeat {
        node: NodeId,
    },
    /// Answered by `ReportsTaken` once they are durable or known; sent again until then.
    Reports {
        node: NodeId,
        sequence: u64,
        reports: Vec<TaskReport>,
    },
    /// From another manager's machine.
    Peer {
        from: u64,
        message: Box<PeerMessage>,
    },
    /// A write failed for want of room, or there is room again.
    Disk {
        full: bool,
    },
    /// One member at a time; answered by a `Reply`.
    ChangeMembers {
        token: Token,
        change: MemberChange,
    },
    /// Hand leadership over, then `Stopped`.
    Stop,
}

#[derive(Debug)]
pub enum Output {
    /// Write all of it or nothing, then answer `Persisted`. Later batches may be written together.
    Persist(Box<PersistBatch>),
    /// Write a snapshot beside the log, then answer `SnapshotSaved` or `SnapshotNotSaved`.
    SaveSnapshot(Box<SnapshotJob>),
    /// To other members, in order, each by its `to`.
    Send(Vec<Message>),
    /// To another manager's machine.
    Peer {
        to: u64,
        message: Box<PeerMessage>,
    },
    Reply {
        token: Token,
        result: Result<Response, ProposeError>,
    },
    /// Applied here, in order. `Machine::view` is the state after them.
    Events(Vec<Event>),
    /// The state was replaced by a snapshot: watchers must begin anew.
    Resync,
    /// To a worker's session.
    Assignments {
        node: NodeId,
        assignments: Box<Assignments>,
    },
    ReportsTaken {
        node: NodeId,
        sequence: u64,
    },
    /// A committed entry had no effect. It is worth a warning: a leader does not plan such entries.
    Dropped {
        index: u64,
        reason: DropReason,
    },
    Leader {
        /// Whoever leads as far as this member knows.
        leader: Option<u64>,
        term: u64,
        /// This member leads and has caught up: it plans.
        established: bool,
    },
    /// This machine does nothing any more.
    Stopped(StopReason),
}

/// What must be on disk before Raft may count on it. Atomic: all of it or nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PersistBatch {
    /// Counts up; answer `Persisted` with it.
    pub number: u64,
    /// Replaces the whole log, if not empty.
    pub snapshot: Option<Snapshot>,
    /// Appended; entries from the first one's index on are replaced.
    pub entries: Vec<RaftEntry>,
    pub hard_state: Option<HardState>,
    /// The members as of `snapshot`.
    pub conf_state: Option<ConfState>,
    /// Entries up to this index are no longer needed: a saved snapshot holds them.
    pub compact_to: Option<u64>,
    /// False: the write may be answered before it is synced.
    pub sync: bool,
}

/// A snapshot to be encoded and written away from the machine's own time.
#[derive(Clone, Debug)]
pub struct SnapshotJob {
    pub index: u64,
    pub term: u64,
    pub conf_state: ConfState,
    /// Cheap to carry: it shares everything with the applied state. Write `store.export()`.
    pub store: Store,
}

/// What a member finds on its disk when it starts.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    pub hard_state: HardState,
    pub conf_state: ConfState,
    /// The newest snapshot, decoded by the caller, with its index and term.
    pub snapshot: Option<RestoredSnapshot>,
    /// The log, gapless, ascending; what the snapshot holds may be missing.
    pub entries: Vec<RaftEntry>,
}

#[derive(Clone, Debug)]
pub struct RestoredSnapshot {
    pub index: u64,
    pub term: u64,
    pub store: Store,
}

/// Between managers: what is passed on to the leader, and back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerMessage {
    /// Sessions that are open on the sender, all of them when the leader changed.
    SessionsOpen(Vec<(NodeId, NodeDescription)>),
    Goodbye(NodeId),
    Heartbeat(NodeId),
    Reports {
        node: NodeId,
        sequence: u64,
        reports: Vec<TaskReport>,
    },
    ReportsTaken {
        node: NodeId,
        sequence: u64,
    },
}

/// A step from one membership to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// Follows without a vote until it has caught up.
    AddLearner(u64),
    Promote(u64),
    Remove(u64),
}

/// Why a write was not answered with a response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Nothing happened here; ask the leader.
    #[error("this manager does not lead the cluster")]
    NotLeader { leader: Option<u64> },
    /// It may or may not have taken effect; asking again with the same request id is safe.
    #[error("leadership changed before the outcome was known")]
    OutcomeUnknown,
    #[error("{waiting} requests are waiting already; try again")]
    Busy { waiting: usize },
    #[error("the manager's disk is full: writes are refused until there is room")]
    DiskFull,
    #[error("the manager is stopping")]
    Stopping,
}

/// Why a machine does nothing any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StopReason {
    #[error("it was asked to stop")]
    Requested,
    #[error(
        "entry {index} needs version {min_version} of the entry format, this is {ours}: upgrade this manager"
    )]
    TooOld { index: u64, min_version: u32, ours: u32 },
    #[error("entry {index} cannot be read: {reason}")]
    Undecodable { index: u64, reason: String },
    #[error("the state at index {index} differs from the leader's: restore this manager from the others")]
    Diverged { index: u64 },
    #[error("this manager was removed from the cluster")]
    Removed,
    #[error("Raft cannot go on: {reason}")]
    Raft { reason: String },
}

/// Why a machine cannot start from what is on its disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    #[error("the log has a gap: entry {expected} is missing, the next one is {found}")]
    Gap { expected: u64, found: u64 },
    #[error("the log ends at {last}, but {commit} was committed")]
    CommittedMissing { last: u64, commit: u64 },
    #[error("Raft refuses the state: {reason}")]
    Raft { reason: String },
}
