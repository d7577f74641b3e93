//! Gives every task that needs one a node: filters first, then the least loaded of what is left.
//!
//! Tasks of one revision are one group: alike, so that they are filtered and ranked together, and if one
//! finds no node, none does. A group that found none is parked until a node changes in a way that would
//! let it in. Called by the planner; each task is placed once, and never moved for balance.

mod demand;
pub(crate) mod filter;
mod rank;
pub(crate) mod table;

pub(crate) use demand::Demand;
pub(crate) use filter::Refused;

use crate::{
    model::{DesiredState, NodeId, RevisionKey, ServiceId, Slot, Task, TaskId, TaskState, WaitCode},
    orchestrator::tasks::{is_live, is_stopped, is_unassigned, lacks_address},
    planner::Draft,
    store::StoreView,
    waiting,
};
use rank::Chooser;
use std::collections::{BTreeMap, BTreeSet};
use table::NodeTable;

/// What waits for a node, and what is known of the nodes. All of it can be made anew from a view.
#[derive(Debug, Default)]
pub(crate) struct Scheduler {
    table: NodeTable,
    stale: BTreeSet<NodeId>,
    pending: BTreeMap<RevisionKey, BTreeSet<TaskId>>,
    parked: BTreeMap<RevisionKey, Parked>,
    /// Born with their node, which does not take them now.
    parked_on: BTreeMap<NodeId, BTreeSet<TaskId>>,
}

#[derive(Debug)]
struct Parked {
    demand: Demand,
    tasks: BTreeSet<TaskId>,
    refused: Refused,
}

impl Scheduler {
    /// Starts over: knows nothing, and takes every node for changed.
    pub(crate) fn restart(&mut self, view: &StoreView) {
        *self = Self::default();
        self.stale = view.nodes().map(|node| node.id.clone()).collect();
    }

    /// Something about the node or its tasks changed.
    pub(crate) fn node_changed(&mut self, node: &NodeId) {
        self.stale.insert(node.clone());
    }

    /// A task changed: take it up if it needs a node, and forget it if it does not.
    pub(crate) fn task_changed(&mut self, task: &Task) {
        self.forget(task);
        if is_unassigned(task) && is_live(task) && !lacks_address(task) {
            let group = self.pending.entry(task.revision_key()).or_default();
            group.insert(task.id.clone());
        }
    }

    /// A slot was put in order. Whether its old task holds back the new one may be otherwise than it was
    /// said: then the new one is taken up again, if only to say what holds it back now.
    pub(crate) fn slot_changed(&mut self, view: &StoreView, service: &ServiceId, slot: &Slot) {
        for task in view.tasks_of_slot(service, slot) {
            let code = task.wait.as_ref().map(|wait| wait.code);
            let said = code == Some(WaitCode::OldTaskStopping);
            if task.status.state == TaskState::Pending && said != predecessor_runs(view, task) {
                self.task_changed(task);
            }
        }
    }

    pub(crate) fn forget(&mut self, task: &Task) {
        let key = task.revision_key();
        remove(&mut self.pending, &key, &task.id);
        if let Some(parked) = self.parked.get_mut(&key) {
            parked.tasks.remove(&task.id);
            if parked.tasks.is_empty() {
                self.parked.remove(&key);
            }
        }
        if let Some(node) = &task.node {
            remove(&mut self.parked_on, node, &task.id);
        }
    }

    /// Is there anything that a run would do now?
    pub(crate) fn has_work(&self) -> bool {
        let waits = !self.parked.is_empty() || !self.parked_on.is_empty();
        !self.pending.is_empty() || (waits && !self.stale.is_empty())
    }

    /// Places what can be placed, within `budget` tasks; says how many it looked at.
    pub(crate) fn run(&mut self, draft: &mut Draft<'_>, budget: usize) -> usize {
        self.refresh(draft);
        let mut used = 0;
        while used < budget {
            let Some((key, tasks)) = self.pending.pop_first() else {
                break;
            };
            used += self.run_group(draft, &key, tasks, budget - used);
        }
        used
    }

    /// Learns anew what changed, and takes up again what a changed node would let in.
    fn refresh(&mut self, draft: &Draft<'_>) {
        for node in std::mem::take(&mut self.stale) {
            self.table.refresh(draft.view(), &node, draft.now);
            if let Some(tasks) = self.parked_on.remove(&node) {
                self.take_up(draft.view(), tasks);
            }
            let entry = self.table.get(&node);
            let open: Vec<_> = self
                .parked
                .iter_mut()
                .filter_map(|(key, parked)| {
                    let verdict = entry.map(|entry| filter::check(entry, &parked.demand));
                    let again = match verdict {
                        Some(Ok(())) => true,
                        Some(Err(filter)) => parked.refused.moves(&node, Some(filter)),
                        None => parked.refused.moves(&node, None),
                    };
                    again.then(|| key.clone())
                })
                .collect();
            for key in open {
                if let Some(parked) = self.parked.remove(&key) {
                    self.pending.entry(key).or_default().extend(parked.tasks);
                }
            }
        }
    }

    fn take_up(&mut self, view: &StoreView, tasks: BTreeSet<TaskId>) {
        for task in tasks.iter().filter_map(|id| view.task(id)) {
            self.pending
                .entry(task.revision_key())
                .or_default()
                .insert(task.id.clone());
        }
    }

