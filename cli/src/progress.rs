//! How far services have come, from the events of the watch: pure, so that it can be tested line by line.
//!
//! A service has converged when every slot's newest task runs the current revision, nothing older runs, no
//! update is under way, and that held for a moment. It has failed when its update was paused, a slot keeps
//! failing, or something only a user can mend has held it up for a while: then waiting longer helps nobody.

mod follow;
mod gone;
mod screen;

pub(crate) use follow::{Follow, follow};
pub(crate) use gone::{GoneArgs, until_gone};
pub(crate) use screen::Screen;

use shoal_core::model::{
    Mode, RestartCondition, Service, Slot, Task, TaskId, TaskState, UpdateState, WaitOwner,
};
use std::{collections::BTreeMap, time::Duration};

/// How long all must have run before it counts: a program that dies at once has died by then.
const STABLE_FOR: Duration = Duration::from_secs(1);
/// How long a wait that only a user can end is watched.
const USER_PATIENCE: Duration = Duration::from_secs(10);
/// Tasks of one slot that could not even be started, after which it will not heal by itself.
const REJECTIONS: usize = 3;
/// Tasks of one slot that ended by themselves: more, since a program may wait for another by failing.
const FAILURES: usize = 6;
/// Slots shown one by one; more are counted by their state.
const SLOTS_SHOWN: usize = 16;

/// What came of the waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Converged,
    Failed(String),
}

/// The services watched, by id.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    services: BTreeMap<String, Watched>,
    /// What is told now happens now, and is not how things stood before.
    live: bool,
}

#[derive(Debug, Default)]
struct Watched {
    service: Option<Service>,
    removed: bool,
    tasks: BTreeMap<TaskId, Task>,
    /// Tasks of the current revision that failed, by slot.
    failures: BTreeMap<Slot, Vec<TaskId>>,
    complete_since: Option<Duration>,
    blocked_since: Option<Duration>,
}

/// One thing the watch said.
#[derive(Clone, Debug)]
pub(crate) enum Seen {
    Service(Box<Service>),
    ServiceRemoved(String),
    Task(Box<Task>),
    TaskRemoved(Box<Task>),
    /// Forget everything: a snapshot follows.
    Reset,
    /// That is how things stood; from here on they happen.
    SnapshotEnd,
}

impl Progress {
    /// Watches these services (ids).
    pub(crate) fn new(ids: &[String]) -> Self {
        let watched = ids.iter().map(|id| (id.clone(), Watched::default()));
        Self {
            services: watched.collect(),
            live: false,
        }
    }

    /// Takes an event in; the lines are what a plain (no terminal) progress says about it.
    pub(crate) fn handle(&mut self, seen: Seen, now: Duration) -> Vec<String> {
        let mut lines = Vec::new();
        match seen {
            Seen::Reset => {
                self.live = false;
                self.services
                    .values_mut()
                    .for_each(|watched| *watched = Watched::default());
            }
            Seen::SnapshotEnd => self.live = true,
            Seen::Service(service) => {
                if let Some(watched) = self.services.get_mut(service.id.as_str()) {
                    if watched
                        .service
                        .as_ref()
                        .is_none_or(|old| old.revision != service.revision)
                    {
                        watched.failures.clear();
                    }
                    watched.service = Some(*service);
                }
            }
            Seen::ServiceRemoved(id) => {
                if let Some(watched) = self.services.get_mut(&id) {
                    watched.removed = true;
                }
            }
            Seen::Task(task) => {
                if let Some(watched) = self.services.get_mut(task.service.as_str()) {
                    lines.extend(watched.take(*task, self.live));
                }
            }
            Seen::TaskRemoved(task) => {
                if let Some(watched) = self.services.get_mut(task.service.as_str()) {
                    watched.tasks.remove(&task.id);
                }
            }
        }
        self.look(now);
        lines
    }

    /// Notes since when things are as they are.
    fn look(&mut self, now: Duration) {
        for watched in self.services.values_mut() {
            let keep = |since: Option<Duration>, holds: bool| if holds { since.or(Some(now)) } else { None };
            watched.complete_since = keep(watched.complete_since, watched.is_complete());
            watched.blocked_since = keep(watched.blocked_since, watched.blocked().is_some());
        }
    }

