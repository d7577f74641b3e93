//! A cluster in one value: store, planner, sessions and workers that do as they are told.
//!
//! Every plan is applied at once and checked against what must always hold. Time moves only when told to,
//! from deadline to deadline.

use shoal_core::{
    allocator::REST,
    check,
    dispatcher::{Assignments, NetworkTables, Sessions, TaskAssignment, TaskReport},
    model::*,
    planner::{Planner, PlannerInput, TurnContext},
    refusal::Refusal,
    request::{self, Request, RequestContext, Response},
    store::{Applied, Change, Entry, Event, EventKind, Object, Store, StoreView},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

pub(crate) const TERM: u64 = 1;

pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) planner: Planner,
    pub(crate) sessions: Sessions,
    pub(crate) workers: BTreeMap<NodeId, Worker>,
    pub(crate) ids: IdGen,
    pub(crate) now: Timestamp,
    pub(crate) budget: usize,
    /// Every wait code a task was ever seen with.
    pub(crate) waits_seen: BTreeSet<WaitCode>,
    pub(crate) changes: usize,
    /// Checks are O(cluster): off for the large ones.
    pub(crate) checked: bool,
    /// The next plan does not come to be.
    pub(crate) lose_next: bool,
    /// So many entries are applied before the sessions hear of any.
    pub(crate) held_up: u8,
    unheard: Vec<Event>,
    /// Reports that no applied plan has taken, by ticket: their workers send them again.
    unanswered: BTreeMap<u64, (NodeId, Vec<TaskReport>)>,
    /// When an address was last given back by somebody that a node knew.
    given_back: BTreeMap<IpAddr, Timestamp>,
    ticket: u64,
    index: u64,
}

