//! One service in the overlay's words: a group per network, with its names, and what its published ports lead to.
//!
//! Pure. Members are reached on every address that they have.

use shoal_core::dispatcher::{TableEndpoint, TableNetwork, TableService, TableUse};
use shoal_core::model::{self, PortMode, PublishedPort, ServiceId, Slot};
use shoal_overlay_net::address::Addresses;
use shoal_overlay_net::desired::{Group, GroupId, Name, NetworkId, PortKey, Protocol, Published};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// A task of the service that can be reached.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member<'a> {
    pub(super) endpoint: &'a TableEndpoint,
    /// Is it on this node?
    pub(super) here: bool,
    pub(super) draining: bool,
}

/// What a service has in the overlay's tables.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) groups: BTreeMap<GroupId, Group>,
    pub(super) ports: BTreeMap<PortKey, Published>,
}

pub(super) fn build(
    id: &ServiceId,
    service: &TableService,
    networks: &BTreeMap<model::NetworkId, TableNetwork>,
    members: &[Member<'_>],
) -> Made {
    let mut made = Made::default();
    for (network, use_) in &service.networks {
        // Members of `ingress` do not meet: there is nobody to answer a name to.
        let Some(described) = networks.get(network).filter(|network| !network.ingress) else {
            continue;
        };
        let key = format!("{id}/{network}").parse::<GroupId>();
        // An id of the cluster's is one of the overlay's.
        if let (Ok(key), Ok(theirs)) = (key, network.as_str().parse::<NetworkId>()) {
            let names = Names::new(service, use_, &described.name);
            made.groups
                .insert(key, group((theirs, network), names, use_, members));
        }
    }
    let vip = entry(service, networks);
    for port in &service.ports {
        if let Some((key, published)) = published(port, vip, members) {
            made.ports.insert(key, published);
        }
    }
    made
}

fn group(
    (theirs, network): (NetworkId, &model::NetworkId),
    mut names: Names,
    use_: &TableUse,
    members: &[Member<'_>],
) -> Group {
    let vip = use_.vip.map(both).unwrap_or_default();
    let (mut backends, mut draining) = (BTreeSet::new(), BTreeSet::new());
    for member in members {
        let attachments = member.endpoint.attachments.iter();
        let addresses: Vec<IpAddr> = attachments
            .filter(|attachment| attachment.network == *network)
            .flat_map(|attachment| attachment.addresses.iter())
            .collect();
        if member.draining {
            draining.extend(addresses);
        } else {
            names.member(&member.endpoint.slot, &addresses);
            backends.extend(addresses);
        }
    }
    let under_its_name: Vec<IpAddr> = match use_.vip {
        Some(vip) => vip.iter().collect(),
        None => backends.iter().copied().collect(),
    };
    names.service(&under_its_name);
    Group {
        network: theirs,
        vip,
        backends,
        draining,
        records: names.records,
    }
}

/// The names of a service in one network.
struct Names {
    names: BTreeSet<String>,
    network: String,
    records: BTreeMap<Name, Vec<IpAddr>>,
}

impl Names {
    fn new(service: &TableService, use_: &TableUse, network: &str) -> Self {
        let names = std::iter::once(&service.name).chain(&use_.aliases);
        let names = names.map(|name| name.to_ascii_lowercase()).collect();
        let mut all = Self {
            names,
            network: network.to_ascii_lowercase(),
            records: BTreeMap::new(),
        };
        // A name that nobody has now is answered with nobody, and not looked for outside.
        all.add(|name| format!("tasks.{name}"), &[]);
        all
    }

    fn service(&mut self, addresses: &[IpAddr]) {
        self.add(str::to_owned, addresses);
        for name in &self.names {
            if let Some(name) = in_network(name, &self.network) {
                put(&mut self.records, &name, addresses);
            }
        }
    }

    fn member(&mut self, slot: &Slot, addresses: &[IpAddr]) {
        let slot = match slot {
            Slot::Replica(number) => number.to_string(),
            Slot::Node(node) => node.to_string(),
        };
        self.add(|name| format!("tasks.{name}"), addresses);
        self.add(|name| format!("{slot}.{name}"), addresses);
        self.add(|name| format!("{name}-{slot}.{name}"), addresses);
    }

    fn add(&mut self, form: impl Fn(&str) -> String, addresses: &[IpAddr]) {
        for name in &self.names {
            put(&mut self.records, &form(name), addresses);
        }
    }
}

fn put(records: &mut BTreeMap<Name, Vec<IpAddr>>, name: &str, addresses: &[IpAddr]) {
    // What is no host name cannot be asked for: too long with what is put before it, mostly.
    if let Ok(name) = name.parse::<Name>() {
        records.entry(name).or_default().extend(addresses);
    }
}

/// A service's name with its network's behind it (`web.front`), as Docker knows it. None where that may mean tasks of a
/// service with the network's name: `3.front`, `tasks.front`, `front-3.front`.
fn in_network(name: &str, network: &str) -> Option<String> {
    let numbered = name.strip_prefix(network).and_then(|rest| rest.strip_prefix('-'));
    let slot = numbered.unwrap_or(name);
    let ambiguous = name == "tasks" || slot.parse::<u64>().is_ok();
    (!ambiguous).then(|| format!("{name}.{network}"))
}

/// The VIP that ports are spread under: the one of `ingress`, which leads to nothing else.
fn entry(service: &TableService, networks: &BTreeMap<model::NetworkId, TableNetwork>) -> Addresses {
    let mut uses = service.networks.iter();
    let ingress = uses.find(|(id, _)| networks.get(id).is_some_and(|network| network.ingress));
    ingress
        .and_then(|(_, use_)| use_.vip)
        .map(both)
        .unwrap_or_default()
}

fn published(port: &PublishedPort, vip: Addresses, members: &[Member<'_>]) -> Option<(PortKey, Published)> {
    let key = PortKey {
        protocol: match port.protocol {
            model::Protocol::Tcp => Protocol::Tcp,
            model::Protocol::Udp => Protocol::Udp,
        },
        address: port.host_ip,
        port: port.published,
    };
    let host_mode = port.mode == PortMode::Host;
    let reached = members.iter().filter(|member| member.here || !host_mode);
    let targets: Vec<_> = reached
        .filter_map(|member| Some((member, target(port, member.endpoint)?)))
        .collect();
    if host_mode && targets.is_empty() {
        return None;
    }
    let mut published = Published {
        // A host's own port has one task behind it, and packets go straight to it.
        vip: if host_mode { Addresses::default() } else { vip },
        ..Published::default()
    };
    for (member, target) in targets {
        let sockets = doors(member.endpoint).map(|address| SocketAddr::new(address, target));
        if member.draining {
            published.draining.extend(sockets);
        } else {
            published.backends.extend(sockets);
        }
    }
    Some((key, published))
}

/// Where a task listens for what comes in at a port. One that is older than the service's ports listens where it did when
/// it was made, for the same port or, on every node, for another number of it; None where it never was to listen.
fn target(port: &PublishedPort, endpoint: &TableEndpoint) -> Option<u16> {
    let Some(own) = &endpoint.ports else {
        return Some(port.target);
    };
    let same =
        |own: &&PublishedPort| PublishedPort { target: 0, ..**own } == PublishedPort { target: 0, ..*port };
    let renumbered = |own: &&PublishedPort| (own.protocol, own.target) == (port.protocol, port.target);
    let found = own.iter().find(same).or_else(|| {
        let mut others = own.iter().filter(|_| port.mode == PortMode::Ingress);
        others.find(renumbered)
    });
    found.map(|own| own.target)
}

/// Where a task is reached from outside: the first address of each family.
fn doors(endpoint: &TableEndpoint) -> impl Iterator<Item = IpAddr> {
    let attachments = || endpoint.attachments.iter().map(|attachment| attachment.addresses);
    let v4 = attachments().find_map(|addresses| addresses.v4);
    let v6 = attachments().find_map(|addresses| addresses.v6);
    v4.map(IpAddr::V4).into_iter().chain(v6.map(IpAddr::V6))
}

fn both(addresses: model::Addresses) -> Addresses {
    addresses.iter().collect()
}
