//! The supervisor on a fake runtime: the shell's promises, without a container.

mod leftovers;

use super::*;
use crate::assignment::AssignedTask;
use crate::health::{HealthPlan, Probe};
use crate::task::{Failure, ImageFacts, StartedFacts};
use crate::testing::network::{NET, Sketch, node, task};
use crate::testing::overlay::{FakeOverlay, hub_without};
use crate::testing::{assigned, linked};
use shoal_agent_runtime::image::Progress;
use shoal_agent_runtime::{Exit, ExitReason, Signal};
use shoal_core::dispatcher::TablesDiff;
use shoal_core::model::{Slot, WaitCode};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Instant, SystemTime};
use tokio::sync::Notify;

/// When every program here ends.
const ENDED_AT: SystemTime = SystemTime::UNIX_EPOCH;

/// A runtime that only remembers; images by name say how it misbehaves.
#[derive(Debug, Default)]
struct Fake {
    state: Mutex<FakeState>,
    overlay: Arc<FakeOverlay>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct FakeState {
    running: BTreeMap<ContainerId, Instant>,
    ended: BTreeMap<ContainerId, i32>,
    starts: u32,
    removed: BTreeSet<ContainerId>,
    killed: Vec<Killed>,
    logged: Vec<ContainerId>,
}

/// What was in force when a stop signal was sent.
type Killed = (ContainerId, usize);

impl Fake {
    /// How many addresses get new connections.
    fn backends(&self) -> usize {
        let seen = self.overlay.seen();
        let tables = seen.tables.last().unwrap();
        tables.groups.values().map(|group| group.backends.len()).sum()
    }

