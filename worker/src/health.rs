//! A container's health as Docker judges it: when the next probe is due and what its result means.
//!
//! Pure: the task's machine feeds it results and moments. Timings and their defaults are moby's
//! (daemon/health.go): the interval counts from the end of a probe, failures within the start period do
//! not count until a first success, and `retries` failures in a row make the container unhealthy.

use shoal_core::model::{HealthCheck, HealthTest};
use std::time::{Duration, Instant};

const DEFAULT_INTERVAL: Duration = Duration::from_secs(30);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_START_INTERVAL: Duration = Duration::from_secs(5);
const DEFAULT_RETRIES: u32 = 3;

/// Bytes of a probe's output that are kept, as in Docker: enough for a message, small for thousands of tasks.
pub const OUTPUT_LIMIT: usize = 4096;

/// A check with every field decided.
///
/// ```text
/// starting ──success──► healthy ◄──success──┐
///     └─retries failures after the start period─► unhealthy ┘
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthPlan {
    /// What is run in the container.
    pub command: Vec<String>,
    pub interval: Duration,
    pub timeout: Duration,
    pub start_period: Duration,
    pub start_interval: Duration,
    pub retries: u32,
}

impl HealthPlan {
    /// The service's check over the image's, field by field; `None` when there is none or it is switched off.
    pub fn merge(service: Option<&HealthCheck>, image: Option<&HealthCheck>) -> Option<Self> {
        let pick = |of: fn(&HealthCheck) -> Option<Duration>, default| {
            [service, image]
                .into_iter()
                .flatten()
                .find_map(of)
                // Docker reads 0 as "not said".
                .filter(|duration| !duration.is_zero())
                .unwrap_or(default)
        };
        let test = [service, image]
            .into_iter()
            .flatten()
            .find_map(|check| check.test.clone())?;
        let command = match test {
            HealthTest::None => return None,
            HealthTest::Cmd(args) if args.is_empty() => return None,
            HealthTest::Cmd(args) => args,
            HealthTest::CmdShell(line) => vec!["/bin/sh".to_owned(), "-c".to_owned(), line],
        };
        let retries = [service, image]
            .into_iter()
            .flatten()
            .find_map(|check| check.retries)
            .filter(|retries| *retries > 0)
            .unwrap_or(DEFAULT_RETRIES);
        Some(Self {
            command,
            interval: pick(|check| check.interval, DEFAULT_INTERVAL),
            timeout: pick(|check| check.timeout, DEFAULT_TIMEOUT),
            start_period: pick(|check| check.start_period, Duration::ZERO),
            start_interval: pick(|check| check.start_interval, DEFAULT_START_INTERVAL),
            retries,
        })
    }
}

/// How a container is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No success yet.
    Starting,
    Healthy,
    Unhealthy,
}

/// What one probe brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    pub began: Instant,
    /// `None` when it could not be run or ran out of time; the output then says so.
    pub exit_code: Option<i32>,
    /// At most `OUTPUT_LIMIT` bytes.
    pub output: String,
}

/// The health of one running container.
#[derive(Clone, Debug)]
pub struct Health {
    plan: HealthPlan,
    started: Instant,
    verdict: Verdict,
    failures_in_a_row: u32,
    last_output: String,
    /// `None` while a probe runs.
    due: Option<Instant>,
}

impl Health {
    /// `started` is when the container started, which may be before this daemon did.
    pub fn new(plan: HealthPlan, started: Instant, verdict: Verdict, now: Instant) -> Self {
        let mut health = Self {
            plan,
            started,
            verdict,
            failures_in_a_row: 0,
            last_output: String::new(),
            due: None,
        };
        health.due = Some(now + health.wait(now));
        health
    }

    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// What the last failing probe printed.
    pub fn last_output(&self) -> &str {
        &self.last_output
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.due
    }

    /// The probe to run now, if one is due.
    pub fn take_due(&mut self, now: Instant) -> Option<&HealthPlan> {
        if self.due.is_some_and(|due| due <= now) {
            self.due = None;
            Some(&self.plan)
        } else {
            None
        }
    }

    /// Takes a probe's result and arms the next one.
    pub fn handle(&mut self, probe: Probe, now: Instant) -> Verdict {
        if probe.exit_code == Some(0) {
            self.failures_in_a_row = 0;
            self.verdict = Verdict::Healthy;
        } else {
            self.last_output = probe.output;
            let forgiven = self.verdict == Verdict::Starting
                && probe.began.saturating_duration_since(self.started) < self.plan.start_period;
            if !forgiven {
                self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
            }
            if self.failures_in_a_row >= self.plan.retries {
                self.verdict = Verdict::Unhealthy;
            }
        }
        self.due = Some(now + self.wait(now));
        self.verdict
    }

    fn wait(&self, now: Instant) -> Duration {
        let within_start = now.saturating_duration_since(self.started) < self.plan.start_period;
        if within_start && self.verdict == Verdict::Starting {
            self.plan.start_interval
        } else {
            self.plan.interval
        }
    }
}

#[cfg(test)]
mod tests;
