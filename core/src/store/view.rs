//! A state of the store that never changes under its holder: the read side.
//!
//! Cloning is O(1) and never stops `apply`. Planners read the leader's overlay (the applied state plus
//! what is in flight), RPC handlers and sessions the applied state; both are a `StoreView`. Every
//! iteration is sorted by id, so that the same state gives the same plan.

use super::{
    entry::RequestOutcome,
    numbers::{Holder, NumberIndex},
    object::{Object, ObjectKey},
};
use crate::model::{
    Cluster, Network, NetworkId, Node, NodeId, Protocol, RequestId, Revision, RevisionKey, Service,
    ServiceId, Slot, Stack, StackId, Task, TaskId, Timestamp,
};
use imbl::{OrdMap, OrdSet};
use std::{collections::BTreeSet, fmt, sync::Arc};

/// A snapshot of the replicated state.
#[derive(Clone, Default, PartialEq)]
pub struct StoreView {
    pub(super) header: Header,
    pub(super) cluster: Option<Arc<Cluster>>,
    pub(super) nodes: OrdMap<NodeId, Arc<Node>>,
    pub(super) services: OrdMap<ServiceId, Arc<Service>>,
    pub(super) revisions: OrdMap<RevisionKey, Arc<Revision>>,
    pub(super) tasks: OrdMap<TaskId, Arc<Task>>,
    pub(super) stacks: OrdMap<StackId, Arc<Stack>>,
    pub(super) networks: OrdMap<NetworkId, Arc<Network>>,
    pub(super) requests: OrdMap<RequestId, RequestOutcome>,
    pub(super) indexes: Indexes,
}

/// The numbers that order states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) epoch: u64,
    pub(super) index: u64,
    pub(super) last_effective: u64,
    pub(super) now: Timestamp,
}

/// Derived from the tables alone; the tests recompute them.
///
/// Names map to sets, so that even two objects of one name (which validation refuses) leave an index
/// that does not depend on the order of changes.
#[derive(Clone, Default, PartialEq)]
pub(super) struct Indexes {
    pub(super) service_names: OrdMap<(String, ServiceId), Arc<Service>>,
    pub(super) stack_names: OrdMap<(String, StackId), Arc<Stack>>,
    /// Without those that are removed and whose addresses still rest.
    pub(super) network_names: OrdMap<(String, NetworkId), Arc<Network>>,
    pub(super) network_services: OrdMap<(NetworkId, ServiceId), Arc<Service>>,
    pub(super) ports: OrdSet<(Protocol, u16, ServiceId)>,
    pub(super) numbers: NumberIndex,
    pub(super) stack_services: OrdMap<(StackId, ServiceId), Arc<Service>>,
    pub(super) slot_tasks: OrdMap<(ServiceId, Slot, TaskId), Arc<Task>>,
    pub(super) node_tasks: OrdMap<(NodeId, TaskId), Arc<Task>>,
    pub(super) requests_by_age: OrdMap<u64, RequestId>,
}

impl StoreView {
    /// (epoch, index) orders states, events and assignments.
    pub fn epoch(&self) -> u64 {
        self.header.epoch
    }

    /// The Raft index of the last entry seen, of whatever effect.
    pub fn index(&self) -> u64 {
        self.header.index
    }

    /// The Raft index of the last entry that took effect: what a plan made from this state names.
    pub fn last_effective_index(&self) -> u64 {
        self.header.last_effective
    }

    /// Cluster time of the last entry that took effect.
    pub fn now(&self) -> Timestamp {
        self.header.now
    }

