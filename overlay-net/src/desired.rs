//! What a node's network shall be, in this crate's own words. The worker translates the cluster's tables into them.
//!
//! Large things are behind `Arc`: the worker keeps the ones that did not change, and a change is then found by
//! comparing pointers.

mod names;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use names::{EndpointId, GroupId, Name, NameError, NetworkId, Tag};

use crate::address::{Addresses, Prefix};

/// Everything that is desired of a node: the cluster's tables, and the endpoints that are here.
#[derive(Debug, Clone, Default)]
pub struct Desired {
    /// From the cluster.
    pub tables: Arc<Tables>,
    /// The node's own containers.
    pub endpoints: BTreeMap<EndpointId, Arc<Endpoint>>,
}

/// The cluster's part, of one revision.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    /// Which.
    pub revision: Revision,
    /// What is the node's own in it.
    pub node: NodeNet,
    /// Networks that an endpoint of this node, or a published port, needs.
    pub networks: BTreeMap<NetworkId, Arc<Network>>,
    /// Sets of backends under names and addresses.
    pub groups: BTreeMap<GroupId, Arc<Group>>,
    /// What the host's own ports lead to.
    pub ports: BTreeMap<PortKey, Arc<Published>>,
}

/// Orders tables: those of a later epoch, or of the same one and a higher index, replace others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Revision {
    /// Raised when the cluster was recovered or restored.
    pub epoch: u64,
    /// Raised by every change.
    pub index: u64,
}

/// What is the node's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeNet {
    /// The cluster's ranges: what is in them goes to the router, and what leaves them gets the host's address.
    pub pools: Vec<Prefix>,
    /// The host's own addresses towards containers; in no network's subnet.
    pub host: Addresses,
    /// The router's, as the source of a connection that a container makes to itself through a VIP.
    pub router: Addresses,
    /// The longest packet on links of containers; none: what the host's default route takes.
    pub mtu: Option<u32>,
    /// Ports of the host itself that containers may reach.
    pub open_host_ports: BTreeSet<(Protocol, u16)>,
}

/// A network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Its ranges, no other network's.
    pub subnets: Vec<Prefix>,
    /// Whether it has no way out. Published ports still come in.
    pub internal: bool,
    /// Whether its members reach each other.
    pub meet: bool,
}

/// Interchangeable backends in one network, under names and mostly one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The network.
    pub network: NetworkId,
    /// The addresses under which connections are spread; none: by names only.
    pub vip: Addresses,
    /// Who gets new connections.
    pub backends: BTreeSet<IpAddr>,
    /// Who gets none, and keeps those that it has.
    pub draining: BTreeSet<IpAddr>,
    /// What is answered to members of the network and to nobody else: names and their addresses, of which a name may
    /// have none. Answers of the same name in several groups, or in several networks of who asks, are joined.
    pub records: BTreeMap<Name, Vec<IpAddr>>,
}

/// TCP or UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A port of the host that leads to backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortKey {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// One address of the host's; none: all of them.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: u16,
}

/// What a port of the host leads to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Published {
    /// The address under which connections are spread in the router; none: they go straight to the one backend.
    pub vip: Addresses,
    /// Who gets new connections, and on which port.
    pub backends: BTreeSet<SocketAddr>,
    /// Who gets none, and keeps those that it has.
    pub draining: BTreeSet<SocketAddr>,
}

/// A container's place in networks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its id.
    pub id: EndpointId,
    /// Its network namespace: `/proc/PID/ns/net` of a process in it, or a file that it is mounted on.
    pub namespace: PathBuf,
    /// Its links, in this order: `eth0`, `eth1`, … The first with an address of a family has that family's default route.
    pub attachments: Vec<Attachment>,
    /// How it resolves names.
    pub resolver: ResolverSpec,
}

/// One link of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The network.
    pub network: NetworkId,
    /// The endpoint's addresses in it.
    pub addresses: Addresses,
}

/// How an endpoint resolves names that are not the cluster's. Search domains and options are its resolv.conf's own.
/// One that has internal networks only gets no answer from outside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolverSpec {
    /// Asked instead of the host's resolvers, from the host's namespace, in this order.
    pub servers: Vec<IpAddr>,
}

impl Default for NodeNet {
    /// Addresses that are free on any host: link-local ones, which nothing routes.
    fn default() -> Self {
        Self {
            pools: Vec::new(),
            host: Addresses {
                v4: Some(Ipv4Addr::new(169, 254, 200, 1)),
                v6: None,
            },
            router: Addresses {
                v4: Some(Ipv4Addr::new(169, 254, 200, 2)),
                v6: None,
            },
            mtu: None,
            open_host_ports: BTreeSet::new(),
        }
    }
}

