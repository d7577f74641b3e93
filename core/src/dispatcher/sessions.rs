//! The sessions of one manager: what each node's worker was last sent, and the diffs that follow.
//!
//! Kept in memory and made anew from the store whenever a session opens, so a lost session loses
//! nothing. Called by the machine of every manager with the events of its applied store. Of the network tables only
//! what a node needs is remembered: what it was sent of them is what the events say was there before.

use super::{
    assignment::{Assignments, Position, build, concerns_node, tasks_for},
    batch::Batch,
    reach::{
        Needs, Scope, is_published, pools, table_endpoint, table_network, table_service, tables_for, tasks_in,
    },
    tables::{TableEndpoint, TablesDiff},
};
use crate::{
    model::{DesiredState, Network, NetworkId, NodeId, Service, ServiceId, Task, TaskId, Timestamp},
    store::{Event, StoreView},
};
use std::collections::{BTreeMap, BTreeSet};

/// Every open session of this manager.
#[derive(Debug, Default)]
pub struct Sessions {
    nodes: BTreeMap<NodeId, Session>,
    /// The sessions that need a network, and those with tasks of a service.
    of_network: BTreeMap<NetworkId, BTreeSet<NodeId>>,
    of_service: BTreeMap<ServiceId, BTreeSet<NodeId>>,
}

#[derive(Debug)]
struct Session {
    position: Position,
    sent: BTreeMap<TaskId, Sent>,
    needs: Needs,
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

/// What one session must look at after some events.
#[derive(Debug, Default)]
struct Touched {
    /// Its own tasks.
    tasks: BTreeSet<TaskId>,
    networks: BTreeSet<NetworkId>,
    services: BTreeSet<ServiceId>,
    endpoints: BTreeSet<TaskId>,
}

impl Sessions {
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens a node's session, or starts it over where the worker asks for everything again. An older
    /// session of the node is forgotten: only the last one is served. `view` is the one that `handle` has come to.
    pub fn open(&mut self, view: &StoreView, node: &NodeId) -> Assignments {
        self.close(node);
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
            tables: TablesDiff::full(tables_for(view, node)),
        };
        let needs = Needs::of(view, node);
        self.index(node, &Scope::default(), &needs.scope());
        let session = Session {
            position,
            sent,
            needs,
        };
        self.nodes.insert(node.clone(), session);
        assignments
    }

    pub fn close(&mut self, node: &NodeId) {
        if let Some(session) = self.nodes.remove(node) {
            self.index(node, &session.needs.scope(), &Scope::default());
        }
    }

    pub fn is_open(&self, node: &NodeId) -> bool {
        self.nodes.contains_key(node)
    }

    pub fn nodes(&self) -> impl Iterator<Item = &NodeId> {
        self.nodes.keys()
    }

    /// What to send after `view` was reached by `events`, which are all since this was last called. Costs what the
    /// events touch. Several entries may be applied before one call; only the latest state of an object is sent.
    pub fn handle(&mut self, view: &StoreView, events: &[Event]) -> Vec<(NodeId, Assignments)> {
        let batch = Batch::of(events);
        let mut touched: BTreeMap<NodeId, Touched> = BTreeMap::new();
        self.spread_tasks(view, &batch, &mut touched);
        self.spread_services(view, &batch, &mut touched);
        self.spread_networks(view, &batch, &mut touched);
        if batch.pools {
            for node in self.nodes.keys() {
                touched.entry(node.clone()).or_default();
            }
        }
        let mut sent = Vec::new();
        for (node, touched) in touched {
            let Some(session) = self.nodes.get_mut(&node) else {
                continue;
            };
            let before = session.needs.scope();
            for task in &touched.tasks {
                session.needs.task(view, &node, task);
            }
            let scopes = (before, session.needs.scope());
            if let Some(assignments) = session.diff(view, &node, touched, &batch, &scopes) {
                sent.push((node.clone(), assignments));
            }
            self.index(&node, &scopes.0, &scopes.1);
        }
        sent
    }

