//! Endpoints: a veth pair per attachment, a single address on it, everything else known beforehand.
//!
//! A link goes with its namespace. Only one that stays behind although nobody wants it is removed, and late.

use std::net::IpAddr;

use super::links::{LOOPBACK, ROUTER_MAC, Requests, Wanted, host_address, mtu};
use super::{Change, ROUTER_LINK, Scope, host_link};
use crate::address::{Addresses, Mac, Prefix};
use crate::desired::{Attachment, Desired, Endpoint, EndpointId, GATEWAY_V4, GATEWAY_V6, Tag};
use crate::nft::Family;
use crate::observed::{NEW_LINKS, Observed, Place, Side, Where};
use crate::rtnl::{Neighbour, Request, Route, VethEnd, Via};

pub(super) fn plan(
    tag: &Tag,
    desired: &Desired,
    observed: &Observed,
    scope: &Scope,
    changes: &mut Vec<Change>,
) {
    // Numbers that the links before this one are about to take.
    let mut taken = u32::from(observed.router.named(ROUTER_LINK).is_none());
    let endpoints = desired.endpoints.iter().filter(|(id, _)| scope.has_endpoint(id));
    for (id, endpoint) in endpoints {
        if let Some(inside) = observed.endpoints.get(id) {
            one(
                &Parts {
                    tag,
                    desired,
                    observed,
                    inside,
                },
                endpoint,
                &mut taken,
                changes,
            );
        }
    }
}

struct Parts<'a> {
    tag: &'a Tag,
    desired: &'a Desired,
    observed: &'a Observed,
    inside: &'a Place,
}

fn one(parts: &Parts<'_>, endpoint: &Endpoint, taken: &mut u32, changes: &mut Vec<Change>) {
    let Parts { observed, inside, .. } = *parts;
    let v6 = observed.has_v6(Side::Router);
    let mut within = Requests::new(inside, LOOPBACK).lenient();
    within.bring_up(LOOPBACK, "", false, false);
    let mut all_inside = Wanted::default();
    let mut new_inside = 0;
    for (number, attachment) in endpoint.attachments.iter().enumerate() {
        let alias = alias(parts.tag, &endpoint.id, number);
        let mut pair = Pair::find(&alias, number, observed, inside, changes);
        if pair.fresh {
            pair.router += *taken;
            pair.inside += new_inside;
            *taken += 1;
            new_inside += 1;
            changes.push(pair.make(
                &alias,
                number,
                &endpoint.id,
                attachment,
                mtu(parts.desired, observed),
            ));
        }
        let mut outside = Requests::new(&observed.router, pair.router);
        outside.bring_up(pair.router, &alias, v6, pair.fresh);
        outside.become_(&of_router(attachment, pair.router, v6 && pair.v6));
        if !outside.list.is_empty() {
            changes.push(Change::Links {
                place: Where::Side(Side::Router),
                requests: outside.list,
            });
        }
        within.with_link(pair.inside);
        within.bring_up(pair.inside, &alias, v6, pair.fresh);
        of_inside(
            parts.desired,
            (endpoint, number),
            pair.inside,
            v6 && pair.v6,
            &mut all_inside,
        );
    }
    within.become_(&all_inside);
    if !within.list.is_empty() {
        changes.push(Change::Links {
            place: Where::Endpoint(endpoint.id.clone()),
            requests: within.list,
        });
    }
}

/// Links that stayed behind, and routes to addresses that nobody has any more.
pub(super) fn clear(
    tag: &Tag,
    desired: &Desired,
    observed: &Observed,
    scope: &Scope,
    changes: &mut Vec<Change>,
) {
    let start = format!("{} ", host_link(tag));
    let mut requests = Vec::new();
    for link in observed.router.links.values() {
        let Some(place) = link.alias.strip_prefix(&start) else {
            continue;
        };
        let (id, number) = place.split_once('/').unwrap_or((place, ""));
        let wanted = desired.endpoints.get(id).is_some_and(|endpoint| {
            number
                .parse::<usize>()
                .is_ok_and(|number| number < endpoint.attachments.len())
        });
        if wanted || !(scope.whole || scope.endpoints.contains(id)) {
            continue;
        }
        if scope.sweep {
            requests.push(Request::RemoveLink(link.index));
            continue;
        }
        let router = &observed.router;
        let routes = router
            .routes
            .iter()
            .filter(|route| route.via == Via::Link(link.index));
        requests.extend(routes.copied().map(Request::RemoveRoute));
        let neighbours = router
            .neighbours
            .iter()
            .filter(|neighbour| neighbour.link == link.index);
        requests.extend(neighbours.copied().map(Request::RemoveNeighbour));
    }
    if !requests.is_empty() {
        changes.push(Change::Links {
            place: Where::Side(Side::Router),
            requests,
        });
    }
}

/// What a link of an endpoint is called besides, at both ends.
pub(crate) fn alias(tag: &Tag, id: &EndpointId, number: usize) -> String {
    format!("{} {id}/{number}", host_link(tag))
}

