//! Why something waits: a closed list of codes, each with an age and an owner.
//!
//! `service ps` and `service why` show them; the simulator proves each one reachable. A new reason to
//! wait is a new variant here, never a free text.

use super::Timestamp;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    pub code: WaitCode,
    pub since: Timestamp,
    /// The nouns: which nodes were refused and why, which image, which deadline.
    pub detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum WaitCode {
    /// The scheduler has not come to it yet.
    Unscheduled,
    /// There is no node at all, or none is ready and active.
    NoReadyNode,
    /// Every ready node lacks the reserved cpu or memory.
    InsufficientResources,
    /// No ready node meets the placement constraints or has a platform of the image.
    ConstraintUnmet,
    /// The published host port is taken on every node that would do.
    HostPortTaken,
    /// Every node that would do has its maximum of replicas.
    MaxReplicasReached,
    /// Assigned; the node has not taken it yet.
    NodeNotTaken,
    /// A restart's delay has not passed.
    RestartDelay,
    /// The update stops the slot's old task first.
    OldTaskStopping,
    /// Running, not yet healthy.
    Unhealthy,
    /// The image is being pulled.
    ImagePull,
    /// A network of the task has no address free.
    NoAddress,
    /// A port that the task publishes is held by another process of its node. It may run all the same: what waits then is
    /// the port.
    PortTaken,
    /// The node's network is not ready for the task.
    NetworkNotReady,
    /// Asked to stop; the stop signal's grace has not passed.
    Stopping,
}

/// Who must move for the wait to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum WaitOwner {
    Scheduler,
    Orchestrator,
    Updater,
    Worker,
    User,
}

impl WaitOwner {
    pub fn name(self) -> &'static str {
        match self {
            Self::Scheduler => "scheduler",
            Self::Orchestrator => "orchestrator",
            Self::Updater => "updater",
            Self::Worker => "worker",
            Self::User => "user",
        }
    }
}

impl WaitCode {
    /// Every code, so that a test can prove each reachable.
    pub const ALL: [Self; 15] = [
        Self::Unscheduled,
        Self::NoReadyNode,
        Self::InsufficientResources,
        Self::ConstraintUnmet,
        Self::HostPortTaken,
        Self::MaxReplicasReached,
        Self::NodeNotTaken,
        Self::RestartDelay,
        Self::OldTaskStopping,
        Self::Unhealthy,
        Self::ImagePull,
        Self::NoAddress,
        Self::PortTaken,
        Self::NetworkNotReady,
        Self::Stopping,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Unscheduled => "unscheduled",
            Self::NoReadyNode => "no-ready-node",
            Self::InsufficientResources => "insufficient-resources",
            Self::ConstraintUnmet => "constraint-unmet",
            Self::HostPortTaken => "host-port-taken",
            Self::MaxReplicasReached => "max-replicas-reached",
            Self::NodeNotTaken => "node-not-taken",
            Self::RestartDelay => "restart-delay",
            Self::OldTaskStopping => "old-task-stopping",
            Self::Unhealthy => "unhealthy",
            Self::ImagePull => "image-pull",
            Self::NoAddress => "no-address",
            Self::PortTaken => "port-taken",
            Self::NetworkNotReady => "network-not-ready",
            Self::Stopping => "stopping",
        }
    }

    pub fn owner(self) -> WaitOwner {
        match self {
            Self::Unscheduled => WaitOwner::Scheduler,
            Self::NoReadyNode
            | Self::InsufficientResources
            | Self::ConstraintUnmet
            | Self::HostPortTaken
            | Self::MaxReplicasReached
            | Self::NoAddress
            | Self::PortTaken => WaitOwner::User,
            Self::RestartDelay => WaitOwner::Orchestrator,
            Self::OldTaskStopping => WaitOwner::Updater,
            Self::NodeNotTaken
            | Self::Unhealthy
            | Self::ImagePull
            | Self::NetworkNotReady
            | Self::Stopping => WaitOwner::Worker,
        }
    }
}