/// What one node's worker holds.
#[derive(Default)]
pub(crate) struct Worker {
    pub(crate) tasks: BTreeMap<TaskId, TaskAssignment>,
    /// How far each has come.
    pub(crate) states: BTreeMap<TaskId, TaskState>,
    pub(crate) tables: NetworkTables,
    pub(crate) silent: bool,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let v6 = Some("fd12:3456:789a::/48".parse().unwrap());
        let pools = AddressPools::default();
        Self::with_pools(seed, &AddressPools { v6, ..pools })
    }

    pub(crate) fn with_pools(seed: u64, pools: &AddressPools) -> Self {
        let mut world = Self {
            store: Store::new(),
            planner: Planner::new(),
            sessions: Sessions::new(),
            workers: BTreeMap::new(),
            ids: IdGen::from_number(seed),
            now: Timestamp(1),
            budget: 2000,
            waits_seen: BTreeSet::new(),
            changes: 0,
            checked: true,
            lose_next: false,
            held_up: 0,
            unheard: Vec::new(),
            unanswered: BTreeMap::new(),
            given_back: BTreeMap::new(),
            ticket: 0,
            index: 0,
        };
        let cluster = Cluster {
            id: ClusterId::mint(&mut world.ids),
            meta: Meta::default(),
            spec: ClusterSpec {
                pools: pools.clone(),
                ..ClusterSpec::default()
            },
            status: ClusterStatus::default(),
        };
        world.bootstrap(cluster);
        let now = world.now;
        world.planner.lead(world.store.view(), now);
        world
    }

    /// The first entry without its node: scripts have none that they did not name.
    fn bootstrap(&mut self, cluster: Cluster) {
        let mut ids = IdGen::from_number(u64::MAX);
        let (node, _) = node(&mut ids, "first");
        let request = Request::Bootstrap {
            cluster: Box::new(cluster),
            node: Box::new(node),
        };
        let wall = self.wall();
        let mut ctx = RequestContext {
            ids: &mut ids,
            now: self.now,
            wall,
        };
        let (changes, _) = request::plan(self.store.view(), &request, &mut ctx).unwrap();
        let others = changes
            .into_iter()
            .filter(|change| !matches!(change, Change::Put(Object::Node(_))));
        self.apply(others.collect());
    }

    pub(crate) fn view(&self) -> &StoreView {
        self.store.view()
    }

    pub(crate) fn wall(&self) -> WallTime {
        WallTime(i64::try_from(self.now.0).unwrap())
    }

    /// Applies changes as one entry and lets the sessions hear of it.
    pub(crate) fn apply(&mut self, changes: Vec<Change>) -> Vec<Event> {
        if changes.is_empty() {
            return Vec::new();
        }
        self.index += 1;
        self.changes += changes.len();
        let entry = Entry {
            min_version: 1,
            term: TERM,
            planned_after: self.store.view().last_effective_index(),
            at: self.now,
            wall: self.wall(),
            changes,
            ..Entry::default()
        };
        let Applied::Took(events) = self.store.apply(self.index, TERM, &entry) else {
            panic!("dropped");
        };
        self.unheard.extend(events.iter().cloned());
        if self.held_up == 0 {
            self.deliver();
        }
        self.held_up = self.held_up.saturating_sub(1);
        self.check_events(&events);
        if self.checked {
            self.check_state();
        }
        events
    }

    /// Lets the sessions hear of everything.
    pub(crate) fn deliver(&mut self) {
        let view = self.store.snapshot();
        for (node, assignments) in self.sessions.handle(&view, &std::mem::take(&mut self.unheard)) {
            self.workers.get_mut(&node).unwrap().take(assignments);
        }
    }

    pub(crate) fn request(&mut self, request: &Request) -> Result<Response, Refusal> {
        let wall = self.wall();
        let mut ctx = RequestContext {
            ids: &mut self.ids,
            now: self.now,
            wall,
        };
        let view = self.store.snapshot();
        let (changes, response) = request::plan(&view, request, &mut ctx)?;
        let events = self.apply(changes);
        let view = self.store.snapshot();
        self.planner.observe(&view, &events);
        Ok(response)
    }

    /// Takes turns until nothing is left to plan.
    pub(crate) fn settle(&mut self) {
        // The small worlds of these tests need a few hundred steps, the large one turns of its own.
        for _ in 0..50 + 20_000 / self.budget {
            if !self.turn() {
                return;
            }
        }
        panic!("planning does not come to an end");
    }

    pub(crate) fn turn(&mut self) -> bool {
        let wall = self.wall();
        let view = self.store.snapshot();
        let plan = self.planner.turn(
            &view,
            TurnContext {
                ids: &mut self.ids,
                now: self.now,
                wall,
                budget: self.budget,
            },
        );
        if std::mem::take(&mut self.lose_next) {
            self.planner.replan(&view, self.now);
            for ticket in plan.reports_taken {
                let (node, reports) = self.unanswered.remove(&ticket).unwrap();
                self.send(&node, reports);
            }
            return true;
        }
        self.apply(plan.changes);
        for ticket in plan.reports_taken {
            self.unanswered.remove(&ticket).unwrap();
        }
        plan.more
    }

    /// A new planner of the same cluster: what workers were not answered they send again.
    pub(crate) fn take_over(&mut self) {
        let view = self.store.snapshot();
        self.planner.lead(&view, self.now);
        for (node, reports) in std::mem::take(&mut self.unanswered).into_values() {
            self.send(&node, reports);
        }
    }

    /// Lets time pass, stopping at every deadline; workers that are not silent are heard every second.
    pub(crate) fn pass(&mut self, duration: Duration) {
        let end = self.now.after(duration);
        let mut beat = self.now;
        let mut loops = 0;
        loop {
            let deadline = self.planner.next_deadline().unwrap_or(end);
            let next = deadline.max(self.now).min(beat).min(end);
            self.now = next;
            if next >= beat {
                self.heartbeats();
                beat = next.after(Duration::from_secs(1));
            }
            self.settle();
            loops += 1;
            assert!(
                loops < 100_000,
                "{:?} {:?} {:?}",
                self.now,
                end,
                self.planner.next_deadline()
            );
            if self.now >= end {
                return;
            }
            if deadline <= self.now && self.planner.next_deadline().is_some_and(|at| at <= self.now) {
                panic!("a deadline that has passed is asked for again");
            }
        }
    }

    pub(crate) fn heartbeats(&mut self) {
        let view = self.store.snapshot();
        let heard: Vec<_> = self
            .workers
            .iter()
            .filter(|(_, worker)| !worker.silent)
            .map(|(node, _)| node.clone())
            .collect();
        for node in heard {
            // A node that was removed is refused.
            let _known = self
                .planner
                .handle(&view, PlannerInput::Heartbeat { node }, self.now);
        }
    }

    pub(crate) fn add_node(&mut self, node: Node, description: NodeDescription) {
        let id = node.id.clone();
        self.request(&Request::AddNode { node: Box::new(node) }).unwrap();
        self.open_session(&id, description);
    }

    pub(crate) fn open_session(&mut self, id: &NodeId, description: NodeDescription) {
        let view = self.store.snapshot();
        let input = PlannerInput::Opened {
            node: id.clone(),
            description,
        };
        self.planner.handle(&view, input, self.now).unwrap();
        self.deliver();
        let assignments = self.sessions.open(&view, id);
        let worker = self.workers.entry(id.clone()).or_default();
        worker.silent = false;
        worker.take(assignments);
    }

    /// Every worker that is heard moves each of its tasks one state on. False if none moved.
    pub(crate) fn step_workers(&mut self) -> bool {
        let mut moved = false;
        let nodes: Vec<_> = self.workers.keys().cloned().collect();
        for node in nodes {
            let worker = self.workers.get_mut(&node).unwrap();
            if worker.silent {
                continue;
            }
            let reports = worker.step();
            moved |= !reports.is_empty();
            self.report(&node, reports);
        }
        moved
    }

    pub(crate) fn run_workers(&mut self) {
        self.held_up = 0;
        self.deliver();
        self.settle();
        while self.step_workers() {
            self.settle();
        }
    }

    pub(crate) fn report(&mut self, node: &NodeId, reports: Vec<(TaskId, TaskState)>) {
        let reports: Vec<_> = reports
            .into_iter()
            .map(|(task, state)| told(task, state))
            .collect();
        self.send(node, reports);
    }

    /// Sends reports; a node that was removed meanwhile is refused, and has nothing to say any more.
    pub(crate) fn send(&mut self, node: &NodeId, reports: Vec<TaskReport>) {
        self.ticket += 1;
        let view = self.store.snapshot();
        let input = PlannerInput::Reports {
            node: node.clone(),
            ticket: self.ticket,
            reports: reports.clone(),
        };
        if self.planner.handle(&view, input, self.now).is_ok() {
            self.unanswered.insert(self.ticket, (node.clone(), reports));
        } else {
            assert!(view.node(node).is_none(), "a known node's reports are refused");
        }
    }

    /// A task ends by itself.
    pub(crate) fn end(&mut self, task: &TaskId, state: TaskState) {
        let node = self.view().task(task).and_then(|task| task.node.clone()).unwrap();
        self.workers
            .get_mut(&node)
            .unwrap()
            .states
            .insert(task.clone(), state);
        self.report(&node, vec![(task.clone(), state)]);
    }

    fn check_events(&mut self, events: &[Event]) {
        self.check_rests(events);
        for event in events {
            let (Object::Task(new), Some(Object::Task(old))) = (&event.object, &event.old) else {
                continue;
            };
            let state = |task: &Task| (task.status.attempt, task.status.state);
            assert!(state(new) >= state(old), "a state went back: {old:?} -> {new:?}");
            assert!(
                new.desired >= old.desired,
                "desired went back: {old:?} -> {new:?}"
            );
            assert!(
                old.node.is_none() || old.node == new.node,
                "a task changed its node"
            );
        }
    }

    /// Nobody is given an address that somebody had a moment ago, be it in another network.
    fn check_rests(&mut self, events: &[Event]) {
        let now = self.now;
        for event in events {
            let removed = event.kind == EventKind::Removed;
            let (was, is) = match event.old.as_ref() {
                old if !removed => (old.map(held).unwrap_or_default(), held(&event.object)),
                _ => (held(&event.object), Vec::new()),
            };
            let known =
                !matches!(&event.object, Object::Task(task) if task.status.state < TaskState::Assigned);
            for place in was.iter().filter(|place| known && !is.contains(place)) {
                self.given_back.insert(*place, now);
            }
            for place in is.iter().filter(|place| !was.contains(place)) {
                let since = self.given_back.remove(place).map(|at| now.since(at));
                assert!(
                    since.is_none_or(|since| since >= REST),
                    "{place:?} rested {since:?} only"
                );
            }
        }
    }

    fn check_state(&mut self) {
        let view = self.store.snapshot();
        assert_eq!(check::addresses(&view), Vec::<String>::new());
        for (node, worker) in self.workers.iter().filter(|_| self.unheard.is_empty()) {
            if self.sessions.is_open(node) {
                assert_eq!(check::tables(&view, node, &worker.tables), Vec::<String>::new());
            }
        }
        let mut live = BTreeSet::new();
        for task in view.tasks() {
            self.waits_seen.extend(task.wait.as_ref().map(|wait| wait.code));
            if task.desired <= DesiredState::Running {
                let slot = (task.service.clone(), task.slot.clone());
                assert!(live.insert(slot), "a slot has two tasks that shall run: {task:?}");
            }
            check_wait(task);
            assert!(
                view.revision(&task.revision_key()).is_some(),
                "a task without its revision"
            );
        }
        for node in view.nodes() {
            check_node(&view, node);
        }
    }
}

