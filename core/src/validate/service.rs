//! The checks of a service's and a stack's spec: name, mode, placement, restarts, update, ports.
//!
//! The update options that the updater does not carry out yet are refused here, so that nobody believes
//! in a rollback that would not come.

use super::{Faults, container, labels, names, network};
use crate::{
    allocator::addresses_meet,
    constraint::Constraint,
    model::{
        FailureAction, Mode, NetworkMode, PortMode, Preference, PublishedPort, RestartPolicy, ServiceSpec,
        StackNetwork, StackSpec, UpdateConfig, UpdateOrder,
    },
    refusal::FieldFault,
};
use std::time::Duration;

/// Replicas of one service: a hundred times the largest cluster that is tested.
pub const MAX_REPLICAS: u32 = 1_000_000;

/// Published ports of one service: ranges of a few hundred are in use, and each is a rule of every node.
const MAX_PORTS: usize = 1024;

/// Longest delay, window or period that makes sense to wait for.
const MAX_WAIT: Duration = Duration::from_secs(7 * 24 * 3600);

/// The checks of one service's spec.
pub fn service(spec: &ServiceSpec) -> Vec<FieldFault> {
    let mut faults = Faults::default();
    names::check_looked_up(&mut faults, "name", &spec.name);
    body(&mut faults, spec);
    faults.found
}

/// The checks of a stack's spec; fields are named `services.<name>.…`.
pub fn stack(spec: &StackSpec) -> Vec<FieldFault> {
    let mut faults = Faults::default();
    names::check(&mut faults, "name", &spec.name);
    for (name, service) in &spec.services {
        let mut own = Faults::default();
        let stored = format!("{}_{name}", spec.name);
        names::check_looked_up(&mut own, "name", &stored);
        if own.found.is_empty() {
            // Within the stack it is looked up by this one.
            names::check_dns(&mut own, "name", name);
        }
        if service.name != stored && service.name != *name {
            own.expected("name", &format!("{stored:?}"), format!("{:?}", service.name));
        }
        body(&mut own, service);
        stack_uses(&mut own, spec, service);
        faults.found.extend(own.found.into_iter().map(|fault| FieldFault {
            field: format!("services.{name}.{}", fault.field),
            ..fault
        }));
    }
    for (name, stack_network) in &spec.networks {
        let mut own = Faults::default();
        match stack_network {
            StackNetwork::Own(network) => {
                let stored = format!("{}_{name}", spec.name);
                let named = if network.name.is_empty() {
                    &stored
                } else {
                    &network.name
                };
                names::check_looked_up(&mut own, "name", named);
                network::body(&mut own, network);
            }
            StackNetwork::External(stored) => names::check(&mut own, "external", stored),
        }
        faults.found.extend(own.found.into_iter().map(|fault| FieldFault {
            field: format!("networks.{name}.{}", fault.field),
            ..fault
        }));
    }
    faults.found
}

/// A service of a stack joins what the file's `networks` say, so that nothing outside of them is meant by accident.
fn stack_uses(faults: &mut Faults, stack: &StackSpec, service: &ServiceSpec) {
    for (n, used) in service.task.networks.iter().enumerate() {
        if !stack.networks.contains_key(&used.network) {
            faults.invalid(
                format!("task.networks[{n}].network"),
                format!("network {:?} is not among the stack's networks", used.network),
            );
        }
    }
}

fn body(faults: &mut Faults, spec: &ServiceSpec) {
    labels(faults, "labels", &spec.labels);
    match spec.mode {
        Mode::Replicated { replicas } if replicas > MAX_REPLICAS => {
            faults.expected("mode.replicated.replicas", "at most 1000000", replicas);
        }
        Mode::Global if spec.task.placement.max_replicas_per_node != 0 => faults.invalid(
            "task.placement.max_replicas_per_node",
            "a global service has one task a node by itself",
        ),
        Mode::Replicated { .. } | Mode::Global => {}
    }
    container::check(faults, &spec.task);
    placement(faults, spec);
    restart(faults, &spec.task.restart);
    update(faults, &spec.update);
    ports(faults, spec);
}

