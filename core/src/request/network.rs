//! Creating and removing networks.
//!
//! A network gets its ranges when it is made and keeps them. One that is removed goes at once if nobody holds an
//! address of it; otherwise its name is free at once, and the planner deletes it when the last address has rested.

use super::{
    Response,
    transaction::{Planned, Transaction},
};
use crate::{
    allocator,
    model::{
        AddressPools, DesiredState, Meta, Network, NetworkDriver, NetworkId, NetworkSpec, NetworkStatus,
        StackId,
    },
    refusal::{Refusal, RefusalCode},
    resolve,
    store::{Holder, ObjectKey, StoreView},
    validate,
};
use ipnet::IpNet;
use std::{collections::BTreeSet, ops::RangeInclusive};

/// How many users of a network are named.
const NAMED: usize = 3;

pub(super) fn create(tx: &mut Transaction<'_>, spec: &NetworkSpec) -> Planned<Response> {
    if let Some(refusal) = Refusal::of_faults(validate::network(spec)) {
        return Err(refusal);
    }
    let id = created(tx, spec.clone(), None)?;
    let warnings = warnings(spec);
    Ok(Response::Network { id, warnings })
}

pub(super) fn remove(tx: &mut Transaction<'_>, reference: &str) -> Planned<Response> {
    let network = resolve::network(tx.base(), reference)?;
    let name = &network.spec.name;
    if network.spec.ingress {
        return Err(Refusal::new(
            RefusalCode::InUse,
            format!("network {name:?} cannot be removed: it is what services without a network have"),
        ));
    }
    let mut users = users(&tx.view, network);
    if users.is_empty() {
        users.extend(former_users(&tx.view, network));
    }
    if !users.is_empty() {
        return Err(Refusal::new(
            RefusalCode::InUse,
            format!("network {name:?} is used by {}", listed(&users)),
        )
        .with_hint("remove these first, or update them to use another network"));
    }
    removed(tx, network);
    Ok(Response::Network {
        id: network.id.clone(),
        warnings: Vec::new(),
    })
}

/// A new network with its ranges. The spec has been checked.
pub(super) fn created(
    tx: &mut Transaction<'_>,
    spec: NetworkSpec,
    stack: Option<&StackId>,
) -> Planned<NetworkId> {
    if tx.view.network_by_name(&spec.name).is_some() {
        return Err(Refusal::new(
            RefusalCode::Conflict,
            format!("there is already a network {:?}", spec.name),
        )
        .with_field("name")
        .with_hint("choose another name"));
    }
    let status = ranges(tx, &spec)?;
    let network = Network {
        id: NetworkId::mint(tx.ids),
        meta: Meta::default(),
        spec,
        stack: stack.cloned(),
        status,
    };
    let id = network.id.clone();
    tx.put(network);
    Ok(id)
}

/// Removes a network that no service uses in the transaction's view.
pub(super) fn removed(tx: &mut Transaction<'_>, network: &Network) {
    let held = tx.view.holders(&network.id).next().is_some();
    if held || tx.numbers.resting_until(network, tx.now).is_some() {
        let mut going = network.clone();
        going.status.removed = true;
        going.stack = None;
        tx.put(going);
    } else {
        tx.delete(ObjectKey::Network(network.id.clone()));
    }
}

/// The services that use a network.
pub(super) fn users(view: &StoreView, network: &Network) -> Vec<String> {
    let services = view.services_of_network(&network.id);
    services
        .map(|service| format!("service {:?}", service.spec.name))
        .collect()
}

/// Services that have left the network and whose older tasks still run in it, until they are replaced.
fn former_users(view: &StoreView, network: &Network) -> BTreeSet<String> {
    let tasks = view.holders(&network.id).filter_map(|(_, holder)| match holder {
        Holder::Service(_) => None,
        Holder::Task(task) => view.task(task),
    });
    tasks
        .filter(|task| task.desired <= DesiredState::Running)
        .filter_map(|task| view.service(&task.service))
        .map(|service| format!("older tasks of service {:?}", service.spec.name))
        .collect()
}

/// The first few, and that there are more.
pub(super) fn listed(users: &[String]) -> String {
    let named = users.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    let more = users.len().saturating_sub(NAMED);
    if more == 0 {
        named
    } else {
        format!("{named} and {more} more")
    }
}

pub(super) fn warnings(spec: &NetworkSpec) -> Vec<String> {
    let mut warnings = Vec::new();
    if !spec.options.is_empty() {
        let names: Vec<&str> = spec.options.keys().map(String::as_str).collect();
        warnings.push(format!(
            "options that are kept and have no effect: {}",
            names.join(", ")
        ));
    }
    match spec.driver {
        NetworkDriver::Overlay => {}
        NetworkDriver::Bridge => {
            warnings.push("a bridge network joins the tasks of one node only".to_owned());
        }
    }
    warnings
}

/// The ranges that the spec asks for, and others from the pools.
fn ranges(tx: &mut Transaction<'_>, spec: &NetworkSpec) -> Planned<NetworkStatus> {
    let mut status = NetworkStatus::default();
    for (n, subnet) in spec.subnets.iter().enumerate() {
        check_free(&tx.view, *subnet).map_err(|refusal| refusal.with_field(format!("subnets[{n}]")))?;
        tx.taken().add(*subnet);
        match subnet {
            IpNet::V4(net) => status.v4 = Some(*net),
            IpNet::V6(net) => status.v6 = Some(*net),
        }
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
        status.v4 = Some(chosen.ok_or_else(|| exhausted(&pools.v4, pools.v4_subnet_length))?);
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
        status.v6 = Some(chosen.ok_or_else(|| exhausted(&[pool], 64))?);
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

/// Refuses a subnet that meets another network's, or where a node's host has something else.
fn check_free(view: &StoreView, subnet: IpNet) -> Planned<()> {
    if let Some(other) = allocator::network_met(view, subnet) {
        let going = if other.status.removed {
            ", which is removed and whose last addresses still rest"
        } else {
            ""
        };
        let message = format!(
            "{subnet} meets the subnet of network {:?}{going}",
            other.spec.name
        );
        return Err(Refusal::new(RefusalCode::Conflict, message)
            .with_hint("ask for another subnet, or for none: then a free one is chosen"));
    }
    if let Some((node, route)) = allocator::route_met(view, subnet) {
        let hostname = view
            .node(node)
            .and_then(|node| node.description.as_ref())
            .map_or("", |description| description.hostname.as_str());
        let message = format!("{subnet} meets the route {route} that node {hostname:?} ({node}) has");
        return Err(Refusal::new(RefusalCode::Conflict, message)
            .with_hint("ask for another subnet, or for none: then a free one is chosen"));
    }
    Ok(())
}

fn exhausted(pools: &[impl ToString], length: u8) -> Refusal {
    let pools: Vec<String> = pools.iter().map(ToString::to_string).collect();
    let message = format!("no subnet of length /{length} is free in {}", pools.join(", "));
    Refusal::new(RefusalCode::Exhausted, message)
        .with_field("subnets")
        .with_hint("remove networks that nobody uses, or name a subnet of your own")
}
