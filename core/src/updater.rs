//! Rolls a service's slots over to its current revision: Swarm's default, and nothing else so far.
//!
//! Everything is read from the store, so that a new leader goes on where the old one stopped. Called by
//! the planner for services whose update is under way; restarts of its tasks stay the orchestrator's.

use crate::{
    model::{DesiredState, Service, Slot, Task, TaskState, Timestamp, UpdateState, UpdateStatus},
    orchestrator::{
        slot::{Standing, has_place, is_updating, standing_of},
        tasks::{Heritage, create, is_live, stop},
    },
    planner::Draft,
    restart,
    store::StoreView,
};
use std::sync::Arc;

/// Takes the next step of a service's update. Says when to look again though nothing happens.
///
/// ```text
/// updating ─┬─ a new task failed while it was watched ──► paused (until the user updates again)
///           ├─ a slot under way ──► wait
///           ├─ a slot still old ──► stop its task, make the new one, held until the old has stopped
///           └─ none left ──► watch the last for the monitor period ──► completed
/// ```
pub(crate) fn reconcile(draft: &mut Draft<'_>, service: &Service) -> Option<Timestamp> {
    let update = service.update.as_ref().filter(|_| is_updating(service))?;
    match survey(draft.view(), service, update) {
        Next::Pause(task) => {
            let error = task.status.error.as_deref().unwrap_or(task.status.state.name());
            let message = format!(
                "update paused due to failure or early termination of task {}: {error}",
                task.id
            );
            finish(draft, service, UpdateState::Paused, message);
            None
        }
        Next::Wait => None,
        Next::Replace(old, slot) => {
            if let Some(old) = old {
                stop(draft, &old, DesiredState::Shutdown, "replaced by the update");
            }
            create(draft, service, &slot, Heritage::default());
            None
        }
        Next::Done => watch_last(draft, service, update),
    }
}

/// What the service's tasks ask for.
#[derive(Debug)]
enum Next {
    Pause(Arc<Task>),
    /// A slot is under way, or on a node that takes nothing new.
    Wait,
    /// The live task to stop, if there is one, and its slot.
    Replace(Option<Arc<Task>>, Slot),
    Done,
}

fn survey(view: &StoreView, service: &Service, update: &UpdateStatus) -> Next {
    let (mut under_way, mut kept, mut next) = (false, false, None);
    let mut tasks = view.tasks_of_service(&service.id).peekable();
    while let Some(first) = tasks.next() {
        let mut slot = vec![first.clone()];
        while let Some(task) = tasks.next_if(|task| task.slot == first.slot) {
            slot.push(task.clone());
        }
        slot.sort_by_key(|task| task.sequence);
        if let Some(failed) = slot.iter().find(|task| counts_as_failure(service, update, task)) {
            return Next::Pause(failed.clone());
        }
        let newest = slot
            .iter()
            .rev()
            .find(|task| task.desired != DesiredState::Remove);
        let Some(newest) = newest.filter(|_| standing_of(view, slot.iter()) != Standing::Vacant) else {
            continue;
        };
        if newest.revision == service.revision {
            let replaced = slot.iter().any(|task| task.revision != service.revision);
            under_way |= replaced && is_live(newest) && newest.status.state < TaskState::Running;
        } else if !has_place(view, service, &newest.slot) {
            // A node that takes nothing new keeps its old task, and the update does not end without it.
            kept |= is_live(newest);
        } else {
            // Slots that do not run lose nothing: they go first.
            let live = is_live(newest).then(|| newest.clone());
            let rank = (newest.status.state == TaskState::Running, newest.slot.clone());
            if next.as_ref().is_none_or(|(best, _)| rank < *best) {
                next = Some((rank, live));
            }
        }
    }
    match next {
        _ if under_way => Next::Wait,
        Some(((_, slot), live)) => Next::Replace(live, slot),
        None if kept => Next::Wait,
        None => Next::Done,
    }
}

/// A task of the new revision that ended by itself before its monitor period was over.
fn counts_as_failure(service: &Service, update: &UpdateStatus, task: &Task) -> bool {
    let monitored = task
        .status
        .started
        .is_none_or(|started| task.status.at.since(started) <= service.spec.update.monitor);
    task.revision == service.revision
        && restart::ended_by_itself(task)
        && task.status.at >= update.since
        && monitored
}

fn watch_last(draft: &mut Draft<'_>, service: &Service, update: &UpdateStatus) -> Option<Timestamp> {
    let until = update
        .monitor_until
        .unwrap_or_else(|| draft.now.after(service.spec.update.monitor));
    if until <= draft.now {
        finish(
            draft,
            service,
            UpdateState::Completed,
            "update completed".to_owned(),
        );
        return None;
    }
    let mut next = service.clone();
    next.update = Some(UpdateStatus {
        monitor_until: Some(until),
        ..update.clone()
    });
    draft.put_service(next);
    Some(until)
}

fn finish(draft: &mut Draft<'_>, service: &Service, state: UpdateState, message: String) {
    let mut next = service.clone();
    let wall = draft.wall;
    if let Some(update) = &mut next.update {
        update.state = state;
        update.message = message;
        update.monitor_until = None;
        update.finished_at = (state == UpdateState::Completed).then_some(wall);
    }
    draft.put_service(next);
}
