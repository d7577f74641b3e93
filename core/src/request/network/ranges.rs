//! Which ranges a new network gets: those that are asked for if they are free, and others from the pools.
//!
//! Called when a network is made. A range of a network that is on its way out passes to a new one with what rests of
//! it, so that nobody waits for a rest that the new one can keep.

use super::{Planned, Transaction};
use crate::{
    allocator,
    model::{AddressPools, Network, NetworkSpec, NetworkStatus, NodeId},
    refusal::{Refusal, RefusalCode},
    store::{ObjectKey, StoreView},
};
use ipnet::IpNet;
use std::ops::RangeInclusive;

const ANOTHER: &str = "ask for another subnet, or for none: then a free one is chosen";

/// The ranges that the spec asks for, and others from the pools.
pub(super) fn ranges(tx: &mut Transaction<'_>, spec: &NetworkSpec) -> Planned<NetworkStatus> {
    let mut status = NetworkStatus::default();
    for (n, subnet) in spec.subnets.iter().enumerate() {
        let at = |refusal: Refusal| refusal.with_field(format!("subnets[{n}]"));
        while let Some(other) = allocator::network_met(&tx.view, *subnet) {
            let other = other.clone();
            check_passes(tx, &other, *subnet, spec).map_err(at)?;
            // Of two that are met one alone can have anything that rests: the range of each is then the whole subnet.
            if tx.numbers.resting_until(&other, tx.now).is_some() {
                status = NetworkStatus {
                    removed: false,
                    ..other.status.clone()
                };
            }
            for range in ranges_of(&other.status) {
                tx.taken().remove(range);
            }
            tx.delete(ObjectKey::Network(other.id.clone()));
        }
        check_routes(&tx.view, *subnet).map_err(at)?;
    }
    for subnet in &spec.subnets {
        match subnet {
            IpNet::V4(net) => status.v4 = Some(*net),
            IpNet::V6(net) => status.v6 = Some(*net),
        }
    }
    for range in ranges_of(&status) {
        tx.taken().add(range);
    }
    let pools = tx
        .view
        .cluster()
        .map_or_else(AddressPools::default, |cluster| cluster.spec.pools.clone());
    if status.v4.is_none() {
        let lengths = lengths(&pools, spec.ingress);
        let chosen = lengths
            .into_iter()
            .find_map(|length| tx.taken().choose_v4(&pools.v4, length));
        let all: Vec<IpNet> = pools.v4.iter().copied().map(IpNet::V4).collect();
        status.v4 = Some(chosen.ok_or_else(|| exhausted(&tx.view, &all, pools.v4_subnet_length))?);
    }
    if spec.ipv6 && status.v6.is_none() {
        let Some(pool) = pools.v6 else {
            return Err(Refusal::new(
                RefusalCode::Invalid,
                "the cluster was made without an IPv6 range for networks",
            )
            .with_field("ipv6")
            .with_hint("name an IPv6 subnet"));
        };
        let chosen = tx.taken().choose_v6(pool);
        status.v6 = Some(chosen.ok_or_else(|| exhausted(&tx.view, &[IpNet::V6(pool)], 64))?);
    }
    Ok(status)
}

/// The lengths to try, the best first. Every task without a network of its own is in `ingress`: an eighth of the first
/// pool is 131,070 addresses of the default one.
fn lengths(pools: &AddressPools, ingress: bool) -> RangeInclusive<u8> {
    let usual = pools.v4_subnet_length;
    let eighth = pools.v4.first().map_or(usual, |pool| pool.prefix_len() + 3);
    let least = if ingress { usual.min(eighth) } else { usual };
    least..=usual
}

/// Refuses a subnet that meets another network's, unless that is on its way out and nothing of it is lost if the new one
/// takes its place at once.
fn check_passes(tx: &Transaction<'_>, other: &Network, subnet: IpNet, spec: &NetworkSpec) -> Planned<()> {
    let conflict = |more: &str| {
        let name = &other.spec.name;
        let message = format!("{subnet} meets the subnet of network {name:?}{more}");
        Refusal::new(RefusalCode::Conflict, message)
    };
    if !other.status.removed {
        return Err(conflict("").with_hint(ANOTHER));
    }
    if tx.view.holders(&other.id).next().is_some() {
        return Err(
            conflict(", which is removed and whose last tasks are still stopping")
                .with_hint(format!("try again when they have ended, or {ANOTHER}")),
        );
    }
    match tx.numbers.resting_until(other, tx.now) {
        Some(until) if !is_heir(spec, other) => {
            let seconds = allocator::seconds(until, tx.now);
            Err(conflict(", which is removed and whose last addresses still rest")
                .with_hint(format!("try again in {seconds} s, or {ANOTHER}")))
        }
        Some(_) | None => Ok(()),
    }
}

/// Can the new network have all ranges of the one that goes, so that their numbers mean the same addresses? What it does
/// not ask for itself must have been chosen, as it would be for it.
fn is_heir(spec: &NetworkSpec, other: &Network) -> bool {
    let asked = |net: &IpNet| spec.subnets.iter().find(|subnet| is_v4(subnet) == is_v4(net));
    let mut ranges = ranges_of(&other.status);
    ranges.all(|range| match asked(&range) {
        Some(subnet) => *subnet == range,
        None => (spec.ipv6 || is_v4(&range)) && !other.spec.subnets.contains(&range),
    })
}

fn is_v4(net: &IpNet) -> bool {
    matches!(net, IpNet::V4(_))
}

fn ranges_of(status: &NetworkStatus) -> impl Iterator<Item = IpNet> {
    let v4 = status.v4.map(IpNet::V4);
    v4.into_iter().chain(status.v6.map(IpNet::V6))
}

/// Refuses a subnet where a node's host has something else.
fn check_routes(view: &StoreView, subnet: IpNet) -> Planned<()> {
    if let Some((node, route)) = allocator::route_met(view, subnet) {
        let message = format!(
            "{subnet} meets the route {route} that {} has",
            node_named(view, node)
        );
        return Err(Refusal::new(RefusalCode::Conflict, message).with_hint(ANOTHER));
    }
    Ok(())
}

fn node_named(view: &StoreView, node: &NodeId) -> String {
    let hostname = view
        .node(node)
        .and_then(|node| node.description.as_ref())
        .map_or("", |description| description.hostname.as_str());
    format!("node {hostname:?} ({node})")
}

fn exhausted(view: &StoreView, pools: &[IpNet], length: u8) -> Refusal {
    let names: Vec<String> = pools.iter().map(ToString::to_string).collect();
    let mut message = format!("no subnet of length /{length} is free in {}", names.join(", "));
    let mut hint = "remove networks that nobody uses, or name a subnet of your own".to_owned();
    if let Some((node, route)) = allocator::route_in(view, pools) {
        message.push_str(&format!(
            ", where {} has the route {route}",
            node_named(view, node)
        ));
        hint = format!("remove what made that route, a VPN perhaps; or {hint}");
    }
    Refusal::new(RefusalCode::Exhausted, message)
        .with_field("subnets")
        .with_hint(hint)
}
