//! What the words of a script stand for: options of services, networks and stacks.

use super::super::world;
use shoal_core::{model::*, request::Request};
use std::time::Duration;

pub(super) fn stack(name: String, words: &[&str]) -> Request {
    let prune = words.first() == Some(&"prune");
    let words = &words[usize::from(prune)..];
    let networks = words
        .iter()
        .filter_map(|word| word.strip_prefix("+"))
        .map(|word| {
            let (name, options) = word.split_once(':').unwrap_or((word, ""));
            let mut spec = NetworkSpec::default();
            let mut network = None;
            for option in options.split(',').filter(|option| !option.is_empty()) {
                match option.strip_prefix("external=") {
                    Some(stored) => network = Some(StackNetwork::External(stored.to_owned())),
                    None => set_network(&mut spec, option),
                }
            }
            (name.to_owned(), network.unwrap_or(StackNetwork::Own(spec)))
        })
        .collect();
    let services = words
        .iter()
        .filter(|word| !word.starts_with('+'))
        .map(|word| {
            let (service, options) = word.split_once(':').unwrap_or((word, ""));
            let mut spec = world::service(service, Mode::Replicated { replicas: 1 });
            let options = options.split(',').filter(|option| !option.is_empty());
            options.for_each(|option| set(&mut spec, option));
            (service.to_owned(), spec)
        })
        .collect();
    Request::DeployStack {
        spec: StackSpec {
            name,
            services,
            networks,
        },
        prune,
    }
}

pub(super) fn set_network(spec: &mut NetworkSpec, option: &str) {
    let (key, value) = option.split_once('=').unwrap_or((option, ""));
    match key {
        "name" => spec.name = value.to_owned(),
        "subnet" => spec.subnets.push(value.parse().unwrap()),
        "ipv6" => spec.ipv6 = true,
        "internal" => spec.internal = true,
        _ => panic!("unknown option {option:?}"),
    }
}

/// `[host:][PUBLISHED:]TARGET[/udp]`, with `@ADDRESS` behind it: on this address of the host.
fn port(text: &str) -> PublishedPort {
    let (text, host_ip) = match text.split_once('@') {
        Some((text, address)) => (text, Some(address.parse().unwrap())),
        None => (text, None),
    };
    let (text, protocol) = match text.strip_suffix("/udp") {
        Some(text) => (text, Protocol::Udp),
        None => (text, Protocol::Tcp),
    };
    let (text, mode) = match text.strip_prefix("host:") {
        Some(text) => (text, PortMode::Host),
        None => (text, PortMode::Ingress),
    };
    let (published, target) = text.split_once(':').unwrap_or(("0", text));
    PublishedPort {
        target: target.parse().unwrap(),
        published: published.parse().unwrap(),
        protocol,
        mode,
        host_ip,
    }
}

pub(super) fn set(spec: &mut ServiceSpec, option: &str) {
    let (key, value) = option.split_once('=').unwrap_or((option, ""));
    let task = &mut spec.task;
    match key {
        "replicas" => {
            spec.mode = Mode::Replicated {
                replicas: value.parse().unwrap(),
            }
        }
        "later" => {}
        "remove-at-end" => {
            spec.labels.insert(REMOVE_AT_END.to_owned(), String::new());
        }
        "global" => spec.mode = Mode::Global,
        "image" => task.container.image = value.to_owned(),
        "cpu" => task.reservations.cpu = cpu(value),
        "memory" => task.reservations.memory = value.parse().unwrap(),
        "arch" => task.placement.platforms.push(Platform {
            os: "linux".to_owned(),
            arch: value.to_owned(),
        }),
        "port" => spec.ports.push(port(&format!("host:{value}:{value}"))),
        "publish" => spec.ports.push(port(value)),
        "no-ports" => spec.ports.clear(),
        "dnsrr" => spec.endpoint_mode = EndpointMode::DnsRoundRobin,
        "network-mode" => {
            task.container.network = match value {
                "host" => NetworkMode::Host,
                _ => NetworkMode::None,
            }
        }
        "no-networks" => task.networks.clear(),
        "network" => {
            let mut words = value.split('+');
            task.networks.push(NetworkUse {
                network: words.next().unwrap().to_owned(),
                aliases: words.map(str::to_owned).collect(),
            });
        }
        "constraint" => task.placement.constraints.push(value.to_owned()),
        "spread" => task
            .placement
            .preferences
            .push(Preference::Spread(value.to_owned())),
        "max-per-node" => task.placement.max_replicas_per_node = value.parse().unwrap(),
        "restart" => {
            task.restart.condition = match value {
                "none" => RestartCondition::None,
                "on-failure" => RestartCondition::OnFailure,
                _ => RestartCondition::Any,
            }
        }
        "delay" => task.restart.delay = Some(duration(value)),
        "attempts" => task.restart.max_attempts = Some(value.parse().unwrap()),
        "window" => task.restart.window = Some(duration(value)),
        "monitor" => spec.update.monitor = duration(value),
        "order" => spec.update.order = UpdateOrder::StartFirst,
        _ => panic!("unknown option {option:?}"),
    }
}

pub(super) fn cpu(text: &str) -> CpuNanos {
    let tenths: u64 = (text.parse::<f64>().unwrap() * 10.0)
        .round()
        .to_string()
        .parse()
        .unwrap();
    CpuNanos(tenths * 100_000_000)
}

pub(super) fn duration(text: &str) -> Duration {
    let (number, factor) = if let Some(number) = text.strip_suffix("ms") {
        (number, 1)
    } else if let Some(number) = text.strip_suffix('h') {
        (number, 3_600_000)
    } else if let Some(number) = text.strip_suffix('m') {
        (number, 60_000)
    } else {
        (text.strip_suffix('s').unwrap(), 1000)
    };
    Duration::from_millis(number.parse::<u64>().unwrap() * factor)
}
