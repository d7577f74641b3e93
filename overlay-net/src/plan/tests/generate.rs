//! Desired states out of a small world, so that they overlap, and damage to what there is.
//!
//! Used by the property tests of plans only.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::subsequence;

use crate::address::{Addresses, Prefix};
use crate::desired::{
    Attachment, Desired, Endpoint, Group, Network, NodeNet, PortKey, Protocol, Published, ResolverSpec,
    Tables, Tag,
};
use crate::nft::{Data, Family, ForeignChain, ForeignRule, Hook, Key, RuleState, Word};
use crate::observed::{NEW_LINKS, Observed, Place, Side};
use crate::plan::Setting;
use crate::rtnl::{LinkState, Route, Via};

pub(super) fn tag() -> Tag {
    "0123abcd".parse().unwrap()
}

fn address(network: u8, host: u8) -> IpAddr {
    IpAddr::from([10, 0, network, host])
}

fn both(network: u8, host: u8) -> Addresses {
    let v6 = format!("fd00:0:0:{network:x}::{host:x}").parse().unwrap();
    Addresses {
        v4: format!("10.0.{network}.{host}").parse().ok(),
        v6: Some(v6),
    }
}

pub(super) fn network(number: u8, internal: bool, meet: bool) -> Network {
    let v6: Prefix = format!("fd00:0:0:{number:x}::/64").parse().unwrap();
    Network {
        subnets: vec![Prefix::containing(address(number, 0), 24), v6],
        internal,
        meet,
    }
}

fn node() -> NodeNet {
    NodeNet {
        pools: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/48".parse().unwrap()],
        host: Addresses {
            v4: "169.254.200.1".parse().ok(),
            v6: "fd00::1".parse().ok(),
        },
        router: Addresses {
            v4: "169.254.200.2".parse().ok(),
            v6: "fd00::2".parse().ok(),
        },
        mtu: None,
        open_host_ports: [(Protocol::Tcp, 9000)].into(),
    }
}

fn group() -> impl Strategy<Value = (u8, Group)> {
    let hosts: Vec<u8> = (10..18).collect();
    (0_u8..3, 0_u8..3, subsequence(hosts, 0..8), any::<bool>()).prop_map(|(network, number, hosts, drain)| {
        let (draining, active) = hosts.split_at(usize::from(drain && !hosts.is_empty()));
        let all = |hosts: &[u8]| {
            hosts
                .iter()
                .flat_map(|host| both(network, *host).iter())
                .collect()
        };
        let group = Group {
            network: format!("net{network}").parse().unwrap(),
            vip: both(network, 100 + number),
            backends: all(active),
            draining: all(draining),
            records: BTreeMap::new(),
        };
        (number, group)
    })
}

fn port() -> impl Strategy<Value = (PortKey, Published)> {
    let hosts: Vec<u8> = (10..14).collect();
    let at = prop_oneof![
        Just(None),
        Just(Some(IpAddr::from([192, 0, 2, 2]))),
        Just(Some(IpAddr::from([127, 0, 0, 1])))
    ];
    (
        8080_u16..8083,
        any::<bool>(),
        at,
        subsequence(hosts, 1..4),
        any::<bool>(),
    )
        .prop_map(|(port, tcp, address, hosts, direct)| {
            let protocol = if tcp { Protocol::Tcp } else { Protocol::Udp };
            let backends = hosts.iter().take(if direct { 1 } else { 9 });
            let backends = backends
                .flat_map(|host| both(0, *host).iter())
                .map(|ip| SocketAddr::new(ip, 80));
            let published = Published {
                vip: if direct {
                    Addresses::default()
                } else {
                    both(9, 200)
                },
                backends: backends.collect(),
                draining: BTreeSet::new(),
            };
            (
                PortKey {
                    protocol,
                    address,
                    port,
                },
                published,
            )
        })
}

fn endpoint(number: u8, networks: &[u8]) -> Endpoint {
    let attachments = networks.iter().map(|network| Attachment {
        network: format!("net{network}").parse().unwrap(),
        addresses: both(*network, 10 + number),
    });
    Endpoint {
        id: format!("endpoint{number}").parse().unwrap(),
        namespace: format!("/proc/{number}/ns/net").into(),
        attachments: attachments.collect(),
        resolver: ResolverSpec::default(),
    }
}

