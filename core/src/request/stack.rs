//! Deploying and removing a stack: all its networks and services in one transaction.
//!
//! A deploy compares what is stored with what is asked, network by network and service by service, and says of each
//! what changes and what a user changed by hand since the last deploy. What the file says wins.

use super::{
    Response, StackAction, StackChange, StackNetworkChange, network, service,
    transaction::{Planned, Transaction},
};
use crate::{
    model::{
        ContainerSpec, Meta, Mode, Network, NetworkSpec, Service, ServiceSpec, Stack, StackId, StackNetwork,
        StackSpec,
    },
    refusal::{Refusal, RefusalCode},
    resolve,
    store::{ObjectKey, StoreView},
    validate,
};
use std::{collections::BTreeSet, sync::Arc};

pub(super) fn deploy(tx: &mut Transaction<'_>, spec: &StackSpec, prune: bool) -> Planned<Response> {
    if let Some(refusal) = Refusal::of_faults(validate::stack(spec)) {
        return Err(refusal);
    }
    let old = tx.base().stack_by_name(&spec.name).cloned();
    let id = old
        .as_ref()
        .map_or_else(|| StackId::mint(tx.ids), |stack| stack.id.clone());
    let mut stored = spec.clone();
    name_all(&mut stored);
    let mut deploy = Deploy {
        old: old.as_ref().map(|stack| &stack.spec),
        id: &id,
        spec: &stored,
        networks: Vec::new(),
        said: Vec::new(),
    };
    reserve(tx, &stored);
    deploy.networks(tx)?;
    let wanted: BTreeSet<&String> = stored.services.values().map(|service| &service.name).collect();
    let (kept, left): (Vec<_>, Vec<_>) = of_stack(tx.base(), &id)
        .into_iter()
        .partition(|service| wanted.contains(&service.spec.name));
    // What is pruned gives its ports and addresses to the others.
    for service in left.iter().filter(|_| prune) {
        service::deleted(tx, service);
    }
    tx.going = kept.into_iter().map(|service| service.id.clone()).collect();
    let mut warnings = Vec::new();
    for (name, service) in &stored.services {
        warnings.extend(service::warnings(service));
        deploy.service(tx, name, service)?;
    }
    for service in left {
        deploy.left(&service, prune);
    }
    deploy.left_networks(tx, prune);
    let Deploy { networks, said, .. } = deploy;
    if !tx.is_empty() || old.as_ref().is_none_or(|old| old.spec != stored) {
        tx.put(Stack {
            id: id.clone(),
            meta: old.as_ref().map_or_else(Meta::default, |stack| stack.meta),
            revision: old.as_ref().map_or(0, |stack| stack.revision) + 1,
            spec: stored,
        });
    }
    Ok(Response::Stack {
        id,
        networks,
        changes: said,
        warnings,
    })
}

pub(super) fn remove(tx: &mut Transaction<'_>, reference: &str) -> Planned<Response> {
    let stack = resolve::stack(tx.base(), reference)?;
    tx.delete(ObjectKey::Stack(stack.id.clone()));
    let mut said = Vec::new();
    for service in of_stack(tx.base(), &stack.id) {
        service::deleted(tx, &service);
        said.push(change(&service, StackAction::Remove, Vec::new()));
    }
    let mut networks = Vec::new();
    for network in own_networks(tx.base(), &stack.id) {
        let users = network::users(&tx.view, &network);
        if users.is_empty() {
            network::removed(tx, &network);
            networks.push(network_change(&network, StackAction::Remove, Vec::new()));
        } else {
            let detail = format!(
                "still used by {}; it is no stack's any more",
                network::listed(&users)
            );
            networks.push(network_change(&network, StackAction::Keep, vec![detail]));
            let mut next = Network::clone(&network);
            next.stack = None;
            tx.put(next);
        }
    }
    Ok(Response::Stack {
        id: stack.id.clone(),
        networks,
        changes: said,
        warnings: Vec::new(),
    })
}

/// Keeps what the file asks for from being chosen for another part of it that asks for any.
fn reserve(tx: &mut Transaction<'_>, spec: &StackSpec) {
    let base = tx.base();
    for network in spec.networks.values() {
        if let StackNetwork::Own(network) = network
            && base.network_by_name(&network.name).is_none()
        {
            network.subnets.iter().for_each(|subnet| tx.taken().add(*subnet));
        }
    }
    let ports = spec.services.values().flat_map(|service| &service.ports);
    tx.asked = ports.map(|port| (port.protocol, port.published)).collect();
}

/// Gives services and networks the names under which they are stored.
fn name_all(stack: &mut StackSpec) {
    for (name, service) in &mut stack.services {
        service.name = format!("{}_{name}", stack.name);
    }
    for (name, network) in &mut stack.networks {
        match network {
            StackNetwork::Own(spec) if spec.name.is_empty() => spec.name = format!("{}_{name}", stack.name),
            StackNetwork::Own(_) | StackNetwork::External(_) => {}
        }
    }
}

fn of_stack(view: &StoreView, id: &StackId) -> Vec<Arc<Service>> {
    view.services_of_stack(id).cloned().collect()
}