    fn exit(&self, id: &ContainerId, code: i32) {
        let mut state = self.state.lock().unwrap();
        if state.running.remove(id).is_some() {
            state.ended.insert(id.clone(), code);
        }
        drop(state);
        self.changed.notify_waiters();
    }
}

impl TaskRuntime for Fake {
    async fn has_image(&self, task: &AssignedTask) -> bool {
        !["missing", "slow", "panics"].contains(&task.spec.container.image.as_str())
    }
    async fn fetch(&self, task: &AssignedTask, _: &Progress) -> Result<ImageFacts, Failure> {
        match task.spec.container.image.as_str() {
            "missing" => Err(Failure::new("no such image")),
            "slow" => std::future::pending().await,
            "panics" => panic!("the fetch fell over"),
            _ => Ok(ImageFacts::default()),
        }
    }
    async fn inspect(&self, _: &AssignedTask) -> ImageFacts {
        ImageFacts::default()
    }
    async fn create(&self, _: &ContainerId, _: &AssignedTask, _: u32) -> Result<(), Failure> {
        Ok(())
    }
    async fn namespace(&self, _: &ContainerId) -> Result<PathBuf, Failure> {
        Ok(PathBuf::from("/proc/1/ns/net"))
    }
    async fn check_ports(&self, _: &AssignedTask) -> Result<(), Failure> {
        Ok(())
    }
    async fn start(&self, id: &ContainerId) -> Result<StartedFacts, Failure> {
        let started = Instant::now();
        let mut state = self.state.lock().unwrap();
        state.starts += 1;
        state.running.insert(id.clone(), started);
        Ok(StartedFacts { pid: 1, started })
    }
    async fn kill(&self, id: &ContainerId, signal: Signal) -> Result<(), Failure> {
        let killed = (id.clone(), self.backends());
        self.state.lock().unwrap().killed.push(killed);
        self.exit(id, 128 + signal.number());
        Ok(())
    }
    async fn wait(&self, id: &ContainerId) -> Result<Exit, Failure> {
        loop {
            let changed = self.changed.notified();
            if let Some(code) = self.state.lock().unwrap().ended.get(id) {
                return Ok(Exit {
                    code: *code,
                    signal: None,
                    oom_killed: false,
                    reason: ExitReason::Exited,
                    at: ENDED_AT,
                });
            }
            changed.await;
        }
    }
    async fn probe(&self, _: &ContainerId, _: &HealthPlan) -> Probe {
        Probe {
            began: Instant::now(),
            exit_code: Some(0),
            output: String::new(),
        }
    }
    async fn remove(&self, id: &ContainerId, _: Option<&AssignedTask>) -> Result<(), Failure> {
        self.exit(id, 137);
        self.state.lock().unwrap().removed.insert(id.clone());
        Ok(())
    }
    async fn list(&self) -> Result<Vec<(ContainerId, Found)>, Failure> {
        let state = self.state.lock().unwrap();
        let running = state.running.iter().map(|(id, started)| {
            let facts = StartedFacts {
                pid: 1,
                started: *started,
            };
            (id.clone(), Found::Running(facts))
        });
        let ended = state.ended.iter().map(|(id, code)| {
            let exit = Exit {
                code: *code,
                signal: None,
                oom_killed: false,
                reason: ExitReason::Exited,
                at: ENDED_AT,
            };
            (id.clone(), Found::Exited(exit))
        });
        let there = running.chain(ended).filter(|(id, _)| !state.removed.contains(id));
        Ok(there.collect())
    }
    async fn logged(&self) -> Vec<ContainerId> {
        self.state.lock().unwrap().logged.clone()
    }
    async fn forget_logs(&self, _: &ContainerId) {}
}

struct Rig {
    fake: Arc<Fake>,
    board: Arc<Board>,
    messages: mpsc::Sender<Message>,
    link: watch::Sender<Link>,
    running: tokio::task::JoinHandle<()>,
    at: u64,
    ports: watch::Sender<PortsTaken>,
    clients: Arc<Clients>,
}

impl Rig {
    async fn start(dir: &std::path::Path, fake: Arc<Fake>, boot: &str) -> Self {
        let (disk, kept) = open(dir);
        let found = fake.list().await.unwrap();
        let (link, watched) = watch::channel(Link::Session);
        let board = Arc::new(Board::default());
        let at = kept.set.at.index;
        let network = Arc::new(hub_without(&fake.overlay, &kept.tables, kept.failing()).await);
        let (ports, told) = watch::channel(PortsTaken::default());
        let clients = Arc::new(Clients::default());
        let supervisor = Supervisor::new(Parts {
            runtime: Arc::clone(&fake),
            board: Arc::clone(&board),
            disk,
            kept,
            found,
            boot: boot.to_owned(),
            link: watched,
            network,
            ports: told,
            clients: Arc::clone(&clients),
        });
        let (messages, inbox) = mpsc::channel(8);
        let running = tokio::spawn(supervisor.run(inbox));
        Self {
            fake,
            board,
            messages,
            link,
            running,
            at,
            ports,
            clients,
        }
    }

    async fn stop(self) -> Arc<Fake> {
        drop(self.messages);
        self.running.await.unwrap();
        self.fake
    }

    async fn send(&mut self, tasks: Vec<AssignedTask>) {
        self.send_with(tasks, TablesDiff::default()).await;
    }

    async fn send_with(&mut self, tasks: Vec<AssignedTask>, tables: TablesDiff) {
        self.at += 1;
        let at = Position {
            epoch: 1,
            index: self.at,
        };
        let (answer, taken) = oneshot::channel();
        let update = AssignmentUpdate::Full { at, tasks, tables };
        self.messages.send(Message::Update(update, answer)).await.unwrap();
        taken.await.unwrap().unwrap();
    }

    async fn until(&self, what: &str, done: impl Fn(&Board, &FakeState) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !done(&self.board, &self.fake.state.lock().unwrap()) {
            assert!(Instant::now() < deadline, "{what}: {:?}", self.board.all());
            tokio::task::yield_now().await;
        }
    }

    async fn until_state(&self, number: u32, state: TaskState) {
        let id = assigned(number).id;
        let is = |board: &Board| board.get(&id).is_some_and(|posted| posted.report.state == state);
        self.until(&format!("task {number} {state:?}"), |board, _| is(board))
            .await;
    }
}

fn open(dir: &std::path::Path) -> (Disk, OnDisk) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match Disk::open(dir) {
            Ok(opened) => return opened,
            Err(error) if Instant::now() > deadline => panic!("{error:?}"),
            Err(_) => std::thread::yield_now(),
        }
    }
}