/// What an object holds in networks.
fn held(object: &Object) -> Vec<IpAddr> {
    let places = match object {
        Object::Task(task) if task.status.state.is_terminal() => &[][..],
        Object::Task(task) => &task.attachments,
        Object::Service(service) => &service.endpoint.vips,
        _ => &[],
    };
    places.iter().flat_map(|place| place.addresses.iter()).collect()
}

/// Whatever waits has a code, and what has ended or runs has none, but for what its node says of its ports.
fn check_wait(task: &Task) {
    let state = task.status.state;
    let shall_run = task.desired == DesiredState::Running;
    let stopping = task.desired >= DesiredState::Shutdown;
    let waits = !state.is_terminal()
        && (stopping || state <= TaskState::Assigned || (state == TaskState::Ready && !shall_run));
    if waits {
        assert!(task.wait.is_some(), "it waits without a reason: {task:?}");
    }
    if state.is_terminal() || (state == TaskState::Running && !stopping) {
        let code = task.wait.as_ref().map(|wait| wait.code);
        let said = code.filter(|code| *code != WaitCode::PortTaken || state.is_terminal());
        assert_eq!(said, None, "it does not wait: {task:?}");
    }
}

/// No node has more reserved than it has, nor a port twice.
fn check_node(view: &StoreView, node: &Node) {
    let (mut cpu, mut memory, mut ports) = (0, 0, BTreeSet::new());
    let on_node = view.tasks_on_node(&node.id);
    for task in
        on_node.filter(|task| task.status.state >= TaskState::Assigned && !task.status.state.is_terminal())
    {
        let revision = view.revision(&task.revision_key()).unwrap();
        cpu += revision.task.reservations.cpu.0;
        memory += revision.task.reservations.memory.0;
        let own = |port: &&PublishedPort| port.mode == PortMode::Host;
        for port in revision.ports.iter().filter(own) {
            assert!(
                ports.insert((port.protocol, port.published, port.host_ip)),
                "a port twice: {task:?}"
            );
        }
    }
    let has = node.description.as_ref().map(|d| d.resources).unwrap_or_default();
    assert!(
        cpu <= has.cpu.0 && memory <= has.memory.0,
        "over its reservations: {node:?}"
    );
}

