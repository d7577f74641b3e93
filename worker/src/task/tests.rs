//! The machine driven by hand: inputs in, outputs as short words out.

mod links;

use super::leaving::REMOVALS;
use super::*;
use crate::health::Probe;
use crate::testing::assigned;
use shoal_agent_runtime::{Exit, ExitReason};
use shoal_core::model::{AWAITS_CLIENT, Bytes, HealthCheck, HealthTest, RestartCondition, RestartPolicy};
use std::time::SystemTime;

struct Bench {
    machine: TaskMachine,
    now: Instant,
    said: Vec<String>,
}

fn word(output: &Output) -> String {
    match output {
        Output::Do(Step::Signal(signal)) => format!("signal {signal}"),
        Output::Do(Step::Probe(_)) => "probe".to_owned(),
        Output::Do(step) => format!("{step:?}").to_lowercase(),
        Output::Cancel => "cancel".to_owned(),
        Output::Report { report, durable } => {
            let mark = if *durable { "!" } else { "" };
            let attempt = if report.attempt > 0 {
                format!("#{}", report.attempt)
            } else {
                String::new()
            };
            format!("{}{attempt}{mark}", report.state.name())
        }
    }
}

impl Bench {
    fn new(task: AssignedTask, origin: Origin, link: Link) -> Self {
        let now = Instant::now();
        let (machine, outputs) = TaskMachine::new(task, origin, link, now);
        let said = outputs.iter().map(word).collect();
        Self { machine, now, said }
    }

    fn fresh(task: AssignedTask) -> Self {
        Self::new(task, Origin::Fresh, Link::Session)
    }

    fn running(task: AssignedTask) -> Self {
        let mut bench = Self::fresh(task);
        bench.run_up();
        bench
    }

    fn run_up(&mut self) {
        self.give(Input::Fetched(Ok(ImageFacts::default())));
        self.give(Input::Created(Ok(())));
        self.give(Input::PortsChecked(Ok(())));
        let started = self.now;
        self.give(Input::Started(Ok(StartedFacts { pid: 7, started })));
        self.said.clear();
    }

    fn give(&mut self, input: Input) {
        let outputs = self.machine.handle(input, self.now);
        self.said.extend(outputs.iter().map(word));
    }

    fn steer(&mut self, desired: DesiredState) {
        self.give(Input::Steer {
            desired,
            hold: Duration::ZERO,
        });
    }

    fn later(&mut self, pause: Duration) {
        self.now += pause;
        self.give(Input::Tick);
    }

    fn end(&mut self, exit: Exit) {
        self.give(Input::Ended { exit, hint: None });
    }

    #[track_caller]
    fn said(&mut self, expect: &str) {
        assert_eq!(self.said.join(" "), expect);
        self.said.clear();
    }

    fn error(&self) -> &str {
        self.machine.report().error.as_deref().unwrap_or_default()
    }
}

fn exit(code: i32) -> Exit {
    Exit {
        code,
        signal: (code > 128).then_some(code - 128),
        oom_killed: false,
        reason: ExitReason::Exited,
        at: SystemTime::UNIX_EPOCH,
    }
}

fn checked(retries: u32) -> AssignedTask {
    let mut task = assigned(1);
    task.spec.container.health = Some(HealthCheck {
        test: Some(HealthTest::Cmd(vec!["true".to_owned()])),
        interval: Some(Duration::from_secs(1)),
        retries: Some(retries),
        ..HealthCheck::default()
    });
    task
}

fn probe(bench: &Bench, code: i32) -> Input {
    Input::Probed(Probe {
        began: bench.now,
        exit_code: Some(code),
        output: "curl: refused".to_owned(),
    })
}

#[test]
fn the_whole_way_up_and_an_end_by_itself() {
    let mut bench = Bench::fresh(assigned(1));
    bench.said("accepted preparing look");
    bench.give(Input::Looked(true));
    bench.said("fetch");
    bench.give(Input::Fetched(Ok(ImageFacts::default())));
    bench.said("preparing create");
    bench.give(Input::Created(Ok(())));
    bench.said("ready checkports");
    bench.give(Input::PortsChecked(Ok(())));
    bench.said("starting start");
    let started = bench.now;
    bench.give(Input::Started(Ok(StartedFacts { pid: 7, started })));
    bench.said("watch running");
    bench.end(exit(0));
    bench.said("complete! remove");
    bench.give(Input::Removed(Ok(())));
    assert!(bench.machine.is_gone());
    assert_eq!(bench.machine.next_deadline(), None);
}

