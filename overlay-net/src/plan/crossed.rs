//! Routes of others that lead a part of the pools elsewhere, as a VPN's may that came later.
//!
//! The kernel prefers the longer prefix, so the addresses that are in use get routes of their own, the longest there
//! are: published ports, VIPs and answers to containers go on. Whatever else is behind the other route stays there, so
//! that neither network is cut off as a whole. The engine names both in its status.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::host_link;
use crate::address::Prefix;
use crate::desired::{Desired, NetworkId, Tag};
use crate::observed::Observed;
use crate::rtnl::{Route, Via};

/// The routes of others in the host that come before those for the pools.
pub(crate) fn routes<'a>(
    tag: &Tag,
    desired: &'a Desired,
    observed: &'a Observed,
) -> impl Iterator<Item = &'a Route> {
    let own = observed.host.named(&host_link(tag)).map(|link| link.index);
    let within = |route: &&Route| {
        let mut pools = desired.tables.node.pools.iter();
        pools.any(|pool| pool.length() <= route.to.length() && pool.contains(route.to.address()))
    };
    let other = move |route: &&Route| match route.via {
        Via::Link(link) | Via::Gateway(link, _) => Some(link) != own,
        Via::Unreachable => true,
    };
    observed.host.others_routes.iter().filter(other).filter(within)
}

/// The networks that a route takes addresses of.
pub(crate) fn networks<'a>(desired: &'a Desired, route: &'a Route) -> impl Iterator<Item = &'a NetworkId> {
    let networks = desired.tables.networks.iter();
    let met = networks.filter(|(_, network)| network.subnets.iter().any(|subnet| subnet.meets(&route.to)));
    met.map(|(id, _)| id)
}

/// Addresses in use that would be led elsewhere. One that has a route of somebody's for itself alone is his: there is no
/// longer one.
pub(super) fn addresses(tag: &Tag, desired: &Desired, observed: &Observed) -> BTreeSet<IpAddr> {
    let crossing: Vec<Prefix> = routes(tag, desired, observed).map(|route| route.to).collect();
    if crossing.is_empty() {
        return BTreeSet::new();
    }
    let led_elsewhere = |address: &IpAddr| {
        crossing.iter().any(|to| to.contains(*address)) && !crossing.contains(&Prefix::host(*address))
    };
    in_use(desired).filter(led_elsewhere).collect()
}

fn in_use(desired: &Desired) -> impl Iterator<Item = IpAddr> {
    let groups = desired.tables.groups.values().flat_map(|group| {
        let backends = group.backends.iter().chain(&group.draining);
        group.vip.iter().chain(backends.copied())
    });
    let ports = desired.tables.ports.values().flat_map(|port| {
        let backends = port.backends.iter().chain(&port.draining);
        port.vip.iter().chain(backends.map(std::net::SocketAddr::ip))
    });
    let endpoints = desired.endpoints.values();
    let attachments = endpoints.flat_map(|endpoint| &endpoint.attachments);
    let own = attachments.flat_map(|attachment| attachment.addresses.iter());
    groups.chain(ports).chain(own)
}
