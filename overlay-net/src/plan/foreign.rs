//! Rules of ours in other tools' chains. What another chain drops, an accept of our own does not bring back.
//!
//! Only chains that are known to be meant for it: Docker's `DOCKER-USER`, and the `FORWARD` that `iptables` keeps in
//! a table called `filter`, which ufw and others fill. Chains of anybody else are named to the user instead.

use super::firewall::{comes_in_by, goes_out_by};
use super::{Change, host_link, table};
use crate::desired::Tag;
use crate::nft::{
    Expression, Family, ForeignChain, ForeignRule, Hook, Operation, Rule, TableName, Verdict, Way,
};
use crate::observed::{Observed, Side};

/// The table in which `iptables` keeps its filters.
pub(crate) const FOREIGN_TABLE: &str = "filter";
const DOCKER: &str = "DOCKER-USER";
const FORWARD: &str = "FORWARD";

pub(super) fn plan(tag: &Tag, observed: &Observed, changes: &mut Vec<Change>) {
    let mut operations = Vec::new();
    for family in observed.families(Side::Host) {
        let name = TableName {
            family: *family,
            name: FOREIGN_TABLE.to_owned(),
        };
        let home = home(*family, observed);
        for chain in in_table(*family, observed) {
            let wanted = if home == Some(chain) {
                rules(tag, *family)
            } else {
                Vec::new()
            };
            let steps = compare(tag, chain, &wanted);
            operations.extend(steps.into_iter().map(|step| (name.clone(), step)));
        }
    }
    if !operations.is_empty() {
        changes.push(Change::Tables {
            side: Side::Host,
            operations,
        });
    }
}

/// Chains that stop our packets and are not for us to change.
pub(crate) fn blockers<'a>(tag: &Tag, observed: &'a Observed) -> impl Iterator<Item = &'a ForeignChain> {
    let link = host_link(tag);
    observed.foreign.iter().filter(move |chain| {
        let known = Family::ALL.into_iter().any(|family| {
            chain.family == family.number()
                && chain.table == FOREIGN_TABLE
                && home(family, observed).is_some()
        });
        chain.hook == Some(Hook::Forward) && stops(chain) && !known && !passes(chain, &link)
    })
}

/// Whether somebody let our packets pass, in both directions, before any are stopped.
fn passes(chain: &ForeignChain, link: &str) -> bool {
    let before = chain.rules.iter().take_while(|rule| !rule.stops_all);
    let ways: Vec<_> = before.filter_map(|rule| rule.accepts.as_ref()).collect();
    ways.contains(&&Way::In(link.to_owned())) && ways.contains(&&Way::Out(link.to_owned()))
}

fn in_table(family: Family, observed: &Observed) -> impl Iterator<Item = &ForeignChain> {
    let ours = move |chain: &&ForeignChain| chain.family == family.number() && chain.table == FOREIGN_TABLE;
    observed.foreign.iter().filter(ours)
}

/// The chain that our rules belong into, if there is one and they are needed.
fn home(family: Family, observed: &Observed) -> Option<&ForeignChain> {
    let forward = in_table(family, observed).find(|c| c.chain == FORWARD && c.hook == Some(Hook::Forward))?;
    let docker = in_table(family, observed).find(|chain| chain.chain == DOCKER);
    // Jumps of FORWARD may drop as well: whoever has rules there gets ours before them.
    let needed = stops(forward)
        || forward
            .rules
            .iter()
            .any(|rule| !rule.rule.comment.starts_with("shoal-"));
    docker.or(Some(forward)).filter(|_| needed || docker.is_some())
}

fn stops(chain: &ForeignChain) -> bool {
    chain.drops || chain.rules.last().is_some_and(|rule| rule.stops_all)
}

fn rules(tag: &Tag, family: Family) -> Vec<Rule> {
    let link = host_link(tag);
    let accept = |mut steps: Vec<Expression>| {
        steps.extend([Expression::counter(), Expression::verdict(&Verdict::Accept)]);
        Rule::new(&table(tag, family).name, steps)
    };
    vec![accept(comes_in_by(&link)), accept(goes_out_by(&link))]
}

/// Ours are to stand before any rule of another tool's, or to be gone. Another Shoal's may stand before them.
fn compare(tag: &Tag, chain: &ForeignChain, wanted: &[Rule]) -> Vec<Operation> {
    let mark = format!("{} ", host_link(tag));
    let ours = |rule: &&ForeignRule| rule.rule.comment.starts_with(&mark);
    let first = chain
        .rules
        .iter()
        .take_while(|rule| rule.rule.comment.starts_with("shoal-"));
    let first: Vec<_> = first.filter(ours).map(|rule| &rule.rule.comment).collect();
    let there: Vec<_> = chain.rules.iter().filter(ours).collect();
    if there.len() == wanted.len() && first.into_iter().eq(wanted.iter().map(|rule| &rule.comment)) {
        return Vec::new();
    }
    let old = there.into_iter().map(|rule| Operation::RemoveRule {
        chain: chain.chain.clone(),
        handle: rule.rule.handle,
    });
    let new = wanted.iter().rev().map(|rule| Operation::InsertRule {
        chain: chain.chain.clone(),
        rule: rule.clone(),
    });
    old.chain(new).collect()
}
