//! The leader's planner: composes every component over one view, from what is dirty. The machine calls
//! only this, and only while it leads:
//! - `lead` when its own term's first entry is applied; `replan` when anything in flight was dropped.
//! - `observe` with the events of every user's entry as it enters the overlay. Its own plans it knows.
//! - `handle` with what sessions say; then `turn` while `has_work`, and again at `next_deadline`.
//!
//! It remembers nothing that it could not make anew from a view, but the liveness of nodes, what they
//! last said of themselves, and reports not yet planned.

mod dirty;
mod draft;
mod sessions;

pub(crate) use draft::Draft;
pub use sessions::{PlannerInput, Refuse};

use crate::{
    liveness::{self, Liveness},
    model::{IdGen, Mode, NetworkId, NodeId, ServiceId, Slot, Timestamp, WallTime},
    orchestrator::{global, replicated, slot, slot::Standing},
    reaper,
    scheduler::Scheduler,
    store::{Change, Event, StoreView},
    updater,
};
use dirty::{Dirty, Timer};
use sessions::Sessions;
use std::time::Duration;

/// What one turn wants changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Sorted by kind and id; at most one an object.
    pub changes: Vec<Change>,
    /// The budget ended before the work did: call again.
    pub more: bool,
    /// The reports of these `PlannerInput::Reports` are in this plan or need no change: their workers may
    /// be answered once everything in flight up to this plan is durable.
    pub reports_taken: Vec<u64>,
    /// How many nodes are silent of how many, where evictions are paused for it.
    pub evictions_paused: Option<(usize, usize)>,
}

/// What a turn needs beside the view.
#[derive(Debug)]
pub struct TurnContext<'a> {
    pub ids: &'a mut IdGen,
    /// Cluster time: that of the entry which the plan becomes, or earlier.
    pub now: Timestamp,
    pub wall: WallTime,
    /// How many slots, tasks and nodes it may look at, about a microsecond or a few each.
    pub budget: usize,
}

#[derive(Debug, Default)]
pub struct Planner {
    dirty: Dirty,
    scheduler: Scheduler,
    liveness: Liveness,
    sessions: Sessions,
    /// Of the view last seen.
    period: Duration,
}

impl Planner {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes over: everything is dirty, and every node has a grace to come back.
    pub fn lead(&mut self, view: &StoreView, now: Timestamp) {
        *self = Self::default();
        self.replan(view, now);
        self.restart_liveness(view, now);
    }

    /// Throws away what was derived from plans that did not happen. What sessions said stays; reports that
    /// were in such a plan come again, since nobody answered them.
    pub fn replan(&mut self, view: &StoreView, now: Timestamp) {
        self.period = heartbeat_period(view);
        self.sessions.say_again(view);
        self.liveness.judge_again(watched(view), now);
        self.scheduler.restart(view);
        self.dirty.restart(view);
        for task in view.tasks() {
            self.scheduler.task_changed(task);
        }
    }

    /// Starts every node's expiry anew: for a new leader, and for one whose own loop stood still.
    pub fn restart_liveness(&mut self, view: &StoreView, now: Timestamp) {
        self.liveness.restart(watched(view), now, heartbeat_period(view));
    }

    /// Takes note of changes made by others than the planner.
    pub fn observe(&mut self, view: &StoreView, events: &[Event]) {
        for event in events {
            self.dirty.observe(view, event, &mut self.scheduler);
        }
        self.period = heartbeat_period(view);
    }

    /// Takes in what a session says.
    pub fn handle(&mut self, view: &StoreView, input: PlannerInput, now: Timestamp) -> Result<(), Refuse> {
        self.sessions.handle(view, input, &mut self.liveness, now)
    }

    pub fn has_work(&self) -> bool {
        self.dirty.has_work() || self.scheduler.has_work() || self.sessions.has_work()
    }

    /// When to take a turn though nothing happens.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        [self.dirty.next_timer(), self.liveness.next_deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// How often workers shall be heard of, for `Welcome`.
    pub fn heartbeat_period(&self) -> Duration {
        self.period
    }

    /// Plans for what is dirty, within the budget. `view` is the overlay: the applied state and what is in
    /// flight; the plan must be put in flight, or `replan` be called. The same view, memory and context give the same plan.
    pub fn turn(&mut self, view: &StoreView, ctx: TurnContext<'_>) -> Plan {
        let mut draft = Draft::new(view, ctx.ids, ctx.now, ctx.wall);
        let verdicts = self.liveness.judge(ctx.now, self.period);
        let nodes = self.sessions.write_verdicts(&mut draft, &verdicts);
        let (changed, reports_taken, used) = self.sessions.write(&mut draft, ctx.budget);
        self.dirty.nodes.extend(nodes.into_iter().chain(changed));
        self.absorb(&mut draft, Scheduling::Elsewhere);
        self.dirty.fire(ctx.now);
        let mut left = ctx.budget.saturating_sub(used);
        while left > 0 {
            let used = self.step(&mut draft, left);
            if used == 0 {
                break;
            }
            left = left.saturating_sub(used);
        }
        Plan {
            more: self.has_work(),
            changes: draft.finish(),
            reports_taken,
            evictions_paused: verdicts.paused,
        }
    }