fn assemble(
    internal: bool,
    groups: Vec<(u8, Group)>,
    ports: Vec<(PortKey, Published)>,
    endpoints: Vec<(u8, Vec<u8>)>,
) -> Desired {
    let mut tables = Tables {
        node: node(),
        ..Tables::default()
    };
    for number in 0..3 {
        let id = format!("net{number}").parse().unwrap();
        tables.networks.insert(
            id,
            Arc::new(network(number, internal && number == 1, number != 2)),
        );
    }
    for (number, group) in groups {
        let id = format!("group{number}/{}", group.network).parse().unwrap();
        tables.groups.insert(id, Arc::new(group));
    }
    // Ports of one VIP lead to the same backends, as those of one service do.
    for (key, published) in ports {
        let same = tables
            .ports
            .iter()
            .find(|(k, p)| (k.protocol, k.port) == (key.protocol, key.port) && p.vip == published.vip);
        let published = same.map_or_else(|| Arc::new(published), |(_, there)| Arc::clone(there));
        tables.ports.insert(key, published);
    }
    let endpoints = endpoints.into_iter().map(|(number, networks)| {
        let endpoint = endpoint(number, &networks);
        (endpoint.id.clone(), Arc::new(endpoint))
    });
    Desired {
        tables: Arc::new(tables),
        endpoints: endpoints.collect(),
    }
}

pub(super) fn desired() -> impl Strategy<Value = Desired> {
    let networks = subsequence(vec![0_u8, 1, 2], 1..3);
    let endpoints = proptest::collection::vec((0_u8..4, networks), 0..4);
    let groups = proptest::collection::vec(group(), 0..5);
    let ports = proptest::collection::vec(port(), 0..4);
    (any::<bool>(), groups, ports, endpoints)
        .prop_map(|(internal, groups, ports, endpoints)| assemble(internal, groups, ports, endpoints))
}

pub(super) fn example() -> Desired {
    let group = Group {
        network: "net0".parse().unwrap(),
        vip: both(0, 100),
        backends: both(0, 10).iter().collect(),
        draining: BTreeSet::new(),
        records: BTreeMap::new(),
    };
    let published = Published {
        vip: both(9, 200),
        backends: [SocketAddr::new(address(0, 10), 80)].into(),
        draining: BTreeSet::new(),
    };
    let port = PortKey {
        protocol: Protocol::Tcp,
        address: None,
        port: 8080,
    };
    assemble(
        false,
        vec![(0, group)],
        vec![(port, published)],
        vec![(0, vec![0, 1])],
    )
}

/// The endpoint whose container switched IPv6 off before it had any link.
const WITHOUT_V6: &str = "endpoint3";

fn loopback() -> (u32, LinkState) {
    let state = LinkState {
        index: 1,
        name: "lo".to_owned(),
        kind: String::new(),
        alias: String::new(),
        mac: None,
        mtu: 65_536,
        up: false,
        carries: false,
        other_end: None,
    };
    (1, state)
}

fn empty_place() -> Place {
    Place {
        links: [loopback()].into(),
        ..Place::default()
    }
}

/// A machine with Docker on it, and nothing of ours.
pub(super) fn base(desired: &Desired) -> Observed {
    let mut observed = Observed {
        host: empty_place(),
        router: empty_place(),
        ..Observed::default()
    };
    for side in [Side::Host, Side::Router] {
        for (setting, value) in [
            (Setting::NoV6, "0"),
            (Setting::Forward(Family::V4), "0"),
            (Setting::Forward(Family::V6), "0"),
            (Setting::ReversePath("all".to_owned()), "1"),
            (Setting::Announcements("eth0".to_owned()), "1"),
        ] {
            observed.settings.insert((side, setting), value.to_owned());
        }
    }
    let chain = |chain: &str, hook, drops| ForeignChain {
        family: Family::V4.number(),
        table: "filter".to_owned(),
        chain: chain.to_owned(),
        hook,
        drops,
        rules: vec![ForeignRule {
            rule: RuleState {
                comment: String::new(),
                handle: 7,
            },
            stops_all: false,
            accepts: None,
        }],
    };
    observed.foreign = vec![
        chain("FORWARD", Some(Hook::Forward), true),
        chain("DOCKER-USER", None, false),
    ];
    follow_endpoints(&mut observed, desired);
    observed
}

