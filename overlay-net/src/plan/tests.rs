//! Plans against a model of the kernel: carried out, they leave nothing to plan, and no packet meets half a change.
//!
//! The model refuses what the kernel would refuse; `tests/net` tries the same in a real one.

mod generate;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use proptest::prelude::*;

use self::generate::{Damage, base, damage, desired, network, tag};
use super::{Change, Scope, plan, table, without};
use crate::desired::{Desired, Group, Tables};
use crate::nft::{Data, Family, Key, Operation, TableState, Verdict, Word};
use crate::observed::{Observed, Side};
use crate::rtnl::{Request, Route, Via};

/// What spreads connections: the map from keys to chains, and that of places.
const SPREADS: [(&str, &str); 2] = [("vips", "backends"), ("doors", "door-backends")];

/// Carries a plan out in the model; gives back every state on the way.
fn carry_out(observed: &Observed, changes: &[Change]) -> Vec<Observed> {
    let mut states = vec![observed.clone()];
    for change in changes {
        let mut next = states.last().unwrap().clone();
        next.apply(change)
            .unwrap_or_else(|error| panic!("{error}\nin {change:?}"));
        states.push(next);
    }
    states
}

fn in_sync(desired: &Desired) -> Observed {
    let observed = base(desired);
    let changes = plan(&tag(), desired, &observed, &Scope::whole());
    carry_out(&observed, &changes).pop().unwrap()
}

fn nothing_left(desired: &Desired, observed: &Observed) {
    let left = plan(&tag(), desired, observed, &Scope::whole());
    assert!(left.is_empty(), "left to plan: {left:#?}");
}

/// The chain that a key's packets go to, by its count.
fn counts<'a>(state: &'a TableState, verdicts: &str) -> BTreeMap<Word, &'a str> {
    let elements = state.sets.get(verdicts).into_iter().flat_map(|set| &set.elements);
    let chain = |(key, data): (&Key, &'a Data)| match data {
        Data::Verdict(Verdict::Goto(chain)) => Some((key.word, chain.as_str())),
        _ => None,
    };
    elements.filter_map(chain).collect()
}

/// Who serves the keys of a table.
fn served(state: &TableState, verdicts: &str, places: &str) -> BTreeMap<Word, BTreeSet<Data>> {
    let of = |(key, chain): (Word, &str)| {
        let count: u32 = chain[1..].parse().unwrap();
        let there = (0..count).map(|place| Key::plain(key.then(&place.to_ne_bytes())));
        let elements = &state.sets[places].elements;
        (key, there.map(|place| elements[&place].clone()).collect())
    };
    counts(state, verdicts).into_iter().map(of).collect()
}

