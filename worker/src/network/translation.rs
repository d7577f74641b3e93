//! From the cluster's network tables to the overlay's: groups of backends under names, and published ports.
//!
//! Pure. Keeps both sides and builds anew only the services that a change touches: a task that comes or goes costs its
//! own service, whatever else there is. What is known here of this node's tasks before the managers know it is laid
//! over what they said.

mod build;

use super::node_side::{NodeSide, prefix};
use crate::assignment::Position;
use build::{Made, Member, build};
use ipnet::IpNet;
use shoal_core::dispatcher::{NetworkTables, TableEndpoint, TableNetwork, TableService, TablesDiff};
use shoal_core::model::{self, NodeId, ServiceId, TaskId};
use shoal_overlay_net::desired::{GroupId, Network, NetworkId, NodeNet, PortKey, Revision, Tables};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is known here of a task of this node, whatever the tables say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// It is about to be stopped: no new connections.
    Draining,
    /// It has ended.
    Gone,
}

#[derive(Debug, Default)]
struct Owned {
    groups: Vec<GroupId>,
    ports: Vec<PortKey>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Translation {
    node: NodeId,
    side: NodeSide,
    known: NetworkTables,
    /// The endpoints of each service.
    members: BTreeMap<ServiceId, BTreeSet<TaskId>>,
    own: BTreeMap<TaskId, Standing>,
    /// The keys that each service has in the overlay's tables.
    owned: BTreeMap<ServiceId, Owned>,
    port_owners: BTreeMap<PortKey, ServiceId>,
    tables: Tables,
}

impl Translation {
    pub(crate) fn new(node: NodeId, side: NodeSide, known: &NetworkTables, at: Position) -> Self {
        let mut translation = Self {
            node,
            known: NetworkTables::default(),
            members: BTreeMap::new(),
            own: BTreeMap::new(),
            owned: BTreeMap::new(),
            port_owners: BTreeMap::new(),
            tables: Tables {
                node: side.node_net(&[]),
                ..Tables::default()
            },
            side,
        };
        translation.update(at, &whole(known));
        translation
    }

    pub(crate) fn known(&self) -> &NetworkTables {
        &self.known
    }

    /// What the overlay shall have; what did not change is shared with what was given before.
    pub(crate) fn tables(&self) -> Arc<Tables> {
        Arc::new(self.tables.clone())
    }

    /// The managers said something new. False where the overlay's tables stay as they are.
    pub(crate) fn update(&mut self, at: Position, diff: &TablesDiff) -> bool {
        let revision = Revision {
            epoch: at.epoch,
            index: at.index,
        };
        let changed = self.tables.revision.epoch != revision.epoch || !diff.is_empty();
        self.tables.revision = revision;
        if diff.is_empty() {
            return changed;
        }
        let mut touched = self.touched_by(diff);
        self.known.apply(diff);
        for (task, endpoint) in &diff.endpoints {
            if let Some(endpoint) = endpoint {
                self.members
                    .entry(endpoint.service.clone())
                    .or_default()
                    .insert(task.clone());
                touched.insert(endpoint.service.clone());
            }
        }
        if diff.pools.is_some() || !diff.networks.is_empty() {
            self.tables.node = self.node_net();
        }
        for id in diff.networks.keys() {
            self.network(id);
        }
        self.rebuild(touched);
        true
    }

    /// Something is known here of a task of this node; `None`: only what the managers say. False where the overlay's
    /// tables stay as they are.
    pub(crate) fn stand(&mut self, task: &TaskId, standing: Option<Standing>) -> bool {
        let before = match standing {
            Some(standing) => self.own.insert(task.clone(), standing),
            None => self.own.remove(task),
        };
        let service = self
            .known
            .endpoints
            .get(task)
            .map(|endpoint| endpoint.service.clone());
        match service {
            Some(service) if before != standing => {
                self.rebuild([service].into());
                true
            }
            Some(_) | None => false,
        }
    }

    pub(crate) fn standing(&self, task: &TaskId) -> Option<Standing> {
        self.own.get(task).copied()
    }

    /// Services whose groups or ports a change may change; endpoints leave their services' lists.
    fn touched_by(&mut self, diff: &TablesDiff) -> BTreeSet<ServiceId> {
        let mut touched: BTreeSet<ServiceId> = diff.services.keys().cloned().collect();
        for task in diff.endpoints.keys() {
            let Some(old) = self.known.endpoints.get(task) else {
                continue;
            };
            touched.insert(old.service.clone());
            if let Some(members) = self.members.get_mut(&old.service) {
                members.remove(task);
                if members.is_empty() {
                    self.members.remove(&old.service);
                }
            }
        }
        let in_them = |service: &TableService| {
            let mut networks = diff.networks.keys();
            networks.any(|id| service.networks.contains_key(id))
        };
        if !diff.networks.is_empty() {
            let users = self.known.services.iter().filter(|(_, service)| in_them(service));
            touched.extend(users.map(|(id, _)| id.clone()));
        }
        touched
    }

    /// A subnet that a user asked for may lie outside of the pools: its members need the same way out and the host
    /// the same way in. The node's own addresses are from the pools alone.
    fn node_net(&self) -> NodeNet {
        let pools = &self.known.pools;
        let mut node = self.side.node_net(pools);
        let ranges = self.known.networks.values().flat_map(ranges);
        let outside = ranges.filter(|range| !pools.iter().any(|pool| pool.contains(range)));
        node.pools.extend(outside.map(|range| prefix(&range)));
        node
    }

