//! A network: ranges of addresses whose holders reach each other, and what tasks and services hold in them.
//!
//! One number per holder and network gives its addresses in every range of the network, so that the IPv4 and the
//! IPv6 address of an endpoint are allocated together. Subnets of one cluster never overlap.

use super::{Labels, Meta, NetworkId, PublishedPort, StackId, Timestamp};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// The name of the network that exists from the start: a way out and in, whose members do not meet.
pub const INGRESS: &str = "ingress";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    pub id: NetworkId,
    pub meta: Meta,
    pub spec: NetworkSpec,
    /// The stack that owns it.
    pub stack: Option<StackId>,
    pub status: NetworkStatus,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// Unique among networks; `host` and `none` are not networks and not names of any.
    pub name: String,
    pub labels: Labels,
    pub driver: NetworkDriver,
    /// Has no way out; published ports still come in.
    pub internal: bool,
    /// Containers that are no service's may join it, as in Swarm.
    pub attachable: bool,
    /// Members have IPv6 addresses too.
    pub ipv6: bool,
    /// Ranges that the user asked for, one of each family at most; where there is none, the pools give one.
    pub subnets: Vec<IpNet>,
    /// The driver's options, kept as given.
    pub options: BTreeMap<String, String>,
    /// The one that exists from the start.
    pub ingress: bool,
}

/// How a network's members on different hosts are joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum NetworkDriver {
    /// Across hosts.
    #[default]
    Overlay,
    /// Each node's members among themselves.
    Bridge,
}

/// What the allocator gave and remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkStatus {
    /// The ranges in force; no other network's.
    pub v4: Option<Ipv4Net>,
    pub v6: Option<Ipv6Net>,
    /// The number given last: the next search begins behind it.
    pub last: u32,
    /// Numbers given back lately, which nobody is given yet. Sorted, disjoint.
    pub resting: Vec<Rest>,
    /// Nobody may join it any more, and its name is free: it goes when nobody holds an address of it and none rests.
    pub removed: bool,
}

/// A range of numbers and when they may be given again. May hold more numbers than were given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rest {
    pub first: u32,
    /// Of the range as well.
    pub last: u32,
    pub until: Timestamp,
}

/// The addresses of one holder in one network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Addresses {
    pub v4: Option<Ipv4Addr>,
    pub v6: Option<Ipv6Addr>,
}

impl Addresses {
    /// Those that there are, IPv4 first.
    pub fn iter(self) -> impl Iterator<Item = IpAddr> {
        let v4 = self.v4.map(IpAddr::V4);
        v4.into_iter().chain(self.v6.map(IpAddr::V6))
    }
}

/// A task's or a service's place in a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    pub network: NetworkId,
    /// Unique within the network among all that hold one; never 0.
    pub number: u32,
    /// What the number gives in the network's ranges.
    pub addresses: Addresses,
}

/// A network that a service's tasks join, as the user names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkUse {
    /// A name, an id or an unambiguous prefix of one; of a stack's own network the name in the stack's file.
    pub network: String,
    /// Further names of the service in this network.
    pub aliases: Vec<String>,
}

/// The same with the network found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedUse {
    pub network: NetworkId,
    /// The user's, and for a service of a stack its name in the file.
    pub aliases: Vec<String>,
}

/// How a service is found by its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EndpointMode {
    /// One virtual address per network; connections are spread over the tasks.
    #[default]
    Vip,
    /// The addresses of all tasks.
    DnsRoundRobin,
}

/// What the system gave a service to be reached by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceEndpoint {
    /// The networks of the current revision: where the service has names.
    pub networks: Vec<ResolvedUse>,
    /// One for each of them but `ingress`, in their order, and none in the mode `DnsRoundRobin`; then one in `ingress`
    /// where ports are published on every node.
    pub vips: Vec<Attachment>,
    /// The service's ports with every number chosen.
    pub ports: Vec<PublishedPort>,
}

/// Where subnets come from; fixed when the cluster is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressPools {
    pub v4: Vec<Ipv4Net>,
    /// Length of the prefix of each network's IPv4 subnet.
    pub v4_subnet_length: u8,
    /// A random unique local /48 (RFC 4193); each network gets a /64 of it, the first of which is the nodes' own.
    pub v6: Option<Ipv6Net>,
}

impl Default for AddressPools {
    /// A range that few others use: 1,022 addresses for each of 896 networks, and an eighth of it for `ingress`. No IPv6:
    /// its pool is random, so that only who makes the cluster can choose it.
    fn default() -> Self {
        let pool = Ipv4Net::new_assert(Ipv4Addr::new(10, 128, 0, 0), 12);
        Self {
            v4: vec![pool],
            v4_subnet_length: 22,
            v6: None,
        }
    }
}

impl AddressPools {
    /// Every range of them, of both families.
    pub fn iter(&self) -> impl Iterator<Item = IpNet> {
        let v4 = self.v4.iter().copied().map(IpNet::V4);
        v4.chain(self.v6.map(IpNet::V6))
    }
}
