//! `network_mode`, `networks`, `ports`, `extra_hosts`: what of them the host's network can give.
//!
//! A container has the host's network or none. So a published port is a fact for the scheduler (two tasks
//! that publish it do not meet on a node) and cannot be translated: published and target must be equal.

use crate::{
    keys,
    reader::{Field, Reader},
    tree::Value,
};
use shoal_core::model::{NetworkMode, PortMode, Protocol, PublishedPort};

/// Most ports of one service, ranges written out.
const MAX_PORTS: usize = 1024;

#[derive(Default)]
pub(super) struct Network<'a> {
    mode: Option<(NetworkMode, Field<'a>)>,
    /// A mode that was named and cannot be had: then no second message about the default.
    mode_named: bool,
    ports: Vec<(PublishedPort, Field<'a>)>,
    ports_field: Option<Field<'a>>,
    hosts: Vec<(String, String)>,
}

impl<'a> Network<'a> {
    /// Takes the keys of this file; says whether `key` was one of them.
    pub(super) fn take(&mut self, reader: &mut Reader<'_>, key: &str, field: &Field<'a>) -> bool {
        match key {
            "network_mode" => self.network_mode(reader, field),
            "networks" => self.networks(reader, field),
            "ports" => {
                self.ports_field = Some(field.clone());
                for item in reader.list(field) {
                    self.port(reader, &item);
                }
            }
            "extra_hosts" => self.extra_hosts(reader, field),
            _ => return false,
        }
        true
    }

    fn network_mode(&mut self, reader: &mut Reader<'_>, field: &Field<'a>) {
        self.mode_named = true;
        match reader.text(field).as_deref() {
            Some("host") => self.mode = Some((NetworkMode::Host, field.clone())),
            Some("none") => self.mode = Some((NetworkMode::None, field.clone())),
            Some(other) => reader.error(
                field,
                format!(
                    "{other:?} is not supported: container networks are not built yet; expected host or none"
                ),
            ),
            None => {}
        }
    }

    fn networks(&mut self, reader: &mut Reader<'_>, field: &Field<'a>) {
        let names: Vec<String> = if field.is_mapping() {
            reader
                .named(field)
                .into_iter()
                .map(|(name, _)| name.to_owned())
                .collect()
        } else {
            reader.texts(field)
        };
        match names.as_slice() {
            [] => {}
            // The default network by its name: the service gets what every service gets.
            [only] if only == "default" => {}
            // Docker's own spelling in v3 files: a network of the file that is the host's.
            [only] if only == "host" || only == "none" => {
                self.mode_named = true;
                let mode = if only == "host" {
                    NetworkMode::Host
                } else {
                    NetworkMode::None
                };
                self.mode = Some((mode, field.clone()));
            }
            _ => {
                self.mode_named = true;
                reader.error(
                    field,
                    "not supported: container networks are not built yet; \
                     use network_mode: host (or none), and the names of nodes instead of services",
                );
            }
        }
    }

    fn port(&mut self, reader: &mut Reader<'_>, field: &Field<'a>) {
        let ports = if field.is_mapping() {
            long_port(reader, field)
        } else {
            short_port(reader, field)
        };
        for port in ports {
            if self.ports.len() >= MAX_PORTS {
                reader.error(field, format!("more than {MAX_PORTS} ports"));
                return;
            }
            if self.ports.iter().any(|(other, _)| *other == port) {
                continue;
            }
            self.ports.push((port, field.clone()));
        }
    }

    fn extra_hosts(&mut self, reader: &mut Reader<'_>, field: &Field<'_>) {
        let mut pairs = Vec::new();
        if field.is_mapping() {
            for (name, inner) in reader.named(field) {
                for item in reader.one_or_list(&inner) {
                    let address = reader.text(&item).unwrap_or_default();
                    pairs.push((name.to_owned(), address, item));
                }
            }
        } else {
            for item in reader.list(field) {
                let Some(text) = reader.text(&item) else { continue };
                match text.split_once(['=', ':']) {
                    Some((name, address)) => pairs.push((name.to_owned(), address.to_owned(), item)),
                    None => reader.error(&item, format!("expected NAME=ADDRESS, found {text:?}")),
                }
            }
        }
        for (name, address, item) in pairs {
            let bare = address.trim_start_matches('[').trim_end_matches(']');
            // With the host's network the host is where the container is.
            let bare = if bare == "host-gateway" { "127.0.0.1" } else { bare };
            if name.is_empty()
                || name.contains(char::is_whitespace)
                || bare.parse::<std::net::IpAddr>().is_err()
            {
                reader.error(
                    &item,
                    format!("expected a name and an address, found {name:?} and {address:?}"),
                );
            } else {
                self.hosts.push((name, bare.to_owned()));
            }
        }
    }

    /// The mode and the ports that go with it.
    pub(super) fn finish(
        self,
        reader: &mut Reader<'_>,
        service: &Field<'_>,
    ) -> (NetworkMode, Vec<PublishedPort>, Vec<(String, String)>) {
        let mode = match &self.mode {
            Some((mode, _)) => *mode,
            None => {
                if !self.mode_named {
                    reader.warn(
                        service,
                        "gets the host's network, since container networks are not built yet: its ports are \
                         the host's, and services do not find each other by name (network_mode: host says the same)",
                    );
                }
                NetworkMode::Host
            }
        };
        if let (NetworkMode::None, Some(field), false) = (mode, &self.ports_field, self.ports.is_empty()) {
            reader.error(field, "a container without a network cannot publish ports");
        }
        for (port, field) in &self.ports {
            if port.published != port.target {
                reader.error(
                    field,
                    format!(
                        "port {} of the container cannot be published as {1}: on the host's network a program \
                         has the port it listens on; let it listen on {1} and write {1}:{1}",
                        port.target, port.published
                    ),
                );
            }
        }
        let ports = self.ports.into_iter().map(|(port, _)| port).collect();
        (mode, ports, self.hosts)
    }
}

/// `[[host:]published:]target[/protocol]`, each of the two perhaps a range.
fn short_port(reader: &mut Reader<'_>, field: &Field<'_>) -> Vec<PublishedPort> {
    let Some(text) = reader.text(field) else {
        return Vec::new();
    };
    let (ports, protocol) = text.split_once('/').unwrap_or((&text, "tcp"));
    let Some(protocol) = protocol_of(protocol) else {
        reader.error(
            field,
            format!("expected the protocol tcp or udp, found {protocol:?}"),
        );
        return Vec::new();
    };
    let (rest, target) = ports
        .rsplit_once(':')
        .map_or((None, ports), |(rest, target)| (Some(rest), target));
    let Some(rest) = rest else {
        no_published(reader, field, target);
        return Vec::new();
    };
    let (address, published) = rest.rsplit_once(':').map_or((None, rest), |(a, p)| (Some(a), p));
    if let Some(address) = address {
        host_address(reader, field, address);
    }
    if published.is_empty() {
        no_published(reader, field, target);
        return Vec::new();
    }
    pair(reader, field, (published, target), protocol)
}

fn long_port(reader: &mut Reader<'_>, field: &Field<'_>) -> Vec<PublishedPort> {
    let (mut target, mut published, mut protocol) = (None, None, Protocol::Tcp);
    for (key, inner) in reader.entries(field, keys::PORT) {
        match key {
            "target" => target = reader.text(&inner),
            "published" => published = reader.text(&inner),
            "protocol" => {
                let words = [("tcp", Protocol::Tcp), ("udp", Protocol::Udp)];
                protocol = reader.word(&inner, &words).unwrap_or(protocol);
            }
            "mode" => {
                let words = [("host", PortMode::Host), ("ingress", PortMode::Ingress)];
                if reader.word(&inner, &words) == Some(PortMode::Ingress) {
                    reader.warn(
                        &inner,
                        "carried out as mode host: the port answers on the nodes that run a task, not on every node",
                    );
                }
            }
            _ => {
                if let Some(address) = reader.text(&inner) {
                    host_address(reader, &inner, &address);
                }
            }
        }
    }
    match (target, published) {
        (Some(target), Some(published)) => pair(reader, field, (&published, &target), protocol),
        (Some(target), None) => {
            no_published(reader, field, &target);
            Vec::new()
        }
        (None, _) => {
            reader.error(field, "the port names no target");
            Vec::new()
        }
    }
}

fn no_published(reader: &mut Reader<'_>, field: &Field<'_>, target: &str) {
    reader.error(
        field,
        format!("port {target} is published under no number; on the host's network write {target}:{target}"),
    );
}

/// Nothing confines a program on the host's network to one address, so a promise to do so is refused.
fn host_address(reader: &mut Reader<'_>, field: &Field<'_>, address: &str) {
    if !matches!(address, "" | "0.0.0.0" | "::" | "[::]") {
        reader.error(
            field,
            format!("publishing on {address} only is not supported: on the host's network the program itself chooses its address"),
        );
    }
}

fn protocol_of(text: &str) -> Option<Protocol> {
    match text {
        "tcp" => Some(Protocol::Tcp),
        "udp" => Some(Protocol::Udp),
        _ => None,
    }
}

fn pair(
    reader: &mut Reader<'_>,
    field: &Field<'_>,
    (published, target): (&str, &str),
    protocol: Protocol,
) -> Vec<PublishedPort> {
    let (Some(from), Some(to)) = (range(published), range(target)) else {
        let found = match &field.node.value {
            Value::Scalar(scalar) => format!("{:?}", scalar.text),
            Value::Sequence(_) | Value::Mapping(_) => format!("{published:?} and {target:?}"),
        };
        reader.error(
            field,
            format!("expected ports from 1 to 65535 such as 8080:8080, found {found}"),
        );
        return Vec::new();
    };
    if from.len() != to.len() {
        reader.error(
            field,
            format!("the ranges {published} and {target} differ in length"),
        );
        return Vec::new();
    }
    let ports = from.zip(to).map(|(published, target)| PublishedPort {
        target,
        published,
        protocol,
        mode: PortMode::Host,
        host_ip: None,
    });
    ports.take(MAX_PORTS + 1).collect()
}

fn range(text: &str) -> Option<std::ops::RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u16, u16) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first > 0 && first <= last).then_some(first..=last)
}
