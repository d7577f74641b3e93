//! Scenarios: what the watch says, and what progress makes of it.
//!
//! A `World` holds one service and hands its tasks' states over as the watch would.

use super::{Outcome, Progress, Seen};
use shoal_core::model::{
    DesiredState, EndpointMode, IdGen, Meta, Mode, RestartCondition, Restarts, Service, ServiceEndpoint,
    ServiceId, ServiceSpec, Slot, Task, TaskId, TaskSpec, TaskState, TaskStatus, Timestamp, UpdateConfig,
    UpdateState, UpdateStatus, Version, Wait, WaitCode, WallTime,
};
use std::{collections::BTreeMap, time::Duration};

struct World {
    ids: IdGen,
    service: Service,
    progress: Progress,
    clock: Duration,
    writes: u64,
}

impl World {
    fn new(replicas: u32) -> Self {
        let mut ids = IdGen::from_number(1);
        let service = Service {
            id: ServiceId::mint(&mut ids),
            meta: Meta::default(),
            spec: ServiceSpec {
                name: "web".to_owned(),
                labels: BTreeMap::new(),
                mode: Mode::Replicated { replicas },
                task: TaskSpec::default(),
                ports: Vec::new(),
                endpoint_mode: EndpointMode::default(),
                update: UpdateConfig::default(),
            },
            revision: 1,
            stack: None,
            endpoint: ServiceEndpoint::default(),
            update: None,
        };
        let progress = Progress::new(&[service.id.to_string()]);
        let mut world = Self {
            ids,
            service,
            progress,
            clock: Duration::ZERO,
            writes: 0,
        };
        world.tell_service();
        world.progress.handle(Seen::SnapshotEnd, Duration::ZERO);
        world
    }

    fn tell_service(&mut self) {
        self.progress
            .handle(Seen::Service(Box::new(self.service.clone())), self.clock);
    }

    fn task(&mut self, slot: u32) -> Task {
        self.writes += 1;
        Task {
            id: TaskId::mint(&mut self.ids),
            meta: Meta {
                version: Version(self.writes),
                created_at: WallTime(i64::try_from(self.writes).unwrap()),
                updated_at: WallTime(0),
            },
            service: self.service.id.clone(),
            revision: self.service.revision,
            slot: Slot::Replica(slot),
            node: None,
            attachments: Vec::new(),
            desired: DesiredState::Running,
            status: TaskStatus {
                state: TaskState::New,
                attempt: 0,
                message: String::new(),
                error: None,
                exit_code: None,
                container: None,
                pid: None,
                started: None,
                at: Timestamp::ZERO,
                wall: WallTime(0),
            },
            not_before: None,
            sequence: self.writes,
            restarts: Restarts::default(),
            wait: None,
        }
    }

    fn tell(&mut self, task: &Task) -> String {
        self.progress
            .handle(Seen::Task(Box::new(task.clone())), self.clock)
            .join("; ")
    }

    fn state(&mut self, task: &mut Task, state: TaskState) -> String {
        task.status.state = state;
        self.tell(task)
    }

    fn wait(&mut self, seconds: u64) -> Option<Outcome> {
        self.clock += Duration::from_secs(seconds);
        self.progress.look(self.clock);
        self.progress.outcome(self.clock)
    }
}

#[test]
fn converges_when_all_have_run_for_a_moment() {
    let mut world = World::new(2);
    let (mut one, mut two) = (world.task(1), world.task(2));
    assert_eq!(world.tell(&one), "web.1: new");
    assert_eq!(world.state(&mut one, TaskState::Preparing), "web.1: preparing");
    assert_eq!(world.state(&mut one, TaskState::Running), "web.1: running");
    assert_eq!(world.tell(&one), "", "nothing changed");
    assert_eq!(world.wait(5), None, "one of two");
    assert_eq!(
        world.progress.block(),
        ["web: 1 of 2 running …", "  web.1  running"]
    );
    world.state(&mut two, TaskState::Running);
    assert_eq!(world.progress.outcome(world.clock), None, "it may die at once");
    assert_eq!(world.progress.next_deadline(), Some(Duration::from_secs(6)));
    assert_eq!(world.wait(1), Some(Outcome::Converged));
    assert_eq!(world.progress.summary(), ["web: 2 of 2 running"]);
}

#[test]
fn a_task_that_dies_at_once_does_not_converge() {
    let mut world = World::new(1);
    for attempt in 0..3 {
        let mut task = world.task(1);
        world.state(&mut task, TaskState::Starting);
        task.status.error = Some("exec /nope: no such file".to_owned());
        let said = world.state(&mut task, TaskState::Rejected);
        assert_eq!(said, "web.1: rejected: exec /nope: no such file");
        task.desired = DesiredState::Shutdown;
        world.tell(&task);
        let expect = (attempt == 2)
            .then(|| Outcome::Failed("web.1 keeps failing: rejected: exec /nope: no such file".to_owned()));
        assert_eq!(world.wait(1), expect);
    }
}

#[test]
fn a_program_that_dies_again_and_again_is_given_up() {
    let mut world = World::new(1);
    for attempt in 0..6 {
        let mut task = world.task(1);
        world.state(&mut task, TaskState::Running);
        task.status.error = Some("exited with code 1".to_owned());
        world.state(&mut task, TaskState::Failed);
        let expect = (attempt == 5)
            .then(|| Outcome::Failed("web.1 keeps failing: failed: exited with code 1".to_owned()));
        assert_eq!(world.wait(1), expect);
    }
}