fn own_networks(view: &StoreView, id: &StackId) -> Vec<Arc<Network>> {
    let own = view
        .networks()
        .filter(|network| network.stack.as_ref() == Some(id));
    own.cloned().collect()
}

/// One deploy under way.
struct Deploy<'a> {
    /// What was deployed last.
    old: Option<&'a StackSpec>,
    id: &'a StackId,
    /// As it is stored.
    spec: &'a StackSpec,
    networks: Vec<StackNetworkChange>,
    said: Vec<StackChange>,
}

impl Deploy<'_> {
    fn networks(&mut self, tx: &mut Transaction<'_>) -> Planned<()> {
        for (name, network) in &self.spec.networks {
            let at = |refusal: Refusal| in_field(&format!("networks.{name}"), refusal);
            match network {
                StackNetwork::Own(spec) => self.own_network(tx, spec).map_err(at)?,
                StackNetwork::External(stored) if tx.view.network_by_name(stored).is_none() => {
                    let message = format!("there is no network {stored:?}");
                    let refusal = Refusal::new(RefusalCode::NotFound, message);
                    return Err(at(refusal.with_hint("it is external to the stack: make it first")));
                }
                StackNetwork::External(_) => {}
            }
        }
        Ok(())
    }

    fn own_network(&mut self, tx: &mut Transaction<'_>, spec: &NetworkSpec) -> Planned<()> {
        let Some(current) = tx.base().network_by_name(&spec.name) else {
            let network_id = network::created(tx, spec.clone(), Some(self.id))?;
            self.networks.push(StackNetworkChange {
                network: spec.name.clone(),
                network_id,
                action: StackAction::Create,
                details: network::warnings(spec),
            });
            return Ok(());
        };
        if current.stack.as_ref() != Some(self.id) {
            let message = format!(
                "there is already a network {:?}, which is not of this stack",
                spec.name
            );
            return Err(Refusal::new(RefusalCode::Conflict, message)
                .with_hint("rename it, declare it external, or remove that network"));
        }
        if network::fixed(&current.spec) != network::fixed(spec) {
            let message = format!(
                "network {:?} is there with other subnets, driver or options; they are fixed when it is made",
                spec.name
            );
            return Err(Refusal::new(RefusalCode::InUse, message)
                .with_hint("remove the stack first, or give the network another name"));
        }
        let mut action = StackAction::Keep;
        if current.spec != *spec {
            let mut next = Network::clone(current);
            next.spec = spec.clone();
            tx.put(next);
            action = StackAction::Update;
        }
        self.networks.push(network_change(current, action, Vec::new()));
        Ok(())
    }

    /// Networks of the stack that the file no longer names. One that somebody uses stays.
    fn left_networks(&mut self, tx: &mut Transaction<'_>, prune: bool) {
        let named = |network: &Network| {
            let mut own = self.spec.networks.values();
            own.any(|own| matches!(own, StackNetwork::Own(spec) if spec.name == network.spec.name))
        };
        let left: Vec<_> = own_networks(tx.base(), self.id)
            .into_iter()
            .filter(|network| !named(network))
            .collect();
        for network in left {
            let users = network::users(&tx.view, &network);
            let detail = if !prune {
                "no longer in the file; --prune removes it".to_owned()
            } else if users.is_empty() {
                network::removed(tx, &network);
                self.networks
                    .push(network_change(&network, StackAction::Remove, Vec::new()));
                continue;
            } else {
                format!("no longer in the file; still used by {}", network::listed(&users))
            };
            self.networks
                .push(network_change(&network, StackAction::Keep, vec![detail]));
        }
    }

    fn service(&mut self, tx: &mut Transaction<'_>, name: &str, spec: &ServiceSpec) -> Planned<()> {
        let at = |refusal: Refusal| in_field(&format!("services.{name}"), refusal);
        let Some(current) = tx.base().service_by_name(&spec.name) else {
            let id = service::created(tx, spec.clone(), Some((self.id, self.spec))).map_err(at)?;
            self.said.push(StackChange {
                service: spec.name.clone(),
                service_id: Some(id),
                action: StackAction::Create,
                details: Vec::new(),
            });
            return Ok(());
        };
        if current.stack.as_ref() != Some(self.id) {
            let message = format!(
                "there is already a service {:?}, which is not of this stack",
                spec.name
            );
            return Err(at(Refusal::new(RefusalCode::Conflict, message)
                .with_hint("rename the stack, or remove that service")));
        }
        tx.going.remove(&current.id);
        let mut details = self.drift(name, current);
        let wanted = service::Wanted { spec, force: false };
        let action = if service::updated(tx, current, &wanted, Some(self.spec)).map_err(at)? {
            details.extend(differences(&current.spec, spec));
            StackAction::Update
        } else {
            StackAction::Keep
        };
        self.said.push(change(current, action, details));
        Ok(())
    }

    /// What a user changed by hand since the last deploy.
    fn drift(&self, name: &str, current: &Service) -> Vec<String> {
        let Some(deployed) = self.old.and_then(|old| old.services.get(name)) else {
            return Vec::new();
        };
        match (deployed.mode, current.spec.mode) {
            (Mode::Replicated { replicas: was }, Mode::Replicated { replicas: is }) if was != is => {
                vec![format!("replicas: scaled by hand from {was} to {is}")]
            }
            _ if deployed.task.container.image != current.spec.task.container.image => {
                vec![format!(
                    "image: changed by hand from {} to {}",
                    deployed.task.container.image, current.spec.task.container.image
                )]
            }
            _ => Vec::new(),
        }
    }

    /// A service of the stack that the file no longer names.
    fn left(&mut self, service: &Service, prune: bool) {
        if prune {
            self.said.push(change(service, StackAction::Remove, Vec::new()));
        } else {
            let detail = "no longer in the file; --prune removes it".to_owned();
            self.said.push(change(service, StackAction::Keep, vec![detail]));
        }
    }
}

