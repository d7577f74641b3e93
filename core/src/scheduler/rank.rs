//! Which of the nodes that would do: the one with the fewest tasks of the service, then the fewest at all.
//!
//! With placement preferences, values of the labels come first: the branch with the fewest tasks of the
//! service is taken at each level. Without, the table's own orders are walked, so that one task costs
//! what it takes to find it a node and not the size of the cluster. Nodes on which the revision keeps
//! failing come last of all.

use super::{
    Demand, Refused, filter,
    table::{Entry, Host, NodeTable},
};
use crate::model::{Node, NodeId, Preference};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

/// Lower is better: failures that matter, tasks of the service, tasks in all, id.
type Rank = (u32, u32, u32, NodeId);

/// Chooses nodes for the tasks of one group, one after the other.
#[derive(Debug)]
pub(super) struct Chooser {
    walk: Walk,
    ranked: Branch,
    faulty: BTreeSet<Rank>,
    refused: Refused,
}

/// How far the walk over the table's orders has come. What lies before was refused, or was given a task
/// and lies further on by it.
#[derive(Debug)]
enum Walk {
    /// Nodes that have no task of the service, by load.
    Fresh(Option<(u32, NodeId)>),
    /// Nodes that have some.
    Hosts(Option<Host>),
    Done,
}

/// A level of the preferences: values, or at the end the nodes themselves.
#[derive(Debug, Default)]
struct Branch {
    /// Of the service, on all nodes that were ever in it.
    tasks: u32,
    /// Nodes in it now.
    size: usize,
    children: BTreeMap<String, Branch>,
    nodes: BTreeSet<Rank>,
}

impl Chooser {
    pub(super) fn new(table: &NodeTable, demand: &Demand) -> Self {
        let mut chooser = Self {
            walk: Walk::Fresh(None),
            ranked: Branch::default(),
            faulty: BTreeSet::new(),
            refused: Refused::default(),
        };
        if !demand.preferences.is_empty() {
            chooser.walk = Walk::Done;
            for (_, id) in table.by_load() {
                chooser.add(table, id, demand, None);
            }
        }
        chooser
    }

    /// The best node that would do now. The caller places the task and says so by `placed`.
    pub(super) fn next(&mut self, table: &NodeTable, demand: &Demand) -> Option<NodeId> {
        if let Some(node) = self.next_fresh(table, demand) {
            return Some(node);
        }
        if let Some(node) = self.next_host(table, demand) {
            return Some(node);
        }
        while let Some((_, _, _, id)) = self.ranked.pop() {
            if self.passes(table, &id, demand) {
                return Some(id);
            }
        }
        while let Some((_, _, _, id)) = self.faulty.pop_first() {
            if self.passes(table, &id, demand) {
                return Some(id);
            }
        }
        None
    }

    /// A node was given a task: it may be chosen again, in its new place. The walk finds it there by itself.
    pub(super) fn placed(&mut self, table: &NodeTable, id: &NodeId, demand: &Demand) {
        if matches!(self.walk, Walk::Done) {
            self.add(table, id, demand, Some(1));
        }
    }

    /// Why no node is left.
    pub(super) fn refused(&self, table: &NodeTable) -> Refused {
        let mut refused = self.refused.clone();
        refused.add_closed(table.len() - table.by_load().len());
        refused
    }

    fn passes(&mut self, table: &NodeTable, id: &NodeId, demand: &Demand) -> bool {
        let Some(entry) = table.get(id) else {
            return false;
        };
        match filter::check(entry, demand) {
            Ok(()) => true,
            Err(filter) => {
                // Within a group room only shrinks: a node refused once stays out.
                self.refused.add(filter, id);
                false
            }
        }
    }

