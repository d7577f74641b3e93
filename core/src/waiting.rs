//! What a task waits for: the one place that gives a task its wait code.
//!
//! Everything that writes a task asks here, so that a task that waits always carries a code with an age,
//! and one that does not carries none. Codes of the scheduler are set by the scheduler, which knows why.

use crate::model::{DesiredState, Task, TaskState, Timestamp, Wait, WaitCode};

/// A wait that goes on keeps its age; another one starts anew.
pub fn wait(task: &Task, code: WaitCode, detail: impl Into<String>, now: Timestamp) -> Wait {
    let since = task
        .wait
        .as_ref()
        .filter(|old| old.code == code)
        .map_or(now, |old| old.since);
    Wait {
        code,
        since,
        detail: detail.into(),
    }
}

/// The wait of a task after its worker has reported: the worker's own word, else what its state says.
pub fn after_report(task: &Task, reported: Option<&Wait>, now: Timestamp) -> Option<Wait> {
    if task.status.state.is_terminal() {
        return None;
    }
    if task.desired >= DesiredState::Shutdown {
        return Some(wait(task, WaitCode::Stopping, stopping_detail(task), now));
    }
    if let Some(reported) = reported {
        return Some(wait(task, reported.code, reported.detail.clone(), now));
    }
    match task.status.state {
        TaskState::New | TaskState::Pending => task.wait.clone(),
        TaskState::Assigned => Some(wait(task, WaitCode::NodeNotTaken, "", now)),
        TaskState::Ready if task.desired == DesiredState::Ready => held(task, now),
        TaskState::Starting if task.status.pid.is_some() => Some(wait(task, WaitCode::Unhealthy, "", now)),
        // Its node is at it: it says so if that is a matter of waiting, as a pull is.
        TaskState::Accepted
        | TaskState::Preparing
        | TaskState::Ready
        | TaskState::Starting
        | TaskState::Running
        | TaskState::Complete
        | TaskState::Shutdown
        | TaskState::Failed
        | TaskState::Rejected
        | TaskState::Remove
        | TaskState::Orphaned => None,
    }
}

/// Why a task whose container is ready is not started: its delay, else the slot's old task.
fn held(task: &Task, now: Timestamp) -> Option<Wait> {
    let code = match task.not_before {
        Some(not_before) if not_before > now => WaitCode::RestartDelay,
        _ => WaitCode::OldTaskStopping,
    };
    Some(wait(task, code, "", now))
}

fn stopping_detail(task: &Task) -> String {
    task.wait
        .as_ref()
        .filter(|old| old.code == WaitCode::Stopping)
        .map_or_else(String::new, |old| old.detail.clone())
}
