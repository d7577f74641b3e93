//! A task: one placement of one slot of a service on one node, and how far it has come.
//!
//! The managers write up to `assigned`, the worker from `accepted` on. Within an attempt a state never
//! goes back; a terminal state is final. A restart makes a new task; only a worker that is cut off from
//! every manager restarts in place and raises `attempt`: reports are ordered by (attempt, state).

use super::{Attachment, Meta, NodeId, RevisionKey, ServiceId, TaskId, Timestamp, Wait, WallTime};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    pub id: TaskId,
    pub meta: Meta,
    pub service: ServiceId,
    /// The revision's number within the service.
    pub revision: u64,
    pub slot: Slot,
    /// Set once, by the scheduler; a global service's task is born with it.
    pub node: Option<NodeId>,
    /// Its addresses, in the order of the revision's networks; given when it is made, or when there are some again.
    pub attachments: Vec<Attachment>,
    /// Only the managers write it, and never back.
    pub desired: DesiredState,
    pub status: TaskStatus,
    /// While set and in the future, the task is held at `ready` (a restart's delay).
    pub not_before: Option<Timestamp>,
    /// Counts the slot's tasks from 1, so that the newest is known.
    pub sequence: u64,
    /// The restarts of this slot that led to it; starts anew with a revision.
    pub restarts: Restarts,
    /// What it waits for, while it waits.
    pub wait: Option<Wait>,
}

impl Task {
    pub fn revision_key(&self) -> RevisionKey {
        RevisionKey {
            service: self.service.clone(),
            number: self.revision,
        }
    }
}

/// What the restart policy must remember of a slot, handed from task to task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restarts {
    /// Restarts after a task ended by itself.
    pub count: u32,
    /// Those in a row that ended soon after their start; the doubling delay follows it.
    pub streak: u32,
    /// When the last of them were, oldest first; kept only where the policy has a window.
    pub recent: Vec<Timestamp>,
}

/// A replica's identity across tasks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Slot {
    /// Counts from 1.
    Replica(u32),
    /// A global service has one slot per node.
    Node(NodeId),
}

/// What a task shall become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum DesiredState {
    /// Pulled and created, not started.
    Ready,
    Running,
    /// Stopped, kept as history.
    Shutdown,
    /// Stopped and forgotten.
    Remove,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskStatus {
    pub state: TaskState,
    /// Raised by a restart in place, from 0.
    pub attempt: u32,
    /// What is going on, for the user.
    pub message: String,
    /// Why it failed or was rejected.
    pub error: Option<String>,
    pub exit_code: Option<i32>,
    pub container: Option<String>,
    pub pid: Option<u32>,
    /// When the state was reached: cluster time as the managers saw it, wall time as the writer did.
    pub at: Timestamp,
    pub wall: WallTime,
    /// When it was first seen running; set by the managers.
    pub started: Option<Timestamp>,
}

/// How far a task has come; ordered.
///
/// ```text
/// new → pending → assigned → accepted → preparing → ready → starting → running
///   └────────┴─────────┴──────────┴─────────┴─────────┴────────┴─────────┴→ complete | shutdown | failed
///                                                                           | rejected | remove | orphaned
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TaskState {
    New,
    Pending,
    Assigned,
    Accepted,
    Preparing,
    Ready,
    Starting,
    Running,
    /// Ended by itself with exit code 0.
    Complete,
    /// Ended because it was asked to.
    Shutdown,
    /// Ended otherwise.
    Failed,
    /// Could not be started.
    Rejected,
    /// Its service was removed.
    Remove,
    /// Its node was lost for so long that nothing is known of it.
    Orphaned,
}

impl TaskState {
    pub fn is_terminal(self) -> bool {
        self > Self::Running
    }

    /// The word in Docker's API and in `service ps`.
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Pending => "pending",
            Self::Assigned => "assigned",
            Self::Accepted => "accepted",
            Self::Preparing => "preparing",
            Self::Ready => "ready",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Complete => "complete",
            Self::Shutdown => "shutdown",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Remove => "remove",
            Self::Orphaned => "orphaned",
        }
    }
}
