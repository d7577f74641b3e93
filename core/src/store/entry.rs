//! What travels through the Raft log, and what applying it says.
//!
//! The machine makes entries from plans and fences them; the codec in `api` gives them their bytes; the
//! store applies them. An entry that is dropped changes nothing, on every member alike.

use super::object::{Change, Object, ObjectKey};
use crate::model::{RequestId, Timestamp, WallTime};
use serde::{Deserialize, Serialize};

/// The newest entry format this code understands; a member that meets a higher one stops.
pub const ENTRY_VERSION: u32 = 2;

/// One transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Never lower than the store's; a higher one raises it (`cluster recover`, `restore`).
    pub epoch: u64,
    /// The lowest `ENTRY_VERSION` of a member that may apply this.
    pub min_version: u32,
    /// The Raft term in which the leader planned it.
    pub term: u64,
    /// The index of the last entry that took effect in the state it was planned against.
    pub planned_after: u64,
    /// Cluster time.
    pub at: Timestamp,
    /// The leader's wall clock, for display.
    pub wall: WallTime,
    /// The user's name for this write, if a user asked for it.
    pub request: Option<RequestId>,
    /// What the leader's state hashed to at an earlier index, for members to compare theirs with.
    pub check: Option<DigestCheck>,
    pub changes: Vec<Change>,
}

/// A point at which all members must have the same state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DigestCheck {
    pub index: u64,
    /// The leader's `DIGEST_VERSION`; a member that computes another does not compare.
    pub version: u32,
    pub digest: [u8; 32],
}

/// What `apply` did with an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    Took(Vec<Event>),
    /// Nothing changed; whoever planned it must throw away what it planned after it.
    Dropped(DropReason),
    /// Nothing changed, not even the index: this member must stop rather than diverge.
    TooNew {
        min_version: u32,
    },
}

/// Why an entry had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum DropReason {
    #[error("planned in another term than it was proposed in")]
    TermDiffers,
    #[error("planned against a state that was not the last to take effect")]
    PlannedAfterDiffers,
    #[error("of an epoch that has ended")]
    EpochEnded,
    #[error("its request has already taken effect")]
    RequestSeen,
}

/// One object's change, as committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The Raft index of the entry.
    pub index: u64,
    pub wall: WallTime,
    pub kind: EventKind,
    /// As it is now, or as it was when it was removed.
    pub object: Object,
    /// As it was before an update.
    pub old: Option<Object>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    Created,
    Updated,
    Removed,
}

/// What became of a user's request, kept so that a retry gets the same answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestOutcome {
    /// The Raft index at which it took effect.
    pub index: u64,
    /// The first service, stack or node it created.
    pub created: Option<ObjectKey>,
}