impl Protocol {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Tcp, Self::Udp];

    /// `IPPROTO_TCP`, `IPPROTO_UDP`.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

impl Group {
    fn has(&self, addresses: &BTreeSet<IpAddr>) -> bool {
        let records = self.records.values().flatten();
        let mut all = self.backends.iter().chain(&self.draining).chain(records);
        all.any(|address| addresses.contains(address))
    }

    /// Takes addresses out; a name that then has none stays, and is answered with none.
    fn drop_all(&mut self, addresses: &BTreeSet<IpAddr>) {
        self.backends.retain(|address| !addresses.contains(address));
        self.draining.retain(|address| !addresses.contains(address));
        for answers in self.records.values_mut() {
            answers.retain(|address| !addresses.contains(address));
        }
    }
}

impl std::fmt::Display for PortKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.address {
            Some(address) => write!(f, "{}", SocketAddr::new(address, self.port))?,
            None => write!(f, "{}", self.port)?,
        }
        match self.protocol {
            Protocol::Tcp => f.write_str("/tcp"),
            Protocol::Udp => f.write_str("/udp"),
        }
    }
}

impl Tables {
    /// Without these addresses as backends or answers: they are known here to be dead before the cluster says so.
    /// What does not have them is shared with the original.
    #[must_use]
    pub fn without(&self, dead: &BTreeSet<IpAddr>) -> Self {
        let mut left = self.clone();
        for group in left.groups.values_mut().filter(|group| group.has(dead)) {
            Arc::make_mut(group).drop_all(dead);
        }
        let has = |port: &Published| {
            let mut all = port.backends.iter().chain(&port.draining);
            all.any(|backend| dead.contains(&backend.ip()))
        };
        for port in left.ports.values_mut().filter(|port| has(port)) {
            let port = Arc::make_mut(port);
            port.backends.retain(|backend| !dead.contains(&backend.ip()));
            port.draining.retain(|backend| !dead.contains(&backend.ip()));
        }
        left
    }

    /// Whether a backend has this address, with or without new connections.
    pub(crate) fn has_backend(&self, address: IpAddr) -> bool {
        let in_port = |ports: &BTreeSet<SocketAddr>| ports.iter().any(|port| port.ip() == address);
        self.groups
            .values()
            .any(|g| g.backends.contains(&address) || g.draining.contains(&address))
            || self
                .ports
                .values()
                .any(|p| in_port(&p.backends) || in_port(&p.draining))
    }

    /// The addresses of backends that get no new connections and are to keep those that they have.
    pub(crate) fn draining(&self) -> BTreeSet<IpAddr> {
        let groups = self
            .groups
            .values()
            .flat_map(|group| group.draining.iter().copied());
        let ports = self
            .ports
            .values()
            .flat_map(|port| port.draining.iter().map(SocketAddr::ip));
        groups.chain(ports).collect()
    }
}

/// The gateway of every container's default route: the router's end of its link has this address for it alone.
pub(crate) const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The same for IPv6.
pub(crate) const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

#[cfg(test)]
mod tests {
    use super::{Addresses, Group, PortKey, Protocol, Published, Tables};
    use std::collections::{BTreeMap, BTreeSet};
    use std::net::IpAddr;
    use std::sync::Arc;

    #[test]
    fn the_dead_are_taken_out_everywhere_and_nothing_else_is_touched() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let (dead, alive) = (ip("10.0.0.2"), ip("10.0.0.3"));
        let group = |addresses: &[IpAddr]| Group {
            network: "n".parse().unwrap(),
            vip: Addresses::default(),
            backends: addresses.iter().copied().collect(),
            draining: addresses.iter().copied().collect(),
            records: BTreeMap::from([("tasks.web".parse().unwrap(), addresses.to_vec())]),
        };
        let mut tables = Tables::default();
        for (id, addresses) in [("a", vec![dead, alive]), ("b", vec![alive]), ("c", vec![dead])] {
            tables
                .groups
                .insert(id.parse().unwrap(), Arc::new(group(&addresses)));
        }
        let key = PortKey {
            protocol: Protocol::Tcp,
            address: None,
            port: 80,
        };
        let published = Published {
            backends: [(dead, 80).into(), (alive, 80).into()].into(),
            ..Published::default()
        };
        tables.ports.insert(key, Arc::new(published));
        let left = tables.without(&BTreeSet::from([dead]));
        assert_eq!(*left.groups["a"], group(&[alive]));
        assert_eq!(*left.groups["c"], group(&[]));
        assert!(Arc::ptr_eq(&left.groups["b"], &tables.groups["b"]));
        assert_eq!(left.ports[&key].backends, [(alive, 80).into()].into());
        assert!(!left.has_backend(dead) && left.revision == tables.revision);
    }
}
