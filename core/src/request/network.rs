//! Creating and removing networks.
//!
//! A network gets its ranges when it is made and keeps them. One that is removed goes at once if nobody holds an
//! address of it; otherwise its name is free at once, and the planner deletes it when the last address has rested.

mod ranges;

use super::{
    Response,
    transaction::{Planned, Transaction},
};
use crate::{
    model::{
        DesiredState, Labels, Meta, Network, NetworkDriver, NetworkId, NetworkSpec, NetworkStatus, StackId,
    },
    refusal::{Refusal, RefusalCode},
    resolve,
    store::{Holder, ObjectKey, StoreView},
    validate,
};
use std::{collections::BTreeSet, sync::Arc};

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
    let network = match came_back(&tx.view, &spec) {
        Some(going) => Network {
            spec,
            stack: stack.cloned(),
            status: NetworkStatus {
                removed: false,
                ..going.status.clone()
            },
            ..Network::clone(going)
        },
        None => {
            let status = ranges::ranges(tx, &spec)?;
            Network {
                id: NetworkId::mint(tx.ids),
                meta: Meta::default(),
                spec,
                stack: stack.cloned(),
                status,
            }
        }
    };
    let id = network.id.clone();
    tx.put(network);
    Ok(id)
}

/// The network of that name that is on its way out and had the subnets that are asked for again: what was removed a
/// moment ago and is deployed anew is the same network, with the last tasks of its old services still in it.
fn came_back<'a>(view: &'a StoreView, spec: &NetworkSpec) -> Option<&'a Arc<Network>> {
    let mut going = view.networks().filter(|network| network.status.removed);
    let asked = !spec.subnets.is_empty();
    going.find(|network| asked && network.spec.name == spec.name && fixed(&network.spec) == fixed(spec))
}

/// What of a network's spec cannot change while it is there.
pub(super) fn fixed(spec: &NetworkSpec) -> NetworkSpec {
    NetworkSpec {
        labels: Labels::default(),
        attachable: false,
        ..spec.clone()
    }
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
