//! From the end of its program to nothing left, and from there to another attempt while cut off.
//!
//! Pure, a part of the task's machine. The end is reported durably before the container goes, so that a crash
//! between the two never makes the task anew.

use super::ending::Ending;
use super::{Failure, Output, Phase, Step, TaskMachine};
use shoal_agent_runtime::Exit;
use std::time::{Duration, Instant};

/// Removals tried before the container is left to the sweep of orphans.
pub(super) const REMOVALS: u32 = 8;
const REMOVAL_PAUSE: Duration = Duration::from_millis(250);

impl TaskMachine {
    pub(super) fn exited(&mut self, exit: &Exit, hint: Option<&str>, now: Instant) {
        match &self.phase {
            Phase::Up | Phase::Withdrawing | Phase::Stopping { .. } => {}
            Phase::Waiting
            | Phase::Fetching
            | Phase::Creating
            | Phase::Attaching { .. }
            | Phase::Refused(_)
            | Phase::Ready
            | Phase::Checking
            | Phase::Starting
            | Phase::Detaching
            | Phase::Removing { .. }
            | Phase::Gone => return,
        }
        let memory = self.task.spec.container.limits.memory;
        let ending = match (&self.unhealthy, self.stop_wanted()) {
            (Some(why), _) => Ending::unhealthy(exit, why),
            (None, true) => Ending::asked(Some(exit)),
            (None, false) => Ending::of_exit(exit, memory, hint),
        };
        self.end(ending, now);
    }

    pub(super) fn end(&mut self, ending: Ending, now: Instant) {
        self.health = None;
        self.unhealthy = None;
        self.in_place.ended(ending.by_itself(), ending.success(), now);
        ending.write(&mut self.report);
        // At once, whatever the disk and the managers take: nobody is to be led to what has ended.
        if self.has_links() {
            self.detach();
        }
        // Before the container goes: after a crash the task must not be made anew.
        self.post(true);
        if !self.has_links() {
            self.remove();
        }
    }

    /// What has links leaves the network before it is removed.
    pub(super) fn detach(&mut self) {
        self.phase = Phase::Detaching;
        self.out.push(Output::Do(Step::Detach));
    }

    pub(super) fn detached(&mut self) {
        if self.phase == Phase::Detaching {
            self.remove();
        }
    }

    pub(super) fn remove(&mut self) {
        self.phase = Phase::Removing {
            tried: 1,
            again_at: None,
        };
        self.out.push(Output::Do(Step::Remove));
    }

    pub(super) fn removed(&mut self, result: Result<(), Failure>, now: Instant) {
        let Phase::Removing { tried, .. } = self.phase else {
            return;
        };
        if result.is_err() && tried < REMOVALS {
            self.phase = Phase::Removing {
                tried,
                again_at: Some(now + REMOVAL_PAUSE * 2_u32.saturating_pow(tried)),
            };
            return;
        }
        self.phase = Phase::Gone;
        if self.stop_wanted() {
            self.in_place.settle();
        }
    }

    pub(super) fn again(&mut self, now: Instant) {
        self.was_running = false;
        self.report.next_attempt();
        // Durable: the container's name follows from the attempt, and must be known after a crash.
        self.post(true);
        self.begin(now);
    }
}
