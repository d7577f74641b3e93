//! What of the cluster's networks a node is told, and in which form.
//!
//! A node knows the networks that its tasks are in, every service and endpoint there, and everywhere what is published
//! on every node. In `ingress` nobody meets anybody, so that being in it makes known what is published and no more.

use super::{
    assignment::concerns_node,
    tables::{NetworkTables, TableEndpoint, TableNetwork, TableService, TableUse},
};
use crate::{
    model::{
        DesiredState, INGRESS, Network, NetworkId, NodeId, PortMode, PublishedPort, Service, ServiceId, Task,
        TaskId, TaskState,
    },
    store::{Holder, StoreView},
};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};

/// Everything that a node is told of networks.
pub fn tables_for(view: &StoreView, node: &NodeId) -> NetworkTables {
    let scope = Needs::of(view, node).scope();
    let networks = view.networks().filter(|network| scope.has_network(network));
    let services = scope.services(view);
    let endpoints = scope.endpoints(view, node);
    NetworkTables {
        pools: pools(view),
        networks: networks
            .map(|network| (network.id.clone(), table_network(network)))
            .collect(),
        services: services
            .into_iter()
            .filter_map(|id| Some((id.clone(), table_service(view.service(id)?))))
            .collect(),
        endpoints: endpoints
            .into_iter()
            .filter_map(|id| {
                let task = view.task(id)?;
                let service = view.service(&task.service).map(AsRef::as_ref);
                Some((id.clone(), table_endpoint(view, task, service)?))
            })
            .collect(),
    }
}

pub(super) fn pools(view: &StoreView) -> Vec<IpNet> {
    view.cluster()
        .map_or_else(Vec::new, |cluster| cluster.spec.pools.iter().collect())
}

pub(super) fn table_network(network: &Network) -> TableNetwork {
    TableNetwork {
        name: network.spec.name.clone(),
        v4: network.status.v4,
        v6: network.status.v6,
        internal: network.spec.internal,
        ingress: network.spec.ingress,
    }
}

pub(super) fn table_service(service: &Service) -> TableService {
    let mut networks: BTreeMap<NetworkId, TableUse> = BTreeMap::new();
    for used in &service.endpoint.networks {
        let known = networks.entry(used.network.clone()).or_default();
        known.aliases.clone_from(&used.aliases);
    }
    for vip in &service.endpoint.vips {
        networks.entry(vip.network.clone()).or_default().vip = Some(vip.addresses);
    }
    TableService {
        name: service.spec.name.clone(),
        networks,
        ports: service.endpoint.ports.clone(),
    }
}

/// The task as others reach it; absent where it does not run, or is not healthy yet. `service` is its own at that time.
pub(super) fn table_endpoint(
    view: &StoreView,
    task: &Task,
    service: Option<&Service>,
) -> Option<TableEndpoint> {
    let node = task.node.clone()?;
    let runs = task.status.state == TaskState::Running && !task.attachments.is_empty();
    runs.then(|| TableEndpoint {
        service: task.service.clone(),
        slot: task.slot.clone(),
        node,
        attachments: task.attachments.clone(),
        draining: task.desired >= DesiredState::Shutdown,
        ports: own_ports(view, task, service),
    })
}

/// A task listens where its own revision says, whatever an update has made of the service's ports meanwhile.
fn own_ports(view: &StoreView, task: &Task, service: Option<&Service>) -> Option<Vec<PublishedPort>> {
    let service = service.filter(|service| service.revision != task.revision)?;
    let revision = view.revision(&task.revision_key())?;
    (revision.ports != service.endpoint.ports).then(|| revision.ports.clone())
}

/// Does every node accept connections to it?
pub(super) fn is_published(service: &Service) -> bool {
    let mut ports = service.endpoint.ports.iter();
    ports.any(|port| port.mode == PortMode::Ingress)
}

/// What the tasks of a node make it need.
#[derive(Debug, Default)]
pub(super) struct Needs {
    tasks: BTreeMap<TaskId, (ServiceId, Vec<NetworkId>)>,
    networks: BTreeMap<NetworkId, usize>,
    services: BTreeMap<ServiceId, usize>,
}

