//! The planted bugs by name, and those that stand between the machine and its planner.
//!
//! Each is a fault that someone could write; each must be found by the checks within a number of seeds.

#[cfg(feature = "planted-bugs")]
use crate::machine::Bug;
use crate::machine::{PlannedRequest, Planning};
use shoal_core::{
    dispatcher::TaskReport,
    model::{Attachment, IdGen, NodeState, Task, TaskId, TaskState, TaskStatus, Timestamp},
    planner::{Plan, PlannerInput, Refuse, TurnContext},
    request::{Request, RequestContext},
    store::{Change, Event, Object, StoreView},
};

macro_rules! planted {
    ($($name:literal => $variant:ident),* $(,)?) => {
        /// A bug that a run may carry.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum PlantedBug { $($variant),* }

        impl PlantedBug {
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }
    };
}

planted! {
    "acknowledged-before-sync" => AcknowledgedBeforeSync,
    "answered-before-commit" => AnsweredBeforeCommit,
    "fence-skipped" => FenceSkipped,
    "event-dropped" => EventDropped,
    "plans-before-empty-entry" => PlansBeforeEmptyEntry,
    "request-not-deduplicated" => RequestNotDeduplicated,
    "snapshot-misses-table" => SnapshotMissesTable,
    "liveness-not-restarted" => LivenessNotRestarted,
    "vote-forgotten" => VoteForgotten,
    "torn-write-accepted" => TornWriteAccepted,
    "stale-assignment-accepted" => StaleAssignmentAccepted,
    "task-placed-twice" => TaskPlacedTwice,
    "report-applied-backwards" => ReportAppliedBackwards,
    "node-overcommitted" => NodeOvercommitted,
    "stale-version-accepted" => StaleVersionAccepted,
    "planner-misses-event" => PlannerMissesEvent,
    "gap-not-forgiven" => GapNotForgiven,
    "address-given-twice" => AddressGivenTwice,
    "vip-of-removed-service" => VipOfRemovedService,
    "stale-tables-accepted" => StaleTablesAccepted,
}

impl PlantedBug {
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|bug| bug.name() == name)
    }

    /// The bug in the machine itself, if it is one.
    #[cfg(feature = "planted-bugs")]
    pub(super) fn in_machine(self) -> Option<Bug> {
        Some(match self {
            Self::AcknowledgedBeforeSync => Bug::AcknowledgedBeforeSync,
            Self::AnsweredBeforeCommit => Bug::AnsweredBeforeCommit,
            Self::FenceSkipped => Bug::FenceSkipped,
            Self::EventDropped => Bug::EventDropped,
            Self::PlansBeforeEmptyEntry => Bug::PlansBeforeEmptyEntry,
            Self::RequestNotDeduplicated => Bug::RequestNotDeduplicated,
            Self::SnapshotMissesTable => Bug::SnapshotMissesTable,
            Self::LivenessNotRestarted => Bug::LivenessNotRestarted,
            Self::VoteForgotten => Bug::VoteForgotten,
            Self::VipOfRemovedService => Bug::VipOfRemovedService,
            Self::TornWriteAccepted
            | Self::StaleAssignmentAccepted
            | Self::TaskPlacedTwice
            | Self::ReportAppliedBackwards
            | Self::NodeOvercommitted
            | Self::StaleVersionAccepted
            | Self::PlannerMissesEvent
            | Self::GapNotForgiven
            | Self::AddressGivenTwice
            | Self::StaleTablesAccepted => return None,
        })
    }
}

/// A planner that has one of the bugs, or none.
#[derive(Debug)]
pub(super) struct Saboteur<P> {
    inner: P,
    bug: Option<PlantedBug>,
    ids: IdGen,
    /// What the buggy planner believes in its next plan.
    heard: Vec<TaskReport>,
    turns: u64,
}

impl<P: Planning> Saboteur<P> {
    pub(super) fn new(inner: P, bug: Option<PlantedBug>, ids: IdGen) -> Self {
        Self {
            inner,
            bug,
            ids,
            heard: Vec::new(),
            turns: 0,
        }
    }

    fn has(&self, bug: PlantedBug) -> bool {
        self.bug == Some(bug)
    }

    /// Writes down what nodes said, whatever is known already.
    fn believe(&mut self, view: &StoreView, changes: &mut Vec<Change>) {
        for report in std::mem::take(&mut self.heard) {
            let planned = changes.iter_mut().find_map(|change| match change {
                Change::Put(Object::Task(task)) if task.id == report.task => Some(task),
                _ => None,
            });
            let believed = |task: &Task| TaskStatus {
                at: task.status.at,
                started: task.status.started,
                ..report.status.clone()
            };
            if let Some(task) = planned {
                *task = Task {
                    status: believed(task),
                    ..Task::clone(task)
                }
                .into();
            } else if let Some(task) = view.task(&report.task) {
                changes.push(
                    Task {
                        status: believed(task),
                        ..Task::clone(task)
                    }
                    .into(),
                );
            }
        }
    }

