//! The router's tables: who may send what to whom, and how connections are spread over backends.
//!
//! `spoof` drops what a link sends from an address that is not its own; `spread` gives new connections to a VIP or a
//! published port a backend; `forward` keeps networks apart, by the chain of the sender's network.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use super::firewall::{all, comes_in_by, goes_out_by, known, refuse, then, to};
use super::ruleset::Ruleset;
use super::slots::{self, Keys, Spread};
use super::{Phases, ROUTER_LINK, Scope, table};
use crate::address::Addresses;
use crate::desired::{Desired, NetworkId, PortKey, Tag};
use crate::nft::wire::{TYPE_IPV4, TYPE_IPV6, TYPE_MARK, TYPE_PROTOCOL, TYPE_SERVICE};
use crate::nft::{
    Base, ChainType, Compare, Data, Expression, Family, Fib, Hook, Key, Register, SetDefinition, SetValue,
    TableState, Verdict, Word, concatenated,
};
use crate::observed::{Observed, Side};

const NETWORKS: &str = "networks";
const HAIRPINS: &str = "hairpins";
const DRAINING: &str = "draining";

/// Before connections are tracked, so that what is dropped leaves no trace.
const BEFORE_TRACKING: i32 = -310;
/// Before what `iptables` would do at −100, and after it on the way out.
pub(super) const BEFORE_OTHERS_NAT: i32 = -110;
pub(super) const OTHERS_NAT_OUT: i32 = 90;

/// Connections to the VIPs of groups.
pub(super) fn vips(family: Family) -> Spread {
    Spread {
        family,
        verdicts: "vips",
        places: "backends",
        chain: "n",
        ports: false,
    }
}

/// Connections to the VIPs of published ports.
pub(super) fn doors(family: Family) -> Spread {
    Spread {
        family,
        verdicts: "doors",
        places: "door-backends",
        chain: "p",
        ports: true,
    }
}

pub(super) fn plan(
    tag: &Tag,
    family: Family,
    desired: &Desired,
    observed: &Observed,
    scope: &Scope,
) -> Phases {
    let there = observed.tables.get(&(Side::Router, family));
    let mut phases = if scope.rules || there.is_none() {
        ruleset(tag, family, desired).compare(there)
    } else {
        Phases::default()
    };
    let empty = TableState::default();
    let there = there.filter(|_| !phases.whole).unwrap_or(&empty);
    // A table that is made anew has nothing in it, whatever the scope was.
    let every = scope.whole || phases.whole;
    let name = table(tag, family).name;
    slots::compare(
        &vips(family),
        &name,
        &vip_keys(family, desired, scope, every),
        there,
        &mut phases,
    );
    slots::compare(
        &doors(family),
        &name,
        &door_keys(family, desired, scope, every),
        there,
        &mut phases,
    );
    gone_from_draining(family, desired, there, &mut phases);
    phases
}

/// What takes backends that are gone out of a table of which nothing else is known.
pub(super) fn without(tag: &Tag, family: Family, gone: &BTreeSet<IpAddr>, there: &TableState) -> Phases {
    let mut phases = Phases::default();
    let name = table(tag, family).name;
    for spread in [vips(family), doors(family)] {
        let keys = slots::without(&spread, gone, there);
        slots::compare(&spread, &name, &keys, there, &mut phases);
    }
    phases
}

fn gone_from_draining(family: Family, desired: &Desired, there: &TableState, phases: &mut Phases) {
    let Some(set) = there.sets.get(DRAINING).filter(|set| !set.elements.is_empty()) else {
        return;
    };
    let draining = desired.tables.draining();
    let known = set.elements.keys().filter_map(|key| key.word.address(family));
    phases
        .gone
        .extend(known.filter(|address| !draining.contains(address)));
}

/// The type of an address, for listings.
pub(super) fn address_type(family: Family) -> u32 {
    match family {
        Family::V4 => TYPE_IPV4,
        Family::V6 => TYPE_IPV6,
    }
}