    fn run_group(
        &mut self,
        draft: &mut Draft<'_>,
        key: &RevisionKey,
        mut tasks: BTreeSet<TaskId>,
        budget: usize,
    ) -> usize {
        let Some(revision) = draft.view().revision(key) else {
            return 1;
        };
        let demand = Demand::of(revision);
        let mut chooser = Chooser::new(&self.table, &demand);
        let mut used = 0;
        while used < budget {
            let Some(id) = tasks.pop_first() else {
                return used;
            };
            used += 1;
            let Some(task) = draft.view().task(&id).cloned() else {
                continue;
            };
            if let Slot::Node(node) = &task.slot {
                self.run_preassigned(draft, &task, node, &demand);
            } else if let Some(node) = chooser.next(&self.table, &demand) {
                self.place(&node, &demand);
                chooser.placed(&self.table, &node, &demand);
                assign(draft, &task, node);
            } else {
                let refused = chooser.refused(&self.table);
                tasks.insert(id);
                // Those parked before wait for what these wait for now.
                tasks.extend(self.parked.remove(key).into_iter().flat_map(|group| group.tasks));
                used += tasks.len();
                for id in &tasks {
                    hold_back(draft, id, &refused, &demand);
                }
                let group = Parked {
                    demand,
                    tasks,
                    refused,
                };
                self.parked.insert(key.clone(), group);
                return used;
            }
        }
        if !tasks.is_empty() {
            self.pending.insert(key.clone(), tasks);
        }
        used
    }

    /// Counts a placement. Whoever was held back before may now be held back for another reason.
    fn place(&mut self, node: &NodeId, demand: &Demand) {
        self.table.place(node, demand);
        if !self.parked.is_empty() || !self.parked_on.is_empty() {
            self.stale.insert(node.clone());
        }
    }

    fn run_preassigned(&mut self, draft: &mut Draft<'_>, task: &Task, node: &NodeId, demand: &Demand) {
        let mut refused = Refused::default();
        match self.table.get(node).map(|entry| filter::check(entry, demand)) {
            Some(Ok(())) => {
                self.place(node, demand);
                assign(draft, task, node.clone());
                return;
            }
            Some(Err(filter)) => refused.add(filter, node),
            None => refused.add_closed(1),
        }
        hold_back(draft, &task.id, &refused, demand);
        self.parked_on
            .entry(node.clone())
            .or_default()
            .insert(task.id.clone());
    }
}

/// What the filters say of a demand now, in words; of the one node, for a task that is born with it.
pub(crate) fn verdict(table: &NodeTable, demand: &Demand, node: Option<&NodeId>) -> String {
    let free = "a node has room for it now";
    if let Some((id, entry)) = node.and_then(|id| Some((id, table.get(id)?))) {
        let mut refused = Refused::default();
        return match filter::check(entry, demand) {
            Ok(()) => free.to_owned(),
            Err(filter) => {
                refused.add(filter, id);
                refused.tell(demand)
            }
        };
    }
    let mut chooser = Chooser::new(table, demand);
    match chooser.next(table, demand) {
        Some(_) => free.to_owned(),
        None => chooser.refused(table).tell(demand),
    }
}

fn remove<K: Ord>(groups: &mut BTreeMap<K, BTreeSet<TaskId>>, key: &K, id: &TaskId) {
    if let Some(tasks) = groups.get_mut(key) {
        tasks.remove(id);
        if tasks.is_empty() {
            groups.remove(key);
        }
    }
}

fn assign(draft: &mut Draft<'_>, task: &Task, node: NodeId) {
    let mut next = task.clone();
    next.node = Some(node);
    next.status.state = TaskState::Assigned;
    next.status.message = "assigned to a node by the scheduler".to_owned();
    next.status.at = draft.now;
    next.status.wall = draft.wall;
    next.wait = Some(waiting::wait(task, WaitCode::NodeNotTaken, "", draft.now));
    draft.put_task(next);
}

/// Says why a task has no node yet. Only a change of the code is written: how many nodes refused it for
/// what may change with every event, and `explain` says it freshly.
fn hold_back(draft: &mut Draft<'_>, id: &TaskId, refused: &Refused, demand: &Demand) {
    let Some(task) = draft.view().task(id).cloned() else {
        return;
    };
    let mut code = refused.code();
    let mut detail = refused.tell(demand);
    if predecessor_runs(draft.view(), &task) {
        // What it needs is likely what the slot's old task still has.
        code = WaitCode::OldTaskStopping;
        detail = "the slot's old task has not stopped yet".to_owned();
    }
    let same = task.wait.as_ref().is_some_and(|wait| wait.code == code);
    if same && task.status.state == TaskState::Pending {
        return;
    }
    let mut next = Task::clone(&task);
    if task.status.state != TaskState::Pending {
        next.status.state = TaskState::Pending;
        next.status.at = draft.now;
        next.status.wall = draft.wall;
    }
    next.status.message = format!("no suitable node: {detail}");
    next.wait = Some(waiting::wait(&task, code, detail, draft.now));
    draft.put_task(next);
}

fn predecessor_runs(view: &StoreView, task: &Task) -> bool {
    task.desired == DesiredState::Ready
        && view
            .tasks_of_slot(&task.service, &task.slot)
            .any(|other| other.id != task.id && !is_stopped(view, other))
}
