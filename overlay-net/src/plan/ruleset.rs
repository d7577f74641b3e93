//! The part of a table that is compared as a whole: chains with their rules, sets, and the elements of small sets.
//!
//! A table whose sets or hooks are not as they should be, or that is not there, is made anew in one transaction, in
//! which the old one goes: what has no table in between loses no packet. Everything less is changed where it is.

use std::collections::{BTreeMap, BTreeSet};

use super::Phases;
use crate::nft::{
    Base, ChainState, Data, Expression, Key, Operation, Rule, SetDefinition, SetState, TableState,
};

/// What a table shall be.
#[derive(Debug, Default)]
pub(super) struct Ruleset {
    /// The comment of its rules begins so.
    tag: String,
    chains: BTreeMap<String, (Option<Base>, Vec<Rule>)>,
    sets: BTreeMap<String, Set>,
    /// Chains called so, with a number behind, are left alone: others mind them.
    keep: Vec<&'static str>,
}

#[derive(Debug)]
struct Set {
    definition: SetDefinition,
    /// None: others mind what is in it.
    elements: Option<BTreeMap<Key, Data>>,
}

impl Ruleset {
    /// Of a tag; chains that are called one of `keep` and a number are others' business.
    pub(super) fn new(tag: String, keep: Vec<&'static str>) -> Self {
        Self {
            tag,
            keep,
            ..Self::default()
        }
    }

    pub(super) fn chain(&mut self, name: &str, base: Option<Base>, rules: Vec<Vec<Expression>>) {
        let rules = rules
            .into_iter()
            .map(|expressions| Rule::new(&self.tag, expressions))
            .collect();
        self.chains.insert(name.to_owned(), (base, rules));
    }

    pub(super) fn set(&mut self, name: &str, definition: SetDefinition, elements: BTreeMap<Key, Data>) {
        let elements = Some(elements);
        self.sets.insert(name.to_owned(), Set { definition, elements });
    }

    /// A set whose elements others mind.
    pub(super) fn open_set(&mut self, name: &str, definition: SetDefinition) {
        let elements = None;
        self.sets.insert(name.to_owned(), Set { definition, elements });
    }

    /// What a small set shall have.
    pub(super) fn elements(&self, set: &str) -> Option<&BTreeMap<Key, Data>> {
        self.sets.get(set).and_then(|set| set.elements.as_ref())
    }

    /// What has to happen; when the table has to be made anew, `observed` must be taken for empty from here on.
    pub(super) fn compare(&self, observed: Option<&TableState>) -> Phases {
        let mut phases = Phases::default();
        let there = observed.filter(|state| self.fits(state));
        if there.is_none() {
            phases.whole = true;
            phases.make.push(Operation::AddTable);
            if observed.is_some() {
                phases.make.extend([Operation::RemoveTable, Operation::AddTable]);
            }
        }
        let empty = TableState::default();
        let there = there.unwrap_or(&empty);
        self.chains_and_sets(there, &mut phases);
        for (name, set) in &self.sets {
            if let Some(elements) = &set.elements {
                let found = there.sets.get(name).map(|set| &set.elements);
                elements_of(name, elements, found, &mut phases);
            }
        }
        self.rules(there, &mut phases);
        self.leftovers(there, &mut phases);
        phases
    }

    /// Whether the table can become the one it shall be without being made anew.
    fn fits(&self, observed: &TableState) -> bool {
        let chains = self
            .chains
            .iter()
            .all(|(name, (base, _))| match observed.chains.get(name) {
                Some(there) => there.base == *base,
                // A hook that is missing while the table is there: other tools do not do that by halves.
                None => base.is_none(),
            });
        let foreign_hook = observed
            .chains
            .iter()
            .any(|(name, state)| state.base.is_some() && !self.chains.contains_key(name));
        let sets = self.sets.iter().all(|(name, set)| {
            observed
                .sets
                .get(name)
                .is_some_and(|there| there.is(&SetState::new(&set.definition)))
        });
        let foreign_set = observed.sets.keys().any(|name| !self.sets.contains_key(name));
        chains && sets && !foreign_hook && !foreign_set
    }

