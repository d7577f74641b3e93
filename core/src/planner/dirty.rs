//! What the planner has to look at again, and the rules by which a change makes something dirty.
//!
//! Marking is cheap and may be too broad, never too narrow: looking at something that is in order changes
//! nothing. Everything is sorted, so that the order of work is the same for everyone.

use super::{Scheduling, draft::Touched};
use crate::{
    allocator::Lack,
    model::{NetworkId, Node, NodeId, Service, ServiceId, Slot, Task, Timestamp},
    orchestrator::{global, slot, tasks::is_live},
    scheduler::Scheduler,
    store::{Event, EventKind, Object, StoreView, held_by_task},
};
use std::collections::{BTreeMap, BTreeSet};

/// Something to look at again at a point in time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    Slot(ServiceId, Slot),
    Update(ServiceId),
    Network(NetworkId),
}

#[derive(Debug, Default)]
pub(crate) struct Dirty {
    /// All their tasks, and what global services want there.
    pub(crate) nodes: BTreeSet<NodeId>,
    /// All slots of these.
    pub(crate) sweeps: BTreeSet<ServiceId>,
    pub(crate) slots: BTreeSet<(ServiceId, Slot)>,
    /// How many slots they have.
    pub(crate) services: BTreeSet<ServiceId>,
    pub(crate) updates: BTreeSet<ServiceId>,
    pub(crate) revisions: BTreeSet<ServiceId>,
    /// Who waits for an address of these, and whether removed ones can go.
    pub(crate) networks: BTreeSet<NetworkId>,
    /// Slots whose task waits for an address, by the network that had none when the task was last looked at.
    hungry: BTreeMap<NetworkId, BTreeSet<(ServiceId, Slot)>>,
    /// The same by slot.
    hungry_for: BTreeMap<(ServiceId, Slot), NetworkId>,
    /// Services that a change of any node may concern.
    globals: BTreeSet<ServiceId>,
    timers: BTreeSet<(Timestamp, Timer)>,
    /// One wake-up each: the earliest asked for.
    armed: BTreeMap<Timer, Timestamp>,
}

impl Dirty {
    /// Everything is dirty. Tasks and revisions of services that are gone are found by their own ids.
    pub(crate) fn restart(&mut self, view: &StoreView) {
        *self = Self::default();
        for service in view.services() {
            self.service(service);
        }
        let of_tasks = view.tasks().map(|task| &task.service);
        let of_revisions = view.revisions().map(|revision| &revision.key.service);
        for id in of_tasks.chain(of_revisions) {
            if view.service(id).is_none() && !self.sweeps.contains(id) {
                self.sweeps.insert(id.clone());
                self.revisions.insert(id.clone());
            }
        }
        let removed = view.networks().filter(|network| network.status.removed);
        self.networks.extend(removed.map(|network| network.id.clone()));
    }

    pub(crate) fn has_work(&self) -> bool {
        !(self.nodes.is_empty()
            && self.sweeps.is_empty()
            && self.slots.is_empty()
            && self.services.is_empty()
            && self.updates.is_empty()
            && self.revisions.is_empty()
            && self.networks.is_empty())
    }

