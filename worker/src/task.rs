//! One task on this node, as a machine that is told what happened and says what to do next.
//!
//! Pure: `handle(input, now) -> outputs` and `next_deadline()`. The keeper carries the outputs out and feeds
//! the results back. States are the cluster's; the phases below are this node's finer ones. Every path ends
//! in `Gone`, with nothing of the container left.

mod ending;
mod io;
mod origin;
mod restart;

pub use ending::describe_exit;
pub use io::{Failure, ImageFacts, Input, Link, Output, Report, StartedFacts, Step};
pub use origin::{Found, Origin, origin};

use crate::assignment::AssignedTask;
use crate::health::{Health, HealthPlan, Probe, Verdict};
use ending::Ending;
use restart::InPlace;
use shoal_agent_runtime::{Exit, Signal};
use shoal_core::model::{DesiredState, TaskState, WaitCode};
use std::time::{Duration, Instant};

/// Docker's, where the service says nothing.
const DEFAULT_GRACE: Duration = Duration::from_secs(10);
/// After SIGKILL the kernel may still hold a process (a dead NFS server); it is killed again and said so.
const KILL_AGAIN: Duration = Duration::from_secs(10);
/// Removals tried before the container is left to the sweep of orphans.
const REMOVALS: u32 = 8;
const REMOVAL_PAUSE: Duration = Duration::from_millis(250);

/// Where the task is on this node.
///
/// ```text
/// Waiting → Fetching → Creating → Ready → Checking → Starting → Up → Stopping ─┐
///     │         │          │        │        │           │       │             ▼
///     │         └──────────┴────────┴────────┴───────────┴───────┴──────► Removing → Gone
///     │         └─► Refused ◄┘ (until its restart delay has passed)                   │
///     └──────────────────────────────────────────────────────────────────────────────►┘
/// Gone → Fetching: a restart in place, while cut off from every manager (the attempt is raised)
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Waiting,
    Fetching,
    Creating,
    /// Could not be prepared, and its restart delay has not passed: said when it has, so that what cannot be
    /// prepared is tried at the pace of the delays and no faster.
    Refused(Failure),
    Ready,
    Checking,
    Starting,
    Up,
    Stopping {
        kill_at: Instant,
        killed: bool,
    },
    Removing {
        tried: u32,
        again_at: Option<Instant>,
    },
    Gone,
}

/// One task's machine.
#[derive(Debug)]
pub struct TaskMachine {
    task: AssignedTask,
    desired: DesiredState,
    hold_until: Option<Instant>,
    phase: Phase,
    report: Report,
    image: ImageFacts,
    health: Option<Health>,
    started: Option<Instant>,
    /// Set where the container was found running: no later state may be reported as an earlier one.
    was_running: bool,
    /// Why it is being stopped, if not because it was asked for.
    unhealthy: Option<String>,
    in_place: InPlace,
    out: Vec<Output>,
}

impl TaskMachine {
    /// Takes a task up where `origin` says it is.
    pub fn new(task: AssignedTask, origin: Origin, link: Link, now: Instant) -> (Self, Vec<Output>) {
        let hold_until = Some(now + task.hold).filter(|_| !task.hold.is_zero());
        let mut machine = Self {
            desired: task.desired,
            hold_until,
            phase: Phase::Waiting,
            report: Report::new(&origin),
            image: ImageFacts::default(),
            health: None,
            started: None,
            was_running: false,
            unhealthy: None,
            in_place: InPlace::new(task.spec.restart, link),
            out: Vec::new(),
            task,
        };
        machine.take_up(origin, now);
        let outputs = machine.drain();
        (machine, outputs)
    }

    pub fn task(&self) -> &AssignedTask {
        &self.task
    }

    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Counts restarts in place; names the container together with the task.
    pub fn attempt(&self) -> u32 {
        self.report.attempt
    }

    pub fn health(&self) -> Option<Verdict> {
        self.health.as_ref().map(Health::verdict)
    }

