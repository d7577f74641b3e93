//! Published ports: numbers for those that ask for any, and no port of two services on every node.
//!
//! A port in the mode `host` is taken on the nodes alone that have a task: two services may share it, and the
//! scheduler keeps their tasks apart. One in the mode `ingress` is everybody's.

use crate::{
    model::{PortMode, Protocol, PublishedPort, Service, ServiceId, ServiceSpec},
    refusal::{Refusal, RefusalCode},
    store::StoreView,
};
use std::{collections::BTreeSet, net::IpAddr, ops::RangeInclusive};

/// Where ports are chosen from; Swarm's range.
const CHOSEN: RangeInclusive<u16> = 30_000..=32_767;

/// Services that the same transaction has still to write: what they hold now is not yet what they will.
pub(crate) type Going = BTreeSet<ServiceId>;

/// Ports that another service of the same transaction names: never chosen.
pub(crate) type Asked = BTreeSet<(Protocol, u16)>;

/// The spec's ports with every number chosen. A number chosen before is kept, unless it is asked for by now. `old` is the
/// service as it is.
pub(crate) fn ports(
    view: &StoreView,
    spec: &ServiceSpec,
    old: Option<&Service>,
    going: &Going,
    asked: &Asked,
) -> Result<Vec<PublishedPort>, Refusal> {
    let own = old.map(|service| &service.id);
    let mut kept: Vec<PublishedPort> = old.map_or_else(Vec::new, |service| service.endpoint.ports.clone());
    let mut resolved: Vec<PublishedPort> = Vec::with_capacity(spec.ports.len());
    let mut named: Asked = spec.ports.iter().map(|p| (p.protocol, p.published)).collect();
    for (n, wanted) in spec.ports.iter().enumerate() {
        let mut port = *wanted;
        if port.published == 0 {
            let taken = |published: u16| {
                let key = (wanted.protocol, published);
                named.contains(&key) || asked.contains(&key)
            };
            let kept_for = |old: &PublishedPort| is_choice_for(old, wanted) && !taken(old.published);
            let before = kept.iter().position(kept_for);
            let free = |published: &u16| {
                !taken(*published)
                    && view
                        .services_on_port(wanted.protocol, *published)
                        .next()
                        .is_none()
            };
            port.published = match before {
                Some(place) => kept.swap_remove(place).published,
                None => CHOSEN.clone().find(free).ok_or_else(|| none_left(n))?,
            };
            named.insert((port.protocol, port.published));
        }
        if let Some(other) = conflict(view, &port, own, going) {
            return Err(conflicts(n, &port, other));
        }
        resolved.push(port);
    }
    Ok(resolved)
}

fn is_choice_for(old: &PublishedPort, port: &PublishedPort) -> bool {
    let asked = PublishedPort { published: 0, ..*old };
    asked == *port && CHOSEN.contains(&old.published)
}

/// Another service that has the port on some node for sure.
fn conflict<'a>(
    view: &'a StoreView,
    port: &PublishedPort,
    own: Option<&ServiceId>,
    going: &Going,
) -> Option<&'a Service> {
    let clashes = |other: &PublishedPort| {
        (other.protocol, other.published) == (port.protocol, port.published)
            && (other.mode == PortMode::Ingress || port.mode == PortMode::Ingress)
            && meet(other.host_ip, port.host_ip)
    };
    view.services_on_port(port.protocol, port.published)
        .filter(|service| Some(&service.id) != own && !going.contains(&service.id))
        .find(|service| service.endpoint.ports.iter().any(clashes))
        .map(AsRef::as_ref)
}

/// Do two ports of one number meet on these addresses of a host? No address, or the unspecified one, is all of them.
pub(crate) fn meet(one: Option<IpAddr>, other: Option<IpAddr>) -> bool {
    let all = |address: &IpAddr| address.is_unspecified();
    match (one, other) {
        (None, _) | (_, None) => true,
        (Some(one), Some(other)) if all(&one) || all(&other) => one.is_ipv4() == other.is_ipv4(),
        (Some(one), Some(other)) => one == other,
    }
}

fn conflicts(n: usize, port: &PublishedPort, other: &Service) -> Refusal {
    let message = format!(
        "port {}/{} is already published by service {:?}",
        port.published,
        port.protocol.name(),
        other.spec.name
    );
    Refusal::new(RefusalCode::Conflict, message)
        .with_field(format!("ports[{n}].published"))
        .with_hint("publish another one, or none: then a free one is chosen")
}

fn none_left(n: usize) -> Refusal {
    let message = format!("no port of {} to {} is free", CHOSEN.start(), CHOSEN.end());
    Refusal::new(RefusalCode::Exhausted, message)
        .with_field(format!("ports[{n}].published"))
        .with_hint("name one")
}