    pub(crate) fn next_timer(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| *at)
    }

    pub(crate) fn wake_at(&mut self, at: Timestamp, timer: Timer) {
        if let Some(old) = self.armed.get(&timer).copied() {
            if old <= at {
                return;
            }
            self.timers.remove(&(old, timer.clone()));
        }
        self.armed.insert(timer.clone(), at);
        self.timers.insert((at, timer));
    }

    /// Marks what is due.
    pub(crate) fn fire(&mut self, now: Timestamp) {
        while self.timers.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, timer)) = self.timers.pop_first() else {
                return;
            };
            self.armed.remove(&timer);
            match timer {
                Timer::Slot(service, slot) => {
                    self.slots.insert((service, slot));
                }
                Timer::Update(service) => {
                    self.updates.insert(service);
                }
                Timer::Network(network) => {
                    self.networks.insert(network);
                }
            }
        }
    }

    /// Notes whether the slot's task waits for an address, and for which network's.
    pub(crate) fn feeds(&mut self, service: &ServiceId, slot: &Slot, lack: Option<Lack>) {
        let key = (service.clone(), slot.clone());
        if let Some(before) = self.hungry_for.remove(&key)
            && let Some(slots) = self.hungry.get_mut(&before)
        {
            slots.remove(&key);
            if slots.is_empty() {
                self.hungry.remove(&before);
            }
        }
        let Some(lack) = lack else {
            return;
        };
        if let Some(at) = lack.again_at {
            self.wake_at(at, Timer::Network(lack.network.clone()));
        }
        self.hungry
            .entry(lack.network.clone())
            .or_default()
            .insert(key.clone());
        self.hungry_for.insert(key, lack.network);
    }

    /// The first slot that waits for an address of the network.
    pub(crate) fn hungry(&self, network: &NetworkId) -> Option<(ServiceId, Slot)> {
        self.hungry.get(network)?.first().cloned()
    }

    /// An address of the network was given back.
    fn freed(&mut self, view: &StoreView, network: &NetworkId) {
        let removed = view
            .network(network)
            .is_some_and(|network| network.status.removed);
        if removed || self.hungry.contains_key(network) {
            self.networks.insert(network.clone());
        }
    }

    /// A change committed by others than the planner.
    pub(crate) fn observe(&mut self, view: &StoreView, event: &Event, scheduler: &mut Scheduler) {
        match &event.object {
            Object::Task(task) => {
                let old = match &event.old {
                    Some(Object::Task(old)) => Some(old.clone()),
                    _ => None,
                };
                let touched = match event.kind {
                    EventKind::Removed => Touched {
                        old: Some(task.clone()),
                        new: None,
                    },
                    EventKind::Created | EventKind::Updated => Touched {
                        old,
                        new: Some(task.clone()),
                    },
                };
                self.touch(view, &touched, scheduler, Scheduling::Elsewhere);
            }
            Object::Node(node) => {
                let old = match &event.old {
                    Some(Object::Node(old)) => Some(old),
                    _ => None,
                };
                if old.is_none_or(|old| matters(old, node)) {
                    self.nodes.insert(node.id.clone());
                }
            }
            Object::Service(service) => {
                if event.kind == EventKind::Removed {
                    self.globals.remove(&service.id);
                }
                if view.service(&service.id).is_some() {
                    self.service(service);
                } else {
                    self.service_gone(view, service);
                }
            }
            Object::Cluster(_) => self
                .sweeps
                .extend(view.services().map(|service| service.id.clone())),
            Object::Network(network) => {
                self.networks.insert(network.id.clone());
            }
            Object::Revision(_) | Object::Stack(_) => {}
        }
    }

    fn service(&mut self, service: &Service) {
        if global::is_global(service) {
            self.globals.insert(service.id.clone());
        }
        if slot::is_updating(service) {
            self.updates.insert(service.id.clone());
        }
        self.sweeps.insert(service.id.clone());
        self.services.insert(service.id.clone());
        self.revisions.insert(service.id.clone());
    }

    /// Its tasks and revisions are to be forgotten, and its addresses are given back.
    pub(crate) fn service_gone(&mut self, view: &StoreView, service: &Service) {
        self.sweeps.insert(service.id.clone());
        self.revisions.insert(service.id.clone());
        for place in &service.endpoint.vips {
            self.freed(view, &place.network);
        }
    }

    /// A task was created, changed or deleted.
    pub(crate) fn touch(
        &mut self,
        view: &StoreView,
        touched: &Touched,
        scheduler: &mut Scheduler,
        scheduling: Scheduling,
    ) {
        let sides = [touched.old.as_deref(), touched.new.as_deref()];
        let Some(task) = sides[1].or(sides[0]) else {
            return;
        };
        // A placement needs no second look: it was made for a node that fits.
        if scheduling == Scheduling::Elsewhere {
            self.slots.insert((task.service.clone(), task.slot.clone()));
            for side in sides.into_iter().flatten().filter(|_| changes_load(sides)) {
                if let Some(node) = &side.node {
                    scheduler.node_changed(node);
                }
            }
            match touched.new.as_deref() {
                Some(new) => scheduler.task_changed(new),
                None => scheduler.forget(task),
            }
        }
        if let Some(old) = sides[0]
            && sides[1].is_none_or(|new| held_by_task(new).is_empty())
        {
            for place in held_by_task(old) {
                self.freed(view, &place.network);
            }
        }
        if touched.new.is_none() {
            let service = view.service(&task.service);
            if service.is_none_or(|service| service.revision != task.revision) {
                self.revisions.insert(task.service.clone());
            }
        }
    }

    /// Marks what a change of the node concerns; says what that cost.
    pub(crate) fn spread_node(
        &mut self,
        view: &StoreView,
        node: &NodeId,
        scheduler: &mut Scheduler,
    ) -> usize {
        scheduler.node_changed(node);
        let mut cost = 1;
        for task in view.tasks_on_node(node) {
            self.slots.insert((task.service.clone(), task.slot.clone()));
            cost += 1;
        }
        for service in &self.globals {
            self.slots.insert((service.clone(), Slot::Node(node.clone())));
            cost += 1;
        }
        cost
    }

    /// Marks all slots of a service; says what that cost.
    pub(crate) fn spread_service(&mut self, view: &StoreView, id: &ServiceId) -> usize {
        let mut cost = 1;
        for task in view.tasks_of_service(id) {
            self.slots.insert((task.service.clone(), task.slot.clone()));
            cost += 1;
        }
        cost
    }
}

/// Does the change alter what its node has free, or how the node is judged?
fn changes_load(sides: [Option<&Task>; 2]) -> bool {
    let load = |task: &Task| {
        (
            task.node.clone(),
            task.status.state >= crate::model::TaskState::Assigned,
            task.status.state.is_terminal(),
            is_live(task),
        )
    };
    sides[0].map(load) != sides[1].map(load)
}

/// Is it more than its own bookkeeping that changed of the node?
fn matters(old: &Node, new: &Node) -> bool {
    old.spec != new.spec || old.description != new.description || old.status.state != new.status.state
}
