//! Diffs and the order of reports, over a store of one service with one task. The wire and the sessions
//! themselves are tested where they are.

mod tables;

use super::{
    report::{self, Ignored},
    *,
};
use crate::{
    model::*,
    store::{Applied, Change, Entry, ObjectKey, Store},
};

struct World {
    store: Store,
    sessions: Sessions,
    node: NodeId,
    task: Task,
    index: u64,
}

impl World {
    /// One service with one task, just assigned.
    fn new() -> Self {
        let mut ids = IdGen::from_number(1);
        let (service, node) = (ServiceId::mint(&mut ids), NodeId::mint(&mut ids));
        let revision = Revision {
            key: RevisionKey {
                service: service.clone(),
                number: 1,
            },
            meta: Meta::default(),
            task: TaskSpec::default(),
            ports: Vec::new(),
            networks: Vec::new(),
        };
        let task = Task {
            id: TaskId::mint(&mut ids),
            meta: Meta::default(),
            service,
            revision: 1,
            slot: Slot::Replica(1),
            node: Some(node.clone()),
            attachments: Vec::new(),
            desired: DesiredState::Ready,
            status: status(TaskState::Assigned, 0),
            not_before: Some(Timestamp(5)),
            sequence: 1,
            restarts: Restarts::default(),
            wait: None,
        };
        let mut world = Self {
            store: Store::new(),
            sessions: Sessions::new(),
            node,
            task: task.clone(),
            index: 0,
        };
        world.apply(vec![revision.into(), task.into()]);
        world
    }

    fn apply(&mut self, changes: Vec<Change>) -> Vec<(NodeId, Assignments)> {
        self.index += 1;
        let entry = Entry {
            min_version: 1,
            term: 1,
            planned_after: self.store.view().last_effective_index(),
            changes,
            ..Entry::default()
        };
        let Applied::Took(events) = self.store.apply(self.index, 1, &entry) else {
            panic!("dropped");
        };
        self.sessions.handle(&self.store.snapshot(), &events)
    }

    fn report(&self, state: TaskState, attempt: u32) -> Result<Task, Ignored> {
        let report = TaskReport {
            task: self.task.id.clone(),
            status: status(state, attempt),
            wait: None,
        };
        report::apply(self.store.view(), &self.node, &report, Timestamp(9))
    }
}

fn status(state: TaskState, attempt: u32) -> TaskStatus {
    TaskStatus {
        state,
        attempt,
        message: String::new(),
        error: None,
        exit_code: None,
        container: None,
        pid: None,
        at: Timestamp::ZERO,
        wall: WallTime(0),
        started: None,
    }
}

#[test]
fn a_session_starts_complete_and_goes_on_by_diffs() {
    let mut world = World::new();
    let full = world.sessions.open(&world.store.snapshot(), &world.node);
    assert_eq!((full.prev, full.position.index), (None, 1));
    assert_eq!(full.tasks.len(), 1);
    assert_eq!(full.tasks[0].hold, std::time::Duration::from_nanos(5));

    // A report changes nothing that the worker does not know.
    let reported = world.report(TaskState::Preparing, 0).unwrap();
    assert_eq!(world.apply(vec![reported.clone().into()]), Vec::new());

    let promoted = Task {
        desired: DesiredState::Running,
        ..reported
    };
    let diffs = world.apply(vec![promoted.into()]);
    let [(node, diff)] = diffs.as_slice() else {
        panic!("expected one diff, found {diffs:?}");
    };
    assert_eq!((node, diff.prev), (&world.node, Some(full.position)));
    assert_eq!((diff.position.index, diff.tasks.len()), (3, 1));

    let gone = world.apply(vec![Change::Delete(ObjectKey::Task(world.task.id.clone()))]);
    assert_eq!(gone[0].1.removed, vec![world.task.id.clone()]);
    assert_eq!(gone[0].1.prev, Some(diff.position));
}

#[test]
fn nobody_without_a_session_is_sent_anything() {
    let mut world = World::new();
    let promoted = Task {
        desired: DesiredState::Running,
        ..world.task.clone()
    };
    assert_eq!(world.apply(vec![promoted.clone().into()]), Vec::new());
    let _full = world.sessions.open(&world.store.snapshot(), &world.node);
    world.sessions.close(&world.node.clone());
    assert_eq!(world.apply(vec![world.task.clone().into()]), Vec::new());
}

