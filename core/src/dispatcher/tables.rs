//! Network tables: what a node must know of networks, services and endpoints, complete or as a diff.
//!
//! One key an endpoint, so that a task that comes or goes costs the same in a service of any size. They travel with
//! the assignments of the same position, and a worker has them in force before it stops a task that has left them.

use crate::model::{Addresses, Attachment, NetworkId, NodeId, PublishedPort, ServiceId, Slot, TaskId};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a node knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkTables {
    /// Where networks' ranges are from, unless a user asked for another.
    pub pools: Vec<IpNet>,
    pub networks: BTreeMap<NetworkId, TableNetwork>,
    pub services: BTreeMap<ServiceId, TableService>,
    pub endpoints: BTreeMap<TaskId, TableEndpoint>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableNetwork {
    pub name: String,
    pub v4: Option<Ipv4Net>,
    pub v6: Option<Ipv6Net>,
    pub internal: bool,
    /// Its members do not reach each other.
    pub ingress: bool,
}

/// A service as its clients see it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableService {
    pub name: String,
    pub networks: BTreeMap<NetworkId, TableUse>,
    /// Published ones, every number chosen, of both modes.
    pub ports: Vec<PublishedPort>,
}

/// A service in one network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableUse {
    /// Absent where the name stands for the addresses of all tasks.
    pub vip: Option<Addresses>,
    /// Beside the service's own name.
    pub aliases: Vec<String>,
}

/// A task that can be reached: it runs, is healthy as far as that is checked, and shall go on or is on its way out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableEndpoint {
    pub service: ServiceId,
    pub slot: Slot,
    pub node: NodeId,
    pub attachments: Vec<Attachment>,
    /// Gets no new connections and keeps those that it has.
    pub draining: bool,
    /// Where they are not the service's, of which the task knows nothing: those of its own revision.
    #[serde(default)]
    pub ports: Option<Vec<PublishedPort>>,
}

/// A change of tables. With the full assignments: everything, to a worker that forgets what it had.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TablesDiff {
    /// Absent where they did not change.
    pub pools: Option<Vec<IpNet>>,
    pub networks: BTreeMap<NetworkId, Option<TableNetwork>>,
    pub services: BTreeMap<ServiceId, Option<TableService>>,
    /// Absent ones have left.
    pub endpoints: BTreeMap<TaskId, Option<TableEndpoint>>,
}

impl TablesDiff {
    /// Everything, for a worker that has nothing.
    pub fn full(tables: NetworkTables) -> Self {
        Self {
            pools: Some(tables.pools),
            networks: all(tables.networks),
            services: all(tables.services),
            endpoints: all(tables.endpoints),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.pools.is_none()
            && self.networks.is_empty()
            && self.services.is_empty()
            && self.endpoints.is_empty()
    }
}

impl NetworkTables {
    /// Carries out a diff.
    pub fn apply(&mut self, diff: &TablesDiff) {
        if let Some(pools) = &diff.pools {
            self.pools.clone_from(pools);
        }
        put_all(&mut self.networks, &diff.networks);
        put_all(&mut self.services, &diff.services);
        put_all(&mut self.endpoints, &diff.endpoints);
    }
}

fn all<K: Ord, V>(from: BTreeMap<K, V>) -> BTreeMap<K, Option<V>> {
    from.into_iter().map(|(key, value)| (key, Some(value))).collect()
}

fn put_all<K: Ord + Clone, V: Clone>(into: &mut BTreeMap<K, V>, from: &BTreeMap<K, Option<V>>) {
    for (key, value) in from {
        match value {
            Some(value) => into.insert(key.clone(), value.clone()),
            None => into.remove(key),
        };
    }
}