    /// Is there nothing left to do, and no container?
    pub fn is_gone(&self) -> bool {
        self.phase == Phase::Gone
    }

    /// Is there a container whose program runs?
    pub fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up | Phase::Stopping { .. })
    }

    /// When `Input::Tick` is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Ready | Phase::Refused(_) => self.hold_until,
            Phase::Up => self.health.as_ref().and_then(Health::next_deadline),
            Phase::Stopping { kill_at, .. } => Some(*kill_at),
            Phase::Removing { again_at, .. } => *again_at,
            Phase::Gone => self.in_place.due(),
            Phase::Waiting | Phase::Fetching | Phase::Creating | Phase::Checking | Phase::Starting => None,
        }
    }

    /// Takes one input; what is to be done comes back in order.
    pub fn handle(&mut self, input: Input, now: Instant) -> Vec<Output> {
        match input {
            Input::Steer { desired, hold } => self.steer(desired, hold, now),
            Input::Fetched(result) => self.fetched(result, now),
            Input::Inspected(image) => self.inspected(image, now),
            Input::Created(result) => self.created(result, now),
            Input::PortsChecked(result) => self.ports_checked(result, now),
            Input::Started(result) => self.started(result, now),
            Input::Probed(probe) => self.probed(probe, now),
            Input::Ended { exit, hint } => self.exited(&exit, hint.as_deref(), now),
            Input::Removed(result) => self.removed(result, now),
            Input::Link(link) => self.in_place.link(link, now),
            Input::Panicked(message) => self.panicked(&message, now),
            Input::Tick => self.tick(now),
        }
        self.drain()
    }

    fn drain(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.out)
    }

    fn stop_wanted(&self) -> bool {
        self.desired >= DesiredState::Shutdown
    }

    fn steer(&mut self, desired: DesiredState, hold: Duration, now: Instant) {
        // Only forwards: what shall be stopped is never wanted again, whatever comes late.
        if desired > self.desired {
            self.desired = desired;
        }
        self.hold_until = Some(now + hold).filter(|_| !hold.is_zero());
        match self.phase {
            Phase::Ready => self.leave_ready(now),
            Phase::Waiting | Phase::Refused(_) if self.stop_wanted() => self.end(Ending::asked(None), now),
            Phase::Fetching if self.stop_wanted() => {
                self.out.push(Output::Cancel);
                self.end(Ending::asked(None), now);
            }
            // Found running, its image not yet known: `judge` looks at what is wanted.
            Phase::Up if self.stop_wanted() && self.report.state >= TaskState::Starting => self.stop(now),
            Phase::Gone if self.stop_wanted() => self.in_place.settle(),
            // A delay that was taken away has no deadline any more: nothing else would say it.
            Phase::Refused(ref failure) if self.hold_until.is_none() => {
                let failure = failure.clone();
                self.reject(failure, now);
            }
            Phase::Waiting
            | Phase::Fetching
            | Phase::Refused(_)
            | Phase::Up
            | Phase::Gone
            // These wait for a step that is not broken off; its result looks at what is wanted.
            | Phase::Creating
            | Phase::Checking
            | Phase::Starting
            | Phase::Stopping { .. }
            | Phase::Removing { .. } => {}
        }
    }

    fn begin(&mut self, now: Instant) {
        if self.stop_wanted() {
            return self.end(Ending::asked(None), now);
        }
        self.phase = Phase::Fetching;
        let message = format!("preparing, image {}", self.task.spec.container.image);
        self.tell(TaskState::Preparing, &message, Some(WaitCode::ImagePull));
        self.out.push(Output::Do(Step::Fetch));
    }

    fn fetched(&mut self, result: Result<ImageFacts, Failure>, now: Instant) {
        if self.phase != Phase::Fetching {
            return;
        }
        match result {
            Ok(image) => {
                self.image = image;
                self.phase = Phase::Creating;
                self.tell(TaskState::Preparing, "creating the container", None);
                self.out.push(Output::Do(Step::Create));
            }
            Err(failure) => self.reject(failure, now),
        }
    }

    fn reject(&mut self, failure: Failure, now: Instant) {
        if self.hold_until.is_some_and(|until| until > now) {
            let message = format!("could not be prepared: {}", failure.message);
            self.tell(self.report.state, &message, Some(WaitCode::RestartDelay));
            self.phase = Phase::Refused(failure);
        } else {
            self.end(Ending::rejected(&failure), now);
        }
    }

    fn created(&mut self, result: Result<(), Failure>, now: Instant) {
        if self.phase != Phase::Creating {
            return;
        }
        if let Err(failure) = result {
            return self.reject(failure, now);
        }
        self.phase = Phase::Ready;
        self.tell(TaskState::Ready, "ready to start", None);
        self.leave_ready(now);
    }

    fn leave_ready(&mut self, now: Instant) {
        if self.stop_wanted() {
            return self.end(Ending::asked(None), now);
        }
        let held = self.hold_until.is_some_and(|until| until > now);
        if self.desired == DesiredState::Running && !held {
            self.hold_until = None;
            self.phase = Phase::Checking;
            self.out.push(Output::Do(Step::CheckPorts));
        }
    }

    fn ports_checked(&mut self, result: Result<(), Failure>, now: Instant) {
        if self.phase != Phase::Checking {
            return;
        }
        if self.stop_wanted() {
            return self.end(Ending::asked(None), now);
        }
        if let Err(failure) = result {
            return self.end(Ending::rejected(&failure), now);
        }
        self.phase = Phase::Starting;
        self.tell(TaskState::Starting, "starting", None);
        self.out.push(Output::Do(Step::Start));
    }

    fn started(&mut self, result: Result<StartedFacts, Failure>, now: Instant) {
        if self.phase != Phase::Starting {
            return;
        }
        match result {
            Ok(facts) => {
                self.up(facts);
                self.judge(now);
            }
            Err(failure) => self.end(Ending::failed(&failure), now),
        }
    }

    fn up(&mut self, facts: StartedFacts) {
        self.phase = Phase::Up;
        self.report.pid = Some(facts.pid);
        self.started = Some(facts.started);
        self.out.push(Output::Do(Step::Watch));
    }

    /// Begins to check its health, once it is up and its image is known.
    fn judge(&mut self, now: Instant) {
        let plan = HealthPlan::merge(
            self.task.spec.container.health.as_ref(),
            self.image.health.as_ref(),
        );
        let verdict = if self.was_running {
            Verdict::Healthy
        } else {
            Verdict::Starting
        };
        let started = self.started.unwrap_or(now);
        self.health = plan.map(|plan| Health::new(plan, started, verdict, now));
        self.tell_up();
        if self.stop_wanted() {
            self.stop(now);
        }
    }

    fn tell_up(&mut self) {
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
                self.was_running = true;
                self.tell(TaskState::Running, "started", None);
            }
        }
    }

    fn inspected(&mut self, image: ImageFacts, now: Instant) {
        self.image = image;
        if self.phase == Phase::Up {
            self.judge(now);
        }
    }

    fn probed(&mut self, probe: Probe, now: Instant) {
        if self.phase != Phase::Up {
            return;
        }
        let Some(health) = self.health.as_mut() else {
            return;
        };
        let before = health.verdict();
        let after = health.handle(probe, now);
        if after == Verdict::Unhealthy {
            self.unhealthy = Some(health.last_output().to_owned());
            return self.stop(now);
        }
        if before != after {
            self.tell_up();
        }
    }

    fn stop(&mut self, now: Instant) {
        let grace = self.task.spec.container.stop_grace.unwrap_or(DEFAULT_GRACE);
        self.phase = Phase::Stopping {
            kill_at: now + grace,
            killed: false,
        };
        let message = if self.unhealthy.is_some() {
            "unhealthy, stopping"
        } else {
            "stopping"
        };
        self.tell(self.report.state, message, Some(WaitCode::Stopping));
        self.out.push(Output::Do(Step::Signal(self.stop_signal())));
    }

    fn stop_signal(&self) -> Signal {
        let named = self.task.spec.container.stop_signal.as_deref();
        named
            .and_then(|name| name.parse().ok())
            .or(self.image.stop_signal)
            .unwrap_or(Signal::TERM)
    }

    fn exited(&mut self, exit: &Exit, hint: Option<&str>, now: Instant) {
        match &self.phase {
            Phase::Up | Phase::Stopping { .. } => {}
            Phase::Waiting
            | Phase::Fetching
            | Phase::Creating
            | Phase::Refused(_)
            | Phase::Ready
            | Phase::Checking
            | Phase::Starting
            | Phase::Removing { .. }
            | Phase::Gone => return,
        }
        let memory = self.task.spec.container.limits.memory;
        let ending = match (&self.unhealthy, self.stop_wanted()) {
            (Some(output), _) => Ending::unhealthy(exit, output),
            (None, true) => Ending::asked(Some(exit)),
            (None, false) => Ending::of_exit(exit, memory, hint),
        };
        self.end(ending, now);
    }

    fn end(&mut self, ending: Ending, now: Instant) {
        self.health = None;
        self.unhealthy = None;
        self.in_place.ended(ending.by_itself(), ending.success(), now);
        ending.write(&mut self.report);
        // Before the container goes: after a crash the task must not be made anew.
        self.out.push(Output::Report {
            report: self.report.clone(),
            durable: true,
        });
        self.phase = Phase::Removing {
            tried: 1,
            again_at: None,
        };
        self.out.push(Output::Do(Step::Remove));
    }

    fn removed(&mut self, result: Result<(), Failure>, now: Instant) {
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

    fn tick(&mut self, now: Instant) {
        match self.phase.clone() {
            Phase::Ready => self.leave_ready(now),
            Phase::Refused(failure) => self.reject(failure, now),
            Phase::Up => {
                if let Some(plan) = self.health.as_mut().and_then(|health| health.take_due(now)) {
                    self.out.push(Output::Do(Step::Probe(plan.clone())));
                }
            }
            Phase::Stopping { kill_at, killed } if kill_at <= now => {
                if killed {
                    self.tell(
                        self.report.state,
                        "does not end although killed",
                        Some(WaitCode::Stopping),
                    );
                }
                self.phase = Phase::Stopping {
                    kill_at: now + KILL_AGAIN,
                    killed: true,
                };
                self.out.push(Output::Do(Step::Signal(Signal::KILL)));
            }
            Phase::Removing {
                tried,
                again_at: Some(at),
            } if at <= now => {
                self.phase = Phase::Removing {
                    tried: tried + 1,
                    again_at: None,
                };
                self.out.push(Output::Do(Step::Remove));
            }
            Phase::Gone if self.in_place.take_due(now) => self.again(now),
            Phase::Waiting
            | Phase::Fetching
            | Phase::Creating
            | Phase::Checking
            | Phase::Starting
            | Phase::Stopping { .. }
            | Phase::Removing { .. }
            | Phase::Gone => {}
        }
    }

    fn again(&mut self, now: Instant) {
        self.was_running = false;
        self.report.next_attempt();
        // Durable: the container's name follows from the attempt, and must be known after a crash.
        self.out.push(Output::Report {
            report: self.report.clone(),
            durable: true,
        });
        self.begin(now);
    }

    fn panicked(&mut self, message: &str, now: Instant) {
        if !matches!(self.phase, Phase::Gone | Phase::Removing { .. }) {
            let failure = Failure::new(format!("internal error while handling the task: {message}"));
            self.end(Ending::failed(&failure), now);
        }
    }

    fn tell(&mut self, state: TaskState, message: &str, wait: Option<WaitCode>) {
        self.report.state = self.report.state.max(state);
        message.clone_into(&mut self.report.message);
        self.report.wait = wait;
        self.out.push(Output::Report {
            report: self.report.clone(),
            durable: false,
        });
    }
}

#[cfg(test)]
mod tests;
