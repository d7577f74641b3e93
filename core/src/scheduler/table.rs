//! What the scheduler knows of each node: room, ports, load, recent failures. A cache of the view.
//!
//! An entry is made anew from the node's own tasks whenever one of them changes, so that it cannot drift,
//! and kept up to date in between as the scheduler places tasks. Nodes that may take tasks are kept in
//! the order of their load, so that placing one task does not look at all of them.

use super::{Demand, demand::host_ports};
use crate::{
    allocator::addresses_meet,
    model::{
        Availability, Bytes, CpuNanos, Node, NodeId, NodeState, Protocol, PublishedPort, Resources,
        RevisionKey, ServiceId, TaskState, Timestamp,
    },
    orchestrator::tasks::{is_live, is_unassigned},
    store::StoreView,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

/// A node on which a revision failed this often lately is chosen last; Swarm's figures.
const MANY_FAILURES: u32 = 5;
const LATELY: Duration = Duration::from_secs(5 * 60);

#[derive(Debug, Default)]
pub(crate) struct NodeTable {
    nodes: BTreeMap<NodeId, Entry>,
    /// Open nodes by the number of their live tasks.
    by_load: BTreeSet<(u32, NodeId)>,
    /// Open nodes that have live tasks of a service: by how many, then by load.
    hosts: BTreeMap<ServiceId, BTreeSet<Host>>,
}

/// Tasks of the service, tasks in all, and the node.
pub(crate) type Host = (u32, u32, NodeId);

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) node: Arc<Node>,
    /// What no task on it has reserved.
    pub(crate) free: Resources,
    /// Ports that tasks on it publish, with the address of the host where one was named.
    ports: BTreeMap<(Protocol, u16), BTreeSet<Option<IpAddr>>>,
    tasks: u32,
    services: BTreeMap<ServiceId, u32>,
    failures: BTreeMap<RevisionKey, u32>,
}

impl Entry {
    /// May it take tasks?
    pub(crate) fn is_open(&self) -> bool {
        matches!(
            (self.node.status.state, self.node.spec.availability),
            (NodeState::Ready, Availability::Active)
        )
    }

    pub(crate) fn tasks_of(&self, service: &ServiceId) -> u32 {
        self.services.get(service).copied().unwrap_or(0)
    }

    /// All its live tasks.
    pub(crate) fn load(&self) -> u32 {
        self.tasks
    }

    /// How often the revision failed here lately, if that is often enough to matter.
    pub(crate) fn faults(&self, revision: &RevisionKey) -> u32 {
        let failures = self.failures.get(revision).copied().unwrap_or(0);
        if failures >= MANY_FAILURES { failures } else { 0 }
    }

    /// Does a task on it publish this port on an address that meets the port's own?
    pub(crate) fn has_port(&self, port: &PublishedPort) -> bool {
        let taken = self.ports.get(&(port.protocol, port.published));
        taken.is_some_and(|taken| taken.iter().any(|address| addresses_meet(*address, port.host_ip)))
    }

    fn new(node: Arc<Node>) -> Self {
        let free = node.description.as_ref().map(|d| d.resources).unwrap_or_default();
        Self {
            node,
            free,
            ports: BTreeMap::new(),
            tasks: 0,
            services: BTreeMap::new(),
            failures: BTreeMap::new(),
        }
    }

    fn reserve(&mut self, resources: &Resources, ports: impl Iterator<Item = PublishedPort>) {
        self.free.cpu = CpuNanos(self.free.cpu.0.saturating_sub(resources.cpu.0));
        self.free.memory = Bytes(self.free.memory.0.saturating_sub(resources.memory.0));
        for port in ports {
            let addresses = self.ports.entry((port.protocol, port.published)).or_default();
            addresses.insert(port.host_ip);
        }
    }

    fn add_live(&mut self, service: &ServiceId) {
        self.tasks += 1;
        *self.services.entry(service.clone()).or_default() += 1;
    }
}

impl NodeTable {
    /// The whole table of a view.
    pub(crate) fn of(view: &StoreView, now: Timestamp) -> Self {
        let mut table = Self::default();
        for node in view.nodes() {
            table.refresh(view, &node.id, now);
        }
        table
    }

    pub(crate) fn get(&self, node: &NodeId) -> Option<&Entry> {
        self.nodes.get(node)
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Open nodes, by load, then id.
    pub(crate) fn by_load(&self) -> &BTreeSet<(u32, NodeId)> {
        &self.by_load
    }

    /// Open nodes that have live tasks of the service, the best first.
    pub(crate) fn hosts(&self, service: &ServiceId) -> Option<&BTreeSet<Host>> {
        self.hosts.get(service)
    }

    /// Learns a node anew from its tasks.
    pub(crate) fn refresh(&mut self, view: &StoreView, id: &NodeId, now: Timestamp) {
        self.remove(id);
        let Some(node) = view.node(id) else {
            return;
        };
        let mut entry = Entry::new(node.clone());
        for task in view.tasks_on_node(id) {
            let state = task.status.state;
            if state.is_terminal() {
                let failed = matches!(state, TaskState::Failed | TaskState::Rejected);
                if failed && now.since(task.status.at) < LATELY {
                    *entry.failures.entry(task.revision_key()).or_default() += 1;
                }
                continue;
            }
            if is_unassigned(task) {
                continue;
            }
            // One that is stopping still has what it reserved.
            if let Some(revision) = view.revision(&task.revision_key()) {
                entry.reserve(&revision.task.reservations, host_ports(revision));
            }
            if is_live(task) {
                entry.add_live(&task.service);
            }
        }
        self.rank(&entry);
        self.nodes.insert(id.clone(), entry);
    }

    fn remove(&mut self, id: &NodeId) {
        if let Some(entry) = self.nodes.remove(id) {
            self.unrank(&entry);
        }
    }

    fn rank(&mut self, entry: &Entry) {
        if !entry.is_open() {
            return;
        }
        let id = &entry.node.id;
        self.by_load.insert((entry.tasks, id.clone()));
        for (service, count) in &entry.services {
            let hosts = self.hosts.entry(service.clone()).or_default();
            hosts.insert((*count, entry.tasks, id.clone()));
        }
    }

    fn unrank(&mut self, entry: &Entry) {
        let id = &entry.node.id;
        self.by_load.remove(&(entry.tasks, id.clone()));
        for (service, count) in &entry.services {
            if let Some(hosts) = self.hosts.get_mut(service) {
                hosts.remove(&(*count, entry.tasks, id.clone()));
                if hosts.is_empty() {
                    self.hosts.remove(service);
                }
            }
        }
    }

    /// Counts a task that was just placed.
    pub(crate) fn place(&mut self, id: &NodeId, demand: &Demand) {
        let Some(mut entry) = self.nodes.remove(id) else {
            return;
        };
        self.unrank(&entry);
        entry.reserve(&demand.resources, demand.ports.iter().copied());
        entry.add_live(&demand.key.service);
        self.rank(&entry);
        self.nodes.insert(id.clone(), entry);
    }
}
