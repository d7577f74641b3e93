//! What the runtime saw of a container: its state, and how it ended.
//!
//! Made from the run directory and the kernel each time it is asked for; never stored.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::id::ContainerId;
use super::signal::Signal;

/// One container of this daemon's tag, as its run directory and the kernel show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerStatus {
    /// Whose status this is.
    pub id: ContainerId,
    /// The labels of its spec; empty where the spec could not be read any more.
    pub labels: BTreeMap<String, String>,
    /// What it is to be stopped with, by its spec or else by its image; where both say nothing, SIGTERM is meant.
    pub stop_signal: Option<Signal>,
    /// What its spec said of how long it has to end by that.
    pub stop_grace: Option<Duration>,
    /// Where in its life it is.
    pub state: ContainerState,
    /// The first process, in the host's pid namespace, while it lives.
    pub pid: Option<u32>,
    /// When its program was started; unchanged by restarts of the daemon.
    pub started_at: Option<SystemTime>,
}

/// Where in its life a container is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerState {
    /// Everything is made, the program is not started.
    Created,
    /// The program runs.
    Running,
    /// The program has ended, or never came to start.
    Exited(Exit),
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// The exit code; 128 plus the signal's number where a signal ended it.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether the kernel killed one of its processes for want of memory.
    pub oom_killed: bool,
    /// Why there is an end at all.
    pub reason: ExitReason,
    /// When it was seen.
    pub at: SystemTime,
}

/// Why a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitReason {
    /// Its first process ended.
    Exited,
    /// Its shim was killed, and the container with it.
    ShimLost,
    /// Its program could not be started.
    NeverStarted {
        /// What the user needs to know.
        message: String,
    },
}
