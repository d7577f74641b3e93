//! The link between host and router: one veth pair, an address on each end, routes for the pools.
//!
//! Both ends know each other's link address for good, so that neither asks nor answers.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Change, ROUTER_LINK, Scope, crossed, host_link};
use crate::address::{Mac, Prefix};
use crate::desired::{Desired, GATEWAY_V4, GATEWAY_V6, NodeNet, Tag};
use crate::nft::Family;
use crate::observed::{Observed, Place, Side, Where};
use crate::rtnl::{LinkAddress, Neighbour, Request, Route, VethEnd, Via};

/// Locally administered, the same for all: each is alone with the other end of its link.
pub(super) const ROUTER_MAC: Mac = Mac([0x02, 0x53, 0x68, 0x6f, 0x61, 0x6c]);
const HOST_MAC: Mac = Mac([0x02, 0x53, 0x68, 0x6f, 0x61, 0x68]);

/// What Ethernet takes, where nothing says otherwise.
const USUAL_MTU: u32 = 1500;

/// What belongs to a link, or to none, in one place.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) addresses: BTreeSet<LinkAddress>,
    pub(super) neighbours: BTreeSet<Neighbour>,
    pub(super) routes: BTreeSet<Route>,
}

pub(super) fn plan(
    tag: &Tag,
    desired: &Desired,
    observed: &Observed,
    scope: &Scope,
    changes: &mut Vec<Change>,
) {
    let crossed = crossed::addresses(tag, desired, observed);
    // A new address has a route before anything leads to it.
    if !scope.rules && crossed.is_empty() {
        return;
    }
    let pair = Pair::find(tag, desired, observed, changes);
    let node = &desired.tables.node;
    let mut host = Requests::new(&observed.host, pair.host);
    host.bring_up(
        pair.host,
        &host_link(tag),
        observed.has_v6(Side::Host),
        pair.fresh,
    );
    host.become_(&of_host(node, &crossed, pair.host, observed.has_v6(Side::Host)));
    let mut router = Requests::new(&observed.router, pair.router);
    router.with_link(ROUTES_OF_THE_PLACE);
    router.bring_up(LOOPBACK, "", false, false);
    router.bring_up(
        pair.router,
        &host_link(tag),
        observed.has_v6(Side::Router),
        pair.fresh,
    );
    router.become_(&of_router(node, pair.router, observed.has_v6(Side::Router)));
    for (side, requests) in [(Side::Router, router.list), (Side::Host, host.list)] {
        if !requests.is_empty() {
            let place = Where::Side(side);
            changes.push(Change::Links { place, requests });
        }
    }
}

/// The number of `lo` in every namespace.
pub(super) const LOOPBACK: u32 = 1;

/// The longest packet for links of containers.
pub(super) fn mtu(desired: &Desired, observed: &Observed) -> u32 {
    let host = &observed.host;
    let ways_out = host.others_routes.iter().filter(|route| route.to.length() == 0);
    let of_route = |route: &Route| match route.via {
        Via::Link(link) | Via::Gateway(link, _) => host.links.get(&link).map(|link| link.mtu),
        Via::Unreachable => None,
    };
    let found = ways_out.filter_map(of_route).min();
    // IPv6 needs 1,280; the loopback device's 65,536 is no Ethernet's.
    let found = found.unwrap_or(USUAL_MTU).clamp(1280, 65_000);
    desired.tables.node.mtu.unwrap_or(found)
}

/// The numbers of both ends, there or about to be made.
struct Pair {
    host: u32,
    router: u32,
    fresh: bool,
}

impl Pair {
    fn find(tag: &Tag, desired: &Desired, observed: &Observed, changes: &mut Vec<Change>) -> Self {
        let name = host_link(tag);
        let ends = (observed.host.named(&name), observed.router.named(ROUTER_LINK));
        if let (Some(host), Some(router)) = ends {
            return Self {
                host: host.index,
                router: router.index,
                fresh: false,
            };
        }
        // Half a pair is none: the other end was moved or renamed.
        let halves = [(Side::Host, ends.0), (Side::Router, ends.1)];
        for (side, end) in halves.into_iter().filter_map(|(side, end)| Some((side, end?))) {
            changes.push(Change::Links {
                place: Where::Side(side),
                requests: vec![Request::RemoveLink(end.index)],
            });
        }
        let pair = Self {
            host: observed.host.free_index(0),
            router: observed.router.free_index(0),
            fresh: true,
        };
        let end = |index, name: &str, mac| VethEnd {
            index,
            name: name.to_owned(),
            mac,
        };
        changes.push(Change::Links {
            place: Where::Side(Side::Router),
            requests: vec![Request::AddVeth {
                here: end(pair.router, ROUTER_LINK, ROUTER_MAC),
                there: end(pair.host, &name, HOST_MAC),
                namespace: Where::Side(Side::Host),
                mtu: mtu(desired, observed),
            }],
        });
        pair
    }
}