/// Puts the place in the file before the refusal's field.
fn in_field(place: &str, refusal: Refusal) -> Refusal {
    let field = refusal.field.clone().unwrap_or_default();
    refusal.with_field(format!("{place}.{field}").trim_end_matches('.').to_owned())
}

fn network_change(network: &Network, action: StackAction, details: Vec<String>) -> StackNetworkChange {
    StackNetworkChange {
        network: network.spec.name.clone(),
        network_id: network.id.clone(),
        action,
        details,
    }
}

fn change(service: &Service, action: StackAction, details: Vec<String>) -> StackChange {
    StackChange {
        service: service.spec.name.clone(),
        service_id: Some(service.id.clone()),
        action,
        details,
    }
}

/// What differs between two specs of one service, in the words of the file.
fn differences(old: &ServiceSpec, new: &ServiceSpec) -> Vec<String> {
    let mut lines = Vec::new();
    let mut say = |differs: bool, line: String| {
        if differs {
            lines.push(line);
        }
    };
    if let (Mode::Replicated { replicas: was }, Mode::Replicated { replicas: is }) = (old.mode, new.mode) {
        say(was != is, format!("replicas: {was} -> {is}"));
    }
    let (was, is) = (&old.task.container, &new.task.container);
    say(
        was.image != is.image,
        format!("image: {} -> {}", was.image, is.image),
    );
    let moved = was.image == is.image && was.image_digest != is.image_digest;
    say(
        moved,
        format!("image: {} now stands for another digest", is.image),
    );
    for name in was.env.keys().chain(is.env.keys()).collect::<BTreeSet<_>>() {
        // Values may be secrets: only names are shown.
        say(
            was.env.get(name) != is.env.get(name),
            format!("environment: {name}"),
        );
    }
    say(
        (&was.command, &was.args) != (&is.command, &is.args),
        "command".to_owned(),
    );
    say(was.mounts != is.mounts, "volumes".to_owned());
    say(was.health != is.health, "healthcheck".to_owned());
    say(old.ports != new.ports, "ports".to_owned());
    say(
        (was.network, &old.task.networks) != (is.network, &new.task.networks),
        "networks".to_owned(),
    );
    say(old.endpoint_mode != new.endpoint_mode, "endpoint mode".to_owned());
    say(old.labels != new.labels, "labels".to_owned());
    say(
        old.task.reservations != new.task.reservations || was.limits != is.limits,
        "resources".to_owned(),
    );
    say(old.task.placement != new.task.placement, "placement".to_owned());
    say(old.task.restart != new.task.restart, "restart policy".to_owned());
    say(old.update != new.update, "update config".to_owned());
    lines.extend(options(was, is).map(str::to_owned));
    if lines.is_empty() {
        lines.push("other options".to_owned());
    }
    lines
}

/// The plain keys of a container that differ.
fn options(was: &ContainerSpec, is: &ContainerSpec) -> impl Iterator<Item = &'static str> {
    [
        (was.extra_hosts != is.extra_hosts, "extra_hosts"),
        (was.dns.servers != is.dns.servers, "dns"),
        (was.dns.search != is.dns.search, "dns_search"),
        (was.dns.options != is.dns.options, "dns_opt"),
        (was.hostname != is.hostname, "hostname"),
        (was.workdir != is.workdir, "working_dir"),
        (was.user != is.user, "user"),
        (was.groups != is.groups, "group_add"),
        (was.labels != is.labels, "container labels"),
        (was.ulimits != is.ulimits, "ulimits"),
        (was.sysctls != is.sysctls, "sysctls"),
        (was.cap_add != is.cap_add, "cap_add"),
        (was.cap_drop != is.cap_drop, "cap_drop"),
        (was.read_only != is.read_only, "read_only"),
        (was.init != is.init, "init"),
        (was.tty != is.tty, "tty"),
        (was.stdin_open != is.stdin_open, "stdin_open"),
        (was.no_new_privileges != is.no_new_privileges, "security_opt"),
        (was.stop_signal != is.stop_signal, "stop_signal"),
        (was.stop_grace != is.stop_grace, "stop_grace_period"),
        (was.oom_score_adj != is.oom_score_adj, "oom_score_adj"),
        (was.shm_size != is.shm_size, "shm_size"),
    ]
    .into_iter()
    .filter_map(|(differs, key)| differs.then_some(key))
}
