//! What must hold of networks after every step: who holds which address and port, and what workers know of it.
//!
//! Reads committed events and the state after them, and a worker's tables with the state that they are of. Written
//! without the indexes that the allocator goes by.

use ipnet::IpNet;
use shoal_core::{
    dispatcher::{NetworkTables, Sessions},
    model::{Attachment, Network, NetworkId, NodeId, PortMode, PublishedPort, Service},
    store::{Event, EventKind, Object, StoreView},
};
use std::collections::{BTreeMap, BTreeSet};

/// Events that were just applied; `view` is the state after them.
pub(super) fn check(view: &StoreView, events: &[&Event]) -> Result<(), String> {
    let mut touched = BTreeSet::new();
    for event in events {
        match &event.object {
            Object::Task(task) => touched.extend(networks_in(&task.attachments)),
            Object::Service(service) => {
                touched.extend(networks_in(&service.endpoint.vips));
                if event.kind != EventKind::Removed {
                    check_ports(view, service)?;
                }
            }
            Object::Network(network) if event.kind != EventKind::Removed => {
                check_range(view, network, event.kind)?;
            }
            Object::Network(_)
            | Object::Cluster(_)
            | Object::Node(_)
            | Object::Revision(_)
            | Object::Stack(_) => {}
        }
    }
    check_holders(view, &touched)
}

fn networks_in(attachments: &[Attachment]) -> impl Iterator<Item = NetworkId> {
    attachments.iter().map(|attachment| attachment.network.clone())
}

/// No number of these networks has two live holders, and every address is what its number gives.
fn check_holders(view: &StoreView, networks: &BTreeSet<NetworkId>) -> Result<(), String> {
    let live = view.tasks().filter(|task| !task.status.state.is_terminal());
    let of_tasks = live.map(|task| (format!("task {}", task.id), &task.attachments));
    let of_services = view
        .services()
        .map(|service| (format!("service {}", service.spec.name), &service.endpoint.vips));
    let mut holders: BTreeMap<(&NetworkId, u32), String> = BTreeMap::new();
    for (holder, attachments) in of_tasks.chain(of_services) {
        for attachment in attachments.iter().filter(|it| networks.contains(&it.network)) {
            check_address(view, &holder, attachment)?;
            let key = (&attachment.network, attachment.number);
            if let Some(other) = holders.insert(key, holder.clone()) {
                let at = attachment.addresses;
                return Err(format!("{holder} and {other} both have {at:?}"));
            }
        }
    }
    Ok(())
}

fn check_address(view: &StoreView, holder: &str, attachment: &Attachment) -> Result<(), String> {
    let Some(network) = view.network(&attachment.network) else {
        return Err(format!("{holder} has an address of a network that is gone"));
    };
    let (status, number, has) = (&network.status, attachment.number, attachment.addresses);
    let v4 = status
        .v4
        .map(|range| (u32::from(range.network()) + number).into());
    let v6 = status
        .v6
        .map(|range| (u128::from(range.network()) + u128::from(number)).into());
    let last = status.v4.is_some_and(|range| v4 == Some(range.broadcast()));
    let within = status.v4.zip(v4).is_none_or(|(range, at)| range.contains(&at));
    if (has.v4, has.v6) != (v4, v6) || number == 0 || last || !within {
        return Err(format!(
            "{holder} has {attachment:?} in a network with {status:?}"
        ));
    }
    Ok(())
}

/// A range is no other network's, and was chosen where no node has a route of its own.
fn check_range(view: &StoreView, network: &Network, kind: EventKind) -> Result<(), String> {
    let ranges = |network: &Network| {
        let v4 = network.status.v4.map(IpNet::V4);
        v4.into_iter().chain(network.status.v6.map(IpNet::V6))
    };
    let overlap = |one: &IpNet, other: &IpNet| one.contains(other) || other.contains(one);
    for range in ranges(network) {
        let other = view
            .networks()
            .filter(|other| other.id != network.id)
            .find(|other| ranges(other).any(|it| overlap(&it, &range)));
        if let Some(other) = other {
            let (one, other) = (&network.spec.name, &other.spec.name);
            return Err(format!("networks {one} and {other} meet in {range}"));
        }
        let routes = view
            .nodes()
            .filter_map(|node| node.description.as_ref())
            .flat_map(|description| &description.routes);
        let met = routes
            .filter(|_| kind == EventKind::Created)
            .find(|route| overlap(route, &range));
        if let Some(route) = met {
            return Err(format!(
                "network {} got {range}, beside {route}",
                network.spec.name
            ));
        }
    }
    Ok(())
}

/// Do two ports of one number meet on some address of a host? None, or the unspecified one, is all of them.
pub(super) fn meet(one: &PublishedPort, other: &PublishedPort) -> bool {
    let (Some(one), Some(other)) = (one.host_ip, other.host_ip) else {
        return true;
    };
    let every = one.is_unspecified() || other.is_unspecified();
    one == other || (every && one.is_ipv4() == other.is_ipv4())
}

/// No other service publishes the same port of every node, and no number is left to choose.
fn check_ports(view: &StoreView, service: &Service) -> Result<(), String> {
    let clash = |one: &PublishedPort, other: &PublishedPort| {
        (one.mode == PortMode::Ingress || other.mode == PortMode::Ingress)
            && (one.published, one.protocol) == (other.published, other.protocol)
            && meet(one, other)
    };
    let name = &service.spec.name;
    for port in &service.endpoint.ports {
        if port.published == 0 {
            return Err(format!("service {name} has no number for {port:?}"));
        }
        let others = view.services().filter(|other| other.id != service.id);
        let other = others.map(AsRef::as_ref).find(|other: &&Service| {
            let ports = &other.endpoint.ports;
            ports.iter().any(|it| clash(it, port))
        });
        if let Some(other) = other {
            let other = &other.spec.name;
            return Err(format!("services {name} and {other} both publish {port:?}"));
        }
    }
    Ok(())
}

/// A worker's tables say what they would if it had just been told everything.
pub(super) fn tables_agree(view: &StoreView, node: &NodeId, held: &NetworkTables) -> Result<(), String> {
    let gone = held.services.iter().find(|(id, _)| view.service(id).is_none());
    if let Some((id, service)) = gone {
        let name = &service.name;
        return Err(format!(
            "service {name} ({id}) is removed and still in the tables"
        ));
    }
    let mut expected = NetworkTables::default();
    expected.apply(&Sessions::new().open(view, node).tables);
    if *held == expected {
        return Ok(());
    }
    Err(format!("the tables are {held:?}, the state says {expected:?}"))
}
