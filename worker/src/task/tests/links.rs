//! Tasks that have links of their own: attached before they start, out of all tables before they are removed.

use super::*;
use crate::testing::linked;
use shoal_core::model::NetworkMode;

fn linked_running() -> Bench {
    let mut bench = Bench::fresh(linked(1));
    bench.give(Input::Fetched(Ok(ImageFacts::default())));
    bench.give(Input::Created(Ok(())));
    bench.give(Input::Attached(Ok(())));
    bench.give(Input::PortsChecked(Ok(())));
    let started = bench.now;
    bench.give(Input::Started(Ok(StartedFacts { pid: 7, started })));
    bench.said.clear();
    bench
}

#[test]
fn links_come_before_the_start_and_go_before_the_container() {
    let mut bench = Bench::fresh(linked(1));
    bench.give(Input::Fetched(Ok(ImageFacts::default())));
    bench.said("accepted preparing look preparing create");
    bench.give(Input::Created(Ok(())));
    bench.said("preparing attach");
    bench.give(Input::Attached(Ok(())));
    bench.said("ready checkports");
    let mut bench = linked_running();
    bench.end(exit(0));
    bench.said("detach complete!");
    bench.give(Input::Detached);
    bench.said("remove");
    bench.give(Input::Removed(Ok(())));
    assert!(bench.machine.is_gone());
}

#[test]
fn a_network_that_is_not_ready_is_waited_for_and_a_refusal_rejects() {
    let attaching = || {
        let mut bench = Bench::fresh(linked(1));
        bench.give(Input::Fetched(Ok(ImageFacts::default())));
        bench.give(Input::Created(Ok(())));
        bench.said.clear();
        bench
    };
    let not_ready = || Input::Attached(Err(AttachFailure::NotReady("shoal-net is down".to_owned())));
    let mut bench = attaching();
    bench.give(not_ready());
    bench.said("preparing");
    let report = bench.machine.report();
    assert_eq!(report.wait, Some(WaitCode::NetworkNotReady));
    assert_eq!(
        report.message,
        "waiting for the node's network: shoal-net is down"
    );
    bench.now = bench.machine.next_deadline().unwrap();
    bench.give(Input::Tick);
    bench.said("attach");
    bench.give(Input::Attached(Ok(())));
    bench.said("ready checkports");
    assert_eq!(bench.machine.report().wait, None);

    let mut bench = attaching();
    bench.give(not_ready());
    bench.said.clear();
    bench.steer(DesiredState::Shutdown);
    bench.said("detach shutdown!");

    let mut bench = attaching();
    bench.steer(DesiredState::Shutdown);
    bench.said("");
    bench.give(Input::Attached(Ok(())));
    bench.said("detach shutdown!");

    let mut bench = attaching();
    let failure = Failure::new("attach endpoint a: no such device");
    bench.give(Input::Attached(Err(AttachFailure::Refused(failure))));
    bench.said("detach rejected!");
    assert_eq!(bench.error(), "attach endpoint a: no such device");
    bench.give(Input::Panicked("the hub fell over".to_owned()));
    bench.said("remove");
}

#[test]
fn what_is_unhealthy_gets_no_connections_before_it_is_told_to_stop() {
    let mut task = checked(1);
    task.spec.container.network = NetworkMode::Networks;
    let found = Origin::Found {
        attempt: 0,
        was_running: true,
        failing: None,
        container: Found::Running(StartedFacts {
            pid: 9,
            started: Instant::now(),
        }),
    };
    let unhealthy = |task: &AssignedTask| {
        let mut bench = Bench::new(task.clone(), found.clone(), Link::Session);
        bench.give(Input::Inspected(ImageFacts::default()));
        bench.later(Duration::from_secs(1));
        bench.said.clear();
        bench.give(probe(&bench, 1));
        bench.said("withdraw");
        bench
    };
    let mut bench = unhealthy(&task);
    bench.steer(DesiredState::Shutdown);
    bench.said("");
    bench.give(Input::Withdrawn);
    bench.said("running! signal SIGTERM");
    bench.end(exit(0));
    bench.said("detach failed!");
    // It ends by itself meanwhile.
    let mut bench = unhealthy(&task);
    bench.end(exit(1));
    bench.said("detach failed!");
    bench.give(Input::Withdrawn);
    bench.said("");
}

