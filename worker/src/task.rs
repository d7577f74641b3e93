//! One task on this node, as a machine that is told what happened and says what to do next.
//!
//! Pure: `handle(input, now) -> outputs` and `next_deadline()`. The keeper carries the outputs out and feeds
//! the results back. States are the cluster's; the phases below are this node's finer ones. Every path ends
//! in `Gone`, with nothing of the container left.

mod client;
mod ending;
mod io;
mod leaving;
mod origin;
mod preparing;
mod restart;
mod running;

pub(crate) use client::awaited as awaits_client;
pub use ending::describe_exit;
pub use io::{AttachFailure, Failure, ImageFacts, Input, Link, Output, Report, StartedFacts, Step};
pub use origin::{Found, Origin, failing, origin};

use crate::assignment::AssignedTask;
use crate::health::{Health, Verdict};
use client::Client;
use ending::Ending;
use restart::InPlace;
use shoal_agent_runtime::Signal;
use shoal_core::model::{DesiredState, TaskState, WaitCode};
use std::time::{Duration, Instant};

/// After SIGKILL the kernel may still hold a process (a dead NFS server); it is killed again and said so.
const KILL_AGAIN: Duration = Duration::from_secs(10);

/// Where the task is on this node.
///
/// ```text
/// Waiting → Fetching → Creating → Attaching → Ready → Checking → Starting → Up → (Withdrawing →) Stopping ─┐
///     │         │          │          │         │         │          │       │                             ▼
///     │         └──────────┴──────────┴─────────┴─────────┴──────────┴───────┴──────► Detaching → Removing → Gone
///     │         └─► Refused ◄─────────┘ (until its restart delay has passed)                                  │
///     └──────────────────────────────────────────────────────────────────────────────────────────────────────►┘
/// Attaching, Withdrawing, Detaching: only a task that has links of its own
/// Gone → Fetching: a restart in place, while cut off from every manager (the attempt is raised)
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Waiting,
    Fetching,
    Creating,
    Attaching {
        again_at: Option<Instant>,
    },
    /// Could not be prepared, and its restart delay has not passed: said when it has, so that what cannot be
    /// prepared is tried at the pace of the delays and no faster.
    Refused(Failure),
    Ready,
    Checking,
    Starting,
    Up,
    /// It has failed, and gets no new connections before it is told to stop.
    Withdrawing,
    Stopping {
        kill_at: Instant,
        killed: bool,
    },
    Detaching,
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
    /// Why it is being stopped, if not because it was asked for: a sentence for its user.
    unhealthy: Option<String>,
    /// What is said of a published port of it that another process holds.
    port_taken: Option<String>,
    client: Client,
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
            port_taken: None,
            client: Client::of(&task),
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
        matches!(
            self.phase,
            Phase::Up | Phase::Withdrawing | Phase::Stopping { .. }
        )
    }

    /// When `Input::Tick` is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        match &self.phase {
            // Its client is looked for once the delay has passed, and not before.
            Phase::Ready => self.hold_until.or(self.client.until()),
            Phase::Refused(_) => self.hold_until,
            Phase::Up => self.health.as_ref().and_then(Health::next_deadline),
            Phase::Stopping { kill_at, .. } => Some(*kill_at),
            Phase::Attaching { again_at } | Phase::Removing { again_at, .. } => *again_at,
            Phase::Gone => self.in_place.due(),
            Phase::Waiting
            | Phase::Fetching
            | Phase::Creating
            | Phase::Checking
            | Phase::Starting
            | Phase::Withdrawing
            | Phase::Detaching => None,
        }
    }

    /// Takes one input; what is to be done comes back in order.
    pub fn handle(&mut self, input: Input, now: Instant) -> Vec<Output> {
        match input {
            Input::Steer { desired, hold } => self.steer(desired, hold, now),
            Input::Looked(here) => self.looked(here),
            Input::Pulling(sentence) => self.pulling(&sentence),
            Input::Fetched(result) => self.fetched(result, now),
            Input::Inspected(image) => self.inspected(image, now),
            Input::Created(result) => self.created(result, now),
            Input::Attached(result) => self.attached(result, now),
            Input::PortsChecked(result) => self.ports_checked(result, now),
            Input::Started(result) => self.started(result, now),
            Input::Probed(probe) => self.probed(probe, now),
            Input::Withdrawn => self.withdrawn(now),
            Input::Detached => self.detached(),
            Input::PortTaken(sentence) => self.port_taken(sentence),
            Input::Ended { exit, hint } => self.exited(&exit, hint.as_deref(), now),
            Input::Removed(result) => self.removed(result, now),
            Input::ClientCame => self.client_came(now),
            Input::Link(link) => self.in_place.link(link, now),
            Input::Panicked(message) => self.panicked(&message, now),
            Input::Tick => self.tick(now),
        }
        self.drain()
    }

    fn drain(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.out)
    }

    fn has_links(&self) -> bool {
        crate::network::has_links(&self.task)
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
            Phase::Waiting | Phase::Refused(_) | Phase::Attaching { again_at: Some(_) } if self.stop_wanted() => {
                self.end(Ending::asked(None), now);
            }
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
            | Phase::Attaching { .. }
            | Phase::Checking
            | Phase::Starting
            | Phase::Withdrawing
            | Phase::Stopping { .. }
            | Phase::Detaching
            | Phase::Removing { .. } => {}
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
            Phase::Attaching { again_at: Some(at) } if at <= now => self.attach(),
            Phase::Gone if self.in_place.take_due(now) => self.again(now),
            Phase::Waiting
            | Phase::Fetching
            | Phase::Creating
            | Phase::Attaching { .. }
            | Phase::Checking
            | Phase::Starting
            | Phase::Withdrawing
            | Phase::Stopping { .. }
            | Phase::Detaching
            | Phase::Removing { .. }
            | Phase::Gone => {}
        }
    }

    fn panicked(&mut self, message: &str, now: Instant) {
        if self.phase == Phase::Detaching {
            return self.remove();
        }
        if !matches!(self.phase, Phase::Gone | Phase::Removing { .. }) {
            let failure = Failure::new(format!("internal error while handling the task: {message}"));
            self.end(Ending::failed(&failure), now);
        }
    }

    fn tell(&mut self, state: TaskState, message: &str, wait: Option<WaitCode>) {
        if state > self.report.state {
            self.report.state = state;
            self.report.at = None;
        }
        message.clone_into(&mut self.report.message);
        self.report.wait = wait;
        self.post(false);
    }

    fn post(&mut self, durable: bool) {
        self.out.push(Output::Report {
            report: self.report.clone(),
            durable,
        });
    }
}

#[cfg(test)]
mod tests;