fn of_host(node: &NodeNet, crossed: &BTreeSet<IpAddr>, link: u32, v6: bool) -> Wanted {
    let mut wanted = Wanted::default();
    let spoken = |address: &IpAddr| v6 || address.is_ipv4();
    for address in node.host.iter().filter(spoken) {
        wanted.addresses.insert(host_address(link, address));
    }
    for gateway in [IpAddr::V4(GATEWAY_V4), IpAddr::V6(GATEWAY_V6)]
        .into_iter()
        .filter(spoken)
    {
        let family = Family::of(gateway);
        let mac = ROUTER_MAC;
        wanted.neighbours.insert(Neighbour {
            link,
            address: gateway,
            mac,
        });
        let ways = node
            .router
            .iter()
            .map(Prefix::host)
            .chain(node.pools.iter().copied())
            .chain(crossed.iter().copied().map(Prefix::host));
        for to in ways.filter(|to| Family::of(to.address()) == family) {
            let source = node.host.iter().find(|address| Family::of(*address) == family);
            let via = Via::Gateway(link, gateway);
            wanted.routes.insert(Route { to, via, source });
        }
    }
    wanted
}

fn of_router(node: &NodeNet, link: u32, v6: bool) -> Wanted {
    let mut wanted = Wanted::default();
    let spoken = |address: &IpAddr| v6 || address.is_ipv4();
    for address in node.router.iter().filter(spoken) {
        wanted.addresses.insert(host_address(link, address));
    }
    let gateways = [IpAddr::V4(GATEWAY_V4), IpAddr::V6(GATEWAY_V6)];
    for address in gateways.into_iter().filter(spoken) {
        let mac = HOST_MAC;
        wanted.neighbours.insert(Neighbour { link, address, mac });
        let hosts = node
            .host
            .iter()
            .filter(|host| host.is_ipv4() == address.is_ipv4())
            .map(Prefix::host);
        for to in hosts.chain([Prefix::containing(address, 0)]) {
            let via = Via::Gateway(link, address);
            wanted.routes.insert(Route {
                to,
                via,
                source: None,
            });
        }
    }
    // Addresses of the pools that nobody has here must not go back to where they came from.
    for to in node.pools.iter().filter(|pool| spoken(&pool.address())) {
        wanted.routes.insert(Route {
            to: *to,
            via: Via::Unreachable,
            source: None,
        });
    }
    wanted
}

/// An address with nothing beside it on the link.
pub(super) fn host_address(link: u32, address: IpAddr) -> LinkAddress {
    let length = Prefix::host(address).length();
    LinkAddress {
        link,
        address,
        length,
    }
}

/// Requests for one place, from what is there.
pub(super) struct Requests<'a> {
    there: &'a Place,
    /// Only what belongs to these links is taken away where nobody wants it.
    links: BTreeSet<u32>,
    /// Whether addresses and neighbours that nobody wants stay: in a container they may be its own.
    lenient: bool,
    pub(super) list: Vec<Request<Where>>,
}

impl<'a> Requests<'a> {
    pub(super) fn new(there: &'a Place, link: u32) -> Self {
        Self {
            there,
            links: BTreeSet::from([link]),
            lenient: false,
            list: Vec::new(),
        }
    }

    pub(super) fn lenient(mut self) -> Self {
        self.lenient = true;
        self
    }

    pub(super) fn with_link(&mut self, link: u32) {
        self.links.insert(link);
    }

    /// Marks a link and brings it up; the loopback device is not marked.
    pub(super) fn bring_up(&mut self, link: u32, alias: &str, v6: bool, fresh: bool) {
        let there = self.there.links.get(&link).filter(|_| !fresh);
        if link != LOOPBACK && there.is_none_or(|there| there.alias != alias) {
            let alias = alias.to_owned();
            self.list.push(Request::Mark { link, alias, v6 });
        }
        if there.is_none_or(|there| !there.up) {
            self.list.push(Request::Up(link));
        }
    }

    /// Neighbours before addresses before routes: each needs the one before.
    pub(super) fn become_(&mut self, wanted: &Wanted) {
        let there = self.there;
        let ours = |link: &u32| self.links.contains(link);
        let of_ours = |route: &&Route| match route.via {
            Via::Link(link) | Via::Gateway(link, _) => ours(&link),
            Via::Unreachable => self.links.contains(&ROUTES_OF_THE_PLACE),
        };
        let mut list = Vec::new();
        let old_routes = there
            .routes
            .iter()
            .filter(of_ours)
            .filter(|r| !wanted.routes.contains(r));
        list.extend(
            old_routes
                .filter(|r| !wanted.routes.iter().any(|new| new.to == r.to))
                .copied()
                .map(Request::RemoveRoute),
        );
        let strict = |link: &u32| !self.lenient && ours(link);
        let old_addresses = there
            .addresses
            .iter()
            .filter(|a| strict(&a.link) && !wanted.addresses.contains(a));
        list.extend(old_addresses.copied().map(Request::RemoveAddress));
        let old_neighbours = there.neighbours.iter().filter(|n| strict(&n.link));
        let replaced = |n: &&Neighbour| {
            wanted
                .neighbours
                .iter()
                .any(|new| (new.link, new.address) == (n.link, n.address))
        };
        list.extend(
            old_neighbours
                .filter(|n| !replaced(n))
                .copied()
                .map(Request::RemoveNeighbour),
        );
        list.extend(
            wanted
                .neighbours
                .difference(&there.neighbours)
                .copied()
                .map(Request::SetNeighbour),
        );
        list.extend(
            wanted
                .addresses
                .difference(&there.addresses)
                .copied()
                .map(Request::AddAddress),
        );
        list.extend(
            wanted
                .routes
                .difference(&there.routes)
                .copied()
                .map(Request::SetRoute),
        );
        self.list.extend(list);
    }
}

/// Stands for routes that lead to no link.
pub(super) const ROUTES_OF_THE_PLACE: u32 = 0;