#[test]
fn ends_say_why() {
    let mut limited = assigned(1);
    limited.spec.container.limits.memory = Some(Bytes(64 << 20));
    let oom = Exit {
        oom_killed: true,
        ..exit(137)
    };
    let lost = Exit {
        reason: ExitReason::ShimLost,
        ..exit(137)
    };
    let lost_and_oom = Exit {
        oom_killed: true,
        ..lost.clone()
    };
    for (exit, expect) in [
        (exit(3), "exited with code 3"),
        (exit(139), "killed by SIGSEGV (exit code 139)"),
        (
            oom,
            "out of memory: the kernel killed a process at the limit of 64MiB (exit code 137); raise the memory limit",
        ),
        (
            lost,
            "its shim was killed, and the container with it (who or what sent SIGKILL to shoal-shim?)",
        ),
        (
            lost_and_oom,
            "its shim was killed, and the container with it (who or what sent SIGKILL to shoal-shim?); before that it had run out of memory: the kernel killed a process of it",
        ),
    ] {
        let mut bench = Bench::running(limited.clone());
        bench.end(exit);
        bench.said("failed! remove");
        assert_eq!(bench.error(), expect);
    }
}

#[test]
fn a_step_that_fails_names_itself_and_leaves_nothing() {
    let failure = || Failure {
        message: "exec /nope: not found".to_owned(),
        exit_code: Some(127),
    };
    let mut bench = Bench::fresh(assigned(1));
    bench.said.clear();
    bench.give(Input::Fetched(Err(failure())));
    bench.said("rejected! remove");
    assert_eq!(bench.machine.report().exit_code, Some(127));

    let mut bench = Bench::fresh(assigned(1));
    bench.give(Input::Fetched(Ok(ImageFacts::default())));
    bench.said.clear();
    bench.give(Input::Created(Err(failure())));
    bench.said("rejected! remove");

    let mut bench = Bench::fresh(assigned(1));
    bench.give(Input::Fetched(Ok(ImageFacts::default())));
    bench.give(Input::Created(Ok(())));
    bench.said.clear();
    bench.give(Input::PortsChecked(Err(Failure::new(
        "port 80/tcp is in use by nginx (pid 3)",
    ))));
    bench.said("rejected! remove");
    assert_eq!(bench.error(), "port 80/tcp is in use by nginx (pid 3)");
}

#[test]
fn only_an_image_that_is_pulled_is_waited_for() {
    for (here, said, wait) in [
        (true, "fetch", None),
        (false, "preparing fetch", Some(WaitCode::ImagePull)),
    ] {
        let mut bench = Bench::fresh(assigned(1));
        assert_eq!(bench.machine.report().wait, None);
        bench.said.clear();
        bench.give(Input::Looked(here));
        bench.said(said);
        assert_eq!(bench.machine.report().wait, wait);
        bench.give(Input::Fetched(Ok(ImageFacts::default())));
        assert_eq!(bench.machine.report().wait, None);
    }
    // How far it is: said while it is waited for, and not after.
    let mut bench = Bench::fresh(assigned(1));
    bench.give(Input::Looked(false));
    let news = || Input::Pulling("pulling web:1: 1 of 9 MB".to_owned());
    bench.said.clear();
    bench.give(news());
    bench.said("preparing");
    let report = bench.machine.report();
    assert_eq!(
        (report.message.as_str(), report.wait),
        ("pulling web:1: 1 of 9 MB", Some(WaitCode::ImagePull))
    );
    bench.give(Input::Fetched(Ok(ImageFacts::default())));
    bench.said.clear();
    bench.give(news());
    bench.said("");
    // Not wanted any more while it was looked for.
    let mut bench = Bench::fresh(assigned(1));
    bench.said.clear();
    bench.steer(DesiredState::Shutdown);
    bench.said("cancel shutdown! remove");
    bench.give(Input::Looked(false));
    bench.said("");
}