    /// Tasks whose nodes must hear of them, and those that others reach in another way than before.
    fn spread_tasks(&self, view: &StoreView, batch: &Batch, touched: &mut BTreeMap<NodeId, Touched>) {
        for (id, before) in batch.tasks() {
            let sides = [before, view.task(id).map(AsRef::as_ref)];
            for node in sides.iter().flatten().filter_map(|task| task.node.as_ref()) {
                touched.entry(node.clone()).or_default().tasks.insert(id.clone());
            }
            let was =
                sides[0].and_then(|task| table_endpoint(view, task, batch.service(view, &task.service)));
            let is = sides[1].and_then(|task| endpoint_now(view, task));
            if was == is {
                continue;
            }
            let sides = sides.into_iter().flatten();
            let audience: BTreeSet<_> = sides
                .flat_map(|task| self.audience_of(view, batch, task))
                .collect();
            for node in audience {
                touched
                    .entry(node.clone())
                    .or_default()
                    .endpoints
                    .insert(id.clone());
            }
        }
    }

    fn spread_services(&self, view: &StoreView, batch: &Batch, touched: &mut BTreeMap<NodeId, Touched>) {
        for (id, before) in batch.services() {
            let sides = [before, view.service(id).map(AsRef::as_ref)];
            if sides[0].map(table_service) == sides[1].map(table_service) {
                continue;
            }
            let mut audience: BTreeSet<&NodeId> = self.of_service.get(id).into_iter().flatten().collect();
            for service in sides.into_iter().flatten() {
                for used in &service.endpoint.networks {
                    audience.extend(self.of_network.get(&used.network).into_iter().flatten());
                }
            }
            let [was, is] = sides.map(|service| service.is_some_and(is_published));
            if was || is {
                audience.extend(self.nodes.keys());
            }
            for node in audience {
                touched
                    .entry(node.clone())
                    .or_default()
                    .services
                    .insert(id.clone());
            }
            // Its endpoints become known everywhere, or unknown where nothing else needs them; and those of older tasks
            // say which ports they have.
            let [ports_were, ports_are] = sides.map(|service| service.map(|service| &service.endpoint.ports));
            let turns = was != is || ports_were != ports_are;
            for task in view.tasks_of_service(id).filter(|_| turns) {
                for node in self.audience_of(view, batch, task) {
                    touched
                        .entry(node.clone())
                        .or_default()
                        .endpoints
                        .insert(task.id.clone());
                }
            }
        }
    }

    /// Who knows of a task, or shall.
    fn audience_of<'a>(&'a self, view: &StoreView, batch: &Batch, task: &'a Task) -> BTreeSet<&'a NodeId> {
        let mut audience: BTreeSet<&NodeId> = task.node.iter().collect();
        for place in &task.attachments {
            audience.extend(self.of_network.get(&place.network).into_iter().flatten());
        }
        let services = [
            batch.service(view, &task.service),
            view.service(&task.service).map(AsRef::as_ref),
        ];
        if services.into_iter().flatten().any(is_published) {
            audience.extend(self.nodes.keys());
        }
        audience
    }

    fn spread_networks(&self, view: &StoreView, batch: &Batch, touched: &mut BTreeMap<NodeId, Touched>) {
        for (id, before) in batch.networks() {
            let sides = [before, view.network(id).map(AsRef::as_ref)];
            if sides[0].map(table_network) == sides[1].map(table_network) {
                continue;
            }
            let ingress = |network: &Network| network.spec.ingress;
            let mut audience: BTreeSet<&NodeId> = self.of_network.get(id).into_iter().flatten().collect();
            if sides.into_iter().flatten().any(ingress) {
                audience.extend(self.nodes.keys());
            }
            for node in audience {
                touched
                    .entry(node.clone())
                    .or_default()
                    .networks
                    .insert(id.clone());
            }
        }
    }

    fn index(&mut self, node: &NodeId, before: &Scope, after: &Scope) {
        change(&mut self.of_network, node, &before.networks, &after.networks);
        change(&mut self.of_service, node, &before.services, &after.services);
    }
}

