//! Assignments: what one node shall run, complete or as a diff from what it holds.
//!
//! A task is a node's business from its assignment until it is deleted: one that has ended stays, so that
//! the worker keeps its logs as long as the managers keep its history. A change of nothing but its
//! status is not sent: it is the worker that reports it.

use super::tables::TablesDiff;
use crate::{
    model::{Labels, NodeId, PublishedPort, ResolvedUse, Task, TaskId, TaskSpec, TaskState, Timestamp},
    store::StoreView,
};
use std::time::Duration;

/// Orders everything workers and watchers are told: (epoch, Raft index).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    pub epoch: u64,
    pub index: u64,
}

impl Position {
    pub fn of(view: &StoreView) -> Self {
        Self {
            epoch: view.epoch(),
            index: view.index(),
        }
    }
}

/// What a node shall run. With no `prev`, what is not named is to be forgotten; otherwise a diff from
/// `prev`, which must be the position the worker holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignments {
    pub prev: Option<Position>,
    pub position: Position,
    pub tasks: Vec<TaskAssignment>,
    /// No longer the node's business: stop, remove, forget.
    pub removed: Vec<TaskId>,
    /// What changed of the networks, of the same position; everything where there is no `prev`.
    pub tables: TablesDiff,
}

/// Everything a worker needs to know of one task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskAssignment {
    pub task: Task,
    /// Empty once the service is removed.
    pub service_name: String,
    /// Empty for a service of no stack.
    pub stack_name: String,
    pub spec: TaskSpec,
    pub ports: Vec<PublishedPort>,
    /// The networks of its attachments, in their order.
    pub networks: Vec<ResolvedUse>,
    /// Labels of the service, for the container's own.
    pub service_labels: Labels,
    /// How long the task is still held at `ready` (a restart's delay), from when this was made.
    pub hold: Duration,
}

/// Is the task something its node must be told of?
pub(super) fn concerns_node(task: &Task) -> bool {
    task.node.is_some() && task.status.state >= TaskState::Assigned
}

/// Everything the node must be told of, sorted by task id.
pub(super) fn tasks_for<'a>(view: &'a StoreView, node: &NodeId) -> impl Iterator<Item = &'a Task> {
    view.tasks_on_node(node)
        .map(AsRef::as_ref)
        .filter(|task| concerns_node(task))
}

/// Builds the assignment of one task. `None` if its revision is gone, which cannot be: the reaper keeps
/// the revisions of all tasks.
pub(super) fn build(view: &StoreView, task: &Task, now: Timestamp) -> Option<TaskAssignment> {
    let revision = view.revision(&task.revision_key())?;
    let service = view.service(&task.service);
    let stack = service.and_then(|service| view.stack(service.stack.as_ref()?));
    Some(TaskAssignment {
        task: task.clone(),
        service_name: service.map_or_else(String::new, |service| service.spec.name.clone()),
        stack_name: stack.map_or_else(String::new, |stack| stack.spec.name.clone()),
        spec: revision.task.clone(),
        ports: revision.ports.clone(),
        networks: revision.networks.clone(),
        service_labels: service.map_or_else(Labels::new, |service| service.spec.labels.clone()),
        hold: task
            .not_before
            .map_or(Duration::ZERO, |not_before| not_before.since(now)),
    })
}