    fn network(&mut self, id: &model::NetworkId) {
        let Ok(theirs) = id.as_str().parse::<NetworkId>() else {
            return;
        };
        match self.known.networks.get(id) {
            Some(network) => keep(&mut self.tables.networks, theirs, translated(network)),
            None => drop(self.tables.networks.remove(&theirs)),
        }
    }

    /// All that is old goes before anything new comes: a port may pass from one service to another.
    fn rebuild(&mut self, touched: BTreeSet<ServiceId>) {
        let made: Vec<(ServiceId, Made)> = touched
            .into_iter()
            .map(|id| {
                let made = self.make(&id);
                (id, made)
            })
            .collect();
        for (id, new) in &made {
            self.clear(id, new);
        }
        for (id, new) in made {
            self.put(id, new);
        }
    }

    fn make(&self, id: &ServiceId) -> Made {
        let Some(service) = self.known.services.get(id) else {
            return Made::default();
        };
        let tasks = self.members.get(id).into_iter().flatten();
        let members: Vec<Member<'_>> = tasks.filter_map(|task| self.member(task)).collect();
        build(id, service, &self.known.networks, &members)
    }

    fn member(&self, task: &TaskId) -> Option<Member<'_>> {
        let endpoint: &TableEndpoint = self.known.endpoints.get(task)?;
        let here = endpoint.node == self.node;
        let standing = self.own.get(task).filter(|_| here);
        let draining = match standing {
            Some(Standing::Gone) => return None,
            Some(Standing::Draining) => true,
            None => endpoint.draining,
        };
        Some(Member {
            endpoint,
            here,
            draining,
        })
    }

    fn clear(&mut self, id: &ServiceId, new: &Made) {
        let Some(old) = self.owned.remove(id) else {
            return;
        };
        for group in old.groups.iter().filter(|group| !new.groups.contains_key(*group)) {
            self.tables.groups.remove(group);
        }
        for port in old.ports.iter().filter(|port| !new.ports.contains_key(*port)) {
            if self.port_owners.get(port) == Some(id) {
                self.port_owners.remove(port);
                self.tables.ports.remove(port);
            }
        }
    }

    fn put(&mut self, id: ServiceId, new: Made) {
        if new == Made::default() {
            return;
        }
        let mut owned = Owned::default();
        for (group, made) in new.groups {
            owned.groups.push(group.clone());
            keep(&mut self.tables.groups, group, made);
        }
        for (port, made) in new.ports {
            owned.ports.push(port);
            self.port_owners.insert(port, id.clone());
            keep(&mut self.tables.ports, port, made);
        }
        self.owned.insert(id, owned);
    }
}

/// Puts a value; an equal one stays, so that it is found unchanged by its pointer.
fn keep<K: Ord, V: PartialEq>(map: &mut BTreeMap<K, Arc<V>>, key: K, value: V) {
    match map.entry(key) {
        Entry::Occupied(there) if **there.get() == value => {}
        Entry::Occupied(mut there) => drop(there.insert(Arc::new(value))),
        Entry::Vacant(free) => drop(free.insert(Arc::new(value))),
    }
}

fn ranges(network: &TableNetwork) -> impl Iterator<Item = IpNet> {
    let v4 = network.v4.map(IpNet::V4);
    v4.into_iter().chain(network.v6.map(IpNet::V6))
}

fn translated(network: &TableNetwork) -> Network {
    Network {
        subnets: ranges(network).map(|range| prefix(&range)).collect(),
        internal: network.internal,
        meet: !network.ingress,
    }
}

/// What makes the held tables into those of a full message, which has everything.
pub(crate) fn difference(held: &NetworkTables, full: &TablesDiff) -> TablesDiff {
    // A message that does not have the pools has nothing to say of them.
    let pools = full.pools.clone().filter(|pools| *pools != held.pools);
    TablesDiff {
        pools,
        networks: changes(&held.networks, &full.networks),
        services: changes(&held.services, &full.services),
        endpoints: changes(&held.endpoints, &full.endpoints),
    }
}

fn changes<K: Ord + Clone, V: Clone + PartialEq>(
    held: &BTreeMap<K, V>,
    full: &BTreeMap<K, Option<V>>,
) -> BTreeMap<K, Option<V>> {
    let there = |key: &K| full.get(key).and_then(Option::as_ref);
    let gone = held.keys().filter(|key| there(key).is_none());
    let new = full
        .iter()
        .filter(|(key, value)| value.is_some() && value.as_ref() != held.get(*key));
    gone.map(|key| (key.clone(), None))
        .chain(new.map(|(key, value)| (key.clone(), value.clone())))
        .collect()
}

/// Tables as the message that has all of them.
pub(crate) fn whole(tables: &NetworkTables) -> TablesDiff {
    fn all<K: Ord + Clone, V: Clone>(map: &BTreeMap<K, V>) -> BTreeMap<K, Option<V>> {
        map.iter()
            .map(|(key, value)| (key.clone(), Some(value.clone())))
            .collect()
    }
    TablesDiff {
        pools: Some(tables.pools.clone()),
        networks: all(&tables.networks),
        services: all(&tables.services),
        endpoints: all(&tables.endpoints),
    }
}

#[cfg(test)]
mod tests;