fn change<K: Ord + Clone>(
    index: &mut BTreeMap<K, BTreeSet<NodeId>>,
    node: &NodeId,
    before: &BTreeSet<K>,
    after: &BTreeSet<K>,
) {
    for key in before.difference(after) {
        if let Some(nodes) = index.get_mut(key) {
            nodes.remove(node);
            if nodes.is_empty() {
                index.remove(key);
            }
        }
    }
    for key in after.difference(before) {
        index.entry(key.clone()).or_default().insert(node.clone());
    }
}

impl Session {
    /// `scopes`: what the node needed before, and what it needs now.
    fn diff(
        &mut self,
        view: &StoreView,
        node: &NodeId,
        touched: Touched,
        batch: &Batch,
        scopes: &(Scope, Scope),
    ) -> Option<Assignments> {
        let mut assignments = Assignments {
            prev: Some(self.position),
            position: Position::of(view),
            tasks: Vec::new(),
            removed: Vec::new(),
            tables: tables(view, node, &touched, batch, scopes),
        };
        for id in touched.tasks {
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
        if assignments.tasks.is_empty() && assignments.removed.is_empty() && assignments.tables.is_empty() {
            return None;
        }
        self.position = assignments.position;
        Some(assignments)
    }
}

/// How what the node is told of networks differs from what it was told.
fn tables(
    view: &StoreView,
    node: &NodeId,
    touched: &Touched,
    batch: &Batch,
    (before, after): &(Scope, Scope),
) -> TablesDiff {
    let mut diff = TablesDiff {
        pools: batch.pools.then(|| pools(view)),
        ..TablesDiff::default()
    };
    let turned: Vec<&NetworkId> = before.networks.symmetric_difference(&after.networks).collect();
    let networks = touched.networks.iter().chain(turned.iter().copied());
    for id in networks {
        let known = |scope: &Scope, network: Option<&Network>| {
            network
                .filter(|network| scope.has_network(network))
                .map(table_network)
        };
        let is = known(after, view.network(id).map(AsRef::as_ref));
        note(
            &mut diff.networks,
            id,
            &known(before, batch.network(view, id)),
            is,
        );
    }
    let mut services: BTreeSet<&ServiceId> = touched.services.iter().collect();
    services.extend(before.services.symmetric_difference(&after.services));
    let mut endpoints: BTreeSet<&TaskId> = touched.endpoints.iter().collect();
    for network in turned {
        services.extend(view.services_of_network(network).map(|service| &service.id));
        endpoints.extend(tasks_in(view, network));
    }
    for id in services {
        let known = |scope: &Scope, service: Option<&Service>| {
            service
                .filter(|service| scope.has_service(service))
                .map(table_service)
        };
        let is = known(after, view.service(id).map(AsRef::as_ref));
        note(
            &mut diff.services,
            id,
            &known(before, batch.service(view, id)),
            is,
        );
    }
    for id in endpoints {
        let was = batch.task(view, id).and_then(|task| {
            let service = batch.service(view, &task.service);
            let known = before.has_endpoint(node, task, service);
            known.then(|| table_endpoint(view, task, service)).flatten()
        });
        let is = view.task(id).and_then(|task| {
            let service = view.service(&task.service).map(AsRef::as_ref);
            let known = after.has_endpoint(node, task, service);
            known.then(|| table_endpoint(view, task, service)).flatten()
        });
        note(&mut diff.endpoints, id, &was, is);
    }
    diff
}

fn endpoint_now(view: &StoreView, task: &Task) -> Option<TableEndpoint> {
    table_endpoint(view, task, view.service(&task.service).map(AsRef::as_ref))
}

fn note<K: Ord + Clone, V: PartialEq>(
    diff: &mut BTreeMap<K, Option<V>>,
    key: &K,
    was: &Option<V>,
    is: Option<V>,
) {
    if *was != is {
        diff.insert(key.clone(), is);
    }
}
