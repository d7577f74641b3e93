//! Why a service is not what it shall be: `service why`.
//!
//! Reads a view and says, freshly, what each waiting task waits for, whose turn it is, and what went
//! wrong last. Called by the shell for reading; nothing here is stored.

use crate::{
    allocator::Numbers,
    model::{
        DesiredState, Mode, NodeId, RevisionKey, Service, Slot, Task, TaskId, TaskState, Timestamp,
        UpdateState, WaitCode, WaitOwner,
    },
    orchestrator::{
        slot::{Standing, standing_of},
        tasks::is_live,
    },
    scheduler::{self, Demand, table::NodeTable},
    store::StoreView,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// Reasons listed at most: a reader needs the first few of a thousand alike.
const MAX_REASONS: usize = 100;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceWhy {
    pub running: u32,
    pub desired: u32,
    /// One line that answers "why is it not converged?", or that it is.
    pub summary: String,
    pub reasons: Vec<Reason>,
}

/// Why one task, or the whole service, waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    pub task: Option<TaskId>,
    pub slot: Option<Slot>,
    pub node: Option<NodeId>,
    /// A wait code's name, or a state's: `failed` and the like for a task that ended, `preparing` and the like for one that
    /// its node is at.
    pub code: &'static str,
    /// Absent where nobody need move.
    pub owner: Option<WaitOwner>,
    pub age: Duration,
    pub detail: String,
}

/// How many tasks of a service run, and how many shall.
pub fn counts(view: &StoreView, service: &Service) -> (u32, u32) {
    let live = || view.tasks_of_service(&service.id).filter(|task| is_live(task));
    let running = live()
        .filter(|task| task.status.state == TaskState::Running)
        .count();
    let desired = match service.spec.mode {
        Mode::Replicated { replicas } => replicas,
        Mode::Global => count(live().map(|task| &task.slot).collect::<BTreeSet<_>>().len()),
    };
    (count(running), desired)
}

/// Explains a service as it is at `now`.
pub fn service(view: &StoreView, service: &Service, now: Timestamp) -> ServiceWhy {
    let (running, desired) = counts(view, service);
    let mut reasons = update_reason(service, now);
    let mut fresh = Fresh::default();
    for tasks in by_slot(view, service).values() {
        reasons.extend(slot_reason(view, tasks, now, &mut fresh));
    }
    let summary = summary(service, running, desired, &reasons);
    reasons.truncate(MAX_REASONS);
    ServiceWhy {
        running,
        desired,
        summary,
        reasons,
    }
}

fn by_slot<'a>(view: &'a StoreView, service: &Service) -> BTreeMap<&'a Slot, Vec<Arc<Task>>> {
    let mut slots: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for task in view.tasks_of_service(&service.id) {
        slots.entry(&task.slot).or_default().push(task.clone());
    }
    for tasks in slots.values_mut() {
        tasks.sort_by_key(|task| task.sequence);
    }
    slots
}

fn update_reason(service: &Service, now: Timestamp) -> Vec<Reason> {
    let Some(update) = &service.update else {
        return Vec::new();
    };
    let (code, owner) = match update.state {
        UpdateState::Completed => return Vec::new(),
        UpdateState::Updating => ("updating", WaitOwner::Updater),
        UpdateState::Paused => ("update-paused", WaitOwner::User),
    };
    vec![Reason {
        task: None,
        slot: None,
        node: None,
        code,
        owner: Some(owner),
        age: now.since(update.since),
        detail: update.message.clone(),
    }]
}

/// The scheduler's verdicts, worked out once a revision, or once a task that is born with its node.
#[derive(Default)]
struct Fresh {
    table: Option<NodeTable>,
    verdicts: BTreeMap<(RevisionKey, Option<NodeId>), String>,
    numbers: Numbers,
}

impl Fresh {
    /// Which of the task's networks have no address free.
    fn lack(&mut self, view: &StoreView, task: &Task, now: Timestamp) -> String {
        let revision = view.revision(&task.revision_key());
        revision.map_or_else(String::new, |revision| {
            self.numbers.tell(view, &revision.networks, now)
        })
    }

