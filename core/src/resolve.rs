//! References: an id, a name or an unambiguous prefix of an id, looked for in that order.
//!
//! Called by `request` for writes and by the shell for reads, so that both find the same object.

use crate::{
    model::{Network, Node, Service, Stack, Task},
    refusal::{Refusal, RefusalCode},
    store::StoreView,
};
use std::sync::Arc;

/// How many matches of an ambiguous prefix are named.
const NAMED: usize = 3;

pub fn service<'a>(view: &'a StoreView, reference: &str) -> Result<&'a Arc<Service>, Refusal> {
    if let Some(found) = reference.parse().ok().and_then(|id| view.service(&id)) {
        return Ok(found);
    }
    if let Some(found) = view.service_by_name(reference) {
        return Ok(found);
    }
    one(
        "service",
        reference,
        view.services().filter(|s| s.id.as_str().starts_with(reference)),
        |s| s.spec.name.clone(),
    )
}

pub fn stack<'a>(view: &'a StoreView, reference: &str) -> Result<&'a Arc<Stack>, Refusal> {
    if let Some(found) = reference.parse().ok().and_then(|id| view.stack(&id)) {
        return Ok(found);
    }
    if let Some(found) = view.stack_by_name(reference) {
        return Ok(found);
    }
    one(
        "stack",
        reference,
        view.stacks().filter(|s| s.id.as_str().starts_with(reference)),
        |s| s.spec.name.clone(),
    )
}

/// A network. One that is removed and whose addresses still rest is not found.
pub fn network<'a>(view: &'a StoreView, reference: &str) -> Result<&'a Arc<Network>, Refusal> {
    let there = |network: &&Arc<Network>| !network.status.removed;
    let by_id = reference.parse().ok().and_then(|id| view.network(&id));
    if let Some(found) = by_id.filter(there) {
        return Ok(found);
    }
    if let Some(found) = view.network_by_name(reference) {
        return Ok(found);
    }
    one(
        "network",
        reference,
        view.networks()
            .filter(|n| there(n) && n.id.as_str().starts_with(reference)),
        |n| n.spec.name.clone(),
    )
}

/// A node, by id, host name (which several may share) or prefix of an id.
pub fn node<'a>(view: &'a StoreView, reference: &str) -> Result<&'a Arc<Node>, Refusal> {
    if let Some(found) = reference.parse().ok().and_then(|id| view.node(&id)) {
        return Ok(found);
    }
    let named = |node: &&Arc<Node>| node.description.as_ref().is_some_and(|d| d.hostname == reference);
    let id = |node: &Arc<Node>| node.id.to_string();
    if view.nodes().any(|node| named(&node)) {
        return one("node", reference, view.nodes().filter(named), id);
    }
    one(
        "node",
        reference,
        view.nodes().filter(|n| n.id.as_str().starts_with(reference)),
        id,
    )
}

pub fn task<'a>(view: &'a StoreView, reference: &str) -> Result<&'a Arc<Task>, Refusal> {
    if let Some(found) = reference.parse().ok().and_then(|id| view.task(&id)) {
        return Ok(found);
    }
    one(
        "task",
        reference,
        view.tasks().filter(|t| t.id.as_str().starts_with(reference)),
        |t| t.id.to_string(),
    )
}

fn one<'a, T: 'a>(
    noun: &str,
    reference: &str,
    matches: impl Iterator<Item = &'a Arc<T>>,
    name: impl Fn(&Arc<T>) -> String,
) -> Result<&'a Arc<T>, Refusal> {
    // Nothing is a prefix of everything.
    let mut found: Vec<_> = matches
        .take(if reference.is_empty() { 0 } else { NAMED + 1 })
        .collect();
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => Err(Refusal::new(
            RefusalCode::NotFound,
            format!("there is no {noun} {reference:?}"),
        )),
        count => {
            let names: Vec<String> = found.iter().take(NAMED).map(|found| name(found)).collect();
            let more = if count > NAMED { " and others" } else { "" };
            Err(Refusal::new(
                RefusalCode::Invalid,
                format!(
                    "{reference:?} stands for more than one {noun}: {}{more}",
                    names.join(", ")
                ),
            )
            .with_hint("give the whole id"))
        }
    }
}
