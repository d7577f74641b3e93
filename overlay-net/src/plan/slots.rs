//! Connections spread over backends: a map from (address, place) to backend, and from address to a chain per count.
//!
//! A key whose count is N goes to the chain that draws one of N places; a change of its backends is therefore a
//! change of elements. A backend that joins is written before the count is raised, and the count is lowered before a
//! place is cleared, each in a transaction of its own: a packet that was being looked at in between found a backend.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::Phases;
use super::firewall::refuse;
use super::ruleset::{chain_rules, push_add, push_remove};
use crate::nft::{Data, Expression, Family, Key, Operation, Register, Rule, TableState, Verdict, Word};

/// Chains for counts up to this one stay when nothing uses them: the next change will.
const KEPT_COUNTS: u32 = 64;

/// One kind of spreading: by an address alone, or by address, protocol and port.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spread {
    pub(super) family: Family,
    /// The map from keys to chains.
    pub(super) verdicts: &'static str,
    /// The map from keys and places to backends.
    pub(super) places: &'static str,
    /// Its chains are called so, followed by the count.
    pub(super) chain: &'static str,
    /// Whether a backend has a port of its own.
    pub(super) ports: bool,
}

impl Spread {
    /// Length of the key in bytes.
    pub(super) fn key_length(&self) -> u32 {
        self.family.length() + if self.ports { 8 } else { 0 }
    }

    /// Loads the key from a packet into the first registers.
    pub(super) fn load_key(&self) -> Vec<Expression> {
        let mut load = vec![Expression::destination(self.family, Register(0))];
        if self.ports {
            let next = u8::try_from(self.family.length() / 4).unwrap_or_default();
            load.push(Expression::meta(crate::nft::Meta::Protocol, Register(next)));
            load.push(Expression::destination_port(Register(next + 1)));
        }
        load
    }

    /// The rules of the chain that draws one of `count` places.
    pub(super) fn rules(&self, tag: &str, count: u32) -> Vec<Rule> {
        if count == 0 {
            // Nobody is there: said at once. The fate of a single packet decides nothing: the next one asks again.
            return refuse(Expression::unreachable(self.family))
                .into_iter()
                .map(|r| Rule::new(tag, r))
                .collect();
        }
        let drawn = Register(u8::try_from(self.key_length() / 4).unwrap_or_default());
        let first = Register(0);
        let port = self
            .ports
            .then(|| Register(u8::try_from(self.family.length() / 4).unwrap_or_default()));
        let mut spread = self.load_key();
        spread.push(Expression::random(count, drawn));
        spread.push(Expression::value_of(self.places, first, first));
        spread.push(Expression::destination_nat(self.family, first, port));
        // A place that is empty after all: the client asks again, and is not let through untranslated.
        let drop = vec![Expression::verdict(&Verdict::Drop)];
        vec![Rule::new(tag, spread), Rule::new(tag, drop)]
    }

    fn chain_of(&self, count: u32) -> String {
        format!("{}{count}", self.chain)
    }

    fn count_of(&self, chain: &str) -> Option<u32> {
        chain.strip_prefix(self.chain)?.parse().ok()
    }

    fn place(key: Word, place: u32) -> Key {
        Key::plain(key.then(&place.to_ne_bytes()))
    }
}

/// The keys to compare, with their backends.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// Those that shall be there.
    pub(super) wanted: BTreeMap<Word, BTreeSet<Word>>,
    /// Those that shall not.
    pub(super) removed: BTreeSet<Word>,
    /// Whether no other key shall be there.
    pub(super) all: bool,
}

/// The keys that lead to somebody who is gone, with whom they lead to besides: by what the table says alone.
pub(super) fn without(spread: &Spread, gone: &BTreeSet<IpAddr>, observed: &TableState) -> Keys {
    let change = SpreadChange::new(spread, observed);
    let mut keys = Keys::default();
    for key in change.verdicts.keys() {
        let count = change.counted(key.word);
        let backends: BTreeSet<Word> = (0..count)
            .filter_map(|place| change.at(key.word, place))
            .collect();
        let stays = |backend: &Word| backend.address(spread.family).is_none_or(|a| !gone.contains(&a));
        if !backends.iter().all(stays) {
            keys.wanted
                .insert(key.word, backends.into_iter().filter(stays).collect());
        }
    }
    keys
}

/// Compares keys with what the table has for them.
pub(super) fn compare(spread: &Spread, tag: &str, keys: &Keys, observed: &TableState, phases: &mut Phases) {
    let mut change = SpreadChange::new(spread, observed);
    let wanted = &keys.wanted;
    for (key, backends) in wanted {
        change.key(*key, Some(backends));
    }
    for key in &keys.removed {
        change.key(*key, None);
    }
    if keys.all {
        let of_count = |count: u32| {
            let name = spread.chain_of(count);
            let broken = observed.chains.get(&name).is_none_or(|there| {
                let rules = spread.rules(tag, count);
                there
                    .rules
                    .iter()
                    .map(|r| &r.comment)
                    .ne(rules.iter().map(|r| &r.comment))
            });
            broken.then_some(count)
        };
        let in_use: Vec<u32> = SpreadChange::counts_in_use(wanted)
            .into_iter()
            .filter_map(of_count)
            .collect();
        change.counts.extend(in_use);
        for key in change.keys_besides(keys) {
            change.key(key, None);
        }
    }
    change.finish(tag, keys, phases);
}