    /// Absent only before the cluster is initialised.
    pub fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.cluster.as_ref()
    }

    pub fn node(&self, id: &NodeId) -> Option<&Arc<Node>> {
        self.nodes.get(id)
    }

    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes.values()
    }

    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    pub fn service(&self, id: &ServiceId) -> Option<&Arc<Service>> {
        self.services.get(id)
    }

    pub fn service_by_name(&self, name: &str) -> Option<&Arc<Service>> {
        let from = (name.to_owned(), ServiceId::LOWEST);
        let first = self.indexes.service_names.range(from..).next();
        first
            .filter(|((found, _), _)| found == name)
            .map(|(_, service)| service)
    }

    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.values()
    }

    pub fn service_count(&self) -> usize {
        self.services.len()
    }

    pub fn services_of_stack(&self, stack: &StackId) -> impl Iterator<Item = &Arc<Service>> {
        let stack = stack.clone();
        self.indexes
            .stack_services
            .range((stack.clone(), ServiceId::LOWEST)..)
            .take_while(move |((of, _), _)| *of == stack)
            .map(|(_, service)| service)
    }

    pub fn revision(&self, key: &RevisionKey) -> Option<&Arc<Revision>> {
        self.revisions.get(key)
    }

    /// A service's revisions, oldest first.
    pub fn revisions_of_service(&self, service: &ServiceId) -> impl Iterator<Item = &Arc<Revision>> {
        let service = service.clone();
        self.revisions
            .range(
                RevisionKey {
                    service: service.clone(),
                    number: 0,
                }..,
            )
            .take_while(move |(key, _)| key.service == service)
            .map(|(_, revision)| revision)
    }

    pub fn revisions(&self) -> impl Iterator<Item = &Arc<Revision>> {
        self.revisions.values()
    }

    pub fn task(&self, id: &TaskId) -> Option<&Arc<Task>> {
        self.tasks.get(id)
    }

    pub fn tasks(&self) -> impl Iterator<Item = &Arc<Task>> {
        self.tasks.values()
    }

    pub fn task_count(&self) -> usize {
        self.tasks.len()
    }

    /// A service's tasks, by slot, then id.
    pub fn tasks_of_service(&self, service: &ServiceId) -> impl Iterator<Item = &Arc<Task>> {
        let service = service.clone();
        self.indexes
            .slot_tasks
            .range((service.clone(), Slot::Replica(0), TaskId::LOWEST)..)
            .take_while(move |((of, _, _), _)| *of == service)
            .map(|(_, task)| task)
    }

    pub fn tasks_of_slot(&self, service: &ServiceId, slot: &Slot) -> impl Iterator<Item = &Arc<Task>> {
        let (service, slot) = (service.clone(), slot.clone());
        self.indexes
            .slot_tasks
            .range((service.clone(), slot.clone(), TaskId::LOWEST)..)
            .take_while(move |((of, at, _), _)| *of == service && *at == slot)
            .map(|(_, task)| task)
    }

    /// The tasks that were ever placed on a node and are still kept.
    pub fn tasks_on_node(&self, node: &NodeId) -> impl Iterator<Item = &Arc<Task>> {
        let node = node.clone();
        self.indexes
            .node_tasks
            .range((node.clone(), TaskId::LOWEST)..)
            .take_while(move |((on, _), _)| *on == node)
            .map(|(_, task)| task)
    }

    pub fn stack(&self, id: &StackId) -> Option<&Arc<Stack>> {
        self.stacks.get(id)
    }

    pub fn stack_by_name(&self, name: &str) -> Option<&Arc<Stack>> {
        let from = (name.to_owned(), StackId::LOWEST);
        let first = self.indexes.stack_names.range(from..).next();
        first
            .filter(|((found, _), _)| found == name)
            .map(|(_, stack)| stack)
    }

    pub fn stacks(&self) -> impl Iterator<Item = &Arc<Stack>> {
        self.stacks.values()
    }

    pub fn network(&self, id: &NetworkId) -> Option<&Arc<Network>> {
        self.networks.get(id)
    }

    pub fn network_by_name(&self, name: &str) -> Option<&Arc<Network>> {
        let from = (name.to_owned(), NetworkId::LOWEST);
        let first = self.indexes.network_names.range(from..).next();
        first
            .filter(|((found, _), _)| found == name)
            .map(|(_, network)| network)
    }

    /// All of them, those included that are removed and whose addresses still rest.
    pub fn networks(&self) -> impl Iterator<Item = &Arc<Network>> {
        self.networks.values()
    }

    /// The services that have names in a network.
    pub fn services_of_network(&self, network: &NetworkId) -> impl Iterator<Item = &Arc<Service>> {
        let network = network.clone();
        self.indexes
            .network_services
            .range((network.clone(), ServiceId::LOWEST)..)
            .take_while(move |((of, _), _)| *of == network)
            .map(|(_, service)| service)
    }

    /// The services that publish a port, in whatever mode and on whatever address.
    pub fn services_on_port(&self, protocol: Protocol, port: u16) -> impl Iterator<Item = &Arc<Service>> {
        self.indexes
            .ports
            .range((protocol, port, ServiceId::LOWEST)..)
            .take_while(move |(by, at, _)| (*by, *at) == (protocol, port))
            .filter_map(|(_, _, service)| self.services.get(service))
    }

    /// The services that publish any port.
    pub(crate) fn publishing_services(&self) -> BTreeSet<&ServiceId> {
        self.indexes.ports.iter().map(|(_, _, service)| service).collect()
    }

    /// Who holds numbers of a network, by number: services, and tasks that have not ended.
    pub fn holders(&self, network: &NetworkId) -> impl Iterator<Item = (u32, &Holder)> {
        self.indexes.numbers.of_network(network)
    }

    /// The first number from `number` on that nobody in the network holds.
    pub(crate) fn free_number(&self, network: &NetworkId, number: u32) -> u32 {
        self.indexes.numbers.free_from(network, number)
    }

    /// What became of a request, if it took effect and is not yet forgotten.
    pub fn request_outcome(&self, request: &RequestId) -> Option<&RequestOutcome> {
        self.requests.get(request)
    }

    /// The requests still known, sorted by id.
    pub fn request_outcomes(&self) -> impl Iterator<Item = (&RequestId, &RequestOutcome)> {
        self.requests.iter()
    }

    pub fn get(&self, key: &ObjectKey) -> Option<Object> {
        match key {
            ObjectKey::Cluster => self.cluster.clone().map(Object::Cluster),
            ObjectKey::Node(id) => self.nodes.get(id).cloned().map(Object::Node),
            ObjectKey::Service(id) => self.services.get(id).cloned().map(Object::Service),
            ObjectKey::Revision(key) => self.revisions.get(key).cloned().map(Object::Revision),
            ObjectKey::Task(id) => self.tasks.get(id).cloned().map(Object::Task),
            ObjectKey::Stack(id) => self.stacks.get(id).cloned().map(Object::Stack),
            ObjectKey::Network(id) => self.networks.get(id).cloned().map(Object::Network),
        }
    }

    /// Every object: kinds in the order of `Kind`, each sorted by id.
    pub fn objects(&self) -> impl Iterator<Item = Object> + '_ {
        let cluster = self.cluster.iter().cloned().map(Object::Cluster);
        cluster
            .chain(self.nodes().cloned().map(Object::Node))
            .chain(self.services().cloned().map(Object::Service))
            .chain(self.revisions().cloned().map(Object::Revision))
            .chain(self.tasks().cloned().map(Object::Task))
            .chain(self.stacks().cloned().map(Object::Stack))
            .chain(self.networks().cloned().map(Object::Network))
    }
}

impl fmt::Debug for StoreView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreView")
            .field("header", &self.header)
            .field("nodes", &self.nodes.len())
            .field("services", &self.services.len())
            .field("tasks", &self.tasks.len())
            .finish_non_exhaustive()
    }
}