fn container(number: u32) -> ContainerId {
    container_of(&assigned(number).id, 0).unwrap()
}

fn with_image(number: u32, image: &str) -> AssignedTask {
    let mut task = assigned(number);
    task.spec.container.image = image.to_owned();
    task
}

#[tokio::test]
async fn tasks_run_stop_and_are_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::start(dir.path(), Arc::default(), "a").await;
    rig.send(vec![assigned(1), with_image(2, "missing"), with_image(3, "slow")])
        .await;
    rig.until_state(1, TaskState::Running).await;
    rig.until_state(2, TaskState::Rejected).await;
    rig.until_state(3, TaskState::Preparing).await;
    let mut stopped = [assigned(1), with_image(3, "slow")];
    for task in &mut stopped {
        task.desired = DesiredState::Shutdown;
    }
    rig.send(stopped.to_vec()).await;
    rig.until_state(1, TaskState::Shutdown).await;
    rig.until_state(3, TaskState::Shutdown).await;
    rig.send(vec![]).await;
    rig.until("all forgotten", |board, state| {
        board.all().is_empty() && state.removed.contains(&container(1))
    })
    .await;
}

#[tokio::test]
async fn a_panic_fails_its_own_task_only() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::start(dir.path(), Arc::default(), "a").await;
    rig.send(vec![assigned(1), with_image(2, "panics")]).await;
    rig.until_state(2, TaskState::Failed).await;
    rig.until_state(1, TaskState::Running).await;
    let error = rig.board.get(&assigned(2).id).unwrap().report.error.unwrap();
    assert_eq!(
        error,
        "internal error while handling the task: the fetch fell over"
    );
}

#[tokio::test]
async fn a_restarted_worker_takes_its_tasks_up_and_starts_none_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::start(dir.path(), Arc::default(), "a").await;
    rig.send(vec![assigned(1), assigned(2), assigned(3)]).await;
    for number in [1, 2, 3] {
        rig.until_state(number, TaskState::Running).await;
    }
    rig.fake.exit(&container(3), 4);
    rig.until_state(3, TaskState::Failed).await;
    let fake = rig.stop().await;
    let before = fake.state.lock().unwrap().running.clone();
    let mut rig = Rig::start(dir.path(), fake, "a").await;
    rig.until_state(1, TaskState::Running).await;
    rig.until_state(2, TaskState::Running).await;
    rig.until_state(3, TaskState::Failed).await;
    assert_eq!(rig.fake.state.lock().unwrap().starts, 3);
    assert_eq!(rig.fake.state.lock().unwrap().running, before);
    rig.send(vec![assigned(1)]).await;
    rig.until("the others are gone", |board, state| {
        board.all().len() == 1 && state.running.len() == 1
    })
    .await;
}

#[tokio::test]
async fn what_ended_without_a_daemon_says_when_it_ended() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::start(dir.path(), Arc::default(), "a").await;
    rig.send(vec![assigned(1), assigned(2)]).await;
    rig.until_state(1, TaskState::Running).await;
    rig.until_state(2, TaskState::Running).await;
    rig.fake.exit(&container(2), 3);
    rig.until_state(2, TaskState::Failed).await;
    let fake = rig.stop().await;
    fake.exit(&container(1), 4);
    let rig = Rig::start(dir.path(), fake, "a").await;
    for (number, code) in [(1, 4), (2, 3)] {
        rig.until_state(number, TaskState::Failed).await;
        let posted = rig.board.get(&assigned(number).id).unwrap();
        assert_eq!(posted.report.exit_code, Some(code));
        assert_eq!(posted.wall, clock::wall_of(ENDED_AT), "task {number}");
    }
}

