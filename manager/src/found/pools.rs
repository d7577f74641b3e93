//! The address pools of a new cluster: what its founder asks for, checked, and a choice where nothing is asked.
//!
//! Pure: the host's routes and the random bits are arguments. Called once a cluster; pools never change afterwards.

#[cfg(test)]
mod tests;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use shoal_api::convert::Malformed;
use shoal_core::model::AddressPools;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// More pools than anybody fills.
const MOST_POOLS: usize = 16;

/// A network needs an address for its gateway, one for a service and one for a task, and rests between them.
const LONGEST_SUBNET: u8 = 29;

/// A /7 or shorter is no network somebody lives in but a way out, cut in pieces by a VPN's client.
const SHORTEST_ROUTE: u8 = 8;

/// A longer route is mostly a network that this host is in; these are what a VPN or an office leads somewhere as a whole.
const LONGEST_WHOLE: u8 = 16;

/// What the founder asks for; what is left open is chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolsAsked {
    pub v4: Vec<Ipv4Net>,
    pub v4_subnet_length: Option<u8>,
    pub v6: Option<Ipv6Net>,
}

/// Why there are no pools.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolsError {
    #[error("expected at most {MOST_POOLS} address pools, found {0}")]
    TooMany(usize),
    #[error("address pool {found} has bits set behind its prefix: expected {expected}")]
    HostBits { found: IpNet, expected: IpNet },
    #[error("address pool {0} cannot be used: expected a range of unicast addresses for private use")]
    Special(IpNet),
    #[error("address pool {0} is no /48: each network gets a /64 of it")]
    NotA48(Ipv6Net),
    #[error("address pools {0} and {1} overlap")]
    OverlapEachOther(IpNet, IpNet),
    #[error("address pool {pool} overlaps {route}, to which this host has a route: give another pool")]
    OverlapsRoute { pool: IpNet, route: IpNet },
    #[error("a subnet's prefix of /{length} does not fit address pool {pool}: expected /{} to /{LONGEST_SUBNET}", pool.prefix_len())]
    Length { length: u8, pool: Ipv4Net },
    #[error(
        "address pools {pools} have room for {found} network with a prefix of /{length}: expected room for two at least, \
         as ingress takes one"
    )]
    TooSmall { pools: String, length: u8, found: u32 },
    #[error(
        "this host has routes into every range that would do: give one whose other hosts you need not reach from here, \
         such as --default-addr-pool 172.24.0.0/13"
    )]
    NoneFree,
}

impl PoolsAsked {
    /// From the fields of a request: ranges in CIDR notation, 0 and the empty text for what is left open.
    pub fn parse(v4: &[String], v4_subnet_length: u32, v6: &str) -> Result<Self, Malformed> {
        let length = |_| {
            let message = format!("expected at most {LONGEST_SUBNET}, found {v4_subnet_length}");
            Malformed::new("default_addr_pool_mask_length", message)
        };
        let v4_subnet_length = u8::try_from(v4_subnet_length).map_err(length)?;
        let range = |text: &String| parsed(text, "default_addr_pools", "10.128.0.0/12");
        Ok(Self {
            v4: v4.iter().map(range).collect::<Result<_, _>>()?,
            v4_subnet_length: Some(v4_subnet_length).filter(|length| *length > 0),
            v6: if v6.is_empty() {
                None
            } else {
                Some(parsed(v6, "default_addr_pool_v6", "fd5a:1b2c:3d4e::/48")?)
            },
        })
    }

    /// The pools: as asked, or the first candidate beside the host's routes and a unique local /48 of these bits.
    pub fn choose(&self, routes: &[IpNet], random: [u8; 5]) -> Result<AddressPools, PoolsError> {
        let routes: Vec<IpNet> = routes.iter().copied().filter(is_somewhere).collect();
        let default = AddressPools::default();
        let v4_subnet_length = self.v4_subnet_length.unwrap_or(default.v4_subnet_length);
        let v4 = if self.v4.is_empty() {
            vec![candidate(&routes).ok_or(PoolsError::NoneFree)?]
        } else {
            self.v4.clone()
        };
        let v6 = self.v6.unwrap_or_else(|| unique_local(random));
        let pools = AddressPools {
            v4,
            v4_subnet_length,
            v6: Some(v6),
        };
        check(&pools, &routes)?;
        Ok(pools)
    }
}

fn parsed<T: FromStr>(text: &str, field: &str, example: &str) -> Result<T, Malformed> {
    text.parse().map_err(|_unreadable| {
        let message = format!("expected a range such as {example}, found {text:?}");
        Malformed::new(field, message)
    })
}

