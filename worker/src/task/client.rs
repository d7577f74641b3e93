//! Tasks that are not started before a client is attached to them, so that it sees their first byte.
//!
//! Pure, a part of the task's machine. A client that does not come is waited for only so long.

use super::ending::Ending;
use super::{Failure, TaskMachine};
use crate::assignment::AssignedTask;
use shoal_core::model::{AWAITS_CLIENT, TaskState};
use std::time::{Duration, Instant};

/// A client attaches as soon as it hears that the task is ready, which takes milliseconds, and over the worst of links a
/// few seconds; one that has gone never does.
const CLIENT_PATIENCE: Duration = Duration::from_secs(10);

/// Whoever the task waits for before it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    /// It waits for nobody, or not any more.
    NotAwaited,
    /// From when it is ready.
    Awaited,
    /// It is ready.
    Due { until: Instant },
}

impl Client {
    pub(super) fn of(task: &AssignedTask) -> Self {
        if awaited(task) {
            Self::Awaited
        } else {
            Self::NotAwaited
        }
    }

    pub(super) fn until(self) -> Option<Instant> {
        match self {
            Self::Due { until } => Some(until),
            Self::NotAwaited | Self::Awaited => None,
        }
    }
}

/// Is the task's program not to start before a client is attached?
pub(crate) fn awaited(task: &AssignedTask) -> bool {
    task.spec.container.labels.contains_key(AWAITS_CLIENT)
}

impl TaskMachine {
    /// Is there somebody to be waited for before it starts? Ends the task where that has lasted too long.
    pub(super) fn awaits_client(&mut self, now: Instant) -> bool {
        match self.client {
            Client::NotAwaited => return false,
            Client::Awaited => {
                self.client = Client::Due {
                    until: now + CLIENT_PATIENCE,
                };
                self.tell(TaskState::Ready, "waiting for its client to attach", None);
            }
            Client::Due { until } if until <= now => {
                let failure = Failure::new(format!("no client attached to it within {CLIENT_PATIENCE:?}"));
                self.end(Ending::rejected(&failure), now);
            }
            Client::Due { .. } => {}
        }
        true
    }

    pub(super) fn client_came(&mut self, now: Instant) {
        self.client = Client::NotAwaited;
        if self.phase == super::Phase::Ready {
            self.leave_ready(now);
        }
    }
}