#[tokio::test]
async fn after_a_reboot_what_ran_is_lost_and_what_ended_stays_ended() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::start(dir.path(), Arc::default(), "a").await;
    rig.send(vec![assigned(1), assigned(2)]).await;
    rig.until_state(1, TaskState::Running).await;
    rig.until_state(2, TaskState::Running).await;
    rig.fake.exit(&container(2), 0);
    rig.until_state(2, TaskState::Complete).await;
    let created = |rig: &Rig, number| {
        let posted = rig.board.get(&task(number));
        posted.and_then(|posted| posted.report.created)
    };
    let before = [created(&rig, 1), created(&rig, 2)];
    assert!(before.iter().all(Option::is_some), "{before:?}");
    rig.stop().await;
    let rig = Rig::start(dir.path(), Arc::default(), "b").await;
    rig.until_state(1, TaskState::Failed).await;
    rig.until_state(2, TaskState::Complete).await;
    assert_eq!(rig.fake.state.lock().unwrap().starts, 0);
    assert_eq!([created(&rig, 1), created(&rig, 2)], before);
    let lost = rig.board.get(&task(1)).unwrap();
    assert_eq!(lost.report.exit_code, None, "nobody saw its end");
}

#[tokio::test]
async fn cut_off_it_restarts_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::start(dir.path(), Arc::default(), "a").await;
    let mut task = assigned(1);
    task.spec.restart.delay = Some(Duration::ZERO);
    rig.send(vec![task]).await;
    rig.until_state(1, TaskState::Running).await;
    rig.link.send(Link::CutOff).unwrap();
    let again = |board: &Board| {
        board
            .get(&assigned(1).id)
            .is_some_and(|posted| posted.report.attempt == 1)
    };
    rig.fake.exit(&container(1), 1);
    rig.until("a second attempt", |board, _| again(board)).await;
    rig.until_state(1, TaskState::Running).await;
}

#[tokio::test]
async fn orphans_are_swept_once_the_whole_set_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let fake = Arc::new(Fake::default());
    fake.start(&container(7)).await.unwrap();
    let mut rig = Rig::start(dir.path(), fake, "a").await;
    assert_eq!(rig.fake.state.lock().unwrap().running.len(), 1);
    rig.send(vec![]).await;
    rig.until("the orphan is gone", |_, state| {
        state.removed.contains(&container(7))
    })
    .await;
}

#[tokio::test]
async fn tables_are_in_force_before_a_task_that_left_them_is_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::start(dir.path(), Arc::default(), "a").await;
    let mut sketch = Sketch::new();
    sketch.service(1, "web", &[NET], &[]);
    sketch.endpoint(1, 1, Slot::Replica(1), node(1), false);
    sketch.endpoint(2, 1, Slot::Replica(2), node(1), false);
    let all = |sketch: &Sketch| crate::network::whole(&sketch.tables());
    rig.send_with(vec![linked(1), linked(2)], all(&sketch)).await;
    rig.until_state(1, TaskState::Running).await;
    rig.until_state(2, TaskState::Running).await;
    assert_eq!(rig.fake.overlay.seen().endpoints.len(), 2);
    assert_eq!(rig.fake.backends(), 4);
    let mut stopped = linked(1);
    stopped.desired = DesiredState::Shutdown;
    sketch.endpoint(1, 1, Slot::Replica(1), node(1), true);
    rig.send_with(vec![stopped.clone(), linked(2)], all(&sketch))
        .await;
    rig.until_state(1, TaskState::Shutdown).await;
    assert_eq!(rig.fake.state.lock().unwrap().killed, [(container(1), 2)]);
    // The other one ends by itself: nobody waits for the managers.
    rig.fake.exit(&container(2), 1);
    rig.until_state(2, TaskState::Failed).await;
    rig.until("both are removed", |_, state| state.removed.len() == 2)
        .await;
    assert_eq!(rig.fake.backends(), 0);
    assert!(rig.fake.overlay.seen().endpoints.is_empty());
}