/// Namespaces of endpoints come and go by themselves.
pub(super) fn follow_endpoints(observed: &mut Observed, desired: &Desired) {
    observed
        .endpoints
        .retain(|id, _| desired.endpoints.contains_key(id));
    let aliases: Vec<String> = desired
        .endpoints
        .keys()
        .map(|id| format!("shoal-0123abcd {id}/"))
        .collect();
    let gone: Vec<u32> = observed
        .router
        .links
        .values()
        .filter(|link| {
            link.name.starts_with('v') && !aliases.iter().any(|alias| link.alias.starts_with(alias))
        })
        .map(|link| link.index)
        .collect();
    gone.into_iter()
        .for_each(|link| remove(&mut observed.router, link));
    for id in desired.endpoints.keys() {
        let place = observed.endpoints.entry(id.clone()).or_insert_with(empty_place);
        if id.as_str() == WITHOUT_V6 {
            place.without_v6.insert(NEW_LINKS.to_owned());
        }
    }
}

fn remove(place: &mut Place, link: u32) {
    place.links.remove(&link);
    place.addresses.retain(|address| address.link != link);
    place.neighbours.retain(|neighbour| neighbour.link != link);
    place
        .routes
        .retain(|route| !matches!(route.via, Via::Link(l) | Via::Gateway(l, _) if l == link));
}

/// Something that somebody does to what is ours; the number chooses which.
#[derive(Debug, Clone)]
pub(super) enum Damage {
    Table(Side, bool),
    Chain(Side, usize),
    Rules(Side, usize),
    Set(Side, usize),
    Element(Side, usize, usize),
    StrayElement(usize),
    Link(Side, usize),
    Down(usize),
    Address(Side),
    Route(Side, usize),
    Neighbour(usize),
    Inside(usize),
    Foreign,
    Setting,
    /// A VPN comes, whose network is one of ours or a part of it.
    Crossing(u8, usize),
}

pub(super) fn damage() -> impl Strategy<Value = Damage> {
    let side = || prop_oneof![Just(Side::Host), Just(Side::Router)];
    let n = || 0_usize..40;
    prop_oneof![
        (side(), any::<bool>()).prop_map(|(s, v6)| Damage::Table(s, v6)),
        (side(), n()).prop_map(|(s, n)| Damage::Chain(s, n)),
        (side(), n()).prop_map(|(s, n)| Damage::Rules(s, n)),
        (side(), n()).prop_map(|(s, n)| Damage::Set(s, n)),
        (side(), n(), n()).prop_map(|(s, n, m)| Damage::Element(s, n, m)),
        n().prop_map(Damage::StrayElement),
        (side(), n()).prop_map(|(s, n)| Damage::Link(s, n)),
        n().prop_map(Damage::Down),
        side().prop_map(Damage::Address),
        (side(), n()).prop_map(|(s, n)| Damage::Route(s, n)),
        n().prop_map(Damage::Neighbour),
        n().prop_map(Damage::Inside),
        Just(Damage::Foreign),
        Just(Damage::Setting),
        (0_u8..3, n()).prop_map(|(network, n)| Damage::Crossing(network, n)),
    ]
}

impl Damage {
    pub(super) fn apply(&self, observed: &mut Observed) {
        match self {
            Self::Table(side, v6) => {
                observed.tables.remove(&(*side, Family::ALL[usize::from(*v6)]));
            }
            Self::Chain(side, n) => with_table(observed, *side, |table| {
                if let Some(name) = nth(table.chains.keys().cloned(), *n) {
                    table.chains.remove(&name);
                    let to_it = |data: &Data| matches!(data, Data::Verdict(v) if v.code().1 == Some(&*name));
                    table
                        .sets
                        .values_mut()
                        .for_each(|set| set.elements.retain(|_, data| !to_it(data)));
                }
            }),
            Self::Rules(side, n) => with_table(observed, *side, |table| {
                let name = nth(table.chains.keys().cloned(), *n);
                if let Some(chain) = name.and_then(|name| table.chains.get_mut(&name)) {
                    chain.rules.pop();
                }
            }),
            Self::Set(side, n) => with_table(observed, *side, |table| {
                if let Some(name) = nth(table.sets.keys().cloned(), *n) {
                    table.sets.remove(&name);
                }
            }),
            Self::Element(side, n, m) => with_table(observed, *side, |table| {
                let name = nth(table.sets.keys().cloned(), *n);
                if let Some(set) = name.and_then(|name| table.sets.get_mut(&name))
                    && let Some(key) = nth(set.elements.keys().copied(), *m)
                {
                    set.elements.remove(&key);
                }
            }),
            Self::StrayElement(n) => with_table(observed, Side::Router, |table| {
                if let Some(set) = table.sets.get_mut("backends") {
                    let number = u8::try_from(*n).unwrap();
                    let key = Word::new(&[10, 0, 0, 100]).then(&[0, number, 0, 0]);
                    set.elements
                        .insert(Key::plain(key), Data::Word(Word::new(&[10, 0, 0, number])));
                }
            }),
            others => others.to_links(observed),
        }
    }