#[test]
fn ready_is_held_until_wanted_and_until_its_delay_has_passed() {
    let mut task = assigned(1);
    task.desired = DesiredState::Ready;
    let mut bench = Bench::fresh(task.clone());
    bench.give(Input::Fetched(Ok(ImageFacts::default())));
    bench.said.clear();
    bench.give(Input::Created(Ok(())));
    bench.said("ready");
    bench.steer(DesiredState::Running);
    bench.said("checkports");

    task.desired = DesiredState::Running;
    task.hold = Duration::from_secs(5);
    let mut bench = Bench::fresh(task);
    bench.give(Input::Fetched(Ok(ImageFacts::default())));
    bench.give(Input::Created(Ok(())));
    bench.said.clear();
    bench.later(Duration::from_secs(4));
    bench.said("");
    bench.later(Duration::from_secs(1));
    bench.said("checkports");
}

#[test]
fn a_deadline_that_has_passed_is_none() {
    let mut task = assigned(1);
    task.desired = DesiredState::Ready;
    task.hold = Duration::from_secs(5);
    let mut bench = Bench::fresh(task);
    bench.give(Input::Fetched(Ok(ImageFacts::default())));
    bench.give(Input::Created(Ok(())));
    bench.later(Duration::from_secs(5));
    assert_eq!(bench.machine.next_deadline(), None);
    bench.said.clear();
    bench.steer(DesiredState::Running);
    bench.said("checkports");

    // Held again while its client is waited for, it is not looked at before it is held no more.
    let mut task = assigned(1);
    let label = (AWAITS_CLIENT.to_owned(), String::new());
    task.spec.container.labels.extend([label]);
    let mut bench = Bench::fresh(task);
    bench.give(Input::Fetched(Ok(ImageFacts::default())));
    bench.give(Input::Created(Ok(())));
    let hold = Duration::from_secs(60);
    bench.give(Input::Steer {
        desired: DesiredState::Running,
        hold,
    });
    assert_eq!(bench.machine.next_deadline(), Some(bench.now + hold));
}

#[test]
fn what_cannot_be_prepared_is_said_when_its_delay_has_passed() {
    let mut task = assigned(1);
    task.hold = Duration::from_secs(5);
    let refused = |task: &AssignedTask| {
        let mut bench = Bench::fresh(task.clone());
        bench.said.clear();
        bench.give(Input::Fetched(Err(Failure::new("no such image"))));
        bench.said("preparing");
        bench
    };
    let mut bench = refused(&task);
    bench.later(Duration::from_secs(5));
    bench.said("rejected! remove");
    // The managers take the delay away when it has passed for them, which may be a moment before it has here.
    let mut bench = refused(&task);
    bench.steer(DesiredState::Running);
    bench.said("rejected! remove");
    let mut bench = refused(&task);
    bench.steer(DesiredState::Shutdown);
    bench.said("shutdown! remove");
}

#[test]
fn stopping_asks_waits_out_the_grace_and_kills() {
    let mut task = assigned(1);
    task.spec.container.stop_signal = Some("SIGQUIT".to_owned());
    task.spec.container.stop_grace = Some(Duration::from_secs(2));
    let mut bench = Bench::running(task);
    bench.steer(DesiredState::Shutdown);
    bench.said("running signal SIGQUIT");
    bench.later(Duration::from_secs(1));
    bench.said("");
    bench.later(Duration::from_secs(1));
    bench.said("signal SIGKILL");
    bench.later(KILL_AGAIN);
    bench.said("running signal SIGKILL");
    assert!(bench.machine.report().message.contains("does not end"));
    bench.end(exit(137));
    bench.said("shutdown! remove");
    bench.steer(DesiredState::Running);
    bench.said("");
}

#[test]
fn a_stop_breaks_off_a_fetch_and_waits_for_other_steps() {
    let mut bench = Bench::fresh(assigned(1));
    bench.said.clear();
    bench.steer(DesiredState::Shutdown);
    bench.said("cancel shutdown! remove");
    bench.give(Input::Fetched(Ok(ImageFacts::default())));
    bench.said("");

    let mut bench = Bench::fresh(assigned(1));
    bench.give(Input::Fetched(Ok(ImageFacts::default())));
    bench.said.clear();
    bench.steer(DesiredState::Remove);
    bench.said("");
    bench.give(Input::Created(Ok(())));
    bench.said("ready shutdown! remove");

    let mut bench = Bench::fresh(assigned(1));
    bench.give(Input::Fetched(Ok(ImageFacts::default())));
    bench.give(Input::Created(Ok(())));
    bench.give(Input::PortsChecked(Ok(())));
    bench.said.clear();
    bench.steer(DesiredState::Shutdown);
    bench.said("");
    let started = bench.now;
    bench.give(Input::Started(Ok(StartedFacts { pid: 7, started })));
    bench.said("watch running running signal SIGTERM");
}