    /// `more`: how many tasks of the service this adds to its branch, all of the node's by default.
    fn add(&mut self, table: &NodeTable, id: &NodeId, demand: &Demand, more: Option<u32>) {
        let Some(entry) = table.get(id).filter(|entry| entry.is_open()) else {
            return;
        };
        let faults = entry.faults(&demand.key);
        let rank = (
            faults,
            entry.tasks_of(&demand.key.service),
            entry.load(),
            id.clone(),
        );
        if faults > 0 {
            self.faulty.insert(rank);
        } else {
            let path: Vec<_> = demand.preferences.iter().map(|p| value(&entry.node, p)).collect();
            let more = more.unwrap_or(rank.1);
            self.ranked.insert(&path, rank, more);
        }
    }

    fn next_fresh(&mut self, table: &NodeTable, demand: &Demand) -> Option<NodeId> {
        let Walk::Fresh(last) = &self.walk else {
            return None;
        };
        let hosts = table.hosts(&demand.key.service).map_or(0, BTreeSet::len);
        let all_host = hosts >= table.by_load().len();
        for (load, id) in after(table.by_load(), last.as_ref()).take(if all_host { 0 } else { usize::MAX }) {
            let fresh = |entry: &Entry| entry.tasks_of(&demand.key.service) == 0;
            if table.get(id).is_some_and(fresh) && self.may_take(table, id, demand) {
                self.walk = Walk::Fresh(Some((*load, id.clone())));
                return Some(id.clone());
            }
        }
        self.walk = Walk::Hosts(None);
        None
    }

    fn next_host(&mut self, table: &NodeTable, demand: &Demand) -> Option<NodeId> {
        let Walk::Hosts(last) = &self.walk else {
            return None;
        };
        if let Some(hosts) = table.hosts(&demand.key.service) {
            for host in after(hosts, last.as_ref()) {
                if self.may_take(table, &host.2, demand) {
                    self.walk = Walk::Hosts(Some(host.clone()));
                    return Some(host.2.clone());
                }
            }
        }
        self.walk = Walk::Done;
        None
    }

    /// One on which the revision keeps failing is put off.
    fn may_take(&mut self, table: &NodeTable, id: &NodeId, demand: &Demand) -> bool {
        if table.get(id).is_some_and(|entry| entry.faults(&demand.key) > 0) {
            self.add(table, id, demand, None);
            return false;
        }
        self.passes(table, id, demand)
    }
}

fn after<'a, T: Ord + Clone>(
    order: &'a BTreeSet<T>,
    last: Option<&T>,
) -> impl Iterator<Item = &'a T> + use<'a, T> {
    let start = last.map_or(Bound::Unbounded, |last| Bound::Excluded(last.clone()));
    order.range((start, Bound::Unbounded))
}

impl Branch {
    /// Adds a node, and `more` tasks of the service to every level above it.
    fn insert(&mut self, path: &[&str], rank: Rank, more: u32) {
        self.tasks += more;
        self.size += 1;
        match path.split_first() {
            Some((value, rest)) => {
                let child = self.children.entry((*value).to_owned()).or_default();
                child.insert(rest, rank, more);
            }
            None => {
                self.nodes.insert(rank);
            }
        }
    }

    /// Takes the best node out of the branch with the fewest tasks. Its own tasks stay counted: they are
    /// there whether or not it can take another.
    fn pop(&mut self) -> Option<Rank> {
        let rank = match self.nodes.pop_first() {
            Some(rank) => rank,
            None => self
                .children
                .iter_mut()
                .filter(|(_, child)| child.size > 0)
                .min_by_key(|(value, child)| (child.tasks, *value))
                .and_then(|(_, child)| child.pop())?,
        };
        self.size -= 1;
        Some(rank)
    }
}

fn value<'a>(node: &'a Node, preference: &Preference) -> &'a str {
    let Preference::Spread(label) = preference;
    let labels = if let Some(name) = label.strip_prefix("node.labels.") {
        node.spec.labels.get(name)
    } else {
        label
            .strip_prefix("engine.labels.")
            .and_then(|name| node.description.as_ref()?.engine_labels.get(name))
    };
    labels.map_or("", String::as_str)
}
