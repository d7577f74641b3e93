//! Reports: what a worker says of a task, and what of it the store takes.
//!
//! Called by the planner on the leader. Reports are ordered by (attempt, state), so that one that comes
//! late, twice or from a node that has lost the task changes nothing.

use crate::{
    model::{NodeId, Task, TaskId, TaskState, TaskStatus, Timestamp, Wait},
    store::StoreView,
    waiting,
};

/// Characters of a worker's message or error that are kept: they are replicated and kept in memory by
/// every manager, and the whole text is in the task's log.
const MAX_TEXT: usize = 1024;

/// The latest state of one task, from the worker that has it. `status.at` and `status.started` are
/// ignored: managers set them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskReport {
    pub task: TaskId,
    pub status: TaskStatus,
    /// What it waits for on the node, if anything. `since` is ignored.
    pub wait: Option<Wait>,
}

impl TaskReport {
    /// The report with every text cut to what is kept of it. For whoever takes reports in, before they wait in a
    /// queue: the node may be in anybody's hands.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        cut(&mut self.status.message);
        self.status.error.iter_mut().for_each(cut);
        self.status.container.iter_mut().for_each(cut);
        self.wait.iter_mut().for_each(|wait| cut(&mut wait.detail));
        self
    }
}

/// Why a report changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Ignored {
    #[error("no such task")]
    UnknownTask,
    #[error("the task is another node's")]
    OtherNode,
    #[error("the state is not a worker's to report")]
    NotWorkers,
    #[error("the task has ended")]
    Ended,
    #[error("a later state is known")]
    Outdated,
    #[error("nothing new")]
    Known,
}

/// The task as the report leaves it.
pub fn apply(view: &StoreView, node: &NodeId, report: &TaskReport, now: Timestamp) -> Result<Task, Ignored> {
    let task = view.task(&report.task).ok_or(Ignored::UnknownTask)?;
    if task.node.as_ref() != Some(node) {
        return Err(Ignored::OtherNode);
    }
    let state = report.status.state;
    if state < TaskState::Accepted || matches!(state, TaskState::Remove | TaskState::Orphaned) {
        return Err(Ignored::NotWorkers);
    }
    let old = &task.status;
    if old.state.is_terminal() {
        return Err(Ignored::Ended);
    }
    if (report.status.attempt, state) < (old.attempt, old.state) {
        return Err(Ignored::Outdated);
    }
    let report = report.clone().bounded();
    let mut new = Task::clone(task);
    new.status = merged(old, report.status, now);
    new.wait = waiting::after_report(&new, report.wait.as_ref(), now);
    if new == **task {
        return Err(Ignored::Known);
    }
    Ok(new)
}

fn merged(old: &TaskStatus, reported: TaskStatus, now: Timestamp) -> TaskStatus {
    let moved = (reported.attempt, reported.state) != (old.attempt, old.state);
    let again = reported.attempt > old.attempt;
    let started = old.started.filter(|_| !again);
    TaskStatus {
        at: if moved { now } else { old.at },
        wall: if moved { reported.wall } else { old.wall },
        started: if reported.state == TaskState::Running {
            started.or(Some(now))
        } else {
            started
        },
        ..reported
    }
}

fn cut(text: &mut String) {
    if let Some((end, _)) = text.char_indices().nth(MAX_TEXT) {
        text.truncate(end);
        text.push('…');
        text.shrink_to_fit();
    }
}