#[test]
fn a_task_with_a_check_runs_once_healthy_and_fails_once_unhealthy() {
    let mut bench = Bench::fresh(checked(2));
    bench.give(Input::Fetched(Ok(ImageFacts::default())));
    bench.give(Input::Created(Ok(())));
    bench.give(Input::PortsChecked(Ok(())));
    bench.said.clear();
    let started = bench.now;
    bench.give(Input::Started(Ok(StartedFacts { pid: 7, started })));
    bench.said("watch starting");
    bench.later(Duration::from_secs(1));
    bench.said("probe");
    bench.give(probe(&bench, 0));
    bench.said("running");
    for expect in ["", "running! signal SIGTERM"] {
        bench.later(Duration::from_secs(1));
        bench.said("probe");
        bench.give(probe(&bench, 1));
        bench.said(expect);
    }
    bench.end(exit(0));
    bench.said("failed! remove");
    assert_eq!(bench.error(), "unhealthy: curl: refused");
}

#[test]
fn taken_up_from_the_shim_nothing_is_started_again() {
    let found = |was_running, container| Origin::Found {
        attempt: 0,
        was_running,
        failing: None,
        container,
    };
    let up = || {
        Found::Running(StartedFacts {
            pid: 9,
            started: Instant::now(),
        })
    };
    let mut bench = Bench::new(assigned(1), found(true, up()), Link::Lost);
    bench.said("watch inspect");
    bench.give(Input::Inspected(ImageFacts::default()));
    bench.said("running");

    let mut bench = Bench::new(checked(1), found(false, up()), Link::Lost);
    bench.give(Input::Inspected(ImageFacts::default()));
    bench.said("watch inspect starting");

    let mut bench = Bench::new(assigned(1), found(true, Found::Exited(exit(5))), Link::Lost);
    bench.said("failed! remove");

    let mut bench = Bench::new(assigned(1), found(false, Found::Created), Link::Lost);
    bench.said("preparing look");

    let mut stopped = assigned(1);
    stopped.desired = DesiredState::Shutdown;
    let mut bench = Bench::new(stopped, found(true, up()), Link::Lost);
    bench.give(Input::Inspected(ImageFacts::default()));
    bench.said("watch inspect running running signal SIGTERM");

    let mut bench = Bench::new(assigned(1), Origin::Lost { attempt: 0 }, Link::Lost);
    bench.said("failed! remove");
}

#[test]
fn cut_off_it_restarts_in_place_and_in_session_it_does_not() {
    let mut task = assigned(1);
    task.spec.restart.delay = Some(Duration::from_secs(3));
    let mut bench = Bench::running(task);
    bench.give(Input::Link(Link::Lost));
    bench.end(exit(1));
    bench.said("failed! remove");
    bench.give(Input::Removed(Ok(())));
    bench.later(Duration::from_secs(9));
    bench.said("");
    bench.give(Input::Link(Link::CutOff));
    bench.later(Duration::ZERO);
    bench.said("accepted#1! preparing#1 look");
    bench.run_up();
    bench.end(exit(1));
    bench.give(Input::Removed(Ok(())));
    bench.said("failed#1! remove");
    bench.give(Input::Link(Link::Session));
    bench.later(Duration::from_secs(3));
    bench.said("");
}

#[test]
fn the_restart_policy_bounds_restarts_in_place() {
    let check = |policy: RestartPolicy, code, expect: u32| {
        let mut task = assigned(1);
        task.spec.restart = policy;
        let mut bench = Bench::new(task, Origin::Fresh, Link::CutOff);
        bench.run_up();
        for _ in 0..5 {
            bench.end(exit(code));
            bench.give(Input::Removed(Ok(())));
            bench.later(LONG);
            bench.run_up();
        }
        assert_eq!(bench.machine.attempt(), expect, "{policy:?} {code}");
    };
    const LONG: Duration = Duration::from_secs(600);
    let policy = |condition, max_attempts, window| RestartPolicy {
        condition,
        delay: None,
        max_attempts,
        window,
    };
    check(policy(RestartCondition::None, None, None), 1, 0);
    check(policy(RestartCondition::OnFailure, None, None), 0, 0);
    check(policy(RestartCondition::OnFailure, None, None), 1, 5);
    check(policy(RestartCondition::Any, Some(2), None), 0, 2);
    check(policy(RestartCondition::Any, Some(2), Some(LONG)), 0, 5);
}

