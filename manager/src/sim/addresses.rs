//! What must hold of networks after every step: who holds which address and port, and what workers know of it.
//!
//! Reads committed events and the state after them, and a worker's tables with the state that they are of. What tests
//! of the core ask for too is asked there.

use ipnet::IpNet;
use shoal_core::{
    check,
    dispatcher::NetworkTables,
    model::{Network, NodeId, PortMode, PublishedPort, Service},
    store::{Event, EventKind, Object, StoreView},
};

/// Events that were just applied; `view` is the state after them.
pub(super) fn check(view: &StoreView, events: &[&Event]) -> Result<(), String> {
    let mut addresses = false;
    for event in events {
        match &event.object {
            Object::Task(_) => addresses = true,
            Object::Service(service) => {
                addresses = true;
                if event.kind != EventKind::Removed {
                    check_ports(view, service)?;
                }
            }
            Object::Network(network) => {
                addresses = true;
                if event.kind == EventKind::Created {
                    check_routes(view, network)?;
                }
            }
            Object::Cluster(_) | Object::Node(_) | Object::Revision(_) | Object::Stack(_) => {}
        }
    }
    first(if addresses {
        check::addresses(view)
    } else {
        Vec::new()
    })
}

fn first(faults: Vec<String>) -> Result<(), String> {
    faults.into_iter().next().map_or(Ok(()), Err)
}

/// A range is nothing that a node has a route of its own to. Short ones are ways out, and what has a whole pool in it
/// yields to the pool.
fn check_routes(view: &StoreView, network: &Network) -> Result<(), String> {
    let overlap = |one: &IpNet, other: &IpNet| one.contains(other) || other.contains(one);
    let pools: Vec<IpNet> = view
        .cluster()
        .map_or_else(Vec::new, |cluster| cluster.spec.pools.iter().collect());
    let v4 = network.status.v4.map(IpNet::V4);
    for range in v4.into_iter().chain(network.status.v6.map(IpNet::V6)) {
        let yields = |route: &IpNet| {
            let mut around = pools
                .iter()
                .filter(|pool| pool.contains(&range) && *pool != route);
            around.any(|pool| route.contains(pool))
        };
        let mut routes = view
            .nodes()
            .filter_map(|node| node.description.as_ref())
            .flat_map(|description| &description.routes)
            .filter(|route| route.prefix_len() >= 8);
        if let Some(route) = routes.find(|route| overlap(route, &range) && !yields(route)) {
            let name = &network.spec.name;
            return Err(format!("network {name} got {range}, beside {route}"));
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
    first(check::tables(view, node, held))
}