    fn verdict(&mut self, view: &StoreView, task: &Task, now: Timestamp) -> String {
        let key = (task.revision_key(), task.node.clone());
        if let Some(verdict) = self.verdicts.get(&key) {
            return verdict.clone();
        }
        let table = self.table.get_or_insert_with(|| NodeTable::of(view, now));
        let verdict = view.revision(&key.0).map_or_else(String::new, |revision| {
            scheduler::verdict(table, &Demand::of(revision), key.1.as_ref())
        });
        self.verdicts.insert(key, verdict.clone());
        verdict
    }
}

fn slot_reason(view: &StoreView, tasks: &[Arc<Task>], now: Timestamp, fresh: &mut Fresh) -> Option<Reason> {
    let task = match tasks.iter().rev().find(|task| is_live(task)) {
        Some(live) => live,
        None => {
            let ended = standing_of(view, tasks.iter()) == Standing::Ended;
            let last = tasks
                .iter()
                .rev()
                .find(|task| task.desired == DesiredState::Shutdown);
            return last.filter(|_| ended).map(|task| ended_reason(task, now));
        }
    };
    let Some(wait) = &task.wait else {
        let running = task.status.state == TaskState::Running;
        return (!running).then(|| under_way(task, now));
    };
    let mut detail = if is_schedulers(wait.code) {
        fresh.verdict(view, task, now)
    } else if wait.code == WaitCode::NoAddress {
        fresh.lack(view, task, now)
    } else {
        wait.detail.clone()
    };
    if let Some(not_before) = task.not_before.filter(|_| wait.code == WaitCode::RestartDelay) {
        // Whole milliseconds: finer says nothing to a reader.
        let left = u64::try_from(not_before.since(now).as_millis()).unwrap_or(u64::MAX);
        detail = format!("starts in {:?}", Duration::from_millis(left));
    }
    if detail.is_empty() {
        detail.clone_from(&task.status.message);
    }
    let failed = tasks
        .iter()
        .rev()
        .skip(1)
        .find_map(|old| old.status.error.as_deref());
    if let Some(error) = failed {
        detail = format!("{detail}; the last task failed: {error}");
    }
    Some(Reason {
        task: Some(task.id.clone()),
        slot: Some(task.slot.clone()),
        node: task.node.clone(),
        code: wait.code.name(),
        owner: Some(wait.code.owner()),
        age: now.since(wait.since),
        detail,
    })
}

/// It waits for nothing that has a name, and does not run yet: its node is at it.
fn under_way(task: &Task, now: Timestamp) -> Reason {
    Reason {
        task: Some(task.id.clone()),
        slot: Some(task.slot.clone()),
        node: task.node.clone(),
        code: task.status.state.name(),
        owner: Some(WaitOwner::Worker),
        age: now.since(task.status.at),
        detail: task.status.message.clone(),
    }
}

fn ended_reason(task: &Task, now: Timestamp) -> Reason {
    let error = task.status.error.as_deref().unwrap_or("");
    Reason {
        task: Some(task.id.clone()),
        slot: Some(task.slot.clone()),
        node: task.node.clone(),
        code: task.status.state.name(),
        owner: (task.status.state != TaskState::Complete).then_some(WaitOwner::User),
        age: now.since(task.status.at),
        detail: format!("its restart policy starts no other {error}")
            .trim_end()
            .to_owned(),
    }
}

fn is_schedulers(code: WaitCode) -> bool {
    matches!(
        code,
        WaitCode::NoReadyNode
            | WaitCode::InsufficientResources
            | WaitCode::ConstraintUnmet
            | WaitCode::HostPortTaken
            | WaitCode::MaxReplicasReached
    )
}

fn summary(service: &Service, running: u32, desired: u32, reasons: &[Reason]) -> String {
    let waiting = reasons.iter().filter(|reason| reason.task.is_some());
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in waiting {
        *kinds.entry(reason.code).or_default() += 1;
    }
    let mut parts: Vec<String> = kinds
        .iter()
        .map(|(code, count)| format!("{count} {code}"))
        .collect();
    if let Some(update) = reasons.iter().find(|reason| reason.task.is_none()) {
        parts.insert(0, format!("{}: {}", update.code, update.detail));
    }
    if !parts.is_empty() {
        parts.join(", ")
    } else if running == desired {
        "converged".to_owned()
    } else {
        match service.spec.mode {
            Mode::Replicated { .. } => "its tasks are starting or stopping".to_owned(),
            Mode::Global => "no node fits".to_owned(),
        }
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