#[test]
fn a_panic_fails_the_task_and_removal_is_tried_again() {
    let mut bench = Bench::running(assigned(1));
    bench.give(Input::Panicked("index out of bounds".to_owned()));
    bench.said("failed! remove");
    assert_eq!(
        bench.error(),
        "internal error while handling the task: index out of bounds"
    );
    for _ in 1..REMOVALS {
        bench.give(Input::Removed(Err(Failure::new("busy"))));
        bench.now = bench.machine.next_deadline().unwrap();
        bench.give(Input::Tick);
        bench.said("remove");
    }
    bench.give(Input::Removed(Err(Failure::new("busy"))));
    assert!(bench.machine.is_gone(), "left to the sweep of orphans");
}

#[test]
fn origins() {
    let report = |state| Report {
        state,
        ..Report::new(&Origin::Fresh)
    };
    let mut known_running = assigned(1);
    known_running.known.state = TaskState::Running;
    let mut known_ended = assigned(1);
    known_ended.known.state = TaskState::Failed;
    let ended = report(TaskState::Failed);
    assert_eq!(origin(&assigned(1), None, None, false), Origin::Fresh);
    assert_eq!(
        origin(&assigned(1), None, None, true),
        Origin::Lost { attempt: 0 }
    );
    assert_eq!(
        origin(&known_running, None, None, false),
        Origin::Lost { attempt: 0 }
    );
    assert_eq!(
        origin(&assigned(1), Some(&ended), Some(Found::Created), true),
        Origin::Ended(ended)
    );
    assert!(matches!(origin(&known_ended, None, None, true), Origin::Ended(_)));
    assert_eq!(
        origin(
            &assigned(1),
            Some(&report(TaskState::Running)),
            Some(Found::Created),
            false
        ),
        Origin::Found {
            attempt: 0,
            was_running: true,
            failing: None,
            container: Found::Created
        }
    );
}

#[test]
fn a_stop_that_nobody_asked_for_is_remembered() {
    let mut last = Report {
        state: TaskState::Running,
        wait: Some(WaitCode::Stopping),
        error: Some("unhealthy: refused".to_owned()),
        ..Report::new(&Origin::Fresh)
    };
    let why = |task: &AssignedTask, last: &Report| failing(task, Some(last));
    assert_eq!(why(&assigned(1), &last).as_deref(), Some("unhealthy: refused"));
    let mut stopped = assigned(1);
    stopped.desired = DesiredState::Shutdown;
    assert_eq!(why(&stopped, &last), None, "that one is asked for");
    last.error = None;
    let expect = "it was being stopped when the daemon was restarted";
    assert_eq!(why(&assigned(1), &last).as_deref(), Some(expect));
    last.state = TaskState::Failed;
    assert_eq!(why(&assigned(1), &last), None, "it has ended");
    last.state = TaskState::Running;
    last.wait = None;
    assert_eq!(why(&assigned(1), &last), None);
    assert_eq!(failing(&assigned(1), None), None);
}

#[test]
fn a_task_that_waits_for_its_client_is_started_once_it_came_or_never() {
    let mut task = assigned(1);
    let label = (AWAITS_CLIENT.to_owned(), String::new());
    task.spec.container.labels.extend([label]);
    let ready = || {
        let mut bench = Bench::fresh(task.clone());
        bench.give(Input::Fetched(Ok(ImageFacts::default())));
        bench.said.clear();
        bench.give(Input::Created(Ok(())));
        bench.said("ready ready");
        bench
    };
    let mut bench = ready();
    bench.steer(DesiredState::Running);
    bench.said("");
    bench.give(Input::ClientCame);
    bench.said("checkports");
    assert_eq!(bench.machine.next_deadline(), None);

    let mut bench = ready();
    bench.now = bench.machine.next_deadline().unwrap();
    bench.give(Input::Tick);
    bench.said("rejected! remove");
    assert_eq!(bench.error(), "no client attached to it within 10s");

    let mut bench = ready();
    bench.steer(DesiredState::Shutdown);
    bench.said("shutdown! remove");

    // It came before the container was ready.
    let mut bench = Bench::fresh(task.clone());
    bench.give(Input::ClientCame);
    bench.give(Input::Fetched(Ok(ImageFacts::default())));
    bench.said.clear();
    bench.give(Input::Created(Ok(())));
    bench.said("ready checkports");
}
