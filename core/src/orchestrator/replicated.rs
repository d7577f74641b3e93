//! Replicated services: as many slots as the user wants.
//!
//! Too few: the lowest free numbers are filled. Too many: the least useful slots go, as in Swarm: first
//! those that do not run, then those on the nodes that have the most of this service, then the highest.

use super::{
    slot::{Standing, standing_of},
    tasks::{Heritage, create, is_live, stop},
};
use crate::{
    model::{DesiredState, NodeId, Service, Slot, Task, TaskState},
    planner::Draft,
    store::StoreView,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Brings the number of slots to `replicas`, creating or removing at most `budget` of them. False if
/// more remains to be done.
pub(crate) fn reconcile(draft: &mut Draft<'_>, service: &Service, replicas: u32, budget: usize) -> bool {
    let slots = occupied(draft.view(), service);
    let wanted = usize::try_from(replicas).unwrap_or(usize::MAX);
    if slots.len() < wanted {
        fill(draft, service, &slots, wanted - slots.len(), budget)
    } else {
        remove(draft, service, slots, wanted, budget)
    }
}

/// An occupied slot, as far as its usefulness goes.
#[derive(Debug)]
struct Occupied {
    number: u32,
    live: bool,
    running: bool,
    node: Option<NodeId>,
}

fn occupied(view: &StoreView, service: &Service) -> Vec<Occupied> {
    let mut by_slot: BTreeMap<u32, Vec<Arc<Task>>> = BTreeMap::new();
    for task in view.tasks_of_service(&service.id) {
        if let Slot::Replica(number) = task.slot {
            by_slot.entry(number).or_default().push(task.clone());
        }
    }
    by_slot
        .into_iter()
        .filter_map(|(number, mut tasks)| {
            tasks.sort_by_key(|task| task.sequence);
            let standing = standing_of(view, tasks.iter());
            let live = tasks.iter().rev().find(|task| is_live(task));
            (standing != Standing::Vacant).then(|| Occupied {
                number,
                live: standing == Standing::Live,
                running: live.is_some_and(|task| task.status.state == TaskState::Running),
                node: live.and_then(|task| task.node.clone()),
            })
        })
        .collect()
}

fn fill(draft: &mut Draft<'_>, service: &Service, slots: &[Occupied], missing: usize, budget: usize) -> bool {
    let taken: BTreeSet<u32> = slots.iter().map(|slot| slot.number).collect();
    let free = (1..=u32::MAX).filter(|number| !taken.contains(number));
    for number in free.take(missing.min(budget)) {
        create(draft, service, &Slot::Replica(number), Heritage::default());
    }
    missing <= budget
}

fn remove(
    draft: &mut Draft<'_>,
    service: &Service,
    mut slots: Vec<Occupied>,
    wanted: usize,
    budget: usize,
) -> bool {
    // Which of its node's slots each one is: the first of every node is worth more than any second.
    let mut on_node: BTreeMap<Option<NodeId>, u32> = BTreeMap::new();
    slots.sort_by_key(|slot| (!slot.running, slot.number));
    let mut ranked: Vec<_> = slots
        .into_iter()
        .map(|slot| {
            let nth = on_node.entry(slot.node.clone()).or_default();
            *nth += 1;
            (!slot.live, !slot.running, *nth, slot.number)
        })
        .collect();
    ranked.sort_unstable();
    let surplus = ranked.len().saturating_sub(wanted);
    for (_, _, _, number) in ranked.iter().rev().take(surplus.min(budget)) {
        for task in super::tasks::of_slot(draft.view(), service, &Slot::Replica(*number)) {
            stop(draft, &task, DesiredState::Remove, "its service was scaled down");
        }
    }
    surplus <= budget
}