pub(crate) fn told(task: TaskId, state: TaskState) -> TaskReport {
    let failed = matches!(state, TaskState::Failed | TaskState::Rejected);
    let health = state == TaskState::Starting;
    TaskReport {
        task,
        status: TaskStatus {
            state,
            attempt: 0,
            message: state.name().to_owned(),
            error: failed.then(|| "it went wrong".to_owned()),
            exit_code: failed.then_some(1),
            container: None,
            pid: health.then_some(1),
            at: Timestamp::ZERO,
            wall: WallTime(0),
            started: None,
        },
        wait: None,
    }
}

impl Worker {
    fn take(&mut self, assignments: Assignments) {
        if assignments.prev.is_none() {
            self.tables = NetworkTables::default();
            let named: BTreeSet<_> = assignments.tasks.iter().map(|t| t.task.id.clone()).collect();
            self.tasks.retain(|id, _| named.contains(id));
        }
        self.tables.apply(&assignments.tables);
        for removed in assignments.removed {
            self.tasks.remove(&removed);
            self.states.remove(&removed);
        }
        for assignment in assignments.tasks {
            let id = assignment.task.id.clone();
            self.states
                .entry(id.clone())
                .or_insert(assignment.task.status.state);
            self.tasks.insert(id, assignment);
        }
    }