fn placement(faults: &mut Faults, spec: &ServiceSpec) {
    let placement = &spec.task.placement;
    for (n, text) in placement.constraints.iter().enumerate() {
        if let Err(error) = text.parse::<Constraint>() {
            faults.invalid(format!("task.placement.constraints[{n}]"), error.to_string());
        }
    }
    for (n, Preference::Spread(label)) in placement.preferences.iter().enumerate() {
        let known = ["node.labels.", "engine.labels."]
            .iter()
            .any(|prefix| label.len() > prefix.len() && label.starts_with(prefix));
        if !known {
            faults.expected(
                format!("task.placement.preferences[{n}].spread"),
                "node.labels.<name> or engine.labels.<name>",
                format!("{label:?}"),
            );
        }
    }
}

fn restart(faults: &mut Faults, policy: &RestartPolicy) {
    for (field, value) in [("delay", policy.delay), ("window", policy.window)] {
        if value.is_some_and(|value| value > MAX_WAIT) {
            faults.expected(
                format!("task.restart.{field}"),
                "at most 7 days",
                format!("{value:?}"),
            );
        }
    }
}

fn update(faults: &mut Faults, config: &UpdateConfig) {
    if config.parallelism != 1 {
        faults.unsupported(
            "update.parallelism",
            format!("only 1 is carried out so far, found {}", config.parallelism),
        );
    }
    if config.delay != Duration::ZERO {
        faults.unsupported(
            "update.delay",
            format!("only 0s is carried out so far, found {:?}", config.delay),
        );
    }
    if config.monitor > MAX_WAIT {
        faults.expected(
            "update.monitor",
            "at most 7 days",
            format!("{:?}", config.monitor),
        );
    }
    match config.failure_action {
        FailureAction::Pause => {}
        FailureAction::Continue | FailureAction::Rollback => {
            faults.unsupported("update.failure_action", "only pause is carried out so far");
        }
    }
    if config.max_failure_ratio_permille != 0 {
        faults.unsupported("update.max_failure_ratio", "only 0 is carried out so far");
    }
    match config.order {
        UpdateOrder::StopFirst => {}
        UpdateOrder::StartFirst => {
            faults.unsupported("update.order", "only stop-first is carried out so far");
        }
    }
}

fn ports(faults: &mut Faults, spec: &ServiceSpec) {
    let network = spec.task.container.network;
    if spec.ports.len() > MAX_PORTS {
        faults.expected("ports", "at most 1024", spec.ports.len());
    }
    for (n, port) in spec.ports.iter().enumerate() {
        let PublishedPort {
            target,
            published,
            protocol,
            mode: _,
            host_ip,
        } = *port;
        if target == 0 {
            faults.expected(format!("ports[{n}].target"), "1 to 65535", target);
        }
        if host_ip.is_some_and(|address| address.is_multicast()) {
            faults.expected(
                format!("ports[{n}].host_ip"),
                "an address of the host",
                format!("{host_ip:?}"),
            );
        }
        match network {
            NetworkMode::Networks | NetworkMode::None => {}
            NetworkMode::Host => host_network(faults, n, port),
        }
        let twice = spec.ports[..n].iter().any(|other| {
            (other.protocol, other.published) == (protocol, published)
                && addresses_meet(other.host_ip, host_ip)
        });
        if published != 0 && twice {
            faults.invalid(
                format!("ports[{n}].published"),
                format!("port {published} is published twice"),
            );
        }
    }
    if !spec.ports.is_empty() && network == NetworkMode::None {
        faults.invalid(
            "ports",
            "a container without a network cannot publish a port: use network host",
        );
    }
}

/// The container has the host's network: what it listens on is what is published, on its own node.
fn host_network(faults: &mut Faults, n: usize, port: &PublishedPort) {
    match port.mode {
        PortMode::Host => {}
        PortMode::Ingress => faults.invalid(
            format!("ports[{n}].mode"),
            "a container on the host's network is reached on its own node: use mode host",
        ),
    }
    if port.published != port.target {
        faults.invalid(
            format!("ports[{n}].published"),
            format!(
                "the container uses the host's network, so that it must be the target {}, found {}",
                port.target, port.published
            ),
        );
    }
    if port.host_ip.is_some() {
        faults.invalid(
            format!("ports[{n}].host_ip"),
            "the container uses the host's network, where the program itself chooses its address",
        );
    }
}
