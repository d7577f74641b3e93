//! Forgets what nobody needs: ended tasks beyond the history limit, tasks of removed services, tasks of
//! nodes that are gone, revisions that nothing names, removed networks whose addresses have rested, and services that go
//! with their only task.
//!
//! Called by the planner slot by slot and service by service. It never stops a task that shall run.

use crate::{
    model::{
        DesiredState, Mode, NetworkId, REMOVE_AT_END, RestartCondition, Service, ServiceId, Slot, Task,
        TaskState, Timestamp,
    },
    orchestrator::tasks::{NodeStanding, is_live, is_unassigned, node_standing, of_slot, stop},
    planner::Draft,
    store::{ObjectKey, StoreView},
};
use std::{collections::BTreeSet, time::Duration};

/// A task on a node that has been down this long is given up for lost; Swarm's figure.
pub const ORPHAN_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Revisions of a service kept though no task names them, for its history and for a way back.
const REVISIONS_KEPT: usize = 5;

/// Ended tasks kept per slot where there is no cluster object yet; Swarm's figure.
const DEFAULT_HISTORY: u32 = 5;

/// Forgets what the slot no longer needs. Says when to look again.
pub(crate) fn reap_slot(
    draft: &mut Draft<'_>,
    service: &Service,
    slot: &Slot,
    updating: bool,
) -> Option<Timestamp> {
    let mut again_at = None;
    for task in of_slot(draft.view(), service, slot) {
        let at = give_up(draft, &task);
        again_at = [again_at, at].into_iter().flatten().min();
    }
    let tasks = of_slot(draft.view(), service, slot);
    for task in tasks.iter().filter(|task| task.desired == DesiredState::Remove) {
        forget_removed(draft, task);
    }
    let ended: Vec<_> = tasks
        .iter()
        .filter(|task| task.desired == DesiredState::Shutdown && task.status.state.is_terminal())
        .collect();
    let limit = draft
        .view()
        .cluster()
        .map_or(DEFAULT_HISTORY, |cluster| cluster.spec.task_history_limit);
    // The updater knows a slot under way by the old task beside the new one.
    let under_way = updating
        && tasks
            .iter()
            .any(|task| is_live(task) && task.status.state < TaskState::Running);
    let keep = usize::try_from(limit)
        .unwrap_or(usize::MAX)
        .max(usize::from(under_way));
    for task in ended.iter().take(ended.len().saturating_sub(keep)) {
        draft.delete_task(&task.id);
    }
    again_at
}

/// Stops and forgets the slot of a service that was removed.
pub(crate) fn remove_slot(draft: &mut Draft<'_>, service: &ServiceId, slot: &Slot) -> Option<Timestamp> {
    let mut again_at = None;
    let tasks: Vec<_> = draft.view().tasks_of_slot(service, slot).cloned().collect();
    for task in tasks {
        stop(draft, &task, DesiredState::Remove, "its service was removed");
        let Some(task) = draft.view().task(&task.id).cloned() else {
            continue;
        };
        let at = give_up(draft, &task);
        again_at = [again_at, at].into_iter().flatten().min();
        if let Some(task) = draft.view().task(&task.id).cloned() {
            forget_removed(draft, &task);
        }
    }
    again_at
}

/// Shall the service go now that its one task has ended? Only one that says so, and that could get no other task.
pub(crate) fn goes_with_its_task(view: &StoreView, service: &Service) -> bool {
    let asked = service.spec.labels.contains_key(REMOVE_AT_END) && service.stack.is_none();
    let alone = service.spec.mode == Mode::Replicated { replicas: 1 }
        && service.spec.task.restart.condition == RestartCondition::None;
    asked && alone && {
        let mut tasks = view.tasks_of_service(&service.id).peekable();
        tasks.peek().is_some() && tasks.all(|task| task.status.state.is_terminal())
    }
}

/// Deletes the revisions that nothing names and history does not keep.
pub(crate) fn reap_revisions(draft: &mut Draft<'_>, id: &ServiceId) {
    let view = draft.view();
    let service = view.service(id);
    let kept = if service.is_some() { REVISIONS_KEPT } else { 0 };
    let numbers: Vec<u64> = view.revisions_of_service(id).map(|r| r.key.number).collect();
    if numbers.len() <= kept {
        return;
    }
    let named = named_revisions(view, id);
    let current = service.map(|service| service.revision);
    let unnamed: Vec<u64> = numbers
        .into_iter()
        .filter(|number| !named.contains(number) && Some(*number) != current)
        .collect();
    for number in unnamed
        .iter()
        .take(unnamed.len().saturating_sub(kept.saturating_sub(1)))
    {
        let key = crate::model::RevisionKey {
            service: id.clone(),
            number: *number,
        };
        draft.delete(ObjectKey::Revision(key));
    }
}

/// Deletes a removed network once nobody holds an address of it and none rests. Says when that will be, if it is only
/// the rest that is missing.
pub(crate) fn reap_network(draft: &mut Draft<'_>, id: &NetworkId) -> Option<Timestamp> {
    let network = draft
        .view()
        .network(id)
        .filter(|network| network.status.removed)?;
    if draft.view().holders(id).next().is_some() {
        return None;
    }
    let rests = draft.resting_until(network);
    if rests.is_none() {
        draft.delete(ObjectKey::Network(id.clone()));
    }
    rests
}

fn named_revisions(view: &StoreView, id: &ServiceId) -> BTreeSet<u64> {
    view.tasks_of_service(id).map(|task| task.revision).collect()
}

fn forget_removed(draft: &mut Draft<'_>, task: &Task) {
    let gone = matches!(node_standing(draft.view(), task), NodeStanding::Gone);
    if task.status.state.is_terminal() || is_unassigned(task) || gone {
        draft.delete_task(&task.id);
    }
}

/// Marks a task that will never be heard of again; says when one of a lost node would be.
fn give_up(draft: &mut Draft<'_>, task: &Task) -> Option<Timestamp> {
    if task.status.state.is_terminal() || is_unassigned(task) || is_live(task) {
        return None;
    }
    let due = match node_standing(draft.view(), task) {
        NodeStanding::There(_) => return None,
        NodeStanding::Down(node) => node.status.at.after(ORPHAN_AFTER),
        NodeStanding::Gone => draft.now,
    };
    if due > draft.now {
        return Some(due);
    }
    let mut next = task.clone();
    next.status.state = TaskState::Orphaned;
    next.status.message = "its node was lost".to_owned();
    next.status.at = draft.now;
    next.status.wall = draft.wall;
    next.wait = None;
    draft.put_task(next);
    None
}
