//! While its program runs: health, and being told to stop.
//!
//! Pure, a part of the task's machine. A task with a check is running once it was healthy; one that becomes
//! unhealthy is stopped.

use super::ending::describe_unhealthy;
use super::{ImageFacts, Output, Phase, StartedFacts, Step, TaskMachine};
use crate::health::{Health, HealthPlan, Probe, Verdict};
use shoal_agent_runtime::Signal;
use shoal_core::model::{TaskState, WaitCode};
use std::time::{Duration, Instant};

/// What is said of one that has failed its check, until it has ended.
const UNHEALTHY: &str = "unhealthy, stopping";
/// Docker's, where the service says nothing.
const DEFAULT_GRACE: Duration = Duration::from_secs(10);

impl TaskMachine {
    pub(super) fn up(&mut self, facts: StartedFacts) {
        self.phase = Phase::Up;
        self.report.pid = Some(facts.pid);
        self.started = Some(facts.started);
        self.out.push(Output::Do(Step::Watch));
    }

    /// Begins to check its health, once it is up and its image is known.
    pub(super) fn judge(&mut self, now: Instant) {
        let plan = HealthPlan::merge(
            self.task.spec.container.health.as_ref(),
            self.image.health.as_ref(),
        );
        let verdict = if self.was_running {
            Verdict::Healthy
        } else {
            Verdict::Starting
        };
        if self.unhealthy.is_some() {
            let state = match self.was_running {
                true => TaskState::Running,
                false => TaskState::Starting,
            };
            self.report.error.clone_from(&self.unhealthy);
            self.tell(state, UNHEALTHY, Some(WaitCode::Stopping));
            return self.fail(now);
        }
        let started = self.started.unwrap_or(now);
        self.health = plan.map(|plan| Health::new(plan, started, verdict, now));
        self.tell_up();
        if self.stop_wanted() {
            self.stop(now);
        }
    }

    pub(super) fn tell_up(&mut self) {
        match self.health() {
            // A task with a check is not running until it was healthy once.
            Some(Verdict::Starting) if !self.was_running => {
                self.tell(
                    TaskState::Starting,
                    "waiting for the first healthy check",
                    Some(WaitCode::Unhealthy),
                );
            }
            Some(_) | None => {
                if !self.was_running && self.report.attempt > 0 && self.has_links() {
                    self.out.push(Output::Do(Step::Admit));
                }
                self.was_running = true;
                match self.port_taken.clone() {
                    Some(sentence) => self.tell(TaskState::Running, &sentence, Some(WaitCode::PortTaken)),
                    None => self.tell(TaskState::Running, "started", None),
                }
            }
        }
    }

    pub(super) fn port_taken(&mut self, sentence: Option<String>) {
        let changed = self.port_taken != sentence;
        self.port_taken = sentence;
        if changed && self.phase == Phase::Up && self.report.state == TaskState::Running {
            self.tell_up();
        }
    }

    pub(super) fn inspected(&mut self, image: ImageFacts, now: Instant) {
        self.image = image;
        if self.phase == Phase::Up {
            self.judge(now);
        }
    }

    pub(super) fn probed(&mut self, probe: Probe, now: Instant) {
        if self.phase != Phase::Up {
            return;
        }
        let Some(health) = self.health.as_mut() else {
            return;
        };
        let before = health.verdict();
        let after = health.handle(probe, now);
        if after == Verdict::Unhealthy {
            self.unhealthy = Some(describe_unhealthy(health.last_output()));
            return self.fail(now);
        }
        if before != after {
            self.tell_up();
        }
    }

    /// What is unhealthy gets no new connections from the moment on that this is known.
    fn fail(&mut self, now: Instant) {
        if self.has_links() {
            self.phase = Phase::Withdrawing;
            self.out.push(Output::Do(Step::Withdraw));
        } else {
            self.stop(now);
        }
    }

    pub(super) fn withdrawn(&mut self, now: Instant) {
        if self.phase == Phase::Withdrawing {
            self.stop(now);
        }
    }

    pub(super) fn stop(&mut self, now: Instant) {
        let grace = self.task.spec.container.stop_grace.unwrap_or(DEFAULT_GRACE);
        self.phase = Phase::Stopping {
            kill_at: now + grace,
            killed: false,
        };
        if let Some(why) = self.unhealthy.clone() {
            // On disk before its signal: after a crash meanwhile it would pass for a healthy one.
            self.report.error = Some(why);
            UNHEALTHY.clone_into(&mut self.report.message);
            self.report.wait = Some(WaitCode::Stopping);
            self.post(true);
        } else {
            self.tell(self.report.state, "stopping", Some(WaitCode::Stopping));
        }
        self.out.push(Output::Do(Step::Signal(self.stop_signal())));
    }

    pub(super) fn stop_signal(&self) -> Signal {
        let named = self.task.spec.container.stop_signal.as_deref();
        named
            .and_then(|name| name.parse().ok())
            .or(self.image.stop_signal)
            .unwrap_or(Signal::TERM)
    }
}
