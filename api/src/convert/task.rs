//! Tasks, their states and what they wait for.
//!
//! Both directions; an unknown state is refused rather than guessed.

use super::{Malformed, enumerated, optional, parsed, parsed_optional, repeated, required, same_variants};
use crate::v1;
use shoal_core::model::{
    DesiredState, Restarts, Slot, Task, TaskState, TaskStatus, Timestamp, Wait, WaitCode, WallTime,
};

same_variants!(DesiredState, v1::DesiredState, Ready, Running, Shutdown, Remove);
same_variants!(
    TaskState,
    v1::TaskState,
    New,
    Pending,
    Assigned,
    Accepted,
    Preparing,
    Ready,
    Starting,
    Running,
    Complete,
    Shutdown,
    Failed,
    Rejected,
    Remove,
    Orphaned,
);
same_variants!(
    WaitCode,
    v1::WaitCode,
    Unscheduled,
    NoReadyNode,
    InsufficientResources,
    ConstraintUnmet,
    HostPortTaken,
    MaxReplicasReached,
    NodeNotTaken,
    RestartDelay,
    OldTaskStopping,
    Unhealthy,
    ImagePull,
    NoAddress,
    PortTaken,
    NetworkNotReady,
    Stopping,
);

impl From<Task> for v1::Task {
    fn from(task: Task) -> Self {
        Self {
            id: task.id.to_string(),
            meta: Some(task.meta.into()),
            service: task.service.to_string(),
            revision: task.revision,
            slot: Some(task.slot.into()),
            node: task.node.map(|id| id.to_string()),
            attachments: task.attachments.into_iter().map(Into::into).collect(),
            desired: v1::DesiredState::from(task.desired).into(),
            status: Some(task.status.into()),
            not_before: task.not_before.map(|at| at.0),
            restarts: Some(task.restarts.into()),
            wait: task.wait.map(Into::into),
            sequence: task.sequence,
        }
    }
}

impl TryFrom<v1::Task> for Task {
    type Error = Malformed;

    fn try_from(task: v1::Task) -> Result<Self, Malformed> {
        Ok(Self {
            id: parsed(&task.id, "id")?,
            meta: task.meta.unwrap_or_default().into(),
            service: parsed(&task.service, "service")?,
            revision: task.revision,
            slot: required(task.slot, "slot")?,
            node: parsed_optional(task.node.as_deref(), "node")?,
            attachments: repeated(task.attachments, "attachments")?,
            desired: enumerated::<v1::DesiredState, _>(task.desired, "desired")?,
            status: required(task.status, "status")?,
            not_before: task.not_before.map(Timestamp),
            sequence: task.sequence,
            restarts: task.restarts.unwrap_or_default().into(),
            wait: optional(task.wait, "wait")?,
        })
    }
}

impl From<Restarts> for v1::Restarts {
    fn from(restarts: Restarts) -> Self {
        Self {
            count: restarts.count,
            streak: restarts.streak,
            recent: restarts.recent.into_iter().map(|at| at.0).collect(),
        }
    }
}

impl From<v1::Restarts> for Restarts {
    fn from(restarts: v1::Restarts) -> Self {
        Self {
            count: restarts.count,
            streak: restarts.streak,
            recent: restarts.recent.into_iter().map(Timestamp).collect(),
        }
    }
}

impl From<Slot> for v1::Slot {
    fn from(slot: Slot) -> Self {
        let slot = match slot {
            Slot::Replica(number) => v1::slot::Slot::Replica(number),
            Slot::Node(id) => v1::slot::Slot::Node(id.to_string()),
        };
        Self { slot: Some(slot) }
    }
}

impl TryFrom<v1::Slot> for Slot {
    type Error = Malformed;

    fn try_from(slot: v1::Slot) -> Result<Self, Malformed> {
        match slot.slot {
            Some(v1::slot::Slot::Replica(number)) => Ok(Self::Replica(number)),
            Some(v1::slot::Slot::Node(id)) => Ok(Self::Node(parsed(&id, "node")?)),
            None => Err(Malformed::new("", "is of a kind not known here")),
        }
    }
}

impl From<TaskStatus> for v1::TaskStatus {
    fn from(status: TaskStatus) -> Self {
        Self {
            state: v1::TaskState::from(status.state).into(),
            attempt: status.attempt,
            message: status.message,
            error: status.error,
            exit_code: status.exit_code,
            container: status.container,
            pid: status.pid,
            at: status.at.0,
            wall: status.wall.0,
            started: status.started.map(|at| at.0),
        }
    }
}

impl TryFrom<v1::TaskStatus> for TaskStatus {
    type Error = Malformed;

    fn try_from(status: v1::TaskStatus) -> Result<Self, Malformed> {
        Ok(Self {
            state: enumerated::<v1::TaskState, _>(status.state, "state")?,
            attempt: status.attempt,
            message: status.message,
            error: status.error,
            exit_code: status.exit_code,
            container: status.container,
            pid: status.pid,
            at: Timestamp(status.at),
            wall: WallTime(status.wall),
            started: status.started.map(Timestamp),
        })
    }
}

impl From<Wait> for v1::Wait {
    fn from(wait: Wait) -> Self {
        Self {
            code: v1::WaitCode::from(wait.code).into(),
            since: wait.since.0,
            detail: wait.detail,
        }
    }
}

impl TryFrom<v1::Wait> for Wait {
    type Error = Malformed;

    fn try_from(wait: v1::Wait) -> Result<Self, Malformed> {
        Ok(Self {
            code: enumerated::<v1::WaitCode, _>(wait.code, "code")?,
            since: Timestamp(wait.since),
            detail: wait.detail,
        })
    }
}
