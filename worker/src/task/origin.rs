//! Where a task stands when this daemon first sees it, or sees it again after a restart.
//!
//! Pure: decided from the assignment, the last report on disk, the container that was found, and whether
//! the machine has booted since the task was taken.

use super::io::{Link, Output, Report, StartedFacts, Step};
use super::{Ending, Failure, Phase, TaskMachine};
use crate::assignment::AssignedTask;
use shoal_agent_runtime::Exit;
use shoal_core::model::{DesiredState, TaskState, WaitCode};
use std::time::Instant;

/// Where a task is taken up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nothing was done yet.
    Fresh,
    /// It ended; only its report is left.
    Ended(Report),
    /// It had been begun, and there is no container any more.
    Lost { attempt: u32 },
    Found {
        attempt: u32,
        /// Was it reported as running?
        was_running: bool,
        /// Why it was being stopped, though nobody wants it stopped.
        failing: Option<String>,
        container: Found,
    },
}

/// A container as the runtime listed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Created,
    Running(StartedFacts),
    Exited(Exit),
}

/// Why it was being stopped when it was last told of, though nobody wants it stopped: it had failed its check, and is not
/// to get connections again because the daemon was restarted meanwhile.
pub fn failing(task: &AssignedTask, last: Option<&Report>) -> Option<String> {
    let last = last.filter(|last| last.wait == Some(WaitCode::Stopping) && !last.state.is_terminal())?;
    (task.desired < DesiredState::Shutdown).then(|| {
        let why = last.error.clone();
        why.unwrap_or_else(|| "it was being stopped when the daemon was restarted".to_owned())
    })
}

/// Decides where a task is taken up. `booted`: the machine has started anew since the task was taken.
pub fn origin(task: &AssignedTask, last: Option<&Report>, found: Option<Found>, booted: bool) -> Origin {
    if let Some(report) = last.filter(|report| report.state.is_terminal()) {
        return Origin::Ended(report.clone());
    }
    let attempt = last.map_or(task.known.attempt, |report| {
        report.attempt.max(task.known.attempt)
    });
    let reported = last.map_or(task.known.state, |report| report.state.max(task.known.state));
    match found {
        Some(container) => Origin::Found {
            attempt,
            was_running: reported >= TaskState::Running,
            failing: failing(task, last),
            container,
        },
        None if task.known.state.is_terminal() => Origin::Ended(Report {
            attempt,
            state: task.known.state,
            message: "ended".to_owned(),
            error: None,
            exit_code: None,
            pid: None,
            wait: None,
            at: None,
            created: None,
        }),
        // It may have run: a state that was passed is never reported again within an attempt.
        None if booted || reported >= TaskState::Starting => Origin::Lost { attempt },
        None if attempt > 0 => Origin::Lost { attempt },
        None => Origin::Fresh,
    }
}

impl TaskMachine {
    pub(super) fn take_up(&mut self, origin: Origin, now: Instant) {
        match origin {
            Origin::Fresh => {
                self.tell(TaskState::Accepted, "accepted", None);
                self.begin(now);
            }
            Origin::Ended(_) => {
                // Said again: the managers may not have heard it. The container may be left from a crash.
                self.post(false);
                if self.has_links() {
                    self.detach();
                } else {
                    self.remove();
                }
            }
            Origin::Lost { .. } => {
                let failure = Failure::new(
                    "its container is gone: the node was restarted, or its run directory was cleared",
                );
                self.end(Ending::failed(&failure), now);
            }
            Origin::Found {
                was_running,
                failing,
                container,
                ..
            } => {
                self.was_running = was_running;
                self.unhealthy = failing;
                self.take_up_container(container, now);
            }
        }
    }

    fn take_up_container(&mut self, container: Found, now: Instant) {
        match container {
            // Creating again is idempotent and mends what a crash left half made.
            Found::Created => {
                self.unhealthy = None;
                self.begin(now);
            }
            Found::Running(facts) => {
                self.up(facts);
                self.out.push(Output::Do(Step::Inspect));
            }
            Found::Exited(exit) => {
                self.phase = Phase::Up;
                self.exited(&exit, None, now);
            }
        }
    }
}

/// The link in force before anything is known of the managers.
impl Default for Link {
    fn default() -> Self {
        Self::Lost
    }
}