fn is_somewhere(route: &IpNet) -> bool {
    route.prefix_len() >= SHORTEST_ROUTE
}

fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

/// The first range for private use (RFC 1918) that has no route in it. The default comes first: few others use it. The
/// small ones at the end are what Docker comes to last, and few routers at home begin with.
fn candidate(routes: &[IpNet]) -> Option<Ipv4Net> {
    let tens = [
        128, 144, 160, 176, 192, 208, 224, 240, 112, 96, 80, 64, 48, 32, 16, 0,
    ];
    let ten = |second| Ipv4Net::new_assert(Ipv4Addr::new(10, second, 0, 0), 12);
    let others = [
        ((172, 16), 12),
        ((192, 168), 16),
        ((172, 24), 13),
        ((172, 20), 14),
        ((172, 28), 14),
        ((172, 30), 15),
    ];
    let others = others.map(|((a, b), length)| Ipv4Net::new_assert(Ipv4Addr::new(a, b, 0, 0), length));
    let homes = [(128, 17), (192, 18), (64, 18)];
    let homes = homes.map(|(third, length)| Ipv4Net::new_assert(Ipv4Addr::new(192, 168, third, 0), length));
    let free = |pool: &Ipv4Net| !routes.iter().any(|route| overlap(&IpNet::V4(*pool), route));
    let mut all = tens.into_iter().map(ten).chain(others).chain(homes);
    all.find(free)
}

/// A unique local /48 (RFC 4193): 40 random bits behind fd00::/8.
fn unique_local(random: [u8; 5]) -> Ipv6Net {
    let [a, b, c, d, e] = random;
    let mut octets = [0; 16];
    octets[..6].copy_from_slice(&[0xfd, a, b, c, d, e]);
    Ipv6Net::new_assert(Ipv6Addr::from(octets), 48)
}

fn check(pools: &AddressPools, routes: &[IpNet]) -> Result<(), PoolsError> {
    let ranges: Vec<IpNet> = pools.iter().collect();
    if ranges.len() > MOST_POOLS {
        return Err(PoolsError::TooMany(ranges.len()));
    }
    for (at, pool) in ranges.iter().enumerate() {
        if pool.trunc() != *pool {
            return Err(PoolsError::HostBits {
                found: *pool,
                expected: pool.trunc(),
            });
        }
        if is_special(pool) {
            return Err(PoolsError::Special(*pool));
        }
        if let Some(other) = ranges[..at].iter().find(|other| overlap(pool, other)) {
            return Err(PoolsError::OverlapEachOther(*other, *pool));
        }
        // Who names a part of what a VPN takes as a whole gets it: the more exact way comes first.
        let whole =
            |route: &IpNet| route != pool && route.contains(pool) && route.prefix_len() <= LONGEST_WHOLE;
        let mut others = routes.iter().filter(|route| !whole(route));
        if let Some(route) = others.find(|route| overlap(pool, route)) {
            return Err(PoolsError::OverlapsRoute {
                pool: *pool,
                route: *route,
            });
        }
    }
    let length = pools.v4_subnet_length;
    let too_long = length > LONGEST_SUBNET;
    if let Some(pool) = pools
        .v4
        .iter()
        .find(|pool| too_long || length < pool.prefix_len())
    {
        return Err(PoolsError::Length { length, pool: *pool });
    }
    let rooms = pools.v4.iter().map(|pool| 1_u32 << (length - pool.prefix_len()));
    let found = rooms.fold(0, u32::saturating_add);
    if found < 2 {
        let names: Vec<String> = pools.v4.iter().map(ToString::to_string).collect();
        let pools = names.join(", ");
        return Err(PoolsError::TooSmall { pools, length, found });
    }
    match pools.v6 {
        Some(pool) if pool.prefix_len() != 48 => Err(PoolsError::NotA48(pool)),
        Some(_) | None => Ok(()),
    }
}

/// Loopback, link-local, multicast, reserved, or larger than any of these lets it be.
fn is_special(pool: &IpNet) -> bool {
    match (pool.network(), pool.broadcast()) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            let special = |it: Ipv4Addr| {
                it.is_loopback()
                    || it.is_link_local()
                    || it.is_multicast()
                    || it.octets()[0] == 0
                    || it.octets()[0] >= 240
            };
            pool.prefix_len() < SHORTEST_ROUTE || special(first) || special(last)
        }
        (IpAddr::V6(first), _) => !first.is_unique_local() && first.segments()[0] >> 13 != 1,
        (IpAddr::V4(_), IpAddr::V6(_)) => true,
    }
}