    /// What came of it, once that can be said.
    pub(crate) fn outcome(&self, now: Duration) -> Option<Outcome> {
        if !self.live {
            return None;
        }
        if let Some(reason) = self.services.values().find_map(|watched| watched.failure(now)) {
            return Some(Outcome::Failed(reason));
        }
        let stable = |watched: &Watched| {
            watched
                .complete_since
                .is_some_and(|since| now >= since + STABLE_FOR)
        };
        self.services.values().all(stable).then_some(Outcome::Converged)
    }

    /// When the outcome may change without an event.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let complete = self
            .services
            .values()
            .filter_map(|watched| watched.complete_since);
        let blocked = self.services.values().filter_map(|watched| watched.blocked_since);
        // The last to become stable decides; the first to run out of patience does.
        let stable = complete.max().map(|since| since + STABLE_FOR);
        let given_up = blocked.min().map(|since| since + USER_PATIENCE);
        [stable, given_up].into_iter().flatten().min()
    }

    /// The block shown on a terminal.
    pub(crate) fn block(&self) -> Vec<String> {
        self.services.values().flat_map(Watched::block).collect()
    }

    /// One line per service: what a plain progress ends with.
    pub(crate) fn summary(&self) -> Vec<String> {
        self.services.values().map(Watched::headline).collect()
    }
}

impl Watched {
    fn name(&self) -> &str {
        self.service
            .as_ref()
            .map_or("service", |service| &service.spec.name)
    }

    fn slot_name(&self, slot: &Slot) -> String {
        match slot {
            Slot::Replica(number) => format!("{}.{number}", self.name()),
            Slot::Node(node) => format!("{}.{node}", self.name()),
        }
    }

    fn take(&mut self, task: Task, live: bool) -> Option<String> {
        let current = self
            .service
            .as_ref()
            .is_none_or(|service| service.revision == task.revision);
        let before = self.tasks.insert(task.id.clone(), task.clone());
        if !current {
            return None;
        }
        match task.status.state {
            TaskState::Failed | TaskState::Rejected => {
                // Failures that the history holds may long be mended.
                if !live {
                    return None;
                }
                let failures = self.failures.entry(task.slot.clone()).or_default();
                if !failures.contains(&task.id) {
                    failures.push(task.id.clone());
                }
            }
            TaskState::New
            | TaskState::Pending
            | TaskState::Assigned
            | TaskState::Accepted
            | TaskState::Preparing
            | TaskState::Ready
            | TaskState::Starting
            | TaskState::Running
            | TaskState::Complete
            | TaskState::Shutdown
            | TaskState::Remove
            | TaskState::Orphaned => {}
        }
        let text = describe(&task);
        if !live && task.status.state >= TaskState::Running {
            return None;
        }
        let changed = before.is_none_or(|before| describe(&before) != text);
        changed.then(|| format!("{}: {text}", self.slot_name(&task.slot)))
    }

    /// The newest task of each slot, by slot.
    fn newest(&self) -> BTreeMap<&Slot, &Task> {
        let mut newest: BTreeMap<&Slot, &Task> = BTreeMap::new();
        for task in self.tasks.values() {
            let known = newest.entry(&task.slot).or_insert(task);
            if task.sequence > known.sequence {
                *known = task;
            }
        }
        newest
    }

    fn is_complete(&self) -> bool {
        let Some(service) = &self.service else {
            return self.removed;
        };
        if self.removed {
            return true;
        }
        let updating = service.update.as_ref().is_some_and(|update| {
            update.revision == service.revision && update.state == UpdateState::Updating
        });
        if updating {
            return false;
        }
        let newest = self.newest();
        let done = newest.values().filter(|task| is_done(task, service)).count();
        // Nothing that is on its way out may still run beside its successor.
        let old_runs = self.tasks.values().any(|task| {
            !task.status.state.is_terminal() && task.desired > shoal_core::model::DesiredState::Running
        });
        match service.spec.mode {
            Mode::Replicated { replicas } => {
                let wanted = usize::try_from(replicas).unwrap_or(usize::MAX);
                let alive = newest
                    .values()
                    .filter(|task| !task.status.state.is_terminal())
                    .count();
                done >= wanted && alive <= wanted && !old_runs
            }
            Mode::Global => done > 0 && done == newest.len() && !old_runs,
        }
    }

    /// What holds the service up that only a user can mend.
    fn blocked(&self) -> Option<String> {
        self.newest().values().find_map(|task| {
            let wait = task.wait.as_ref()?;
            let name = self.slot_name(&task.slot);
            (wait.code.owner() == WaitOwner::User).then(|| format!("{name} waits: {}", wait_text(task)))
        })
    }