struct SpreadChange<'a> {
    spread: &'a Spread,
    observed: &'a TableState,
    verdicts: &'a BTreeMap<Key, Data>,
    places: &'a BTreeMap<Key, Data>,
    counts: BTreeSet<u32>,
    write: Vec<(Key, Data)>,
    rewritten: Vec<Key>,
    switch: Vec<(Key, Data)>,
    switched: Vec<Key>,
    cleared: BTreeSet<Key>,
    gone: BTreeSet<Word>,
}

static NOTHING: BTreeMap<Key, Data> = BTreeMap::new();

impl<'a> SpreadChange<'a> {
    fn new(spread: &'a Spread, observed: &'a TableState) -> Self {
        let elements = |set: &str| observed.sets.get(set).map_or(&NOTHING, |set| &set.elements);
        Self {
            spread,
            observed,
            verdicts: elements(spread.verdicts),
            places: elements(spread.places),
            counts: BTreeSet::new(),
            write: Vec::new(),
            rewritten: Vec::new(),
            switch: Vec::new(),
            switched: Vec::new(),
            cleared: BTreeSet::new(),
            gone: BTreeSet::new(),
        }
    }

    /// One key: what it has now becomes what it shall have.
    fn key(&mut self, key: Word, wanted: Option<&BTreeSet<Word>>) {
        let empty = BTreeSet::new();
        let backends = wanted.unwrap_or(&empty);
        let found: Vec<Option<Word>> = self.found(key);
        let arranged = arrange(&found, backends);
        for (number, backend) in (0_u32..).zip(&arranged) {
            let place = Spread::place(key, number);
            let there = self.places.get(&place);
            let data = Data::Word(*backend);
            if there == Some(&data) {
                continue;
            }
            if there.is_some() {
                self.rewritten.push(place);
            }
            self.write.push((place, data));
        }
        let count = u32::try_from(arranged.len()).unwrap_or_default();
        self.verdict(key, wanted.map(|_| count));
        let beyond = (count..)
            .map(|n| Spread::place(key, n))
            .take_while(|place| self.places.contains_key(place));
        self.cleared.extend(beyond);
        self.gone.extend(
            found
                .into_iter()
                .flatten()
                .filter(|backend| !backends.contains(backend)),
        );
    }

    /// The backends of the places from the first on, as far as they are there or counted.
    fn found(&self, key: Word) -> Vec<Option<Word>> {
        let counted = self.counted(key);
        let at = |place| self.at(key, place);
        let uncounted = (counted..).map(at).take_while(Option::is_some);
        (0..counted).map(at).chain(uncounted).collect()
    }

    fn counted(&self, key: Word) -> u32 {
        match self.verdicts.get(&Key::plain(key)) {
            Some(Data::Verdict(Verdict::Goto(chain))) => self.spread.count_of(chain).unwrap_or(0),
            _ => 0,
        }
    }

    fn at(&self, key: Word, place: u32) -> Option<Word> {
        match self.places.get(&Spread::place(key, place)) {
            Some(Data::Word(backend)) => Some(*backend),
            _ => None,
        }
    }

    fn verdict(&mut self, key: Word, count: Option<u32>) {
        let key = Key::plain(key);
        let there = self.verdicts.get(&key);
        let data = count.map(|count| Data::Verdict(Verdict::Goto(self.spread.chain_of(count))));
        if there == data.as_ref() {
            return;
        }
        if there.is_some() {
            self.switched.push(key);
        }
        if let (Some(data), Some(count)) = (data, count) {
            self.counts.insert(count);
            self.switch.push((key, data));
        }
    }

    /// Counts that keys of `wanted` have: their chains have to be whole.
    fn counts_in_use(wanted: &BTreeMap<Word, BTreeSet<Word>>) -> BTreeSet<u32> {
        let counts = wanted
            .values()
            .map(|backends| u32::try_from(backends.len()).unwrap_or_default());
        counts.collect()
    }

    /// Keys that only the table has.
    fn keys_besides(&self, keys: &Keys) -> BTreeSet<Word> {
        let length = usize::try_from(self.spread.key_length()).unwrap_or_default();
        let of_places = self
            .places
            .keys()
            .map(|place| Word::new(&place.word.as_bytes()[..length]));
        let all = self.verdicts.keys().map(|key| key.word).chain(of_places);
        all.filter(|key| !keys.wanted.contains_key(key) && !keys.removed.contains(key))
            .collect()
    }

