//! Writes of networks, and services that use them: some large, some so small that they are soon full, some gone
//! before the service that names them comes.
//!
//! Called by the users when they invent a write.

use super::Rng;
use ipnet::{IpNet, Ipv4Net};
use shoal_core::{
    model::{
        EndpointMode, Network, NetworkMode, NetworkSpec, NetworkUse, PortMode, Protocol, PublishedPort,
        ServiceSpec, StackNetwork,
    },
    request::Request,
    store::StoreView,
};
use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc};

/// Of those that users make; one more fills no pool.
const MOST_NETWORKS: usize = 6;

/// Networks that somebody made and that can still be joined.
fn joinable(view: &StoreView) -> Vec<&Arc<Network>> {
    view.networks()
        .filter(|network| !network.spec.ingress && !network.status.removed)
        .collect()
}

pub(super) fn creation(view: &StoreView, (user, made): (u64, u64), rng: &mut Rng) -> Option<Request> {
    if joinable(view).len() >= MOST_NETWORKS {
        return None;
    }
    let octet = |number: u64| u8::try_from(number % 250).unwrap_or(0);
    // Six addresses: less than a large service needs.
    let tiny = Ipv4Net::new_assert(Ipv4Addr::new(10, 99, octet(user), octet(made) & 0xf8), 29);
    let subnets = if rng.chance(500) {
        vec![IpNet::V4(tiny)]
    } else {
        Vec::new()
    };
    Some(Request::CreateNetwork {
        spec: NetworkSpec {
            name: format!("network-{user}-{made}"),
            internal: rng.chance(200),
            subnets,
            ..NetworkSpec::default()
        },
    })
}

pub(super) fn removal(view: &StoreView, rng: &mut Rng) -> Option<Request> {
    let network = rng.pick(&joinable(view)).map(|network| network.id.to_string());
    network.map(|reference| Request::RemoveNetwork { reference })
}

/// Lets a service join some of the networks that there are, or none at all.
pub(super) fn join(spec: &mut ServiceSpec, view: &StoreView, rng: &mut Rng) {
    let wanted = joinable(view).into_iter().filter(|_| rng.chance(400));
    let wanted: Vec<String> = wanted.map(|network| network.spec.name.clone()).collect();
    spec.task.networks = uses(&wanted);
    let alone = wanted.is_empty() && spec.ports.is_empty() && rng.chance(200);
    spec.task.container.network = if alone {
        NetworkMode::Host
    } else {
        NetworkMode::Networks
    };
}

pub(super) fn uses<'a>(names: impl IntoIterator<Item = &'a String>) -> Vec<NetworkUse> {
    let one = |name: &String| NetworkUse {
        network: name.clone(),
        aliases: vec!["other".to_owned()],
    };
    names.into_iter().map(one).collect()
}

/// None, or one of the stack's own.
pub(super) fn of_stack(stack: &str, rng: &mut Rng) -> BTreeMap<String, StackNetwork> {
    let own = |name: &str| NetworkSpec {
        name: format!("{stack}_{name}"),
        ..NetworkSpec::default()
    };
    let back = || ("back".to_owned(), StackNetwork::Own(own("back")));
    rng.chance(500).then(back).into_iter().collect()
}

/// Few numbers, so that services meet.
pub(super) fn ports(rng: &mut Rng) -> Vec<PublishedPort> {
    if rng.chance(600) {
        return Vec::new();
    }
    let mode = if rng.chance(500) {
        PortMode::Host
    } else {
        PortMode::Ingress
    };
    let published = match rng.between(0, 5) {
        0 => 0,
        number => u16::try_from(8000 + number).unwrap_or(0),
    };
    let target = if rng.chance(500) { 80 } else { 81 };
    vec![PublishedPort {
        target,
        published,
        protocol: Protocol::Tcp,
        mode,
        host_ip: None,
    }]
}

pub(super) fn endpoint_mode(rng: &mut Rng) -> EndpointMode {
    if rng.chance(300) {
        EndpointMode::DnsRoundRobin
    } else {
        EndpointMode::Vip
    }
}
