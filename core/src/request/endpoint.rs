//! What a service is given to be reached by: its networks found, its ports chosen, its virtual addresses.
//!
//! Called where a service is created or updated. What it has and still needs it keeps, so that an update moves no
//! address that clients know; what it no longer needs rests.

use super::transaction::{Planned, Transaction};
use crate::{
    allocator::{self, Lack},
    model::{
        Attachment, EndpointMode, INGRESS, Network, NetworkId, NetworkMode, PortMode, PublishedPort,
        ResolvedUse, Service, ServiceEndpoint, ServiceSpec, StackNetwork, StackSpec, Timestamp,
    },
    refusal::{Refusal, RefusalCode},
    resolve,
    store::StoreView,
};
use std::sync::Arc;

/// The endpoint of a service with this spec. `stack` is the one that owns it, as it shall be.
pub(super) fn endpoint(
    tx: &mut Transaction<'_>,
    spec: &ServiceSpec,
    stack: Option<&StackSpec>,
    old: Option<&Service>,
) -> Planned<ServiceEndpoint> {
    let networks = networks(&tx.view, spec, stack)?;
    let ports = allocator::ports(&tx.view, spec, old, &tx.going, &tx.asked)?;
    let wanted = vip_networks(&tx.view, spec.endpoint_mode, &networks, &ports);
    let before: &[Attachment] = old.map_or(&[], |old| &old.endpoint.vips);
    let has = |network: &NetworkId| before.iter().find(|vip| vip.network == *network);
    let missing = wanted.iter().filter(|network| has(network).is_none());
    let given = tx
        .numbers
        .give(&tx.view, missing, tx.now)
        .map_err(|lack| no_address(&tx.view, &lack, tx.now))?;
    let (kept, gone): (Vec<_>, Vec<_>) = before
        .iter()
        .cloned()
        .partition(|vip| wanted.contains(&vip.network));
    tx.numbers.rest(&tx.view, &gone, tx.now);
    let mut vips: Vec<_> = kept.into_iter().chain(given).collect();
    vips.sort_by_key(|vip| wanted.iter().position(|network| *network == vip.network));
    Ok(ServiceEndpoint {
        networks,
        vips,
        ports,
    })
}

/// The networks that the spec names, or `ingress` where it names none.
fn networks(view: &StoreView, spec: &ServiceSpec, stack: Option<&StackSpec>) -> Planned<Vec<ResolvedUse>> {
    match spec.task.container.network {
        NetworkMode::Networks => {}
        NetworkMode::Host | NetworkMode::None => return Ok(Vec::new()),
    }
    let mut found: Vec<ResolvedUse> = Vec::new();
    if spec.task.networks.is_empty() {
        found.extend(view.network_by_name(INGRESS).map(|ingress| ResolvedUse {
            network: ingress.id.clone(),
            aliases: Vec::new(),
        }));
    }
    let in_file = stack.and_then(|stack| spec.name.strip_prefix(&format!("{}_", stack.name)));
    for (n, wanted) in spec.task.networks.iter().enumerate() {
        let field = format!("task.networks[{n}].network");
        let network = find(view, stack, &wanted.network).map_err(|refusal| refusal.with_field(&field))?;
        let invalid = |message| Err(Refusal::new(RefusalCode::Invalid, message).with_field(&field));
        let name = &network.spec.name;
        if network.spec.ingress {
            return invalid(format!(
                "network {name:?} is joined by no name: a service that names no network has it"
            ));
        }
        if found.iter().any(|used| used.network == network.id) {
            return invalid(format!("network {name:?} is named twice"));
        }
        let mut aliases: Vec<String> = Vec::new();
        for alias in wanted.aliases.iter().map(String::as_str).chain(in_file) {
            if !aliases.iter().any(|known| known == alias) {
                aliases.push(alias.to_owned());
            }
        }
        found.push(ResolvedUse {
            network: network.id.clone(),
            aliases,
        });
    }
    Ok(found)
}

/// A name of the stack's file stands for what the file says of it, any other for the network of that name.
fn find<'a>(view: &'a StoreView, stack: Option<&StackSpec>, name: &str) -> Planned<&'a Arc<Network>> {
    let stored = match stack.and_then(|stack| stack.networks.get(name)) {
        Some(StackNetwork::Own(spec)) => &spec.name,
        Some(StackNetwork::External(stored)) => stored,
        None => name,
    };
    resolve::network(view, stored)
}

/// Where the service has an address of its own.
fn vip_networks(
    view: &StoreView,
    mode: EndpointMode,
    networks: &[ResolvedUse],
    ports: &[PublishedPort],
) -> Vec<NetworkId> {
    let ingress = view.network_by_name(INGRESS).map(|network| &network.id);
    let mut wanted: Vec<NetworkId> = match mode {
        EndpointMode::Vip => networks.iter().map(|used| used.network.clone()).collect(),
        EndpointMode::DnsRoundRobin => Vec::new(),
    };
    wanted.retain(|network| Some(network) != ingress);
    if ports.iter().any(|port| port.mode == PortMode::Ingress) {
        wanted.extend(ingress.cloned());
    }
    wanted
}

fn no_address(view: &StoreView, lack: &Lack, now: Timestamp) -> Refusal {
    let network = view.network(&lack.network);
    let name = network.map_or("", |network| network.spec.name.as_str());
    let refusal = Refusal::new(
        RefusalCode::Exhausted,
        format!("network {name:?} has no address free for the service's own"),
    );
    match lack.again_at {
        Some(at) => {
            let seconds = allocator::seconds(at, now);
            refusal.with_hint(format!(
                "addresses that were given back rest for a while: try again in {seconds} s"
            ))
        }
        None => refusal.with_hint("scale a service down that uses it, or use a network with a larger subnet"),
    }
}
