//! The sessions of one manager: what each node's worker was last sent, and the diffs that follow.
//!
//! Kept in memory and made anew from the store whenever a session opens, so a lost session loses
//! nothing. Called by the machine of every manager with the events of its applied store.

use super::assignment::{Assignments, Position, build, concerns_node, tasks_for};
use super::tables::TablesDiff;
use crate::{
    model::{DesiredState, NodeId, Task, TaskId, Timestamp},
    store::{Event, Object, ObjectKey, StoreView},
};
use std::collections::{BTreeMap, BTreeSet};

/// Every open session of this manager.
#[derive(Debug, Default)]
pub struct Sessions {
    nodes: BTreeMap<NodeId, Session>,
}

#[derive(Debug)]
struct Session {
    position: Position,
    sent: BTreeMap<TaskId, Sent>,
}

/// The parts of a task whose change a worker must hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sent {
    desired: DesiredState,
    not_before: Option<Timestamp>,
}

impl Sent {
    fn of(task: &Task) -> Self {
        Self {
            desired: task.desired,
            not_before: task.not_before,
        }
    }
}

impl Sessions {
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens a node's session, or starts it over where the worker asks for everything again. An older
    /// session of the node is forgotten: only the last one is served.
    pub fn open(&mut self, view: &StoreView, node: &NodeId) -> Assignments {
        let position = Position::of(view);
        let tasks: Vec<&Task> = tasks_for(view, node).collect();
        let sent = tasks
            .iter()
            .map(|task| (task.id.clone(), Sent::of(task)))
            .collect();
        let assignments = Assignments {
            prev: None,
            position,
            tasks: tasks
                .into_iter()
                .filter_map(|task| build(view, task, view.now()))
                .collect(),
            removed: Vec::new(),
            tables: TablesDiff::default(),
        };
        self.nodes.insert(node.clone(), Session { position, sent });
        assignments
    }

    pub fn close(&mut self, node: &NodeId) {
        self.nodes.remove(node);
    }

    pub fn is_open(&self, node: &NodeId) -> bool {
        self.nodes.contains_key(node)
    }

    pub fn nodes(&self) -> impl Iterator<Item = &NodeId> {
        self.nodes.keys()
    }

    /// What to send after `view` was reached by `events`. Costs what the events touch. Several entries
    /// may be applied before one call; only the latest state of a task is sent.
    pub fn handle(&mut self, view: &StoreView, events: &[Event]) -> Vec<(NodeId, Assignments)> {
        let mut touched: BTreeMap<NodeId, BTreeSet<TaskId>> = BTreeMap::new();
        for (node, task) in events.iter().flat_map(touched_by) {
            if self.nodes.contains_key(&node) {
                touched.entry(node).or_default().insert(task);
            }
        }
        touched
            .into_iter()
            .filter_map(|(node, tasks)| {
                let session = self.nodes.get_mut(&node)?;
                let assignments = session.diff(view, &node, tasks)?;
                Some((node, assignments))
            })
            .collect()
    }
}

impl Session {
    fn diff(&mut self, view: &StoreView, node: &NodeId, touched: BTreeSet<TaskId>) -> Option<Assignments> {
        let mut assignments = Assignments {
            prev: Some(self.position),
            position: Position::of(view),
            tasks: Vec::new(),
            removed: Vec::new(),
            tables: TablesDiff::default(),
        };
        for id in touched {
            let task = view
                .task(&id)
                .filter(|task| task.node.as_ref() == Some(node) && concerns_node(task));
            let Some(task) = task else {
                if self.sent.remove(&id).is_some() {
                    assignments.removed.push(id);
                }
                continue;
            };
            let now = Sent::of(task);
            if self.sent.get(&id) != Some(&now) {
                assignments.tasks.extend(build(view, task, view.now()));
                self.sent.insert(id, now);
            }
        }
        if assignments.tasks.is_empty() && assignments.removed.is_empty() {
            return None;
        }
        self.position = assignments.position;
        Some(assignments)
    }
}

/// The tasks, with their nodes, that an event may have changed the assignment of.
fn touched_by(event: &Event) -> Vec<(NodeId, TaskId)> {
    let Object::Task(new) = &event.object else {
        return Vec::new();
    };
    let old = match &event.old {
        Some(Object::Task(old)) => Some(old),
        _ => None,
    };
    let nodes: BTreeSet<&NodeId> = new
        .node
        .iter()
        .chain(old.and_then(|old| old.node.as_ref()))
        .collect();
    debug_assert!(matches!(event.object.key(), ObjectKey::Task(_)));
    nodes
        .into_iter()
        .map(|node| (node.clone(), new.id.clone()))
        .collect()
}
