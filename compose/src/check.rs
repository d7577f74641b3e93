//! The managers' own checks, run on what was read, with their fields turned back into lines of the file.
//!
//! A manager would refuse the same with the path of a spec's field; here the user gets the key that he
//! wrote and its place.

use crate::{
    report::Report,
    tree::{At, Node, Value},
};
use shoal_core::{model::StackSpec, validate};

/// Reports every fault of the stack at the key it comes from.
pub(crate) fn check(report: &mut Report, stack: &StackSpec, tree: &Node) {
    for fault in validate::stack(stack) {
        let (at, path) = place(tree, &with_names(stack, &fault.field));
        let message = if fault.unsupported {
            format!("not supported: {}", fault.message)
        } else {
            fault.message
        };
        report.error(at, &path, message);
    }
}

/// Fields of a service's spec, and the keys of the file that set them; the first that is there counts.
const KEYS: &[(&str, &[&str])] = &[
    ("update", &["deploy.update_config"]),
    ("labels", &["deploy.labels"]),
    ("mode", &["deploy.replicas", "scale", "deploy.mode"]),
    ("ports", &["ports"]),
    ("endpoint_mode", &["deploy.endpoint_mode"]),
    ("task.networks", &["networks"]),
    ("task.placement", &["deploy.placement"]),
    ("task.restart", &["deploy.restart_policy", "restart"]),
    ("task.reservations.cpu", &["deploy.resources.reservations.cpus"]),
    (
        "task.reservations.memory",
        &["deploy.resources.reservations.memory", "mem_reservation"],
    ),
    (
        "task.container.limits.cpu",
        &["deploy.resources.limits.cpus", "cpus"],
    ),
    (
        "task.container.limits.memory",
        &["deploy.resources.limits.memory", "mem_limit"],
    ),
    (
        "task.container.limits.pids",
        &["deploy.resources.limits.pids", "pids_limit"],
    ),
    ("task.container.command", &["entrypoint"]),
    ("task.container.args", &["command"]),
    ("task.container.env", &["environment", "env_file"]),
    ("task.container.workdir", &["working_dir"]),
    ("task.container.groups", &["group_add"]),
    ("task.container.mounts", &["volumes", "tmpfs"]),
    ("task.container.network", &["network_mode", "networks"]),
    ("task.container.dns.servers", &["dns"]),
    ("task.container.dns.search", &["dns_search"]),
    ("task.container.dns.options", &["dns_opt"]),
    ("task.container.stop_grace", &["stop_grace_period"]),
    ("task.container.health", &["healthcheck"]),
    ("task.container", &[""]),
];

/// A service's networks are in another order than in the file, and named there.
fn with_names(stack: &StackSpec, field: &str) -> String {
    let named = || {
        let (service, rest) = field.strip_prefix("services.")?.split_once(".task.networks[")?;
        let (index, rest) = rest.split_once(']')?;
        let networks = &stack.services.get(service)?.task.networks;
        let network = &networks.get(index.parse::<usize>().ok()?)?.network;
        Some(format!("services.{service}.task.networks.{network}{rest}"))
    };
    named().unwrap_or_else(|| field.to_owned())
}

/// Fields of a network's spec that the file writes elsewhere.
const NETWORK_KEYS: &[(&str, &str)] = &[(".subnets", ".ipam.config"), (".options", ".driver_opts")];

/// The place of a spec's field in the file, and its path there.
fn place(tree: &Node, field: &str) -> (At, String) {
    let Some(rest) = field.strip_prefix("services.") else {
        let moved = NETWORK_KEYS.iter().find_map(|(spec, key)| {
            let (network, rest) = field.split_once(spec)?;
            Some(format!("{network}{key}{rest}"))
        });
        return deepest(tree, "", moved.as_deref().unwrap_or(field));
    };
    let (name, inner) = rest.split_once('.').unwrap_or((rest, ""));
    let service = format!("services.{name}");
    let Some((spec, keys)) = KEYS.iter().find(|(spec, _)| {
        inner
            .strip_prefix(spec)
            .is_some_and(|tail| tail.is_empty() || tail.starts_with(['.', '[']))
    }) else {
        return deepest(tree, &service, "");
    };
    let tail = inner[spec.len()..].trim_start_matches('.');
    let found = keys
        .iter()
        .map(|key| {
            (
                format!("{service}.{key}"),
                deepest(tree, &service, &format!("{key}.{tail}")),
            )
        })
        .find(|(wanted, (_, path))| path.starts_with(wanted.trim_end_matches('.')) && *path != service)
        .map(|(_, found)| found);
    found.unwrap_or_else(|| deepest(tree, &service, ""))
}

/// Follows a path as far as the file goes.
fn deepest(tree: &Node, start: &str, path: &str) -> (At, String) {
    let steps = start.split('.').chain(path.split('.')).flat_map(|part| {
        let (key, index) = part.split_once('[').unwrap_or((part, ""));
        let index = index.trim_end_matches(']').parse::<usize>().ok();
        [Step::Key(key), Step::Index(index)]
    });
    let (mut node, mut at, mut reached) = (tree, tree.at, String::new());
    for step in steps {
        match (step, &node.value) {
            (Step::Key(""), _) | (Step::Index(None), _) => {}
            (Step::Key(key), Value::Mapping(entries)) => {
                let Some(entry) = entries.iter().find(|entry| entry.key == key) else {
                    break;
                };
                (node, at) = (&entry.value, entry.at);
                let dot = if reached.is_empty() { "" } else { "." };
                reached = format!("{reached}{dot}{key}");
            }
            (Step::Index(Some(index)), Value::Sequence(items)) => {
                let Some(item) = items.get(index) else { break };
                (node, at) = (item, item.at);
                reached = format!("{reached}[{index}]");
            }
            (Step::Key(_) | Step::Index(Some(_)), _) => break,
        }
    }
    (at, reached)
}

enum Step<'a> {
    Key(&'a str),
    Index(Option<usize>),
}