    fn chains_and_sets(&self, there: &TableState, phases: &mut Phases) {
        for (name, (base, _)) in &self.chains {
            if !there.chains.contains_key(name) {
                phases.make.push(Operation::AddChain {
                    chain: name.clone(),
                    base: *base,
                });
            }
        }
        for (name, set) in &self.sets {
            if !there.sets.contains_key(name) {
                phases.make.push(Operation::AddSet {
                    set: name.clone(),
                    definition: set.definition.clone(),
                });
            }
        }
    }

    fn rules(&self, there: &TableState, phases: &mut Phases) {
        for (name, (_, rules)) in &self.chains {
            chain_rules(name, rules, there.chains.get(name), &mut phases.make);
        }
    }

    fn leftovers(&self, there: &TableState, phases: &mut Phases) {
        let numbered = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
        let kept = |name: &String| {
            self.keep
                .iter()
                .any(|start| name.strip_prefix(start).is_some_and(numbered))
        };
        let left = there
            .chains
            .keys()
            .filter(|name| !self.chains.contains_key(*name) && !kept(name));
        for name in left {
            phases.clear.push(Operation::FlushChain { chain: name.clone() });
            phases.clear.push(Operation::RemoveChain { chain: name.clone() });
        }
    }
}

/// Writes a chain's rules anew if they are not the ones that shall be there.
pub(super) fn chain_rules(name: &str, rules: &[Rule], there: Option<&ChainState>, out: &mut Vec<Operation>) {
    let found = there.map(|chain| chain.rules.as_slice()).unwrap_or_default();
    let same = found.len() == rules.len() && found.iter().zip(rules).all(|(f, r)| f.comment == r.comment);
    if same {
        return;
    }
    if !found.is_empty() {
        out.push(Operation::FlushChain {
            chain: name.to_owned(),
        });
    }
    out.extend(rules.iter().map(|rule| Operation::AppendRule {
        chain: name.to_owned(),
        rule: rule.clone(),
    }));
}

/// New elements first; those that point elsewhere now are replaced in the same transaction; old ones go last.
fn elements_of(
    set: &str,
    wanted: &BTreeMap<Key, Data>,
    found: Option<&BTreeMap<Key, Data>>,
    phases: &mut Phases,
) {
    let empty = BTreeMap::new();
    let found = found.unwrap_or(&empty);
    let intervals = wanted.keys().chain(found.keys()).any(|key| key.end);
    let add: Vec<_> = wanted
        .iter()
        .filter(|(key, data)| found.get(*key) != Some(*data))
        .map(|(key, data)| (*key, data.clone()))
        .collect();
    let old: BTreeSet<Key> = found
        .keys()
        .filter(|key| !wanted.contains_key(*key))
        .copied()
        .collect();
    if intervals && !(add.is_empty() && old.is_empty()) {
        // An interval is two elements, and a new one may lie across an old one: all at once, as a whole.
        replace_all(set, wanted, found, phases);
        return;
    }
    let replaced: Vec<Key> = add
        .iter()
        .map(|(key, _)| *key)
        .filter(|key| found.contains_key(key))
        .collect();
    push_remove(set, replaced, &mut phases.make);
    push_add(set, add, &mut phases.make);
    push_remove(set, old.into_iter().collect(), &mut phases.clear);
}

fn replace_all(set: &str, wanted: &BTreeMap<Key, Data>, found: &BTreeMap<Key, Data>, phases: &mut Phases) {
    push_remove(set, found.keys().copied().collect(), &mut phases.make);
    let all = wanted.iter().map(|(key, data)| (*key, data.clone())).collect();
    push_add(set, all, &mut phases.make);
}

pub(super) fn push_add(set: &str, elements: Vec<(Key, Data)>, out: &mut Vec<Operation>) {
    if !elements.is_empty() {
        out.push(Operation::AddElements {
            set: set.to_owned(),
            elements,
        });
    }
}

pub(super) fn push_remove(set: &str, keys: Vec<Key>, out: &mut Vec<Operation>) {
    if !keys.is_empty() {
        out.push(Operation::RemoveElements {
            set: set.to_owned(),
            keys,
        });
    }
}
