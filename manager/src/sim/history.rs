//! What must hold after every step, whatever struck.
//!
//! The first member to apply an index writes history there; every other must come to the same state. The
//! checks read committed events and the state after them, never a member's intentions.

use super::{addresses, counters::Counters};
use shoal_core::{
    dispatcher::Position,
    model::{NodeId, PortMode, PublishedPort, RequestId, Resources, ServiceId, Slot, Task, TaskState},
    store::{Event, EventKind, Object, StoreView},
};
use std::collections::{BTreeMap, BTreeSet};

/// More than a message to a worker is late.
const STATES_KEPT: usize = 1000;

#[derive(Debug, Default)]
pub(super) struct History {
    /// The state's hash at each index where some member has stood.
    digests: BTreeMap<u64, [u8; 32]>,
    /// Who led in each term.
    leaders: BTreeMap<u64, u64>,
    /// The furthest state that any member has applied.
    pub(super) view: StoreView,
    /// The last states that some member stood at.
    states: BTreeMap<Position, StoreView>,
    /// Entries that the world itself put into the log, by their bytes' index.
    pub(super) injected: BTreeSet<u64>,
    acknowledged: BTreeSet<RequestId>,
}

impl History {
    /// A member stands at this state.
    pub(super) fn stand(&mut self, view: StoreView, digest: [u8; 32]) -> Result<(), String> {
        let index = view.index();
        if *self.digests.entry(index).or_insert(digest) != digest {
            return Err(format!("members came to different states at index {index}"));
        }
        if index > self.view.index() {
            self.states.insert(Position::of(&view), view.clone());
            if self.states.len() > STATES_KEPT {
                self.states.pop_first();
            }
            self.view = view;
        }
        Ok(())
    }

    /// The state at a position, if some member stood there lately.
    pub(super) fn at(&self, position: Position) -> Option<&StoreView> {
        self.states.get(&position)
    }

    pub(super) fn leads(&mut self, term: u64, member: u64) -> Result<(), String> {
        let leader = *self.leaders.entry(term).or_insert(member);
        if leader == member {
            return Ok(());
        }
        Err(format!("members {leader} and {member} both led in term {term}"))
    }

    pub(super) fn dropped(&self, index: u64) -> Result<(), String> {
        if self.injected.contains(&index) {
            return Ok(());
        }
        Err(format!(
            "entry {index} was dropped: its leader planned it against another state"
        ))
    }

    /// A user was told that a write took effect.
    pub(super) fn acknowledge(&mut self, request: &RequestId) -> Result<(), String> {
        self.acknowledged.insert(request.clone());
        if self.view.request_outcome(request).is_none() {
            return Err(format!(
                "request {request} was acknowledged before it was committed"
            ));
        }
        Ok(())
    }

    /// Nothing acknowledged may be missing from the state in the end.
    pub(super) fn all_acknowledged_in(&self, view: &StoreView) -> Result<(), String> {
        match self
            .acknowledged
            .iter()
            .find(|request| view.request_outcome(request).is_none())
        {
            None => Ok(()),
            Some(request) => Err(format!("request {request} was acknowledged and is lost")),
        }
    }

    /// Events that a member has just applied; `view` is the state after them.
    pub(super) fn events(
        &mut self,
        events: &[Event],
        view: &StoreView,
        counters: &mut Counters,
    ) -> Result<(), String> {
        let from = self.view.index();
        let new: Vec<&Event> = events.iter().filter(|event| event.index > from).collect();
        let (mut slots, mut nodes) = (BTreeSet::new(), BTreeSet::new());
        for event in &new {
            check_event(event)?;
            if let Object::Task(task) = &event.object {
                slots.insert((task.service.clone(), task.slot.clone()));
                nodes.extend(task.node.clone());
                if let Some(wait) = &task.wait {
                    counters.wait(wait.code);
                }
            }
        }
        for (service, slot) in &slots {
            check_slot(view, service, slot)?;
        }
        for node in &nodes {
            check_node(view, node)?;
        }
        addresses::check(view, &new)
    }
}

fn check_event(event: &Event) -> Result<(), String> {
    match (&event.object, &event.old) {
        (Object::Task(new), Some(Object::Task(old))) => check_task(old, new),
        (Object::Service(new), Some(Object::Service(old))) => check_count(&old.spec.labels, &new.spec.labels),
        (Object::Revision(new), Some(Object::Revision(old))) if new.task != old.task => {
            Err(format!("revision {:?} was changed", new.key))
        }
        (Object::Node(new), Some(Object::Node(old))) => check_count(&old.spec.labels, &new.spec.labels),
        _ if event.kind == EventKind::Updated && event.old.is_none() => Err(format!(
            "an update of {:?} does not say what it replaced",
            event.object.key()
        )),
        _ => Ok(()),
    }
}

