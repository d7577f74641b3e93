//! One slot of a service: restarts, moves away from nodes that must not have it, promotion, history.
//!
//! ```text
//! live task ended ──► restart policy ──► next task, held until its delay has passed
//! its node lost, draining or no longer fitting ──► next task, held until the old one has stopped
//! held and nothing to wait for ──► desired running
//! ```

use super::{
    global,
    tasks::{
        Heritage, NodeStanding, attach, create, is_live, is_stopped, lacks_address, node_standing, of_slot,
        stop,
    },
};
use crate::{
    allocator::Lack,
    constraint,
    model::{
        Availability, DesiredState, Mode, RestartPolicy, Restarts, Service, Slot, Task, TaskState, Timestamp,
        UpdateState,
    },
    planner::Draft,
    reaper,
    restart::{self, Decision},
    store::StoreView,
    waiting,
};
use std::sync::Arc;

/// What a slot is, once it is in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has a task that shall run.
    Live,
    /// Its last task ended and nothing follows.
    Ended,
    Vacant,
}

/// What looking at a slot found.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) standing: Standing,
    /// When to look again though nothing happens.
    pub(crate) again_at: Option<Timestamp>,
    /// Its task waits for an address.
    pub(crate) lack: Option<Lack>,
}

/// Puts one slot in order.
pub(crate) fn reconcile(draft: &mut Draft<'_>, service: &Service, slot: &Slot) -> Outcome {
    let tasks = of_slot(draft.view(), service, slot);
    let mut live: Vec<_> = tasks.iter().filter(|task| is_live(task)).collect();
    let (mut again_at, mut lack) = (None, None);
    if let Some(newest) = live.pop() {
        for older in live {
            stop(draft, older, DesiredState::Shutdown, "another task has its slot");
        }
        (again_at, lack) = reconcile_live(draft, service, newest);
    }
    let mut standing = standing(draft.view(), service, slot);
    if standing == Standing::Vacant
        && let (Mode::Global, Slot::Node(node)) = (service.spec.mode, slot)
        && global::wants(draft.view(), service, node)
    {
        create(draft, service, slot, Heritage::default());
        standing = Standing::Live;
    }
    let reaped = reaper::reap_slot(draft, service, slot, is_updating(service));
    Outcome {
        standing,
        again_at: [again_at, reaped].into_iter().flatten().min(),
        lack,
    }
}

pub(crate) fn is_updating(service: &Service) -> bool {
    service
        .update
        .as_ref()
        .is_some_and(|update| update.state == UpdateState::Updating)
}

/// What the slot is, judged by its tasks alone.
pub(crate) fn standing(view: &StoreView, service: &Service, slot: &Slot) -> Standing {
    let tasks = of_slot(view, service, slot);
    standing_of(view, tasks.iter())
}

/// The same for tasks already gathered, oldest first.
pub(crate) fn standing_of<'a>(
    view: &StoreView,
    tasks: impl DoubleEndedIterator<Item = &'a Arc<Task>>,
) -> Standing {
    let mut newest = None;
    for task in tasks.rev() {
        if is_live(task) {
            return Standing::Live;
        }
        if newest.is_none() && task.desired == DesiredState::Shutdown {
            newest = Some(task);
        }
    }
    match newest {
        Some(task) if restart::is_final(&policy(view, task), task) => Standing::Ended,
        Some(_) | None => Standing::Vacant,
    }
}

fn reconcile_live(
    draft: &mut Draft<'_>,
    service: &Service,
    task: &Task,
) -> (Option<Timestamp>, Option<Lack>) {
    if task.status.state.is_terminal() {
        restart_ended(draft, service, task);
        return (None, None);
    }
    if let Some(why) = must_leave(draft.view(), task) {
        relocate(draft, service, task, why);
        return (None, None);
    }
    promote(draft, service, task)
}

/// The task has ended though it should run.
fn restart_ended(draft: &mut Draft<'_>, service: &Service, task: &Task) {
    let policy = policy(draft.view(), task);
    stop(draft, task, DesiredState::Shutdown, "");
    let Decision::Again { not_before, restarts } = restart::decide(&policy, task) else {
        return;
    };
    if !has_place(draft.view(), service, &task.slot) {
        return;
    }
    // What a revision did wrong is not held against the next.
    let same = task.revision == service.revision;
    let restarts = if same { restarts } else { Restarts::default() };
    let heritage = Heritage {
        restarts,
        not_before: Some(not_before),
    };
    create(draft, service, &task.slot, heritage);
}

/// The task must leave its node: no fault of its own, so that it counts as no attempt and has no delay.
fn relocate(draft: &mut Draft<'_>, service: &Service, task: &Task, why: &str) {
    let policy = policy(draft.view(), task);
    stop(draft, task, DesiredState::Shutdown, why);
    if restart::is_final(&policy, task) || !has_place(draft.view(), service, &task.slot) {
        return;
    }
    let heritage = Heritage {
        restarts: task.restarts.clone(),
        not_before: task.not_before,
    };
    create(draft, service, &task.slot, heritage);
}

/// A slot of a global service ends with its node's fitness.
pub(crate) fn has_place(view: &StoreView, service: &Service, slot: &Slot) -> bool {
    match slot {
        Slot::Replica(_) => true,
        Slot::Node(node) => global::wants(view, service, node),
    }
}

/// Why the task may not stay where it is, if so.
pub(crate) fn must_leave(view: &StoreView, task: &Task) -> Option<&'static str> {
    task.node.as_ref()?;
    let node = match node_standing(view, task) {
        NodeStanding::Gone => return Some("its node was removed from the cluster"),
        NodeStanding::Down(_) => return Some("its node is down"),
        NodeStanding::There(node) => node,
    };
    match node.spec.availability {
        Availability::Drain => return Some("its node is being drained"),
        Availability::Active | Availability::Pause => {}
    }
    let revision = view.revision(&task.revision_key())?;
    let met = constraint::parse_all(&revision.task.placement.constraints)
        .iter()
        .all(|constraint| constraint.matches(node));
    (!met).then_some("its node no longer meets the placement constraints")
}

/// Lets a held task go once nothing holds it, and gives it the addresses that it waits for.
fn promote(draft: &mut Draft<'_>, service: &Service, task: &Task) -> (Option<Timestamp>, Option<Lack>) {
    let mut next = task.clone();
    let mut again_at = None;
    let lack = lacks_address(task).then(|| attach(draft, &mut next)).flatten();
    if task.desired == DesiredState::Ready {
        let delayed = task.not_before.filter(|at| *at > draft.now);
        again_at = delayed;
        let view = draft.view();
        let old_runs = of_slot(view, service, &task.slot)
            .iter()
            .any(|other| other.id != task.id && !is_stopped(view, other));
        if delayed.is_none() && !old_runs {
            next.desired = DesiredState::Running;
        }
    }
    if task.status.state == TaskState::Ready {
        next.wait = waiting::after_report(&next, None, draft.now);
    }
    draft.put_task(next);
    (again_at, lack)
}

/// The restart policy that the task was made with; Swarm's default for one whose revision is gone.
fn policy(view: &StoreView, task: &Task) -> RestartPolicy {
    view.revision(&task.revision_key())
        .map_or_else(RestartPolicy::default, |revision| revision.task.restart)
}