fn ruleset(tag: &Tag, family: Family, desired: &Desired) -> Ruleset {
    let others = vec![vips(family).chain, doors(family).chain];
    let mut rules = Ruleset::new(table(tag, family).name, others);
    sets(&mut rules, family, desired);
    let base = |kind, hook, priority| Some(Base { kind, hook, priority });
    rules.chain(
        "spoof",
        base(ChainType::Filter, Hook::Prerouting, BEFORE_TRACKING),
        vec![spoofed()],
    );
    let spread = [vips(family), doors(family)].map(|spread| {
        let mut steps = spread.load_key();
        steps.push(Expression::verdict_of(spread.verdicts, Register(0)));
        steps
    });
    rules.chain(
        "spread",
        base(ChainType::Nat, Hook::Prerouting, BEFORE_OTHERS_NAT),
        spread.to_vec(),
    );
    rules.chain(
        "forward",
        base(ChainType::Filter, Hook::Forward, 0),
        forward(family),
    );
    rules.chain(
        "itself",
        base(ChainType::Nat, Hook::Postrouting, OTHERS_NAT_OUT),
        hairpin(family, &desired.tables.node.router).into_iter().collect(),
    );
    for (id, network) in &desired.tables.networks {
        let mut inner = Vec::new();
        for subnet in network
            .subnets
            .iter()
            .filter(|s| network.meet && Family::of(s.address()) == family)
        {
            inner.push(then(to(*subnet), &Verdict::Accept));
        }
        if !network.internal {
            inner.push(then(goes_out_by(ROUTER_LINK), &Verdict::Accept));
        }
        inner.extend(refuse(Expression::prohibited(family)));
        rules.chain(&chain_of(id), None, inner);
    }
    rules
}

fn chain_of(network: &NetworkId) -> String {
    format!("net-{network}")
}

fn sets(rules: &mut Ruleset, family: Family, desired: &Desired) {
    let address = address_type(family);
    let length = family.length();
    for spread in [vips(family), doors(family)] {
        let mut key = vec![address];
        let mut backend = vec![address];
        if spread.ports {
            key.extend([TYPE_PROTOCOL, TYPE_SERVICE]);
            backend.push(TYPE_SERVICE);
        }
        let verdicts = SetDefinition::new(concatenated(&key), spread.key_length(), SetValue::Verdict);
        rules.open_set(spread.verdicts, verdicts);
        key.push(TYPE_MARK);
        let value = SetValue::Word {
            kind: concatenated(&backend),
            length: length + if spread.ports { 4 } else { 0 },
        };
        let places = SetDefinition::new(concatenated(&key), spread.key_length() + 4, value);
        rules.open_set(spread.places, places);
    }
    let mut networks = SetDefinition::new(address, length, SetValue::Verdict);
    networks.intervals = true;
    rules.set(NETWORKS, networks, intervals(family, desired));
    let pair = SetDefinition::new(concatenated(&[address, address]), length * 2, SetValue::None);
    rules.set(HAIRPINS, pair, hairpins(family, desired));
    let draining = desired.tables.draining();
    let draining = draining.into_iter().filter(|a| Family::of(*a) == family);
    let single = SetDefinition::new(address, length, SetValue::None);
    rules.set(
        DRAINING,
        single,
        draining.map(|a| (Key::plain(a.into()), Data::None)).collect(),
    );
}

/// The senders' networks, as the kernel keeps intervals: where one begins, and where nothing is.
fn intervals(family: Family, desired: &Desired) -> BTreeMap<Key, Data> {
    let mut elements = BTreeMap::new();
    for (id, network) in &desired.tables.networks {
        for subnet in network
            .subnets
            .iter()
            .filter(|subnet| Family::of(subnet.address()) == family)
        {
            let verdict = Data::Verdict(Verdict::Jump(chain_of(id)));
            elements.insert(Key::plain(subnet.address().into()), verdict);
            if let Some(next) = subnet.next_address() {
                let end = Key {
                    word: next.into(),
                    end: true,
                };
                elements.insert(end, Data::None);
            }
        }
    }
    elements
}