#[test]
fn a_failure_that_heals_is_none() {
    let mut world = World::new(1);
    for _ in 0..2 {
        let mut task = world.task(1);
        world.state(&mut task, TaskState::Failed);
        task.desired = DesiredState::Shutdown;
        world.tell(&task);
    }
    let mut task = world.task(1);
    world.tell(&task);
    assert_eq!(
        world.progress.block(),
        ["web: 0 of 1 running …", "  web.1  new", "  web.1  before: failed"]
    );
    world.state(&mut task, TaskState::Running);
    assert_eq!(world.wait(1), Some(Outcome::Converged));
}

#[test]
fn what_only_a_user_can_mend_is_waited_for_a_while() {
    let mut world = World::new(1);
    let mut task = world.task(1);
    task.wait = Some(Wait {
        code: WaitCode::ConstraintUnmet,
        since: Timestamp::ZERO,
        detail: "no node has zone=a".to_owned(),
    });
    let said = world.state(&mut task, TaskState::Pending);
    assert_eq!(said, "web.1: pending (constraint-unmet: no node has zone=a)");
    assert_eq!(world.wait(9), None);
    let reason = "web.1 waits: constraint-unmet: no node has zone=a".to_owned();
    assert_eq!(world.wait(1), Some(Outcome::Failed(reason)));
    task.wait = None;
    world.tell(&task);
    assert_eq!(world.wait(0), None, "somebody mended it");
}

#[test]
fn an_update_counts_new_tasks_only_and_waits_for_its_end() {
    let mut world = World::new(1);
    let mut old = world.task(1);
    world.state(&mut old, TaskState::Running);
    world.service.revision = 2;
    let mut update = UpdateStatus {
        state: UpdateState::Updating,
        message: "1 of 1".to_owned(),
        revision: 2,
        since: Timestamp::ZERO,
        started_at: WallTime(0),
        finished_at: None,
        monitor_until: None,
    };
    world.service.update = Some(update.clone());
    world.tell_service();
    assert_eq!(world.wait(5), None);
    old.desired = DesiredState::Shutdown;
    world.tell(&old);
    let mut new = world.task(1);
    world.state(&mut new, TaskState::Running);
    assert_eq!(
        world.wait(5),
        None,
        "the old one still runs and the update is under way"
    );
    world.state(&mut old, TaskState::Shutdown);
    assert_eq!(world.wait(5), None, "the update is under way");
    update.state = UpdateState::Completed;
    world.service.update = Some(update.clone());
    world.tell_service();
    assert_eq!(world.wait(1), Some(Outcome::Converged));
    update.state = UpdateState::Paused;
    update.message = "web.1 failed".to_owned();
    world.service.update = Some(update);
    world.tell_service();
    let reason = "the update of web is paused: web.1 failed".to_owned();
    assert_eq!(world.wait(0), Some(Outcome::Failed(reason)));
}

#[test]
fn scaling_down_waits_for_what_is_surplus() {
    let mut world = World::new(1);
    let (mut one, mut two) = (world.task(1), world.task(2));
    world.state(&mut one, TaskState::Running);
    world.state(&mut two, TaskState::Running);
    assert_eq!(world.wait(5), None);
    two.desired = DesiredState::Remove;
    world.tell(&two);
    assert_eq!(world.wait(5), None);
    world
        .progress
        .handle(Seen::TaskRemoved(Box::new(two)), world.clock);
    assert_eq!(world.wait(1), Some(Outcome::Converged));
}

#[test]
fn a_task_that_may_end_counts_as_done_and_zero_replicas_are_at_once() {
    let mut world = World::new(1);
    world.service.spec.task.restart.condition = RestartCondition::OnFailure;
    world.tell_service();
    let mut task = world.task(1);
    world.state(&mut task, TaskState::Complete);
    assert_eq!(world.wait(1), Some(Outcome::Converged));
    assert_eq!(World::new(0).wait(1), Some(Outcome::Converged));
}

#[test]
fn a_failure_without_a_restart_is_final() {
    let mut world = World::new(1);
    world.service.spec.task.restart.condition = RestartCondition::None;
    world.tell_service();
    let mut task = world.task(1);
    world.state(&mut task, TaskState::Failed);
    let reason = "web.1 failed and is not restarted".to_owned();
    assert_eq!(world.wait(0), Some(Outcome::Failed(reason)));
}

#[test]
fn history_is_no_failure() {
    let mut world = World::new(1);
    world.progress.handle(Seen::Reset, world.clock);
    world.tell_service();
    let mut running = world.task(1);
    let mut old: Vec<_> = (0..5).map(|_| world.task(1)).collect();
    running.sequence = 100;
    assert_eq!(world.state(&mut running, TaskState::Running), "");
    for task in &mut old {
        assert_eq!(world.state(task, TaskState::Failed), "");
    }
    assert_eq!(world.wait(5), None, "the snapshot may lack a task yet");
    world.progress.handle(Seen::SnapshotEnd, world.clock);
    assert_eq!(world.wait(1), Some(Outcome::Converged));
}

#[test]
fn many_slots_are_counted() {
    let mut world = World::new(40);
    for slot in 1..=40 {
        let mut task = world.task(slot);
        let state = if slot <= 30 {
            TaskState::Running
        } else {
            TaskState::Preparing
        };
        world.state(&mut task, state);
    }
    assert_eq!(
        world.progress.block(),
        ["web: 30 of 40 running …", "  10 preparing, 30 running"]
    );
}
