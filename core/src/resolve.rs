//! References: an id, a name or an unambiguous prefix of an id, looked for in that order. A task's name is its service's
//! and its slot's, as in `web.3`.
//!
//! Called by `request` for writes and by the shell for reads, so that both find the same object.

use crate::{
    model::{Network, Node, Service, Slot, Stack, Task, TaskState},
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
    if let Some(found) = task_by_name(view, reference) {
        return Ok(found);
    }
    one(
        "task",
        reference,
        view.tasks().filter(|t| t.id.as_str().starts_with(reference)),
        |t| t.id.to_string(),
    )
}

/// `SERVICE.SLOT`, of a global service `SERVICE.NODE`: the slot's task that runs, else its newest that has not ended, else
/// its newest.
fn task_by_name<'a>(view: &'a StoreView, reference: &str) -> Option<&'a Arc<Task>> {
    let (name, place) = reference.rsplit_once('.')?;
    let service = service(view, name).ok()?;
    let slot = match place.parse() {
        Ok(number) => Slot::Replica(number),
        Err(_) => Slot::Node(node(view, place).ok()?.id.clone()),
    };
    view.tasks_of_slot(&service.id, &slot).max_by_key(|task| {
        let state = task.status.state;
        (state == TaskState::Running, !state.is_terminal(), task.sequence)
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::*,
        store::{Applied, Entry, Store},
    };

    fn a_service(ids: &mut IdGen, name: &str) -> Service {
        Service {
            id: ServiceId::mint(ids),
            meta: Meta::default(),
            spec: ServiceSpec {
                name: name.to_owned(),
                labels: Labels::new(),
                mode: Mode::Replicated { replicas: 2 },
                task: TaskSpec::default(),
                ports: Vec::new(),
                endpoint_mode: EndpointMode::default(),
                update: UpdateConfig::default(),
            },
            revision: 1,
            stack: None,
            endpoint: ServiceEndpoint::default(),
            update: None,
        }
    }

    fn a_task(ids: &mut IdGen, service: &Service, slot: Slot, (state, sequence): (TaskState, u64)) -> Task {
        Task {
            id: TaskId::mint(ids),
            meta: Meta::default(),
            service: service.id.clone(),
            revision: 1,
            slot,
            node: None,
            attachments: Vec::new(),
            desired: DesiredState::Running,
            status: TaskStatus {
                state,
                attempt: 0,
                message: String::new(),
                error: None,
                exit_code: None,
                container: None,
                pid: None,
                at: Timestamp::ZERO,
                wall: WallTime(0),
                started: None,
            },
            not_before: None,
            sequence,
            restarts: Restarts::default(),
            wait: None,
        }
    }

    #[test]
    fn a_task_has_the_name_of_its_service_and_slot() {
        use TaskState::{Complete, Failed, Running, Starting};
        let mut ids = IdGen::from_number(1);
        let web = a_service(&mut ids, "web");
        let dotted = a_service(&mut ids, "a.b");
        let of = |ids: &mut IdGen, slot: u32, at| a_task(ids, &web, Slot::Replica(slot), at);
        let tasks = [
            of(&mut ids, 1, (Failed, 1)),
            of(&mut ids, 1, (Running, 2)),
            of(&mut ids, 1, (Starting, 3)),
            of(&mut ids, 2, (Starting, 4)),
            of(&mut ids, 2, (Failed, 5)),
            of(&mut ids, 3, (Failed, 6)),
            of(&mut ids, 3, (Complete, 7)),
            a_task(&mut ids, &dotted, Slot::Replica(1), (Running, 8)),
        ];
        let mut store = Store::new();
        let mut changes: Vec<crate::store::Change> = vec![web.clone().into(), dotted.into()];
        changes.extend(tasks.iter().cloned().map(Into::into));
        let entry = Entry {
            min_version: 1,
            term: 1,
            changes,
            ..Entry::default()
        };
        assert!(matches!(store.apply(1, 1, &entry), Applied::Took(_)));
        let by_id = format!("{}.1", web.id);
        for (reference, sequence) in [
            ("web.1", Some(2)),
            ("web.2", Some(4)),
            ("web.3", Some(7)),
            ("web.4", None),
            ("a.b.1", Some(8)),
            (by_id.as_str(), Some(2)),
            (tasks[5].id.as_str(), Some(6)),
            ("web", None),
            ("web.", None),
            ("other.1", None),
        ] {
            let found = task(store.view(), reference).ok().map(|task| task.sequence);
            assert_eq!(found, sequence, "{reference}");
        }
        let refusal = task(store.view(), "web.4").unwrap_err();
        assert_eq!(refusal.code, RefusalCode::NotFound);
    }
}