fn hairpins(family: Family, desired: &Desired) -> BTreeMap<Key, Data> {
    let attachments = desired
        .endpoints
        .values()
        .flat_map(|endpoint| &endpoint.attachments);
    let addresses = attachments.flat_map(|attachment| attachment.addresses.iter());
    let pair = |address: IpAddr| {
        let word = Word::from(address);
        Key::plain(word.then(word.as_bytes()))
    };
    addresses
        .filter(|address| Family::of(*address) == family)
        .map(|address| (pair(address), Data::None))
        .collect()
}

/// A packet whose way back is another link than the one it came by.
fn spoofed() -> Vec<Expression> {
    let steps = vec![
        Expression::fib(Fib::SourceByInput, Register(0)),
        Expression::compare(Register(0), Compare::Equal, &0_u32.to_ne_bytes()),
    ];
    then(steps, &Verdict::Drop)
}

fn forward(family: Family) -> Vec<Vec<Expression>> {
    vec![
        then(known(), &Verdict::Accept),
        vec![
            Expression::source(family, Register(0)),
            Expression::verdict_of(NETWORKS, Register(0)),
        ],
        then(comes_in_by(ROUTER_LINK), &Verdict::Accept),
        vec![Expression::verdict(&Verdict::Drop)],
    ]
}

/// A container that was given itself as backend would answer itself directly, and not understand the answer.
fn hairpin(family: Family, router: &Addresses) -> Option<Vec<Expression>> {
    let address = router.iter().find(|address| Family::of(*address) == family)?;
    let next = Register(u8::try_from(family.length() / 4).unwrap_or_default());
    Some(all([
        vec![
            Expression::source(family, Register(0)),
            Expression::destination(family, next),
            Expression::member(HAIRPINS, Register(0)),
        ],
        vec![
            Expression::load(address.into(), Register(0)),
            Expression::source_nat(family, Register(0)),
        ],
    ]))
}

fn vip_keys(family: Family, desired: &Desired, scope: &Scope, every: bool) -> Keys {
    let mut keys = Keys {
        all: every,
        ..Keys::default()
    };
    let wanted = |vip: &IpAddr| Family::of(*vip) == family && (every || scope.vips.contains(vip));
    for group in desired.tables.groups.values() {
        for vip in group.vip.iter().filter(wanted) {
            let backends = group.backends.iter().filter(|a| Family::of(**a) == family);
            keys.wanted
                .entry(vip.into())
                .or_default()
                .extend(backends.map(|a| Word::from(*a)));
        }
    }
    let scoped = scope.vips.iter().filter(|vip| Family::of(**vip) == family);
    keys.removed = scoped.map(|vip| Word::from(*vip)).collect::<BTreeSet<_>>();
    keys.removed.retain(|key| !keys.wanted.contains_key(key));
    keys
}

/// The key of a published port: its VIP, protocol and port.
fn door(vip: IpAddr, port: &PortKey) -> Word {
    Word::from(vip)
        .then(&[port.protocol.number()])
        .then(&port.port.to_be_bytes())
}

/// A backend with its port.
pub(super) fn backend(address: SocketAddr) -> Word {
    Word::from(address.ip()).then(&address.port().to_be_bytes())
}

fn door_keys(family: Family, desired: &Desired, scope: &Scope, every: bool) -> Keys {
    let mut keys = Keys {
        all: every,
        ..Keys::default()
    };
    let ours = |vip: &IpAddr| Family::of(*vip) == family;
    let wanted =
        |vip: IpAddr, port: &PortKey| every || scope.doors.contains(&(vip, port.protocol, port.port));
    for (port, published) in &desired.tables.ports {
        for vip in published.vip.iter().filter(ours).filter(|vip| wanted(*vip, port)) {
            let backends = published.backends.iter().filter(|b| Family::of(b.ip()) == family);
            keys.wanted
                .entry(door(vip, port))
                .or_default()
                .extend(backends.map(|b| backend(*b)));
        }
    }
    for (vip, protocol, port) in scope.doors.iter().filter(|(vip, ..)| ours(vip)) {
        let port = PortKey {
            protocol: *protocol,
            address: None,
            port: *port,
        };
        let key = door(*vip, &port);
        if !keys.wanted.contains_key(&key) {
            keys.removed.insert(key);
        }
    }
    keys
}
