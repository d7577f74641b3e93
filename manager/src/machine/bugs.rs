//! Bugs that can be planted, so that the simulator can prove that it would find them.
//!
//! Without the feature `planted-bugs` every question is answered `false` at compile time, and nothing of
//! this is left in the product.

/// One bug in the machine itself. The simulator plants others around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bug {
    /// Raft is told that a write is synced when it was only asked for.
    AcknowledgedBeforeSync,
    /// The user is answered when the entry is proposed, not when it is applied.
    AnsweredBeforeCommit,
    /// An entry is applied whatever state it was planned against.
    FenceSkipped,
    /// A session misses some events.
    EventDropped,
    /// A new leader plans before its own term's empty entry is applied.
    PlansBeforeEmptyEntry,
    /// A request id is not looked up.
    RequestNotDeduplicated,
    /// A snapshot lacks the tasks.
    SnapshotMissesTable,
    /// A new leader goes by what it heard of nodes when it last led.
    LivenessNotRestarted,
    /// A vote is cast and not written down.
    VoteForgotten,
    /// Nodes are not told that a service has left their tables.
    VipOfRemovedService,
}

/// The bug planted in this machine, if any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Planted {
    #[cfg(feature = "planted-bugs")]
    bug: Option<Bug>,
}

impl Planted {
    pub fn none() -> Self {
        Self::default()
    }

    #[cfg(feature = "planted-bugs")]
    pub fn one(bug: Bug) -> Self {
        Self { bug: Some(bug) }
    }

    #[cfg(feature = "planted-bugs")]
    pub(super) fn has(self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    #[cfg(not(feature = "planted-bugs"))]
    #[expect(clippy::unused_self, reason = "the same call with the feature on")]
    pub(super) fn has(self, _bug: Bug) -> bool {
        false
    }
}