    fn finish(mut self, tag: &str, keys: &Keys, phases: &mut Phases) {
        for count in &self.counts {
            let name = self.spread.chain_of(*count);
            let there = self.observed.chains.get(&name);
            if there.is_none() {
                phases.make.push(Operation::AddChain {
                    chain: name.clone(),
                    base: None,
                });
            }
            chain_rules(&name, &self.spread.rules(tag, *count), there, &mut phases.make);
        }
        push_remove(self.spread.places, self.rewritten, &mut phases.make);
        push_add(self.spread.places, self.write, &mut phases.make);
        push_remove(self.spread.verdicts, self.switched, &mut phases.switch);
        push_add(self.spread.verdicts, self.switch, &mut phases.switch);
        if keys.all {
            let stray = stray_places(self.spread, self.places, &keys.wanted);
            self.cleared.extend(stray);
        }
        push_remove(
            self.spread.places,
            self.cleared.into_iter().collect(),
            &mut phases.clear,
        );
        if keys.all {
            unused_chains(self.spread, self.observed, &keys.wanted, &mut phases.clear);
        }
        let family = self.spread.family;
        phases
            .gone
            .extend(self.gone.iter().filter_map(|backend| backend.address(family)));
    }
}

/// Places beyond a key's count, wherever they are.
fn stray_places(
    spread: &Spread,
    places: &BTreeMap<Key, Data>,
    wanted: &BTreeMap<Word, BTreeSet<Word>>,
) -> Vec<Key> {
    let length = usize::try_from(spread.key_length()).unwrap_or_default();
    let stray = |place: &&Key| {
        let key = Word::new(&place.word.as_bytes()[..length]);
        let number = place
            .word
            .after(length)
            .first_chunk()
            .copied()
            .map(u32::from_ne_bytes);
        let count = wanted.get(&key).map_or(0, BTreeSet::len);
        number.is_none_or(|number| number as usize >= count)
    };
    places.keys().filter(stray).copied().collect()
}

fn unused_chains(
    spread: &Spread,
    observed: &TableState,
    wanted: &BTreeMap<Word, BTreeSet<Word>>,
    out: &mut Vec<Operation>,
) {
    let used: BTreeSet<usize> = wanted.values().map(BTreeSet::len).collect();
    for name in observed.chains.keys() {
        let Some(count) = spread.count_of(name) else {
            continue;
        };
        if count > KEPT_COUNTS && !used.contains(&(count as usize)) {
            out.push(Operation::FlushChain { chain: name.clone() });
            out.push(Operation::RemoveChain { chain: name.clone() });
        }
    }
}

/// Where each backend goes: those that stay keep their place if it remains one, the others fill what is free.
fn arrange(found: &[Option<Word>], wanted: &BTreeSet<Word>) -> Vec<Word> {
    let mut missing = wanted.clone();
    let mut places: Vec<Option<Word>> = Vec::with_capacity(wanted.len());
    for place in 0..wanted.len() {
        let kept = found
            .get(place)
            .copied()
            .flatten()
            .filter(|backend| missing.remove(backend));
        places.push(kept);
    }
    let mut missing = missing.into_iter();
    places
        .into_iter()
        .filter_map(|place| place.or_else(|| missing.next()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Word, arrange};
    use proptest::prelude::*;

    #[test]
    fn those_who_stay_keep_their_place() {
        let word = |n: u8| Word::new(&[10, 0, 0, n]);
        for (found, wanted, expect) in [
            (vec![], vec![1, 2], vec![1, 2]),
            (vec![Some(1), Some(2)], vec![1, 2, 3], vec![1, 2, 3]),
            (vec![Some(1), Some(2), Some(3)], vec![1, 3], vec![1, 3]),
            (vec![Some(1), Some(2), Some(3)], vec![2, 4, 3], vec![4, 2, 3]),
            (vec![None, Some(2), Some(2)], vec![2, 3], vec![3, 2]),
            (vec![Some(1)], vec![], vec![]),
        ] {
            let found: Vec<_> = found.into_iter().map(|n| n.map(word)).collect();
            let wanted = wanted.into_iter().map(word).collect();
            let expect: Vec<_> = expect.into_iter().map(word).collect();
            assert_eq!(arrange(&found, &wanted), expect, "{found:?} {wanted:?}");
        }
    }

    proptest! {
        #[test]
        fn every_backend_has_one_place(
            found in proptest::collection::vec(proptest::option::of(0_u8..8), 0..8),
            wanted in proptest::collection::btree_set(0_u8..8, 0..8),
        ) {
            let word = |n: u8| Word::new(&[n; 4]);
            let found: Vec<_> = found.into_iter().map(|n| n.map(word)).collect();
            let wanted: std::collections::BTreeSet<_> = wanted.into_iter().map(word).collect();
            let arranged = arrange(&found, &wanted);
            prop_assert_eq!(arranged.len(), wanted.len());
            prop_assert_eq!(arranged.into_iter().collect::<std::collections::BTreeSet<_>>(), wanted);
        }
    }
}
