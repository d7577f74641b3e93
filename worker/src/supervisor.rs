//! The supervisor: one loop that owns the assignments and the keepers of all tasks.
//!
//! Input is one closed enum; what to do comes from `reconcile`. An update is on disk before a task of it is
//! begun, and its tables are in force before a task of it is stopped; what is to be stopped is stopped even where the
//! disk is full. A keeper that panics costs its own task, which then is said to have failed.

mod leftovers;
mod old_logs;

use crate::assignment::{AssignmentSet, AssignmentUpdate, Position, Touched, UpdateRefusal};
use crate::board::{Board, Posted};
use crate::clients::Clients;
use crate::clock;
use crate::crash;
use crate::disk::{Disk, Kept as OnDisk};
use crate::keeper::{Order, Shared, chain, keep, panic_text};
use crate::name::container_of;
use crate::network::{NetworkHub, PortsTaken};
use crate::reconcile::{Action, Kept, Observed, reconcile};
use crate::runtime::TaskRuntime;
use crate::task::{Found, Link, Origin, Report, origin};
use old_logs::old_logs;
use shoal_agent_runtime::ContainerId;
use shoal_core::model::{DesiredState, TaskId, TaskState, WallTime};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{Id, JoinError, JoinSet};

/// Orders that may wait for one keeper; each supersedes the one before, so more never pile up in earnest.
const ORDERS: usize = 64;
/// How often orphans and old logs are looked for.
const SWEEP: Duration = Duration::from_secs(300);
/// What the supervisor is told.
#[derive(Debug)]
pub(crate) enum Message {
    /// From the session; the answer says whether it follows on.
    Update(AssignmentUpdate, oneshot::Sender<Result<(), Refused>>),
    /// How far did the session's predecessor come?
    Position(oneshot::Sender<Position>),
}

/// Why an update was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error(transparent)]
    Order(#[from] UpdateRefusal),
    #[error("the assignments cannot be kept on this node's disk: {0}")]
    Disk(String),
}

struct Entry {
    orders: mpsc::Sender<Order>,
    desired: DesiredState,
    hold: Duration,
    leaving: bool,
}

/// See the module.
pub(crate) struct Supervisor<R> {
    shared: Shared<R>,
    set: AssignmentSet,
    reports: BTreeMap<TaskId, Report>,
    logs: BTreeMap<ContainerId, WallTime>,
    found: BTreeMap<ContainerId, Found>,
    entries: HashMap<TaskId, Entry>,
    keepers: JoinSet<TaskId>,
    by_keeper: HashMap<Id, TaskId>,
    boot: String,
    booted: bool,
    /// A full set has come in this session.
    complete: bool,
}

/// The pieces a supervisor is made of.
pub(crate) struct Parts<R> {
    pub(crate) runtime: Arc<R>,
    pub(crate) board: Arc<Board>,
    pub(crate) disk: Disk,
    pub(crate) kept: OnDisk,
    pub(crate) found: Vec<(ContainerId, Found)>,
    pub(crate) boot: String,
    pub(crate) link: watch::Receiver<Link>,
    pub(crate) network: Arc<NetworkHub>,
    pub(crate) ports: watch::Receiver<PortsTaken>,
    pub(crate) clients: Arc<Clients>,
}

impl<R: TaskRuntime> Supervisor<R> {
    pub(crate) fn new(parts: Parts<R>) -> Self {
        let booted = parts.kept.boot.as_ref().is_some_and(|boot| *boot != parts.boot);
        Self {
            shared: Shared {
                runtime: parts.runtime,
                board: parts.board,
                disk: parts.disk,
                link: parts.link,
                network: parts.network,
                ports: parts.ports,
                clients: parts.clients,
            },
            set: parts.kept.set,
            reports: parts.kept.reports,
            logs: parts.kept.logs,
            found: parts.found.into_iter().collect(),
            entries: HashMap::new(),
            keepers: JoinSet::new(),
            by_keeper: HashMap::new(),
            boot: parts.boot,
            booted,
            complete: false,
        }
    }