#[test]
fn what_was_being_stopped_as_unhealthy_is_withdrawn_and_stopped_after_a_restart() {
    let found = |container| Origin::Found {
        attempt: 0,
        was_running: true,
        failing: Some("unhealthy: refused".to_owned()),
        container,
    };
    let up = Found::Running(StartedFacts {
        pid: 9,
        started: Instant::now(),
    });
    let mut task = checked(1);
    task.spec.container.network = NetworkMode::Networks;
    let mut bench = Bench::new(task.clone(), found(up.clone()), Link::Lost);
    let facts = ImageFacts {
        stop_signal: Some(Signal::KILL),
        ..ImageFacts::default()
    };
    bench.give(Input::Inspected(facts));
    bench.said("watch inspect running withdraw");
    let report = bench.machine.report();
    assert_eq!(
        (report.message.as_str(), report.wait),
        ("unhealthy, stopping", Some(WaitCode::Stopping))
    );
    assert_eq!(bench.machine.health(), None, "it is not judged anew");
    bench.give(Input::Withdrawn);
    bench.said("running! signal SIGKILL");
    assert_eq!(bench.error(), "unhealthy: refused");
    bench.end(exit(137));
    bench.said("detach failed!");
    assert_eq!(bench.error(), "unhealthy: refused");
    // It ended while there was no daemon.
    let mut bench = Bench::new(task, found(Found::Exited(exit(0))), Link::Lost);
    bench.said("detach failed!");
    assert_eq!(bench.error(), "unhealthy: refused");
    let mut unlinked = Bench::new(checked(1), found(up), Link::Lost);
    unlinked.give(Input::Inspected(ImageFacts::default()));
    unlinked.said("watch inspect running running! signal SIGTERM");
}

#[test]
fn a_port_that_another_holds_is_waited_for_while_it_runs() {
    let mut bench = linked_running();
    let sentence = "a port is not published on this node: 80/tcp is taken by nginx";
    bench.give(Input::PortTaken(Some(sentence.to_owned())));
    bench.said("running");
    assert_eq!(bench.machine.report().message, sentence);
    assert_eq!(bench.machine.report().wait, Some(WaitCode::PortTaken));
    bench.give(Input::PortTaken(Some(sentence.to_owned())));
    bench.said("");
    bench.give(Input::PortTaken(None));
    bench.said("running");
    assert_eq!(
        (
            bench.machine.report().message.as_str(),
            bench.machine.report().wait
        ),
        ("started", None)
    );
    // Known before it runs, it is said once it does.
    let mut bench = Bench::fresh(linked(1));
    bench.give(Input::PortTaken(Some(sentence.to_owned())));
    bench.give(Input::Fetched(Ok(ImageFacts::default())));
    bench.give(Input::Created(Ok(())));
    bench.give(Input::Attached(Ok(())));
    bench.run_up();
    assert_eq!(bench.machine.report().wait, Some(WaitCode::PortTaken));
}

#[test]
fn taken_up_with_links_nothing_is_attached_again_and_an_end_is_told_to_the_network() {
    let found = |container| Origin::Found {
        attempt: 0,
        was_running: true,
        failing: None,
        container,
    };
    let up = Found::Running(StartedFacts {
        pid: 9,
        started: Instant::now(),
    });
    let mut bench = Bench::new(linked(1), found(up), Link::Lost);
    bench.give(Input::Inspected(ImageFacts::default()));
    bench.said("watch inspect running");
    let mut bench = Bench::new(linked(1), found(Found::Exited(exit(5))), Link::Lost);
    bench.said("detach failed!");
    let mut bench = Bench::new(linked(1), Origin::Lost { attempt: 0 }, Link::Lost);
    bench.said("detach failed!");
    let ended = Report {
        state: TaskState::Failed,
        ..Report::new(&Origin::Fresh)
    };
    let mut bench = Bench::new(linked(1), Origin::Ended(ended), Link::Lost);
    bench.said("failed detach");
    bench.give(Input::Detached);
    bench.said("remove");
}

#[test]
fn restarted_in_place_it_gets_connections_again() {
    let mut task = linked(1);
    task.spec.restart.delay = Some(Duration::ZERO);
    let mut bench = Bench::new(task, Origin::Fresh, Link::CutOff);
    bench.give(Input::Fetched(Ok(ImageFacts::default())));
    bench.give(Input::Created(Ok(())));
    bench.give(Input::Attached(Ok(())));
    bench.run_up();
    bench.end(exit(1));
    bench.give(Input::Detached);
    bench.give(Input::Removed(Ok(())));
    bench.said.clear();
    bench.later(Duration::ZERO);
    bench.give(Input::Fetched(Ok(ImageFacts::default())));
    bench.give(Input::Created(Ok(())));
    bench.give(Input::Attached(Ok(())));
    bench.give(Input::PortsChecked(Ok(())));
    bench.said.clear();
    let started = bench.now;
    bench.give(Input::Started(Ok(StartedFacts { pid: 8, started })));
    bench.said("watch admit running#1");
}
