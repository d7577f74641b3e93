//! What a task's machine is told and what it answers.
//!
//! Closed enums between the machine and its keeper; nothing else passes between them.

use super::origin::Origin;
use crate::health::{HealthPlan, Probe};
use serde::{Deserialize, Serialize};
use shoal_agent_runtime::{Exit, Signal};
use shoal_core::model::{DesiredState, HealthCheck, TaskState, WaitCode, WallTime};
use std::time::{Duration, Instant};

/// Something happened.
#[derive(Debug)]
pub enum Input {
    /// The managers want something of it; `hold` is how long it stays at `ready`.
    Steer {
        desired: DesiredState,
        hold: Duration,
    },
    /// Is the image here?
    Looked(bool),
    /// How far the fetch is, where that is worth a word.
    Pulling(String),
    Fetched(Result<ImageFacts, Failure>),
    Inspected(ImageFacts),
    PortsChecked(Result<(), Failure>),
    Created(Result<(), Failure>),
    Attached(Result<(), AttachFailure>),
    Started(Result<StartedFacts, Failure>),
    Probed(Probe),
    /// It gets no new connections any more.
    Withdrawn,
    /// Its container is in no table of this node any more.
    Detached,
    /// Of its published ports, one is held by another process (a sentence), or none any more.
    PortTaken(Option<String>),
    /// Its program ended; `hint` is what the node knows besides (a published port that another holds).
    Ended {
        exit: Exit,
        hint: Option<String>,
    },
    Removed(Result<(), Failure>),
    Link(Link),
    /// The code that carried out a step panicked.
    Panicked(String),
    /// A client is attached to its streams.
    ClientCame,
    /// A deadline has come.
    Tick,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Carry it out and answer with the input of the same name.
    Do(Step),
    /// Break off the fetch that is under way.
    Cancel,
    /// Tell the managers; `durable`: have it on disk before anything that follows.
    Report { report: Report, durable: bool },
}

/// One idempotent act of the runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Is the image here?
    Look,
    /// Pull the image unless it is here.
    Fetch,
    /// What the image says of a container that was found running.
    Inspect,
    Create,
    /// Give its container links and names in the task's networks.
    Attach,
    /// Are the published ports free?
    CheckPorts,
    Start,
    /// What was known here of its end before is over: it runs again.
    Admit,
    /// Wait for its end.
    Watch,
    Probe(HealthPlan),
    Signal(Signal),
    /// Take it out of this node's tables for new connections.
    Withdraw,
    /// Take its container out of this node's tables.
    Detach,
    /// Kill if need be, take everything away but the log.
    Remove,
}

/// How the node stands to the managers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// In session.
    Session,
    /// Not in session, for a short while: they will decide soon.
    Lost,
    /// Cut off from every manager: the worker decides by the restart policy.
    CutOff,
}

/// A step did not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What was expected, what was found, what to do.
    pub message: String,
    /// 126 and 127 where the program cannot be run.
    pub exit_code: Option<i32>,
}

impl Failure {
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            exit_code: None,
        }
    }
}

/// A container got no links, or no names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttachFailure {
    /// Nothing is wrong with the task: the node's network is not ready (why), and it is asked again.
    NotReady(String),
    Refused(Failure),
}

/// What the machine needs to know of the image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageFacts {
    pub health: Option<HealthCheck>,
    pub stop_signal: Option<Signal>,
}

/// A program that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartedFacts {
    pub pid: u32,
    pub started: Instant,
}

/// The latest that is to be said of a task. Kept on disk too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub attempt: u32,
    pub state: TaskState,
    pub message: String,
    pub error: Option<String>,
    pub exit_code: Option<i32>,
    pub pid: Option<u32>,
    pub wait: Option<WaitCode>,
    /// When the state was reached, where that is known: what is said later than it happened, after a restart of
    /// the daemon, says when it happened.
    #[serde(default)]
    pub at: Option<WallTime>,
    /// When the attempt's container was made, if it was.
    #[serde(default)]
    pub created: Option<WallTime>,
}

impl Report {
    pub(crate) fn new(origin: &Origin) -> Self {
        let attempt = match origin {
            Origin::Fresh => 0,
            Origin::Ended(report) => return report.clone(),
            Origin::Lost { attempt } | Origin::Found { attempt, .. } => *attempt,
        };
        Self {
            attempt,
            state: TaskState::Accepted,
            message: "accepted".to_owned(),
            error: None,
            exit_code: None,
            pid: None,
            wait: None,
            at: None,
            created: None,
        }
    }

    pub(super) fn next_attempt(&mut self) {
        *self = Self {
            attempt: self.attempt.saturating_add(1),
            state: TaskState::Accepted,
            message: "restarting in place, cut off from every manager".to_owned(),
            error: None,
            exit_code: None,
            pid: None,
            wait: None,
            at: None,
            created: None,
        };
    }
}
