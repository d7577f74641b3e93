//! Subnets: the first of the pools that meets no other network and no route of a node's own.
//!
//! Called by `request` when a network is made. What a user asks for himself is only looked at.

use crate::{
    model::{Network, NodeId},
    store::StoreView,
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{Ipv4Addr, Ipv6Addr};

/// A /7 or shorter is no network somebody lives in but a way out, cut in pieces by a VPN's client.
const SHORTEST_ROUTE: u8 = 8;

/// Ranges that no new network may have, as numbers: sorted by their first address.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    v4: Vec<(u128, u128)>,
    v6: Vec<(u128, u128)>,
}

impl Taken {
    /// Subnets of networks and routes of nodes. Networks that are going have theirs until they are gone.
    pub(crate) fn of(view: &StoreView) -> Self {
        let mut taken = Self::default();
        for network in view.networks() {
            let (v4, v6) = (network.status.v4, network.status.v6);
            taken.v4.extend(v4.map(|net| span(IpNet::V4(net))));
            taken.v6.extend(v6.map(|net| span(IpNet::V6(net))));
        }
        let pools = pools(view);
        let routes = routes(view).filter(|(_, route)| !pools.iter().any(|pool| is_around(*route, *pool)));
        for (_, route) in routes {
            match route {
                IpNet::V4(_) => taken.v4.push(span(route)),
                IpNet::V6(_) => taken.v6.push(span(route)),
            }
        }
        taken.v4.sort_unstable();
        taken.v6.sort_unstable();
        taken
    }

    /// The first free range of that length in the pools; it is taken from then on.
    pub(crate) fn choose_v4(&mut self, pools: &[Ipv4Net], length: u8) -> Option<Ipv4Net> {
        let first = pools
            .iter()
            .filter(|pool| pool.prefix_len() <= length)
            .find_map(|pool| first_free(&self.v4, span(IpNet::V4(*pool)), 32 - length))?;
        let net = Ipv4Net::new(Ipv4Addr::from(u32::try_from(first).ok()?), length).ok()?;
        self.add(IpNet::V4(net));
        Some(net)
    }

    /// The same in the IPv6 pool: a /64, and never the first, which is the nodes' own.
    pub(crate) fn choose_v6(&mut self, pool: Ipv6Net) -> Option<Ipv6Net> {
        let (first, last) = span(IpNet::V6(pool));
        let first = first_free(&self.v6, (first + (1 << 64), last), 64)?;
        let net = Ipv6Net::new(Ipv6Addr::from(first), 64).ok()?;
        self.add(IpNet::V6(net));
        Some(net)
    }

    /// Keeps a range from being chosen.
    pub(crate) fn add(&mut self, net: IpNet) {
        let list = match net {
            IpNet::V4(_) => &mut self.v4,
            IpNet::V6(_) => &mut self.v6,
        };
        let span = span(net);
        let place = list.partition_point(|other| *other < span);
        list.insert(place, span);
    }

    /// The range of a network that goes, which another takes over.
    pub(crate) fn remove(&mut self, net: IpNet) {
        let list = match net {
            IpNet::V4(_) => &mut self.v4,
            IpNet::V6(_) => &mut self.v6,
        };
        let span = span(net);
        if let Some(place) = list.iter().position(|other| *other == span) {
            list.remove(place);
        }
    }
}

/// The first aligned range with that many bits of addresses that meets none of `taken`.
fn first_free(taken: &[(u128, u128)], pool: (u128, u128), bits: u8) -> Option<u128> {
    let size = 1_u128 << bits;
    let mut candidate = pool.0;
    for (first, last) in taken {
        if *last < candidate {
            continue;
        }
        if *first > candidate + (size - 1) {
            break;
        }
        // The next aligned one behind it.
        candidate = (last / size + 1).checked_mul(size)?;
    }
    (candidate + (size - 1) <= pool.1).then_some(candidate)
}

fn span(net: IpNet) -> (u128, u128) {
    match net {
        IpNet::V4(net) => (u32::from(net.network()).into(), u32::from(net.broadcast()).into()),
        IpNet::V6(net) => (u128::from(net.network()), u128::from(net.broadcast())),
    }
}

fn pools(view: &StoreView) -> Vec<IpNet> {
    view.cluster()
        .map_or_else(Vec::new, |cluster| cluster.spec.pools.iter().collect())
}

/// Every node's own routes, but for those to everywhere.
fn routes(view: &StoreView) -> impl Iterator<Item = (&NodeId, IpNet)> {
    view.nodes().flat_map(|node| {
        let described = node.description.iter();
        let routes = described.flat_map(|description| &description.routes);
        routes
            .filter(|route| route.prefix_len() >= SHORTEST_ROUTE)
            .map(|route| (&node.id, *route))
    })
}

/// Is a whole pool in the route, and more? The more exact way into the pool then comes first: what came up after the
/// cluster was made, mostly a VPN that takes all of 10.0.0.0/8, is no reason to make no network any more.
fn is_around(route: IpNet, pool: IpNet) -> bool {
    route != pool && route.contains(&pool)
}

fn meet(one: IpNet, other: IpNet) -> bool {
    one.contains(&other) || other.contains(&one)
}

/// A node's own route that keeps the range from being used, if there is one.
pub(crate) fn route_met(view: &StoreView, net: IpNet) -> Option<(&NodeId, IpNet)> {
    let pools = pools(view);
    let pool = pools.iter().find(|pool| pool.contains(&net));
    let yields = |route: IpNet| pool.is_some_and(|pool| is_around(route, *pool));
    routes(view).find(|(_, route)| meet(*route, net) && !yields(*route))
}

/// A node's own route that takes from the pools, if there is one: the largest.
pub(crate) fn route_in<'a>(view: &'a StoreView, pools: &[IpNet]) -> Option<(&'a NodeId, IpNet)> {
    let inside = routes(view).filter(|(_, route)| pools.iter().any(|pool| pool.contains(route)));
    inside.min_by_key(|(_, route)| route.prefix_len())
}

/// A network whose range meets this one, if there is one.
pub(crate) fn network_met(view: &StoreView, net: IpNet) -> Option<&Network> {
    let ranges = |network: &Network| {
        let (v4, v6) = (network.status.v4, network.status.v6);
        v4.map(IpNet::V4).into_iter().chain(v6.map(IpNet::V6))
    };
    view.networks()
        .find(|network| ranges(network).any(|range| meet(range, net)))
        .map(AsRef::as_ref)
}
