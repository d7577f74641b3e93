//! `ports`: the short form `[[address:]published:]target[/protocol]`, and the long one.
//!
//! A port without a published number is given one when it is deployed. As in Swarm, a port is published on
//! every node (`mode: ingress`) unless it says `host`. A service on the host's own network publishes
//! nothing: its program has the ports it listens on, and naming them keeps two such tasks off one node.

use crate::{
    keys,
    reader::{Field, Reader},
    tree::Value,
};
use shoal_core::model::{NetworkMode, PortMode, Protocol, PublishedPort};
use std::{net::IpAddr, ops::RangeInclusive};

/// Most ports of one service, ranges written out.
const MAX_PORTS: usize = 1024;

pub(super) fn read(reader: &mut Reader<'_>, field: &Field<'_>, network: NetworkMode) -> Vec<PublishedPort> {
    let mut ports: Vec<PublishedPort> = Vec::new();
    for item in reader.list(field) {
        let Some(written) = (match item.is_mapping() {
            true => long(reader, &item),
            false => short(reader, &item),
        }) else {
            continue;
        };
        for port in spread(reader, &item, &written) {
            if ports.len() >= MAX_PORTS {
                reader.error(&item, format!("more than {MAX_PORTS} ports"));
                return ports;
            }
            let port = match network {
                NetworkMode::Host => on_host_network(reader, &item, port),
                NetworkMode::Networks | NetworkMode::None => port,
            };
            if !ports.contains(&port) {
                ports.push(port);
            }
        }
    }
    if network == NetworkMode::None && !ports.is_empty() {
        reader.error(field, "a container without a network cannot publish ports");
        ports.clear();
    }
    ports
}

/// An entry as it was written, ranges and all.
struct Written {
    address: Option<String>,
    published: Option<String>,
    target: String,
    protocol: Protocol,
    mode: PortMode,
}

fn short(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<Written> {
    let text = reader.text(field)?;
    let (ports, protocol) = text.split_once('/').unwrap_or((&text, "tcp"));
    let Some(protocol) = protocol_of(protocol) else {
        reader.error(
            field,
            format!("expected the protocol tcp or udp, found {protocol:?}"),
        );
        return None;
    };
    let (rest, target) = match ports.rsplit_once(':') {
        Some((rest, target)) => (Some(rest), target),
        None => (None, ports),
    };
    let (address, published) = match rest {
        Some(rest) => match rest.rsplit_once(':') {
            Some((address, published)) => (Some(address.to_owned()), Some(published.to_owned())),
            None => (None, Some(rest.to_owned())),
        },
        None => (None, None),
    };
    Some(Written {
        address,
        published: published.filter(|text| !text.is_empty()),
        target: target.to_owned(),
        protocol,
        mode: PortMode::Ingress,
    })
}

fn long(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<Written> {
    let mut written = Written {
        address: None,
        published: None,
        target: String::new(),
        protocol: Protocol::Tcp,
        mode: PortMode::Ingress,
    };
    for (key, inner) in reader.entries(field, keys::PORT) {
        match key {
            "target" => written.target = reader.text(&inner)?,
            "published" => written.published = reader.text(&inner).filter(|text| !text.is_empty()),
            "protocol" => {
                let words = [("tcp", Protocol::Tcp), ("udp", Protocol::Udp)];
                written.protocol = reader.word(&inner, &words)?;
            }
            "mode" => {
                let words = [("host", PortMode::Host), ("ingress", PortMode::Ingress)];
                written.mode = reader.word(&inner, &words)?;
            }
            // host_ip
            _ => written.address = reader.text(&inner),
        }
    }
    if written.target.is_empty() {
        reader.error(field, "the port names no target");
        return None;
    }
    Some(written)
}

fn protocol_of(text: &str) -> Option<Protocol> {
    match text {
        "tcp" => Some(Protocol::Tcp),
        "udp" => Some(Protocol::Udp),
        _ => None,
    }
}

/// One port for each number of the ranges.
fn spread(reader: &mut Reader<'_>, field: &Field<'_>, written: &Written) -> Vec<PublishedPort> {
    let published = match written.published.as_deref() {
        None | Some("0") => Some(None),
        Some(text) => range(text).map(Some),
    };
    let (Some(published), Some(target)) = (published, range(&written.target)) else {
        let found = match &field.node.value {
            Value::Scalar(scalar) => format!("{:?}", scalar.text),
            Value::Sequence(_) | Value::Mapping(_) => {
                let published = written.published.as_deref().unwrap_or_default();
                format!("{published:?} and {:?}", written.target)
            }
        };
        let message = format!("expected ports from 1 to 65535 such as 8080:80, found {found}");
        reader.error(field, message);
        return Vec::new();
    };
    let Some(host_ip) = host_address(reader, field, written.address.as_deref()) else {
        return Vec::new();
    };
    let count = target.len();
    let published: Vec<u16> = match published {
        None => vec![0; count],
        Some(range) => range.collect(),
    };
    if published.len() != count {
        let message = match count {
            1 => "not supported: choosing from a range is not built; name one port, or none to be given one",
            _ => "the published range and the target's differ in length",
        };
        reader.error(field, message);
        return Vec::new();
    }
    let ports = published.into_iter().zip(target);
    let ports = ports.map(|(published, target)| PublishedPort {
        target,
        published,
        protocol: written.protocol,
        mode: written.mode,
        host_ip,
    });
    ports.take(MAX_PORTS + 1).collect()
}

/// The address to publish on, `Some(None)` for all; `None` if it is none (then there is a message).
fn host_address(reader: &mut Reader<'_>, field: &Field<'_>, text: Option<&str>) -> Option<Option<IpAddr>> {
    let text = text.unwrap_or_default();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let bare = bare.unwrap_or(text);
    if bare.is_empty() {
        return Some(None);
    }
    let Ok(address) = bare.parse::<IpAddr>() else {
        let message = format!("expected an address of the host such as 127.0.0.1 or [::1], found {text:?}");
        reader.error(field, message);
        return None;
    };
    Some((!address.is_unspecified()).then_some(address))
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u16, u16) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first > 0 && first <= last).then_some(first..=last)
}

/// What a port of a service on the host's network comes to.
fn on_host_network(reader: &mut Reader<'_>, field: &Field<'_>, port: PublishedPort) -> PublishedPort {
    let target = port.target;
    if port.published != target {
        let message = format!(
            "with network_mode: host a program has the port it listens on, so that its port {target} cannot be \
             published as another; write {target}:{target}, or take network_mode away"
        );
        reader.error(field, message);
    }
    if port.host_ip.is_some() {
        reader.error(
            field,
            "with network_mode: host the program itself chooses the address it listens on",
        );
    }
    PublishedPort {
        mode: PortMode::Host,
        host_ip: None,
        ..port
    }
}