    fn to_links(&self, observed: &mut Observed) {
        match self {
            Self::Link(Side::Router, n) => {
                let links = observed.router.links.values().filter(|l| l.index > 1);
                if let Some(link) = nth(links.cloned(), *n) {
                    remove_pair(observed, &link);
                }
            }
            Self::Link(Side::Host, _) => {
                if let Some(link) = observed.host.named("shoal-0123abcd").map(|link| link.index) {
                    remove(&mut observed.host, link);
                    let end = observed.router.named("host").map(|link| link.index);
                    end.into_iter().for_each(|end| remove(&mut observed.router, end));
                }
            }
            Self::Down(n) => {
                let link = nth(observed.router.links.keys().copied(), *n);
                if let Some(link) = link {
                    observed.router.links.get_mut(&link).unwrap().up = false;
                    let gone = |via: &Via| matches!(via, Via::Link(l) | Via::Gateway(l, _) if *l == link);
                    observed.router.routes.retain(|route| !gone(&route.via));
                }
            }
            Self::Address(side) => side_mut(observed, *side).addresses.clear(),
            Self::Route(side, n) => {
                let place = side_mut(observed, *side);
                if let Some(route) = nth(place.routes.iter().copied(), *n) {
                    place.routes.remove(&route);
                }
            }
            Self::Neighbour(n) => {
                if let Some(neighbour) = nth(observed.router.neighbours.iter().copied(), *n) {
                    observed.router.neighbours.remove(&neighbour);
                }
            }
            Self::Inside(n) => {
                if let Some(place) = observed.endpoints.values_mut().next() {
                    match n % 3 {
                        0 => place.addresses.clear(),
                        1 => place.routes.clear(),
                        _ => place.neighbours.clear(),
                    }
                }
            }
            Self::Foreign => observed.foreign.iter_mut().for_each(|chain| chain.rules.clear()),
            Self::Setting => {
                for side in [Side::Host, Side::Router] {
                    observed
                        .settings
                        .insert((side, Setting::Forward(Family::V4)), "0".to_owned());
                }
            }
            Self::Crossing(network, n) => cross(observed, *network, [16, 24, 29, 32][n % 4]),
            _ => {}
        }
    }
}

/// A route of somebody else's to addresses of a network.
pub(super) fn cross(observed: &mut Observed, number: u8, length: u8) {
    for (to, via) in [
        (Prefix::containing(address(number, 10), length), Via::Link(77)),
        (network(number, false, true).subnets[1], Via::Unreachable),
    ] {
        let source = None;
        observed.host.others_routes.insert(Route { to, via, source });
    }
}

/// A link goes with its other end.
fn remove_pair(observed: &mut Observed, link: &LinkState) {
    remove(&mut observed.router, link.index);
    let others = observed.endpoints.values_mut().chain([&mut observed.host]);
    for place in others {
        let end = place.marked(&link.alias).map(|end| end.index);
        end.into_iter().for_each(|end| remove(place, end));
    }
}

fn side_mut(observed: &mut Observed, side: Side) -> &mut Place {
    match side {
        Side::Host => &mut observed.host,
        Side::Router => &mut observed.router,
    }
}

fn with_table(observed: &mut Observed, side: Side, change: impl FnOnce(&mut crate::nft::TableState)) {
    if let Some(table) = observed.tables.get_mut(&(side, Family::V4)) {
        change(table);
    }
}

fn nth<T>(items: impl Iterator<Item = T>, number: usize) -> Option<T> {
    let mut items: Vec<T> = items.collect();
    if items.is_empty() {
        return None;
    }
    let place = number % items.len();
    Some(items.swap_remove(place))
}