/// The same, of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Scope {
    /// Without `ingress`.
    pub(super) networks: BTreeSet<NetworkId>,
    /// Of the node's own tasks.
    pub(super) services: BTreeSet<ServiceId>,
}

impl Needs {
    pub(super) fn of(view: &StoreView, node: &NodeId) -> Self {
        let mut needs = Self::default();
        for task in view.tasks_on_node(node) {
            needs.task(view, node, &task.id);
        }
        needs
    }

    /// A task may have come to the node, ended or left.
    pub(super) fn task(&mut self, view: &StoreView, node: &NodeId, id: &TaskId) {
        if let Some((service, networks)) = self.tasks.remove(id) {
            less(&mut self.services, &service);
            networks
                .iter()
                .for_each(|network| less(&mut self.networks, network));
        }
        let here = |task: &&std::sync::Arc<Task>| task.node.as_ref() == Some(node) && needs_networks(task);
        let Some(task) = view.task(id).filter(here) else {
            return;
        };
        let ingress = view.network_by_name(INGRESS).map(|network| &network.id);
        let networks = task.attachments.iter().map(|place| &place.network);
        let networks: Vec<_> = networks.filter(|id| Some(*id) != ingress).cloned().collect();
        for network in &networks {
            *self.networks.entry(network.clone()).or_default() += 1;
        }
        *self.services.entry(task.service.clone()).or_default() += 1;
        self.tasks.insert(id.clone(), (task.service.clone(), networks));
    }

    pub(super) fn scope(&self) -> Scope {
        Scope {
            networks: self.networks.keys().cloned().collect(),
            services: self.services.keys().cloned().collect(),
        }
    }
}

fn needs_networks(task: &Task) -> bool {
    concerns_node(task) && !task.status.state.is_terminal()
}

fn less<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

impl Scope {
    pub(super) fn has_network(&self, network: &Network) -> bool {
        network.spec.ingress || self.networks.contains(&network.id)
    }

    pub(super) fn has_service(&self, service: &Service) -> bool {
        let mut networks = service.endpoint.networks.iter();
        is_published(service)
            || self.services.contains(&service.id)
            || networks.any(|used| self.networks.contains(&used.network))
    }

    /// `service` is the task's, if it is still there.
    pub(super) fn has_endpoint(&self, node: &NodeId, task: &Task, service: Option<&Service>) -> bool {
        let mut places = task.attachments.iter();
        task.node.as_ref() == Some(node)
            || service.is_some_and(is_published)
            || places.any(|place| self.networks.contains(&place.network))
    }

    fn services<'a>(&'a self, view: &'a StoreView) -> BTreeSet<&'a ServiceId> {
        let in_networks = self
            .networks
            .iter()
            .flat_map(|network| view.services_of_network(network));
        let mut services: BTreeSet<_> = in_networks.map(|service| &service.id).collect();
        services.extend(&self.services);
        services.extend(published(view));
        services
    }

    fn endpoints<'a>(&'a self, view: &'a StoreView, node: &NodeId) -> BTreeSet<&'a TaskId> {
        let in_networks = self.networks.iter().flat_map(|network| tasks_in(view, network));
        let mut tasks: BTreeSet<_> = in_networks.collect();
        tasks.extend(view.tasks_on_node(node).map(|task| &task.id));
        for service in published(view) {
            tasks.extend(view.tasks_of_service(service).map(|task| &task.id));
        }
        tasks
    }
}

pub(super) fn tasks_in<'a>(view: &'a StoreView, network: &NetworkId) -> impl Iterator<Item = &'a TaskId> {
    view.holders(network).filter_map(|(_, holder)| match holder {
        Holder::Task(task) => Some(task),
        Holder::Service(_) => None,
    })
}

fn published(view: &StoreView) -> impl Iterator<Item = &ServiceId> {
    let services = view.publishing_services().into_iter();
    services.filter(|id| view.service(id).is_some_and(|service| is_published(service)))
}