#[tokio::test]
async fn an_unhealthy_one_gets_no_connections_after_a_restart_and_is_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::start(dir.path(), Arc::default(), "a").await;
    let mut sketch = Sketch::new();
    sketch.service(1, "web", &[NET], &[]);
    sketch.endpoint(1, 1, Slot::Replica(1), node(1), false);
    let all = crate::network::whole(&sketch.tables());
    rig.send_with(vec![linked(1)], all).await;
    rig.until_state(1, TaskState::Running).await;
    let last = rig.board.get(&task(1)).unwrap().report;
    let fake = rig.stop().await;
    // As a daemon leaves it that was killed after it had told of the stop, and before that had done anything.
    let (disk, _kept) = open(dir.path());
    let stopping = Report {
        wait: Some(WaitCode::Stopping),
        error: Some("unhealthy: refused".to_owned()),
        ..last
    };
    disk.put_report(&task(1), &stopping).await.unwrap();
    drop(disk);
    let before = fake.overlay.seen().tables.len();
    let rig = Rig::start(dir.path(), fake, "a").await;
    rig.until_state(1, TaskState::Failed).await;
    let error = rig.board.get(&task(1)).unwrap().report.error;
    assert_eq!(error.as_deref(), Some("unhealthy: refused"));
    assert_eq!(rig.fake.state.lock().unwrap().killed, [(container(1), 0)]);
    let seen = rig.fake.overlay.seen();
    let since = seen.tables.iter().skip(before);
    let backends = since.flat_map(|tables| tables.groups.values().map(|group| group.backends.len()));
    assert_eq!(backends.max(), Some(0), "not for a moment");
}

#[tokio::test]
async fn tables_are_there_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::start(dir.path(), Arc::default(), "a").await;
    let mut sketch = Sketch::new();
    sketch.service(1, "web", &[NET], &[]);
    for number in 1..=3 {
        sketch.endpoint(number, 1, Slot::Replica(number), node(2), false);
    }
    let all = |sketch: &Sketch| crate::network::whole(&sketch.tables());
    rig.send_with(vec![], all(&sketch)).await;
    sketch.remove_endpoint(2);
    rig.send_with(vec![], all(&sketch)).await;
    rig.stop().await;
    let (_disk, kept) = open(dir.path());
    assert_eq!(kept.tables, sketch.tables());
}

#[tokio::test]
async fn a_network_that_is_not_ready_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let fake = Arc::new(Fake::default());
    fake.overlay.seen().unready = 1;
    let mut rig = Rig::start(dir.path(), fake, "a").await;
    rig.send(vec![linked(1)]).await;
    rig.until_state(1, TaskState::Running).await;
    assert_eq!(rig.fake.overlay.seen().unready, 0);
}

#[tokio::test]
async fn one_that_waits_for_its_client_is_started_once_it_came() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::start(dir.path(), Arc::default(), "a").await;
    let mut waiting = assigned(1);
    let label = (shoal_core::model::AWAITS_CLIENT.to_owned(), String::new());
    waiting.spec.container.labels.extend([label]);
    rig.send(vec![waiting, assigned(2)]).await;
    rig.until_state(1, TaskState::Ready).await;
    rig.clients.came(&task(2));
    rig.until_state(2, TaskState::Running).await;
    assert_eq!(rig.fake.state.lock().unwrap().starts, 1);
    rig.clients.came(&task(1));
    rig.until_state(1, TaskState::Running).await;
}

#[tokio::test]
async fn who_holds_a_published_port_is_said_of_the_task_until_it_is_had() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::start(dir.path(), Arc::default(), "a").await;
    let mut published = linked(1);
    published.ports = vec![shoal_core::model::PublishedPort {
        target: 80,
        published: 8080,
        protocol: shoal_core::model::Protocol::Tcp,
        mode: shoal_core::model::PortMode::Ingress,
        host_ip: None,
    }];
    rig.send(vec![published]).await;
    rig.until_state(1, TaskState::Running).await;
    let waits = |board: &Board| board.get(&task(1)).and_then(|posted| posted.report.wait);
    rig.ports.send_replace(PortsTaken::of_tcp(8080, "nginx (pid 3)"));
    rig.until("it is said", |board, _| waits(board) == Some(WaitCode::PortTaken))
        .await;
    rig.ports.send_replace(PortsTaken::default());
    rig.until("it is over", |board, _| waits(board).is_none()).await;
}