    fn failure(&self, now: Duration) -> Option<String> {
        let service = self.service.as_ref()?;
        if let Some(update) = &service.update
            && update.state == UpdateState::Paused
            && update.revision == service.revision
        {
            return Some(format!(
                "the update of {} is paused: {}",
                service.spec.name, update.message
            ));
        }
        for (slot, failed) in &self.failures {
            let last = failed.last().and_then(|id| self.tasks.get(id));
            let rejected = failed.iter().filter_map(|id| self.tasks.get(id));
            let rejected = rejected
                .filter(|task| task.status.state == TaskState::Rejected)
                .count();
            if rejected >= REJECTIONS || failed.len() >= FAILURES {
                let why = last.map(describe).unwrap_or_default();
                return Some(format!("{} keeps failing: {why}", self.slot_name(slot)));
            }
        }
        if service.spec.task.restart.condition == RestartCondition::None {
            let ended = self.newest().into_iter().find(|(_, task)| {
                let failed = matches!(task.status.state, TaskState::Failed | TaskState::Rejected);
                failed && task.revision == service.revision
            });
            if let Some((slot, task)) = ended {
                return Some(format!(
                    "{} {} and is not restarted",
                    self.slot_name(slot),
                    describe(task)
                ));
            }
        }
        let since = self.blocked_since?;
        (now >= since + USER_PATIENCE).then(|| self.blocked().unwrap_or_default())
    }

    fn headline(&self) -> String {
        let newest = self.newest();
        let Some(service) = &self.service else {
            return "waiting for the service".to_owned();
        };
        let done = newest.values().filter(|task| is_done(task, service)).count();
        let wanted = match service.spec.mode {
            Mode::Replicated { replicas } => replicas.to_string(),
            Mode::Global => newest.len().to_string(),
        };
        let suffix = if self.is_complete() { "" } else { " …" };
        format!("{}: {done} of {wanted} running{suffix}", self.name())
    }

    fn block(&self) -> Vec<String> {
        let mut lines = vec![self.headline()];
        let newest = self.newest();
        if newest.len() > SLOTS_SHOWN {
            let mut counts: BTreeMap<TaskState, usize> = BTreeMap::new();
            for task in newest.values() {
                *counts.entry(task.status.state).or_default() += 1;
            }
            let counts: Vec<_> = counts
                .iter()
                .map(|(state, count)| format!("{count} {}", state.name()))
                .collect();
            lines.push(format!("  {}", counts.join(", ")));
            lines.extend(self.blocked().map(|text| format!("  {text}")));
            return lines;
        }
        for (slot, task) in newest {
            let name = self.slot_name(slot);
            lines.push(format!("  {name}  {}", describe(task)));
            // The newest task of a slot that keeps failing says nothing yet; the last failure does.
            let last = self.failures.get(slot).and_then(|failed| failed.last());
            if let Some(failed) = last
                .and_then(|id| self.tasks.get(id))
                .filter(|failed| failed.id != task.id)
            {
                lines.push(format!("  {name}  before: {}", describe(failed)));
            }
        }
        lines
    }
}

/// Running on the current revision, or ended as its restart policy lets it.
fn is_done(task: &Task, service: &Service) -> bool {
    if task.revision != service.revision {
        return false;
    }
    let may_end = service.spec.task.restart.condition != RestartCondition::Any;
    let unhealthy = task.wait.is_some();
    match task.status.state {
        TaskState::Running => !unhealthy && task.desired == shoal_core::model::DesiredState::Running,
        TaskState::Complete => may_end,
        TaskState::New
        | TaskState::Pending
        | TaskState::Assigned
        | TaskState::Accepted
        | TaskState::Preparing
        | TaskState::Ready
        | TaskState::Starting
        | TaskState::Shutdown
        | TaskState::Failed
        | TaskState::Rejected
        | TaskState::Remove
        | TaskState::Orphaned => false,
    }
}

/// A task's state with its reason.
fn describe(task: &Task) -> String {
    let state = task.status.state.name();
    if let Some(error) = task.status.error.as_ref().filter(|error| !error.is_empty()) {
        return format!("{state}: {error}");
    }
    if task.wait.is_some() {
        return format!("{state} ({})", wait_text(task));
    }
    state.to_owned()
}

fn wait_text(task: &Task) -> String {
    task.wait
        .as_ref()
        .map_or_else(String::new, |wait| match wait.detail.as_str() {
            "" => wait.code.name().to_owned(),
            detail => format!("{}: {detail}", wait.code.name()),
        })
}

#[cfg(test)]
mod tests;