    /// Takes up what is on disk, then follows the managers until the last sender is dropped.
    pub(crate) async fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        self.retire_unassigned().await;
        self.reconcile(None).await;
        crash::reached("worker.open.4-taken-up");
        self.booted = false;
        let mut sweep = tokio::time::interval(SWEEP);
        let mut link = self.shared.link.clone();
        loop {
            tokio::select! {
                message = messages.recv() => match message {
                    Some(message) => self.handle(message).await,
                    None => break,
                },
                Some(ended) = self.keepers.join_next_with_id() => self.keeper_ended(ended).await,
                Ok(()) = link.changed() => self.complete &= *link.borrow_and_update() == Link::Session,
                _ = sweep.tick() => self.sweep().await,
            }
        }
        // As after a crash: containers go on, and the next daemon takes them up.
        self.keepers.shutdown().await;
    }

    async fn handle(&mut self, message: Message) {
        match message {
            // Whoever asked may have gone; the answers then matter to nobody.
            Message::Position(answer) => drop(answer.send(self.set.at)),
            Message::Update(update, answer) => {
                let taken = self.update(update).await;
                drop(answer.send(taken));
            }
        }
    }

    async fn update(&mut self, mut update: AssignmentUpdate) -> Result<(), Refused> {
        crash::reached("worker.assign.1-received");
        let (tables, full) = update.take_tables();
        let mut next = self.set.clone();
        let touched = next.apply(update)?;
        let tables = self.shared.network.change(tables, full);
        let disk = &self.shared.disk;
        if let Err(error) = disk.put_assignments(&next, &touched, &tables, &self.boot).await {
            self.stop_only(&next, &touched).await;
            return Err(Refused::Disk(chain(&error)));
        }
        crash::reached("worker.assign.2-on-disk");
        self.set = next;
        self.shared.network.update(self.set.at, &tables).await;
        crash::reached("worker.tables.1-in-force");
        if full {
            self.complete = true;
            self.shared.board.compare(&self.set);
            self.note_stray_logs().await;
        }
        let containers = match full {
            true => self.containers().await,
            false => None,
        };
        self.reconcile(containers).await;
        crash::reached("worker.assign.3-reconciled");
        Ok(())
    }

    /// The disk is full: stopping needs none, and may be what frees it.
    async fn stop_only(&mut self, next: &AssignmentSet, touched: &Touched) {
        let desired = |id: &TaskId| {
            let task = next.tasks.get(id);
            task.map_or(DesiredState::Remove, |task| task.desired)
        };
        let touched = touched.put.iter().chain(&touched.removed);
        let stopped: Vec<TaskId> = touched
            .filter(|id| desired(id) >= DesiredState::Shutdown)
            .cloned()
            .collect();
        self.shared.network.withdraw(&stopped).await;
        for id in &stopped {
            self.order(id, Order::Steer(desired(id), Duration::ZERO)).await;
        }
    }

    async fn containers(&self) -> Option<Vec<ContainerId>> {
        match self.shared.runtime.list().await {
            Ok(found) => Some(found.into_iter().map(|(id, _)| id).collect()),
            Err(failure) => {
                tracing::warn!(
                    reason = failure.message,
                    "containers cannot be listed, orphans stay"
                );
                None
            }
        }
    }

    async fn reconcile(&mut self, containers: Option<Vec<ContainerId>>) {
        let kept = self.kept();
        let observed = Observed {
            kept: &kept,
            containers: containers.as_deref(),
        };
        for action in reconcile(&self.set.tasks, &observed) {
            match action {
                Action::Take(id) => self.take(&id),
                Action::Steer(id, desired, hold) => {
                    if let Some(entry) = self.entries.get_mut(&id) {
                        entry.desired = desired;
                        entry.hold = hold;
                    }
                    self.order(&id, Order::Steer(desired, hold)).await;
                }
                Action::Leave(id) => {
                    if let Some(entry) = self.entries.get_mut(&id) {
                        entry.leaving = true;
                    }
                    self.order(&id, Order::Leave).await;
                }
                Action::Sweep(container) => self.remove_orphan(container),
            }
        }
    }

    fn kept(&self) -> BTreeMap<TaskId, Kept> {
        let attempt = |id| {
            self.shared
                .board
                .get(id)
                .map_or(0, |posted| posted.report.attempt)
        };
        self.entries
            .iter()
            .map(|(id, entry)| {
                let kept = Kept {
                    desired: entry.desired,
                    hold: entry.hold,
                    attempt: attempt(id),
                    leaving: entry.leaving,
                };
                (id.clone(), kept)
            })
            .collect()
    }

    fn take(&mut self, id: &TaskId) {
        let Some(task) = self.set.tasks.get(id).cloned() else {
            return;
        };
        let last = self.reports.remove(id);
        let attempt = last.as_ref().map_or(task.known.attempt, |report| {
            report.attempt.max(task.known.attempt)
        });
        let found = container_of(id, attempt).and_then(|container| self.found.remove(&container));
        let origin = origin(&task, last.as_ref(), found, self.booted);
        if !matches!(origin, Origin::Fresh) {
            tracing::debug!(task = %id, ?origin, "a task is taken up");
        }
        let (orders, inbox) = mpsc::channel(ORDERS);
        let (desired, hold) = (task.desired, task.hold);
        let created = last.and_then(|report| Some((report.attempt, report.created?)));
        let keeper = keep(self.shared.clone(), task, origin, created, inbox);
        let handle = self.keepers.spawn(keeper);
        self.by_keeper.insert(handle.id(), id.clone());
        let entry = Entry {
            orders,
            desired,
            hold,
            leaving: false,
        };
        self.entries.insert(id.clone(), entry);
    }

    async fn order(&self, id: &TaskId, order: Order) {
        if let Some(entry) = self.entries.get(id) {
            // A keeper that is gone is told by its end.
            drop(entry.orders.send(order).await);
        }
    }

    async fn keeper_ended(&mut self, ended: Result<(Id, TaskId), JoinError>) {
        match ended {
            Ok((keeper, id)) => {
                self.by_keeper.remove(&keeper);
                crash::reached("worker.forget.1-keeper-gone");
                self.retire(&id).await;
            }
            Err(error) => {
                let Some(id) = self.by_keeper.remove(&error.id()) else {
                    return;
                };
                let panic = error.try_into_panic();
                let text = panic.map_or_else(|_| "broken off".to_owned(), |panic| panic_text(&*panic));
                self.keeper_panicked(&id, &text).await;
            }
        }
        self.reconcile(None).await;
    }

    /// Its own handling is broken: the task has failed, its container goes, the worker goes on.
    async fn keeper_panicked(&mut self, id: &TaskId, text: &str) {
        tracing::error!(task = %id, text, "handling a task panicked");
        let Some(posted) = self.shared.board.get(id) else {
            self.entries.remove(id);
            return;
        };
        let report = Report {
            state: posted.report.state.max(TaskState::Failed),
            error: Some(format!("internal error while handling the task: {text}")),
            wait: None,
            at: None,
            ..posted.report
        };
        if let Err(error) = self.shared.disk.put_report(id, &report).await {
            tracing::warn!(task = %id, error = %chain(&error), "a task's report is not on disk");
        }
        let wall = clock::wall();
        self.shared.board.post(Posted {
            report: report.clone(),
            wall,
            ..posted
        });
        self.reports.insert(id.clone(), report);
        // Reconciling takes it up anew, as ended, which removes the container.
        self.entries.remove(id);
    }

    async fn sweep(&mut self) {
        if self.complete {
            let containers = self.containers().await;
            self.reconcile(containers).await;
        }
        let old = old_logs(&self.logs, clock::wall());
        for id in &old {
            self.shared.runtime.forget_logs(id).await;
            self.logs.remove(id);
        }
        if !old.is_empty() && self.shared.disk.forget_logs(&old).await.is_err() {
            tracing::warn!("forgotten logs are still noted on disk");
        }
    }
}

impl<R> std::fmt::Debug for Supervisor<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Supervisor")
            .field("set", &self.set.at)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
