//! The host's tables: published ports to the router, containers' traffic out under the host's address, and the
//! link's own rules: what comes from elsewhere and was not asked for does not reach containers, and containers reach
//! of the host's own ports those that were opened for them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use super::firewall::{
    all, comes_in_by, from, goes_out_by, goes_out_by_other, known, not_to, redirected, refuse, then,
};
use super::router::{BEFORE_OTHERS_NAT, OTHERS_NAT_OUT, address_type, backend};
use super::ruleset::Ruleset;
use super::{Phases, host_link, table};
use crate::address::Prefix;
use crate::desired::{Desired, PortKey, Published, Tag};
use crate::nft::wire::{TYPE_PROTOCOL, TYPE_SERVICE};
use crate::nft::{
    Base, ChainType, Compare, Data, Expression, Family, Fib, Hook, KIND_LOCAL, Key, Meta, Register,
    SetDefinition, SetValue, Verdict, Word, concatenated,
};
use crate::observed::{Observed, Side};

const PUBLISHED: &str = "published";
const PUBLISHED_AT: &str = "published-at";
const OPEN: &str = "open";

/// A little before other tools' filters: what is refused here need not be looked at there.
const BEFORE_OTHERS_FILTER: i32 = -5;

pub(super) fn plan(tag: &Tag, family: Family, desired: &Desired, observed: &Observed) -> Phases {
    let there = observed.tables.get(&(Side::Host, family));
    let rules = ruleset(tag, family, desired);
    let mut phases = rules.compare(there);
    // Where a port leads to, a VIP or a backend, and led to before.
    for set in [PUBLISHED, PUBLISHED_AT] {
        let found = there
            .and_then(|table| table.sets.get(set))
            .map(|set| &set.elements);
        let wanted: BTreeSet<IpAddr> = targets(family, rules.elements(set)).collect();
        phases
            .gone
            .extend(targets(family, found).filter(|address| !wanted.contains(address)));
    }
    phases
}

fn targets(family: Family, elements: Option<&BTreeMap<Key, Data>>) -> impl Iterator<Item = IpAddr> {
    let data = elements.into_iter().flat_map(BTreeMap::values);
    data.filter_map(move |data| match data {
        Data::Word(word) => word.address(family),
        Data::None | Data::Verdict(_) => None,
    })
}

fn ruleset(tag: &Tag, family: Family, desired: &Desired) -> Ruleset {
    let mut rules = Ruleset::new(table(tag, family).name, Vec::new());
    let link = host_link(tag);
    sets(&mut rules, family, desired);
    let base = |kind, hook, priority| Some(Base { kind, hook, priority });
    let ways_in = vec![named_address(family), any_address(family)];
    rules.chain(
        "published",
        base(ChainType::Nat, Hook::Prerouting, BEFORE_OTHERS_NAT),
        ways_in.clone(),
    );
    let own = ways_in
        .into_iter()
        .map(|way| all([not_to(loopback(family)), way]))
        .collect();
    rules.chain(
        "published-own",
        base(ChainType::Nat, Hook::Output, BEFORE_OTHERS_NAT),
        own,
    );
    rules.chain(
        "leave",
        base(ChainType::Nat, Hook::Postrouting, OTHERS_NAT_OUT),
        leave(&link, family, &desired.tables.node.pools),
    );
    rules.chain(
        "forward",
        base(ChainType::Filter, Hook::Forward, BEFORE_OTHERS_FILTER),
        vec![
            then(all([goes_out_by(&link), known()]), &Verdict::Accept),
            then(all([goes_out_by(&link), redirected()]), &Verdict::Accept),
            then(goes_out_by(&link), &Verdict::Drop),
        ],
    );
    let open = all([
        comes_in_by(&link),
        protocol_and_port(),
        vec![Expression::member(OPEN, Register(0))],
    ]);
    let mut input = vec![
        then(all([comes_in_by(&link), known()]), &Verdict::Accept),
        then(open, &Verdict::Accept),
    ];
    let refused = refuse(Expression::prohibited(family));
    input.extend(refused.into_iter().map(|rule| all([comes_in_by(&link), rule])));
    rules.chain(
        "input",
        base(ChainType::Filter, Hook::Input, BEFORE_OTHERS_FILTER),
        input,
    );
    rules
}