fn check_task(old: &Task, new: &Task) -> Result<(), String> {
    let id = &new.id;
    let (before, after) = (
        (old.status.attempt, old.status.state),
        (new.status.attempt, new.status.state),
    );
    if after < before {
        return Err(format!("task {id} went back from {before:?} to {after:?}"));
    }
    if old.status.state.is_terminal() && after != before {
        return Err(format!("task {id} had ended as {before:?} and became {after:?}"));
    }
    if new.desired < old.desired && old.desired != shoal_core::model::DesiredState::Ready {
        return Err(format!(
            "task {id} was wanted {:?} and is wanted {:?} again",
            old.desired, new.desired
        ));
    }
    if old.node.is_some() && old.node != new.node {
        return Err(format!("task {id} moved from {:?} to {:?}", old.node, new.node));
    }
    if (&old.service, &old.slot, old.revision) != (&new.service, &new.slot, new.revision) {
        return Err(format!("task {id} changed what it is"));
    }
    Ok(())
}

/// The users of this world count their updates of an object in a label: each reads, adds one and writes.
/// An update made from a state that was no longer the current one would lose another's.
fn check_count(old: &shoal_core::model::Labels, new: &shoal_core::model::Labels) -> Result<(), String> {
    let count =
        |labels: &shoal_core::model::Labels| labels.get("count").and_then(|text| text.parse::<u64>().ok());
    let (Some(before), Some(after)) = (count(old), count(new)) else {
        return Ok(());
    };
    if after == before || after == before + 1 {
        return Ok(());
    }
    Err(format!(
        "an update was lost: the count went from {before} to {after}"
    ))
}

/// Has what it reserves: placed, and not stopped yet.
fn is_placed(task: &Task) -> bool {
    task.status.state >= TaskState::Assigned && !task.status.state.is_terminal()
}

/// Counts for its slot: shall run and has not ended.
fn is_live(task: &Task) -> bool {
    task.desired < shoal_core::model::DesiredState::Shutdown && !task.status.state.is_terminal()
}

fn check_slot(view: &StoreView, service: &ServiceId, slot: &Slot) -> Result<(), String> {
    let live: Vec<&Task> = view
        .tasks_of_slot(service, slot)
        .map(AsRef::as_ref)
        .filter(|task| is_live(task))
        .collect();
    if live.len() <= 1 {
        return Ok(());
    }
    let ids: Vec<String> = live
        .iter()
        .map(|task| format!("{} on {:?}", task.id, task.node))
        .collect();
    Err(format!(
        "slot {slot:?} of {service} has several live tasks: {ids:?}"
    ))
}

fn check_node(view: &StoreView, node: &NodeId) -> Result<(), String> {
    let Some(has) = view.node(node).and_then(|node| node.description.as_ref()) else {
        return Ok(());
    };
    let mut reserved = Resources::default();
    let mut ports: Vec<PublishedPort> = Vec::new();
    for task in view.tasks_on_node(node).filter(|task| is_placed(task)) {
        let Some(revision) = view.revision(&task.revision_key()) else {
            return Err(format!("task {} is live and its revision is gone", task.id));
        };
        reserved.cpu.0 += revision.task.reservations.cpu.0;
        reserved.memory.0 += revision.task.reservations.memory.0;
        for port in revision.ports.iter().filter(|port| port.mode == PortMode::Host) {
            let same = |it: &PublishedPort| (it.published, it.protocol) == (port.published, port.protocol);
            if ports.iter().any(|it| same(it) && addresses::meet(it, port)) {
                return Err(format!(
                    "host port {} of node {node} is taken twice: {}",
                    port.published,
                    tasks(view, node)
                ));
            }
            ports.push(*port);
        }
    }
    if reserved.cpu > has.resources.cpu || reserved.memory > has.resources.memory {
        let has = has.resources;
        return Err(format!(
            "node {node} has {has:?}, its tasks reserve {reserved:?}: {}",
            tasks(view, node)
        ));
    }
    Ok(())
}

/// The live tasks of a node, for a failure's text.
fn tasks(view: &StoreView, node: &NodeId) -> String {
    let live = view.tasks_on_node(node).filter(|task| is_placed(task));
    let lines = live.map(|task| {
        let version = task.meta.version.0;
        format!(
            "{} of {} {:?}: wanted {:?}, {:?}, written at {version}",
            task.id, task.service, task.slot, task.desired, task.status.state
        )
    });
    lines.collect::<Vec<_>>().join("; ")
}
