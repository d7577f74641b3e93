//! What must hold of addresses and network tables after any history, said as faults.
//!
//! Called by the tests of this crate and by the simulator after every entry; it costs the whole state. The product
//! itself never calls it.

use crate::{
    allocator,
    dispatcher::{NetworkTables, tables_for},
    model::{DesiredState, Network, NodeId},
    store::{Holder, StoreView, held_by_task},
};
use ipnet::IpNet;
use std::{collections::BTreeMap, fmt::Debug};

/// Two holders of one address, addresses outside of their network's ranges, ranges that meet.
pub fn addresses(view: &StoreView) -> Vec<String> {
    let mut faults = Vec::new();
    let ranges: Vec<(IpNet, &Network)> = view
        .networks()
        .flat_map(|network| {
            let (v4, v6) = (network.status.v4, network.status.v6);
            let nets = v4.map(IpNet::V4).into_iter().chain(v6.map(IpNet::V6));
            nets.map(|net| (net, network.as_ref()))
        })
        .collect();
    for (n, (range, network)) in ranges.iter().enumerate() {
        for (other, owner) in &ranges[..n] {
            if range.contains(other) || other.contains(range) {
                let names = (&network.spec.name, &owner.spec.name);
                faults.push(format!("{range} of {:?} meets {other} of {:?}", names.0, names.1));
            }
        }
    }
    for network in view.networks() {
        let mut before: Option<(u32, &Holder)> = None;
        for (number, holder) in view.holders(&network.id) {
            if let Some((_, other)) = before.filter(|(held, _)| *held == number) {
                let name = &network.spec.name;
                faults.push(format!(
                    "number {number} of {name:?} is held by {other:?} and {holder:?}"
                ));
            }
            before = Some((number, holder));
        }
    }
    let of_tasks = view.tasks().flat_map(|task| held_by_task(task));
    let of_services = view.services().flat_map(|service| &service.endpoint.vips);
    for place in of_tasks.chain(of_services) {
        let right = view.network(&place.network).is_some_and(|network| {
            place.number > 0 && allocator::addresses(network, place.number) == place.addresses
        });
        if !right {
            faults.push(format!("not an address of its network: {place:?}"));
        }
    }
    faults
}

/// How what a node holds differs from what a state says it shall hold, and tasks that shall stop and are still offered.
pub fn tables(view: &StoreView, node: &NodeId, held: &NetworkTables) -> Vec<String> {
    let shall = tables_for(view, node);
    let mut faults = Vec::new();
    if held.pools != shall.pools {
        faults.push(format!("pools: {:?} for {:?}", held.pools, shall.pools));
    }
    differences("network", &held.networks, &shall.networks, &mut faults);
    differences("service", &held.services, &shall.services, &mut faults);
    differences("endpoint", &held.endpoints, &shall.endpoints, &mut faults);
    for (id, _) in held.endpoints.iter().filter(|(_, endpoint)| !endpoint.draining) {
        let offered = view
            .task(id)
            .is_some_and(|task| task.desired <= DesiredState::Running);
        if !offered {
            faults.push(format!("endpoint {id:?} shall stop and is still offered"));
        }
    }
    faults
}

fn differences<K: Ord + Debug, V: PartialEq + Debug>(
    noun: &str,
    held: &BTreeMap<K, V>,
    shall: &BTreeMap<K, V>,
    faults: &mut Vec<String>,
) {
    for (key, value) in held {
        match shall.get(key) {
            None => faults.push(format!("{noun} {key:?} is held and gone: {value:?}")),
            Some(other) if other != value => faults.push(format!("{noun} {key:?}: {value:?} for {other:?}")),
            Some(_) => {}
        }
    }
    for key in shall.keys().filter(|key| !held.contains_key(key)) {
        faults.push(format!("{noun} {key:?} is missing"));
    }
}