    fn step(&mut self) -> Vec<(TaskId, TaskState)> {
        let mut reports = Vec::new();
        for (id, assignment) in &self.tasks {
            let state = self.states.get_mut(id).unwrap();
            let next = match (assignment.task.desired, *state) {
                (_, state) if state.is_terminal() => continue,
                (DesiredState::Shutdown | DesiredState::Remove, _) => TaskState::Shutdown,
                (_, TaskState::New | TaskState::Pending | TaskState::Assigned) => TaskState::Accepted,
                (_, TaskState::Accepted) => TaskState::Preparing,
                (_, TaskState::Preparing) => TaskState::Ready,
                (DesiredState::Running, TaskState::Ready) => TaskState::Starting,
                (DesiredState::Running, TaskState::Starting) => TaskState::Running,
                (DesiredState::Ready | DesiredState::Running, _) => continue,
            };
            *state = next;
            reports.push((id.clone(), next));
        }
        reports
    }
}

pub(crate) fn node(ids: &mut IdGen, hostname: &str) -> (Node, NodeDescription) {
    let node = Node {
        id: NodeId::mint(ids),
        meta: Meta::default(),
        spec: NodeSpec {
            labels: Labels::new(),
            role: Role::Worker,
            availability: Availability::Active,
        },
        description: None,
        status: NodeStatus {
            state: NodeState::Unknown,
            message: String::new(),
            since: WallTime(0),
            at: Timestamp::ZERO,
        },
        manager: None,
    };
    let description = NodeDescription {
        hostname: hostname.to_owned(),
        platform: Platform {
            os: "linux".to_owned(),
            arch: "amd64".to_owned(),
        },
        resources: Resources {
            cpu: CpuNanos(4_000_000_000),
            memory: Bytes(8 << 30),
        },
        ..NodeDescription::default()
    };
    (node, description)
}

pub(crate) fn service(name: &str, mode: Mode) -> ServiceSpec {
    let mut task = TaskSpec::default();
    task.container.image = "web:1".to_owned();
    ServiceSpec {
        name: name.to_owned(),
        labels: Labels::new(),
        mode,
        task,
        ports: Vec::new(),
        endpoint_mode: EndpointMode::Vip,
        update: UpdateConfig::default(),
    }
}