    /// Does one piece of work; says what it cost, 0 if there was none.
    fn step(&mut self, draft: &mut Draft<'_>, budget: usize) -> usize {
        if let Some(node) = self.dirty.nodes.pop_first() {
            return self.dirty.spread_node(draft.view(), &node, &mut self.scheduler);
        }
        if let Some(service) = self.dirty.sweeps.pop_first() {
            return self.dirty.spread_service(draft.view(), &service);
        }
        if let Some((service, slot)) = self.dirty.slots.pop_first() {
            self.look_at_slot(draft, &service, &slot);
            self.absorb(draft, Scheduling::Elsewhere);
            return 1;
        }
        if let Some(service) = self.dirty.services.pop_first() {
            let before = draft.len();
            self.look_at_service(draft, &service, budget);
            self.absorb(draft, Scheduling::Elsewhere);
            return 1 + draft.len() - before;
        }
        if let Some(service) = self.dirty.updates.pop_first() {
            self.look_at_update(draft, &service);
            self.absorb(draft, Scheduling::Elsewhere);
            return 1;
        }
        if let Some(service) = self.dirty.revisions.pop_first() {
            reaper::reap_revisions(draft, &service);
            return 1;
        }
        if let Some(network) = self.dirty.networks.pop_first() {
            return self.look_at_network(draft, &network, budget);
        }
        if self.scheduler.has_work() {
            let used = self.scheduler.run(draft, budget);
            self.absorb(draft, Scheduling::Here);
            return used.max(1);
        }
        0
    }

    fn look_at_slot(&mut self, draft: &mut Draft<'_>, id: &ServiceId, slot: &Slot) {
        let mut lack = None;
        let again_at = match draft.view().service(id).cloned() {
            None => reaper::remove_slot(draft, id, slot),
            Some(service) => {
                let outcome = slot::reconcile(draft, &service, slot);
                if outcome.standing == Standing::Vacant && !global::is_global(&service) {
                    self.dirty.services.insert(id.clone());
                }
                if slot::is_updating(&service) {
                    self.dirty.updates.insert(id.clone());
                }
                if outcome.standing == Standing::Ended && reaper::goes_with_its_task(draft.view(), &service) {
                    draft.delete_service(&service);
                    self.dirty.service_gone(draft.view(), &service);
                }
                lack = outcome.lack;
                outcome.again_at
            }
        };
        self.dirty.feeds(id, slot, lack);
        self.scheduler.slot_changed(draft.view(), id, slot);
        if let Some(at) = again_at {
            self.dirty.wake_at(at, Timer::Slot(id.clone(), slot.clone()));
        }
    }

    fn look_at_service(&mut self, draft: &mut Draft<'_>, id: &ServiceId, budget: usize) {
        let Some(service) = draft.view().service(id).cloned() else {
            return;
        };
        match service.spec.mode {
            Mode::Replicated { replicas } => {
                if !replicated::reconcile(draft, &service, replicas, budget) {
                    self.dirty.services.insert(id.clone());
                }
            }
            Mode::Global => {
                let slots = global::slots(draft.view(), id);
                self.dirty
                    .slots
                    .extend(slots.into_iter().map(|slot| (id.clone(), slot)));
            }
        }
    }

    fn look_at_update(&mut self, draft: &mut Draft<'_>, id: &ServiceId) {
        let Some(service) = draft.view().service(id).cloned() else {
            return;
        };
        let before = draft.len();
        if let Some(at) = updater::reconcile(draft, &service) {
            self.dirty.wake_at(at, Timer::Update(id.clone()));
        } else if draft.len() != before {
            self.dirty.updates.insert(id.clone());
        }
    }

    /// Gives addresses to who waits for one of the network, as long as there are any, and lets a removed network go.
    fn look_at_network(&mut self, draft: &mut Draft<'_>, id: &NetworkId, budget: usize) -> usize {
        if let Some(at) = reaper::reap_network(draft, id) {
            self.dirty.wake_at(at, Timer::Network(id.clone()));
        }
        let mut used = 1;
        while let Some((service, slot)) = self.dirty.hungry(id) {
            if used > budget {
                self.dirty.networks.insert(id.clone());
                break;
            }
            used += 1;
            self.look_at_slot(draft, &service, &slot);
            self.absorb(draft, Scheduling::Elsewhere);
            if self.dirty.hungry(id) == Some((service, slot)) {
                // It got none, so that nobody behind it would.
                break;
            }
        }
        used
    }

    /// Marks dirty what the plan itself has changed.
    fn absorb(&mut self, draft: &mut Draft<'_>, scheduling: Scheduling) {
        for touched in draft.take_touched() {
            self.dirty
                .touch(draft.view(), &touched, &mut self.scheduler, scheduling);
        }
    }
}

/// Who changed a task: the scheduler has counted its own placements already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheduling {
    Here,
    Elsewhere,
}

/// The nodes whose silence would be noticed.
fn watched(view: &StoreView) -> impl Iterator<Item = NodeId> {
    view.nodes()
        .filter(|node| sessions::is_watched(node))
        .map(|node| node.id.clone())
}

fn heartbeat_period(view: &StoreView) -> Duration {
    let configured = view
        .cluster()
        .map_or(Duration::from_secs(1), |cluster| cluster.spec.heartbeat_period);
    liveness::period(configured, view.node_count())
}
