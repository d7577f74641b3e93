//! Delays, attempts and windows of a task that ends again and again. How the next task is made is in
//! the scenario scripts.

use super::*;
use crate::model::{DesiredState, IdGen, Meta, ServiceId, Slot, TaskId, TaskStatus, WallTime};

fn ended(state: TaskState, started: u64, at: u64, restarts: Restarts) -> Task {
    let mut ids = IdGen::from_number(1);
    let seconds = |s: u64| Timestamp(s * 1_000_000_000);
    Task {
        id: TaskId::mint(&mut ids),
        meta: Meta::default(),
        service: ServiceId::mint(&mut ids),
        revision: 1,
        slot: Slot::Replica(1),
        node: None,
        attachments: Vec::new(),
        desired: DesiredState::Running,
        status: TaskStatus {
            state,
            attempt: 0,
            message: String::new(),
            error: None,
            exit_code: None,
            container: None,
            pid: None,
            at: seconds(at),
            wall: WallTime(0),
            started: Some(seconds(started)),
        },
        not_before: None,
        sequence: 1,
        restarts,
        wait: None,
    }
}

/// Lets a task that runs for `runs` seconds fail again and again; the delays until it is given up.
fn delays(policy: &RestartPolicy, runs: u64, times: usize) -> Vec<u64> {
    let (mut now, mut restarts, mut delays) = (0, Restarts::default(), Vec::new());
    for _ in 0..times {
        let end = now + runs;
        let Decision::Again {
            not_before,
            restarts: next,
        } = decide(policy, &ended(TaskState::Failed, now, end, restarts.clone()))
        else {
            break;
        };
        delays.push(not_before.0 / 1_000_000_000 - end);
        (now, restarts) = (not_before.0 / 1_000_000_000, next);
    }
    delays
}

#[test]
fn delays_double_to_the_cap_unless_given() {
    let policy = RestartPolicy::default();
    assert_eq!(delays(&policy, 1, 9), [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    assert_eq!(delays(&policy, 60, 3), [1, 1, 1], "it ran well");
    let given = RestartPolicy {
        delay: Some(Duration::from_secs(5)),
        ..policy
    };
    assert_eq!(delays(&given, 1, 3), [5, 5, 5]);
}

#[test]
fn attempts_end_unless_the_window_forgets_them() {
    let policy = RestartPolicy {
        delay: Some(Duration::from_secs(1)),
        max_attempts: Some(3),
        ..RestartPolicy::default()
    };
    assert_eq!(delays(&policy, 1, 100).len(), 3);
    let window = RestartPolicy {
        window: Some(Duration::from_secs(10)),
        ..policy
    };
    assert_eq!(delays(&window, 1, 100).len(), 3, "four ends within ten seconds");
    assert_eq!(delays(&window, 4, 100).len(), 100, "never three within ten");
    let none = RestartPolicy {
        max_attempts: Some(0),
        ..policy
    };
    assert_eq!(delays(&none, 1, 100).len(), 100, "0 is no bound, as in Swarm");
}

#[test]
fn conditions_say_which_ends_are_followed() {
    for (condition, state, follows) in [
        (RestartCondition::Any, TaskState::Complete, true),
        (RestartCondition::Any, TaskState::Rejected, true),
        (RestartCondition::OnFailure, TaskState::Complete, false),
        (RestartCondition::OnFailure, TaskState::Failed, true),
        (RestartCondition::OnFailure, TaskState::Rejected, true),
        (RestartCondition::None, TaskState::Failed, false),
    ] {
        let policy = RestartPolicy {
            condition,
            ..RestartPolicy::default()
        };
        let decision = decide(&policy, &ended(state, 0, 1, Restarts::default()));
        assert_eq!(decision != Decision::Final, follows, "{condition:?} {state:?}");
    }
}
