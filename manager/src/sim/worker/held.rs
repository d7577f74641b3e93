//! A task on a fake worker, from its assignment to its end.
//!
//! Called by the worker at its turns; what it says is what a real worker would report.

use crate::sim::{
    counters::{Counters, Fault},
    network::MS,
    rng::Rng,
};
use shoal_core::{
    dispatcher::TaskReport,
    model::{DesiredState, TaskId, TaskState, TaskStatus, Timestamp, Wait, WaitCode, WallTime},
};

#[derive(Clone, Debug)]
pub(in crate::sim) struct Held {
    pub(in crate::sim) desired: DesiredState,
    pub(in crate::sim) state: TaskState,
    attempt: u32,
    pub(super) hold_until: u64,
    pub(super) next_move: u64,
    healthy_after: u64,
    /// What of its network is not ready yet, as the node would say.
    trouble: Option<WaitCode>,
}

impl Held {
    pub(super) fn new(desired: DesiredState, hold_until: u64, now: u64) -> Self {
        Self {
            desired,
            state: TaskState::Assigned,
            attempt: 0,
            hold_until,
            next_move: now,
            healthy_after: 0,
            trouble: None,
        }
    }

    /// One step of the task; true if there is something new to report.
    pub(super) fn advance(
        &mut self,
        now: u64,
        connected: bool,
        fails: bool,
        world: (&mut Rng, &mut Counters),
    ) -> bool {
        let (rng, counters) = world;
        self.next_move = now + rng.between(5 * MS, 250 * MS);
        if self.state.is_terminal() {
            return false;
        }
        if self.desired >= DesiredState::Shutdown {
            // The stop signal takes its time.
            if rng.chance(400) {
                self.state = TaskState::Shutdown;
            }
            return true;
        }
        let before = self.state;
        self.state = match self.state {
            TaskState::New | TaskState::Pending | TaskState::Assigned => TaskState::Accepted,
            TaskState::Accepted => TaskState::Preparing,
            TaskState::Preparing if fails && rng.chance(10) => TaskState::Rejected,
            TaskState::Preparing => {
                self.trouble = [WaitCode::NetworkNotReady, WaitCode::PortTaken]
                    .get(rng.index(20))
                    .copied();
                TaskState::Ready
            }
            TaskState::Ready if self.trouble.take().is_some() => {
                // It was said, and somebody has mended it.
                return true;
            }
            TaskState::Ready if self.desired == DesiredState::Running && now >= self.hold_until => {
                self.healthy_after = now + rng.between(0, 400 * MS);
                TaskState::Starting
            }
            TaskState::Starting if now >= self.healthy_after => TaskState::Running,
            TaskState::Running if fails && rng.chance(6) => self.fail(connected, counters),
            same => same,
        };
        before != self.state
    }

    fn fail(&mut self, connected: bool, counters: &mut Counters) -> TaskState {
        counters.fault(Fault::TaskFailed);
        if connected {
            return TaskState::Failed;
        }
        // Nobody can decide on a new task: it restarts in place.
        counters.fault(Fault::RestartedInPlace);
        self.attempt += 1;
        TaskState::Starting
    }

    pub(super) fn report(&self, id: &TaskId, now: u64) -> TaskReport {
        let wait = match self.state {
            TaskState::Preparing => Some(WaitCode::ImagePull),
            TaskState::Starting => Some(WaitCode::Unhealthy),
            TaskState::Ready => self.trouble,
            _ => None,
        };
        TaskReport {
            task: id.clone(),
            status: TaskStatus {
                state: self.state,
                attempt: self.attempt,
                message: String::new(),
                error: matches!(self.state, TaskState::Failed | TaskState::Rejected)
                    .then(|| "it did".to_owned()),
                exit_code: (self.state == TaskState::Failed).then_some(1),
                container: None,
                pid: (self.state == TaskState::Starting).then_some(1),
                at: Timestamp::ZERO,
                wall: WallTime(i64::try_from(now).unwrap_or(0)),
                started: None,
            },
            wait: wait.map(|code| Wait {
                code,
                since: Timestamp::ZERO,
                detail: String::new(),
            }),
        }
    }
}