/// A packet that was given its count in `before` finds a backend in `after`, whatever place it draws.
fn finds_a_backend(before: &TableState, after: &TableState) {
    for (verdicts, places) in SPREADS {
        for (key, chain) in counts(before, verdicts) {
            let count: u32 = chain[1..].parse().unwrap();
            for place in 0..count {
                let place = Key::plain(key.then(&place.to_ne_bytes()));
                let found = after.sets.get(places).and_then(|set| set.elements.get(&place));
                assert!(found.is_some(), "{key:?} drew a place of {count} that is empty");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_carried_out_leaves_nothing_to_plan(desired in desired()) {
        nothing_left(&desired, &in_sync(&desired));
    }

    #[test]
    fn from_one_state_to_another(old in desired(), new in desired()) {
        let mut observed = in_sync(&old);
        generate::follow_endpoints(&mut observed, &new);
        let changes = plan(&tag(), &new, &observed, &Scope::whole());
        let states = carry_out(&observed, &changes);
        nothing_left(&new, states.last().unwrap());
    }

    #[test]
    fn a_narrow_scope_is_enough(old in desired(), new in desired()) {
        let mut observed = in_sync(&old);
        generate::follow_endpoints(&mut observed, &new);
        let changes = plan(&tag(), &new, &observed, &Scope::between(&old, &new));
        let states = carry_out(&observed, &changes);
        nothing_left(&new, states.last().unwrap());
    }

    #[test]
    fn a_narrow_scope_is_enough_though_a_route_of_others_crosses(
        old in desired(),
        new in desired(),
        number in 0_u8..3,
        length in 8_u8..=32,
    ) {
        let mut observed = in_sync(&old);
        generate::cross(&mut observed, number, length);
        let changes = plan(&tag(), &old, &observed, &Scope::whole());
        let mut observed = carry_out(&observed, &changes).pop().unwrap();
        generate::follow_endpoints(&mut observed, &new);
        let changes = plan(&tag(), &new, &observed, &Scope::between(&old, &new));
        let states = carry_out(&observed, &changes);
        // What needs no route of its own any more may keep it until the next look.
        let left = plan(&tag(), &new, states.last().unwrap(), &Scope::whole());
        let only_less = |change: &Change| matches!(change, Change::Links { requests, .. }
            if requests.iter().all(|request| matches!(request, Request::RemoveRoute(_))));
        prop_assert!(left.iter().all(only_less), "left to plan: {left:#?}");
    }

    /// Who knows only the table takes out of it what who knows everything would.
    #[test]
    fn who_is_gone_is_taken_out_by_the_table_alone(desired in desired(), every in 1_usize..4) {
        let backends = desired.tables.groups.values().flat_map(|group| &group.backends);
        let gone: BTreeSet<IpAddr> = backends.copied().step_by(every).collect();
        let mut left = Tables::clone(&desired.tables);
        for group in left.groups.values_mut() {
            Arc::make_mut(group).backends.retain(|backend| !gone.contains(backend));
        }
        for published in left.ports.values_mut() {
            Arc::make_mut(published).backends.retain(|backend| !gone.contains(&backend.ip()));
        }
        let expect = in_sync(&Desired { tables: Arc::new(left), ..desired.clone() });
        let mut observed = in_sync(&desired);
        for family in Family::ALL {
            let place = (Side::Router, family);
            let Some(there) = observed.tables.get(&place).cloned() else { continue };
            let mut before = there.clone();
            for operations in without(&tag(), family, &gone, &there) {
                let change = Change::Tables { side: Side::Router, operations };
                observed.apply(&change).unwrap_or_else(|error| panic!("{error}\nin {change:?}"));
                finds_a_backend(&before, &observed.tables[&place]);
                before = observed.tables[&place].clone();
            }
            let expect = &expect.tables[&place];
            for (verdicts, places) in SPREADS {
                prop_assert_eq!(served(&before, verdicts, places), served(expect, verdicts, places));
                prop_assert_eq!(before.sets[places].elements.len(), expect.sets[places].elements.len());
            }
        }
    }

    #[test]
    fn no_packet_meets_half_a_change(old in desired(), new in desired()) {
        let mut observed = in_sync(&old);
        generate::follow_endpoints(&mut observed, &new);
        let changes = plan(&tag(), &new, &observed, &Scope::whole());
        for pair in carry_out(&observed, &changes).windows(2) {
            for family in Family::ALL {
                let of = |state: &Observed| state.tables.get(&(Side::Router, family)).cloned().unwrap_or_default();
                finds_a_backend(&of(&pair[0]), &of(&pair[1]));
            }
        }
    }

    #[test]
    fn whatever_is_damaged_is_mended(
        desired in desired(),
        damages in proptest::collection::vec(damage(), 1..6),
    ) {
        let mut observed = in_sync(&desired);
        damages.iter().for_each(|damage: &Damage| damage.apply(&mut observed));
        let changes = plan(&tag(), &desired, &observed, &Scope::whole());
        let states = carry_out(&observed, &changes);
        nothing_left(&desired, states.last().unwrap());
    }
}

/// One line for each element that a plan adds or removes, a blank line between transactions.
fn elements(changes: &[Change]) -> String {
    let mut text = String::new();
    for change in changes {
        let Change::Tables { operations, .. } = change else {
            continue;
        };
        for (_, operation) in operations {
            match operation {
                Operation::AddElements { set, elements } => {
                    for (key, data) in elements {
                        let data = match data {
                            Data::None => String::new(),
                            Data::Word(word) => format!(" {word:?}"),
                            Data::Verdict(verdict) => format!(" {verdict:?}"),
                        };
                        text.push_str(&format!("+ {set} {:?}{data}\n", key.word));
                    }
                }
                Operation::RemoveElements { set, keys } => {
                    keys.iter()
                        .for_each(|key| text.push_str(&format!("- {set} {:?}\n", key.word)));
                }
                _ => {}
            }
        }
        text.push('\n');
    }
    text
}

#[test]
fn joining_and_leaving_take_their_transactions_in_order() {
    let with = |backends: &[&str], draining: &[&str]| {
        let parse = |addresses: &[&str]| addresses.iter().map(|a| a.parse::<IpAddr>().unwrap()).collect();
        let group = Group {
            network: "blue".parse().unwrap(),
            vip: ["10.0.0.1".parse().unwrap()].into_iter().collect(),
            backends: parse(backends),
            draining: parse(draining),
            records: BTreeMap::new(),
        };
        let mut tables = Tables::default();
        tables
            .networks
            .insert("blue".parse().unwrap(), Arc::new(network(0, false, true)));
        tables.groups.insert("web/blue".parse().unwrap(), Arc::new(group));
        Desired {
            tables: Arc::new(tables),
            ..Desired::default()
        }
    };
    // A number of a place is in the machine's byte order.
    let place = |key: &str, number: u32| format!("{key}.{:?}", Word::new(&number.to_ne_bytes()));
    let vip = "0a000001";
    let two = with(&["10.0.0.2", "10.0.0.3"], &[]);
    let three = with(&["10.0.0.2", "10.0.0.3", "10.0.0.4"], &[]);
    let left = with(&["10.0.0.3", "10.0.0.4"], &["10.0.0.2"]);
    let step = |old: &Desired, new: &Desired| {
        let changes = plan(&tag(), new, &in_sync(old), &Scope::between(old, new));
        (elements(&changes), changes)
    };
    let (grow, _) = step(&two, &three);
    let expect = [
        format!("+ backends {} 0a000004\n\n", place(vip, 2)),
        format!("- vips {vip}\n+ vips {vip} Goto(\"n3\")\n\n"),
    ];
    assert_eq!(grow, expect.concat());
    let (shrink, changes) = step(&three, &left);
    let expect = [
        "+ draining 0a000002\n".to_owned(),
        format!(
            "- backends {}\n+ backends {} 0a000004\n\n",
            place(vip, 0),
            place(vip, 0)
        ),
        format!("- vips {vip}\n+ vips {vip} Goto(\"n2\")\n\n"),
        format!("- backends {}\n\n", place(vip, 2)),
    ];
    assert_eq!(shrink, expect.concat());
    assert!(
        !changes
            .iter()
            .any(|change| matches!(change, Change::Forget { .. })),
        "it is draining"
    );
    let (_, changes) = step(&left, &with(&["10.0.0.3", "10.0.0.4"], &[]));
    let forget = Change::Forget {
        addresses: ["10.0.0.2".parse().unwrap()].into(),
    };
    assert_eq!(changes.last(), Some(&forget));
}

#[test]
fn a_table_that_is_gone_is_made_whole_at_once() {
    let desired = generate::example();
    let mut observed = in_sync(&desired);
    observed.tables.clear();
    let changes = plan(&tag(), &desired, &observed, &Scope::whole());
    let transactions = changes
        .iter()
        .filter(|change| matches!(change, Change::Tables { .. }));
    assert_eq!(transactions.count(), 2, "one for each side: {changes:#?}");
}

#[test]
fn each_family_goes_out_by_the_first_link_that_has_it() {
    for (without_v6, expect) in [(false, [0, 0]), (true, [0, 1])] {
        let mut desired = generate::example();
        let endpoint = Arc::make_mut(desired.endpoints.values_mut().next().unwrap());
        if without_v6 {
            endpoint.attachments[0].addresses.v6 = None;
        }
        let id = endpoint.id.clone();
        let inside = &in_sync(&desired).endpoints[&id];
        for (family, link) in [Family::V4, Family::V6].into_iter().zip(expect) {
            let out = |route: &&Route| route.to.length() == 0 && Family::of(route.to.address()) == family;
            let found: Vec<_> = inside.routes.iter().filter(out).map(|route| route.via).collect();
            let [Via::Gateway(index, _)] = found[..] else {
                panic!("{found:?}");
            };
            assert_eq!(inside.links[&index].name, format!("eth{link}"), "{family:?}");
        }
    }
}

#[test]
fn a_stray_chain_of_ours_goes_and_a_foreign_table_stays() {
    let desired = generate::example();
    let mut observed = in_sync(&desired);
    let state = observed.tables.get_mut(&(Side::Router, Family::V4)).unwrap();
    state
        .chains
        .insert("net-gone".to_owned(), crate::nft::ChainState::default());
    let changes = plan(&tag(), &desired, &observed, &Scope::whole());
    let expect = [
        Operation::FlushChain {
            chain: "net-gone".to_owned(),
        },
        Operation::RemoveChain {
            chain: "net-gone".to_owned(),
        },
    ];
    let operations = expect
        .into_iter()
        .map(|operation| (table(&tag(), Family::V4), operation))
        .collect();
    assert_eq!(
        changes,
        [Change::Tables {
            side: Side::Router,
            operations
        }]
    );
}