#[test]
fn reports_are_ordered_by_attempt_and_state() {
    let mut world = World::new();
    let running = world.report(TaskState::Running, 0).unwrap();
    assert_eq!(running.status.started, Some(Timestamp(9)));
    world.apply(vec![running.into()]);
    for (state, attempt, expect) in [
        (TaskState::Assigned, 0, Ignored::NotWorkers),
        (TaskState::Orphaned, 0, Ignored::NotWorkers),
        (TaskState::Preparing, 0, Ignored::Outdated),
        (TaskState::Running, 0, Ignored::Known),
    ] {
        assert_eq!(world.report(state, attempt), Err(expect), "{state:?}");
    }
    // A restart in place goes back in state, but not in attempt; it starts anew.
    let again = world.report(TaskState::Starting, 1).unwrap();
    assert_eq!(again.status.started, None);
    let failed = world.report(TaskState::Failed, 1).unwrap();
    world.apply(vec![failed.into()]);
    assert_eq!(world.report(TaskState::Running, 2), Err(Ignored::Ended));
}

#[test]
fn reports_of_others_are_ignored() {
    let world = World::new();
    let mut ids = IdGen::from_number(9);
    let mut report = TaskReport {
        task: world.task.id.clone(),
        status: status(TaskState::Running, 0),
        wait: None,
    };
    let other = NodeId::mint(&mut ids);
    let view = world.store.view();
    assert_eq!(
        report::apply(view, &other, &report, Timestamp(1)),
        Err(Ignored::OtherNode)
    );
    report.task = TaskId::mint(&mut ids);
    assert_eq!(
        report::apply(view, &world.node, &report, Timestamp(1)),
        Err(Ignored::UnknownTask)
    );
}

#[test]
fn what_a_worker_says_it_waits_for_keeps_its_age() {
    let mut world = World::new();
    let mut report = TaskReport {
        task: world.task.id.clone(),
        status: status(TaskState::Preparing, 0),
        wait: Some(Wait {
            code: WaitCode::ImagePull,
            since: Timestamp::ZERO,
            detail: "1 of 3 layers".to_owned(),
        }),
    };
    let first = report::apply(world.store.view(), &world.node, &report, Timestamp(9)).unwrap();
    world.apply(vec![first.into()]);
    report.wait.as_mut().unwrap().detail = "2 of 3 layers".to_owned();
    let second = report::apply(world.store.view(), &world.node, &report, Timestamp(20)).unwrap();
    let wait = second.wait.unwrap();
    assert_eq!(
        (wait.since, wait.detail.as_str()),
        (Timestamp(9), "2 of 3 layers")
    );
}

#[test]
fn long_texts_are_cut() {
    let world = World::new();
    let mut told = status(TaskState::Failed, 0);
    told.error = Some("ä".repeat(5000));
    let report = TaskReport {
        task: world.task.id.clone(),
        status: told,
        wait: None,
    };
    let task = report::apply(world.store.view(), &world.node, &report, Timestamp(9)).unwrap();
    assert_eq!(task.status.error.unwrap().chars().count(), 1025);
}

#[test]
fn a_hostile_worker_fills_no_store() {
    let world = World::new();
    let long = || "ü".repeat(1 << 20);
    let report = TaskReport {
        task: world.task.id.clone(),
        status: TaskStatus {
            message: long(),
            error: Some(long()),
            container: Some(long()),
            ..status(TaskState::Preparing, 0)
        },
        wait: Some(Wait {
            code: WaitCode::ImagePull,
            since: Timestamp::ZERO,
            detail: long(),
        }),
    };
    let task = report::apply(&world.store.snapshot(), &world.node, &report, Timestamp(1)).unwrap();
    let texts = [
        Some(task.status.message),
        task.status.error,
        task.status.container,
        task.wait.map(|wait| wait.detail),
    ];
    for text in texts {
        let text = text.unwrap();
        assert_eq!(text.chars().count(), 1025, "1024 characters and an ellipsis");
        assert!(text.ends_with('…'));
    }
}
