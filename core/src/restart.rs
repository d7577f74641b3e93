//! When a task that has ended is followed by another one, and after which delay.
//!
//! Pure functions of the task and its revision's policy: the history they need travels in the task, so
//! that a new leader decides alike. Called by the slot orchestrator; it never looks at other tasks.

use crate::model::{RestartCondition, RestartPolicy, Restarts, Task, TaskState, Timestamp};
use std::time::Duration;

/// Without a delay of the user's, the first restart comes after this; each further one in a row doubles it.
pub const FIRST_DELAY: Duration = Duration::from_secs(1);

/// The doubling stops here: a service that cannot start is tried once a minute for ever.
pub const DELAY_CAP: Duration = Duration::from_secs(60);

/// A task that ran this long was well: the doubling starts anew.
const RAN_WELL: Duration = DELAY_CAP;

/// Most restart times kept for a policy with a window; more attempts than this within one count as this.
const RECENT_KEPT: usize = 64;

/// What follows the end of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: the slot has ended.
    Final,
    Again {
        not_before: Timestamp,
        restarts: Restarts,
    },
}

/// Decides for a task that ended by itself. Judged at the time of its end, so that the answer never changes.
pub fn decide(policy: &RestartPolicy, task: &Task) -> Decision {
    if is_final(policy, task) {
        return Decision::Final;
    }
    let ended = task.status.at;
    let old = &task.restarts;
    let well = task
        .status
        .started
        .is_some_and(|started| ended.since(started) >= RAN_WELL);
    let streak = if well { 1 } else { old.streak.saturating_add(1) };
    let mut recent = counted(policy, old, ended);
    if policy.window.is_some() {
        recent.push(ended);
        recent.drain(..recent.len().saturating_sub(RECENT_KEPT));
    }
    Decision::Again {
        not_before: ended.after(policy.delay.unwrap_or_else(|| doubled(streak))),
        restarts: Restarts {
            count: old.count.saturating_add(1),
            streak,
            recent,
        },
    }
}

/// Does nothing follow this task? Also true of one that never may be followed, though it was stopped or lost.
pub fn is_final(policy: &RestartPolicy, task: &Task) -> bool {
    let done = match policy.condition {
        RestartCondition::None => true,
        RestartCondition::OnFailure => task.status.state == TaskState::Complete,
        RestartCondition::Any => false,
    };
    done || (ended_by_itself(task) && exhausted(policy, task))
}

/// An end that counts as an attempt, rather than one that the managers wanted.
pub fn ended_by_itself(task: &Task) -> bool {
    matches!(
        task.status.state,
        TaskState::Complete | TaskState::Failed | TaskState::Rejected
    )
}

fn exhausted(policy: &RestartPolicy, task: &Task) -> bool {
    let Some(most) = policy.max_attempts.filter(|most| *most > 0) else {
        return false;
    };
    if policy.window.is_some() {
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(RECENT_KEPT);
        counted(policy, &task.restarts, task.status.at).len() >= most
    } else {
        task.restarts.count >= most
    }
}

/// The restarts that the policy's window still holds.
fn counted(policy: &RestartPolicy, restarts: &Restarts, at: Timestamp) -> Vec<Timestamp> {
    let window = policy.window.unwrap_or(Duration::ZERO);
    restarts
        .recent
        .iter()
        .copied()
        .filter(|restart| window == Duration::ZERO || at.since(*restart) < window)
        .collect()
}

fn doubled(streak: u32) -> Duration {
    let doublings = streak.saturating_sub(1).min(16);
    FIRST_DELAY.saturating_mul(1 << doublings).min(DELAY_CAP)
}

#[cfg(test)]
mod tests;