fn loopback(family: Family) -> Prefix {
    match family {
        Family::V4 => Prefix::containing(IpAddr::from([127, 0, 0, 0]), 8),
        Family::V6 => Prefix::host(std::net::Ipv6Addr::LOCALHOST.into()),
    }
}

fn sets(rules: &mut Ruleset, family: Family, desired: &Desired) {
    let address = address_type(family);
    let value = SetValue::Word {
        kind: concatenated(&[address, TYPE_SERVICE]),
        length: family.length() + 4,
    };
    let port = concatenated(&[TYPE_PROTOCOL, TYPE_SERVICE]);
    let mut anywhere = BTreeMap::new();
    let mut somewhere = BTreeMap::new();
    for (key, published) in &desired.tables.ports {
        let Some(target) = target(family, key, published) else {
            continue;
        };
        let data = Data::Word(backend(target));
        let word = Word::new(&[key.protocol.number()]).then(&key.port.to_be_bytes());
        match key.address {
            None => {
                anywhere.insert(Key::plain(word), data);
            }
            // A loopback address is served by a process alone.
            Some(at) if Family::of(at) == family && !at.is_loopback() => {
                somewhere.insert(Key::plain(Word::from(at).then(word.as_bytes())), data);
            }
            Some(_) => {}
        }
    }
    rules.set(PUBLISHED, SetDefinition::new(port, 8, value), anywhere);
    let at = concatenated(&[address, TYPE_PROTOCOL, TYPE_SERVICE]);
    rules.set(
        PUBLISHED_AT,
        SetDefinition::new(at, family.length() + 8, value),
        somewhere,
    );
    let open = desired
        .tables
        .node
        .open_host_ports
        .iter()
        .map(|(protocol, port)| {
            let word = Word::new(&[protocol.number()]).then(&port.to_be_bytes());
            (Key::plain(word), Data::None)
        });
    rules.set(OPEN, SetDefinition::new(port, 8, SetValue::None), open.collect());
}

/// Where a published port leads to: its VIP, under the same port, or its one backend.
pub(crate) fn target(family: Family, key: &PortKey, published: &Published) -> Option<SocketAddr> {
    let vip = published.vip.iter().find(|vip| Family::of(*vip) == family);
    if let Some(vip) = vip {
        return Some(SocketAddr::new(vip, key.port));
    }
    if published.vip.iter().next().is_some() {
        return None;
    }
    let mut backends = published.backends.iter().copied();
    backends.find(|backend| Family::of(backend.ip()) == family)
}

fn protocol_and_port() -> Vec<Expression> {
    vec![
        Expression::meta(Meta::Protocol, Register(0)),
        Expression::destination_port(Register(1)),
    ]
}

fn redirect(family: Family, map: &str, key: Register) -> Vec<Expression> {
    let port = Register(u8::try_from(family.length() / 4).unwrap_or_default());
    vec![
        Expression::value_of(map, key, Register(0)),
        Expression::destination_nat(family, Register(0), Some(port)),
    ]
}

fn named_address(family: Family) -> Vec<Expression> {
    let next = u8::try_from(family.length() / 4).unwrap_or_default();
    let key = vec![
        Expression::destination(family, Register(0)),
        Expression::meta(Meta::Protocol, Register(next)),
        Expression::destination_port(Register(next + 1)),
    ];
    all([key, redirect(family, PUBLISHED_AT, Register(0))])
}

fn any_address(family: Family) -> Vec<Expression> {
    let local = vec![
        Expression::fib(Fib::DestinationKind, Register(0)),
        Expression::compare(Register(0), Compare::Equal, &KIND_LOCAL.to_ne_bytes()),
    ];
    all([
        local,
        protocol_and_port(),
        redirect(family, PUBLISHED, Register(0)),
    ])
}

/// Out into the world, and back in to a published port of the same host: under the host's own address either way.
fn leave(link: &str, family: Family, pools: &[Prefix]) -> Vec<Vec<Expression>> {
    let ours = pools.iter().filter(|pool| Family::of(pool.address()) == family);
    let mut rules = Vec::new();
    for pool in ours {
        for way in [goes_out_by_other(link), goes_out_by(link)] {
            rules.push(all([from(*pool), way, vec![Expression::masquerade()]]));
        }
    }
    rules
}
