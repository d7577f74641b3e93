//! Making and stopping tasks, and the questions about them that every orchestrator asks.
//!
//! A new task of a slot is held at `ready` while an older one of the slot may still run, so that a slot
//! never runs twice.

use crate::{
    allocator::Lack,
    model::{
        DesiredState, Meta, NetworkId, Node, NodeState, Restarts, Service, Slot, Task, TaskId, TaskState,
        TaskStatus, Timestamp, WaitCode,
    },
    planner::Draft,
    store::StoreView,
    waiting,
};
use std::sync::Arc;

/// Shall it run, now or later?
pub(crate) fn is_live(task: &Task) -> bool {
    task.desired <= DesiredState::Running
}

/// Has no node ever been told of it?
pub(crate) fn is_unassigned(task: &Task) -> bool {
    task.status.state < TaskState::Assigned
}

/// Where a task's node stands, as far as the task is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeStanding<'a> {
    There(&'a Node),
    Down(&'a Node),
    /// Removed from the cluster, or the task never had one.
    Gone,
}

pub(crate) fn node_standing<'a>(view: &'a StoreView, task: &Task) -> NodeStanding<'a> {
    match task.node.as_ref().and_then(|id| view.node(id)) {
        None => NodeStanding::Gone,
        Some(node) => match node.status.state {
            NodeState::Down => NodeStanding::Down(node),
            NodeState::Unknown | NodeState::Ready => NodeStanding::There(node),
        },
    }
}

/// Need nobody wait for it any more? A node that is down runs nothing that counts.
pub(crate) fn is_stopped(view: &StoreView, task: &Task) -> bool {
    task.status.state.is_terminal()
        || is_unassigned(task)
        || !matches!(node_standing(view, task), NodeStanding::There(_))
}

/// The tasks of a slot, oldest first.
pub(crate) fn of_slot(view: &StoreView, service: &Service, slot: &Slot) -> Vec<Arc<Task>> {
    let mut tasks: Vec<_> = view.tasks_of_slot(&service.id, slot).cloned().collect();
    tasks.sort_by(|a, b| (a.sequence, &a.id).cmp(&(b.sequence, &b.id)));
    tasks
}

/// What a new task inherits from the one before it.
#[derive(Debug, Default)]
pub(crate) struct Heritage {
    pub(crate) restarts: Restarts,
    pub(crate) not_before: Option<Timestamp>,
}

/// Makes the slot's next task, of the service's current revision.
pub(crate) fn create(draft: &mut Draft<'_>, service: &Service, slot: &Slot, heritage: Heritage) {
    let before = of_slot(draft.view(), service, slot);
    let running = before.iter().any(|task| !is_stopped(draft.view(), task));
    let held = running || heritage.not_before.is_some_and(|at| at > draft.now);
    let sequence = before.iter().map(|task| task.sequence).max().unwrap_or(0) + 1;
    let node = match slot {
        Slot::Replica(_) => None,
        Slot::Node(node) => Some(node.clone()),
    };
    let mut task = Task {
        id: TaskId::mint(draft.ids),
        meta: Meta::default(),
        service: service.id.clone(),
        revision: service.revision,
        slot: slot.clone(),
        node,
        desired: if held {
            DesiredState::Ready
        } else {
            DesiredState::Running
        },
        status: TaskStatus {
            state: TaskState::New,
            attempt: 0,
            message: "created".to_owned(),
            error: None,
            exit_code: None,
            container: None,
            pid: None,
            at: draft.now,
            wall: draft.wall,
            started: None,
        },
        attachments: Vec::new(),
        not_before: heritage.not_before,
        sequence,
        restarts: heritage.restarts,
        wait: None,
    };
    attach(draft, &mut task);
    draft.put_task(task);
}

/// Does it wait for an address? Then it is not to be placed yet.
pub(crate) fn lacks_address(task: &Task) -> bool {
    let code = task.wait.as_ref().map(|wait| wait.code);
    task.status.state == TaskState::New && code == Some(WaitCode::NoAddress)
}

/// Gives a new task its addresses. Where a network has none it waits, and the caller hears of the first such network.
pub(crate) fn attach(draft: &mut Draft<'_>, task: &mut Task) -> Option<Lack> {
    let revision = draft.view().revision(&task.revision_key()).cloned();
    let networks = revision.as_ref().map_or(&[][..], |revision| &revision.networks);
    match draft.addresses(networks) {
        Ok(attachments) => {
            task.attachments = attachments;
            task.wait = Some(waiting::wait(task, WaitCode::Unscheduled, "", draft.now));
            None
        }
        Err(lack) => {
            // Which network it is may change with every look, and `explain` says it freshly.
            if !lacks_address(task) {
                let detail = no_address(draft.view(), &lack.network);
                task.wait = Some(waiting::wait(task, WaitCode::NoAddress, detail, draft.now));
            }
            Some(lack)
        }
    }
}

fn no_address(view: &StoreView, network: &NetworkId) -> String {
    let name = view
        .network(network)
        .map_or(network.as_str(), |network| network.spec.name.as_str());
    format!("network {name:?} has no address free")
}

/// Asks for a task's end. One that no node was told of is simply forgotten.
pub(crate) fn stop(draft: &mut Draft<'_>, task: &Task, desired: DesiredState, why: &str) {
    if is_unassigned(task) {
        draft.delete_task(&task.id);
        return;
    }
    if task.desired >= desired {
        return;
    }
    let mut next = task.clone();
    next.desired = desired;
    next.wait =
        (!task.status.state.is_terminal()).then(|| waiting::wait(task, WaitCode::Stopping, why, draft.now));
    draft.put_task(next);
}