/// The endpoint that a link belongs to, by its alias.
pub(crate) fn endpoint_of<'a>(tag: &Tag, alias: &'a str) -> Option<&'a str> {
    let place = alias.strip_prefix(&host_link(tag))?.strip_prefix(' ')?;
    place.split_once('/').map(|(id, _)| id)
}

/// The name of its end in the router: links have 15 characters at most, so a hash.
fn router_name(alias: &str) -> String {
    let hash = alias.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("v{:014x}", hash >> 8)
}

/// Made of the address, as Docker does, so that the same address never has another one in somebody's memory.
fn container_mac(addresses: &Addresses) -> Mac {
    match (addresses.v4, addresses.v6) {
        (Some(v4), _) => {
            let [a, b, c, d] = v4.octets();
            Mac([0x02, 0x53, a, b, c, d])
        }
        (None, Some(v6)) => {
            let [.., a, b, c, d] = v6.octets();
            Mac([0x02, 0x54, a, b, c, d])
        }
        (None, None) => Mac([0x02, 0x55, 0, 0, 0, 0]),
    }
}

struct Pair {
    router: u32,
    inside: u32,
    fresh: bool,
    /// Whether the container has IPv6 on it: what is switched off there, no address may be given to.
    v6: bool,
}

impl Pair {
    fn find(
        alias: &str,
        number: usize,
        observed: &Observed,
        inside: &Place,
        changes: &mut Vec<Change>,
    ) -> Self {
        let router = &observed.router;
        let outer = router.marked(alias).or_else(|| router.named(&router_name(alias)));
        let inner = inside.marked(alias).or_else(|| inside.named(&inner_name(number)));
        if let (Some(outer), Some(inner)) = (outer, inner) {
            return Self {
                router: outer.index,
                inside: inner.index,
                fresh: false,
                v6: !inside.without_v6.contains(&inner.name),
            };
        }
        if let Some(outer) = outer {
            changes.push(Change::Links {
                place: Where::Side(Side::Router),
                requests: vec![Request::RemoveLink(outer.index)],
            });
        }
        Self {
            router: router.free_index(0),
            inside: inside.free_index(0),
            fresh: true,
            v6: !inside.without_v6.contains(NEW_LINKS),
        }
    }

    fn make(&self, alias: &str, number: usize, id: &EndpointId, attachment: &Attachment, mtu: u32) -> Change {
        let here = VethEnd {
            index: self.router,
            name: router_name(alias),
            mac: ROUTER_MAC,
        };
        let there = VethEnd {
            index: self.inside,
            name: inner_name(number),
            mac: container_mac(&attachment.addresses),
        };
        Change::Links {
            place: Where::Side(Side::Router),
            requests: vec![Request::AddVeth {
                here,
                there,
                namespace: Where::Endpoint(id.clone()),
                mtu,
            }],
        }
    }
}

fn inner_name(number: usize) -> String {
    format!("eth{number}")
}

fn of_router(attachment: &Attachment, link: u32, v6: bool) -> Wanted {
    let mut wanted = Wanted::default();
    let mac = container_mac(&attachment.addresses);
    for address in attachment
        .addresses
        .iter()
        .filter(|address| v6 || address.is_ipv4())
    {
        wanted.neighbours.insert(Neighbour { link, address, mac });
        wanted.routes.insert(Route {
            to: Prefix::host(address),
            via: Via::Link(link),
            source: None,
        });
    }
    wanted
}

/// The link that leads out: the first with an address of the family.
fn leads_out(endpoint: &Endpoint, family: Family) -> Option<usize> {
    let mut links = endpoint.attachments.iter();
    links.position(|link| link.addresses.iter().any(|address| Family::of(address) == family))
}

fn of_inside(
    desired: &Desired,
    (endpoint, number): (&Endpoint, usize),
    link: u32,
    v6: bool,
    wanted: &mut Wanted,
) {
    let Some(attachment) = endpoint.attachments.get(number) else {
        return;
    };
    for address in attachment
        .addresses
        .iter()
        .filter(|address| v6 || address.is_ipv4())
    {
        let family = Family::of(address);
        let gateway: IpAddr = match family {
            Family::V4 => GATEWAY_V4.into(),
            Family::V6 => GATEWAY_V6.into(),
        };
        wanted.addresses.insert(host_address(link, address));
        let mac = ROUTER_MAC;
        wanted.neighbours.insert(Neighbour {
            link,
            address: gateway,
            mac,
        });
        let via = Via::Gateway(link, gateway);
        if leads_out(endpoint, family) == Some(number) {
            let to = Prefix::containing(gateway, 0);
            wanted.routes.insert(Route {
                to,
                via,
                source: None,
            });
            continue;
        }
        let network = desired.tables.networks.get(&attachment.network);
        let subnets = network.into_iter().flat_map(|network| &network.subnets);
        for to in subnets.filter(|subnet| Family::of(subnet.address()) == family) {
            wanted.routes.insert(Route {
                to: *to,
                via,
                source: Some(address),
            });
        }
    }
}