    fn spoil(&mut self, view: &StoreView, plan: &mut Plan) {
        self.turns += 1;
        let nodes: Vec<_> = view
            .nodes()
            .filter(|node| node.status.state == NodeState::Ready)
            .collect();
        let mut twins = Vec::new();
        for change in &mut plan.changes {
            let Change::Put(Object::Task(task)) = change else {
                continue;
            };
            if self.bug == Some(PlantedBug::AddressGivenTwice) && self.turns.is_multiple_of(5) {
                *task = Task {
                    attachments: anothers_addresses(view, task),
                    ..Task::clone(task)
                }
                .into();
            }
            if task.status.state != TaskState::Assigned || nodes.len() < 2 {
                continue;
            }
            if self.bug == Some(PlantedBug::TaskPlacedTwice) && self.turns.is_multiple_of(7) {
                let other = nodes.iter().find(|node| Some(&node.id) != task.node.as_ref());
                let node = other.map(|node| node.id.clone());
                twins.push(Change::from(Task {
                    id: TaskId::mint(&mut self.ids),
                    node,
                    ..Task::clone(task)
                }));
            }
            let placed_now = view.task(&task.id).is_none_or(|old| old.node.is_none());
            if self.bug == Some(PlantedBug::NodeOvercommitted) && placed_now {
                let node = nodes.first().map(|node| node.id.clone());
                *task = Task {
                    node,
                    ..Task::clone(task)
                }
                .into();
            }
        }
        plan.changes.extend(twins);
        self.believe(view, &mut plan.changes);
    }
}

/// The attachments of a new task, each with the number and addresses of somebody who has one there already.
fn anothers_addresses(view: &StoreView, task: &Task) -> Vec<Attachment> {
    let mut attachments = task.attachments.clone();
    if view.task(&task.id).is_some() {
        return attachments;
    }
    for own in &mut attachments {
        let others = view.tasks().filter(|other| !other.status.state.is_terminal());
        let mut held = others.flat_map(|other| &other.attachments);
        if let Some(other) = held.find(|other| other.network == own.network) {
            own.clone_from(other);
        }
    }
    attachments
}

impl<P: Planning> Planning for Saboteur<P> {
    fn lead(&mut self, view: &StoreView, now: Timestamp) {
        self.heard.clear();
        self.inner.lead(view, now);
    }

    fn replan(&mut self, view: &StoreView, now: Timestamp) {
        self.inner.replan(view, now);
    }

    fn restart_liveness(&mut self, view: &StoreView, now: Timestamp) {
        if !self.has(PlantedBug::GapNotForgiven) {
            self.inner.restart_liveness(view, now);
        }
    }

    fn observe(&mut self, view: &StoreView, events: &[Event]) {
        let miss = self.has(PlantedBug::PlannerMissesEvent)
            && events.first().is_some_and(|event| event.index.is_multiple_of(3));
        if !miss {
            self.inner.observe(view, events);
        }
    }

    fn handle(&mut self, view: &StoreView, input: PlannerInput, now: Timestamp) -> Result<(), Refuse> {
        if let PlannerInput::Reports { reports, .. } = &input
            && self.has(PlantedBug::ReportAppliedBackwards)
        {
            self.heard.extend(reports.iter().cloned());
        }
        self.inner.handle(view, input, now)
    }

    fn request(
        &mut self,
        view: &StoreView,
        request: &Request,
        ctx: &mut RequestContext<'_>,
    ) -> PlannedRequest {
        if let Request::UpdateService {
            reference,
            spec,
            force,
            ..
        } = request
            && self.has(PlantedBug::StaleVersionAccepted)
            && let Some(service) = view.service_by_name(reference)
        {
            let request = Request::UpdateService {
                reference: reference.clone(),
                version: service.meta.version,
                spec: spec.clone(),
                force: *force,
            };
            return self.inner.request(view, &request, ctx);
        }
        self.inner.request(view, request, ctx)
    }

    fn has_work(&self) -> bool {
        self.inner.has_work()
    }

    fn turn(&mut self, view: &StoreView, ctx: TurnContext<'_>) -> Plan {
        let mut plan = self.inner.turn(view, ctx);
        if self.bug.is_some() {
            self.spoil(view, &mut plan);
        }
        plan
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        self.inner.next_deadline()
    }
}
