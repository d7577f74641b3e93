//! How a task ended, in the words that its user reads.
//!
//! Pure. Out of memory is named as such, with the limit that was hit; a signal by its name.

use super::io::{Failure, Report};
use crate::clock::wall_of;
use shoal_agent_runtime::{Exit, ExitReason, Signal};
use shoal_core::model::{Bytes, TaskState, WallTime};

/// Characters of a failing health check's output that go into the task's error: the first lines say it.
const OUTPUT_SHOWN: usize = 512;

/// A terminal state and what is said with it.
#[derive(Debug)]
pub(super) struct Ending {
    state: TaskState,
    message: &'static str,
    error: Option<String>,
    exit_code: Option<i32>,
    /// When its program ended, if it did.
    at: Option<WallTime>,
}

impl Ending {
    /// It was asked to end, before or after it ran.
    pub(super) fn asked(exit: Option<&Exit>) -> Self {
        Self {
            state: TaskState::Shutdown,
            message: "stopped",
            error: None,
            exit_code: exit.map(|exit| exit.code),
            at: exit.map(|exit| wall_of(exit.at)),
        }
    }

    /// It could not be prepared.
    pub(super) fn rejected(failure: &Failure) -> Self {
        Self {
            state: TaskState::Rejected,
            message: "could not be prepared",
            error: Some(failure.message.clone()),
            exit_code: failure.exit_code,
            at: None,
        }
    }

    /// It could not be started, or was lost.
    pub(super) fn failed(failure: &Failure) -> Self {
        Self {
            state: TaskState::Failed,
            message: "failed",
            error: Some(failure.message.clone()),
            exit_code: failure.exit_code,
            at: None,
        }
    }

    /// It was stopped for `why`.
    pub(super) fn unhealthy(exit: &Exit, why: &str) -> Self {
        Self {
            state: TaskState::Failed,
            message: "unhealthy",
            error: Some(why.to_owned()),
            exit_code: Some(exit.code),
            at: Some(wall_of(exit.at)),
        }
    }

    /// It ended by itself.
    pub(super) fn of_exit(exit: &Exit, memory: Option<Bytes>, hint: Option<&str>) -> Self {
        if exit.reason == ExitReason::Exited && exit.code == 0 && exit.signal.is_none() {
            return Self {
                state: TaskState::Complete,
                message: "finished",
                error: None,
                exit_code: Some(0),
                at: Some(wall_of(exit.at)),
            };
        }
        let mut error = describe_exit(exit, memory);
        if let Some(hint) = hint {
            error = format!("{error}; {hint}");
        }
        Self {
            state: TaskState::Failed,
            message: "failed",
            error: Some(error),
            exit_code: Some(exit.code),
            at: Some(wall_of(exit.at)),
        }
    }

    /// Did it end without being asked, after it was started?
    pub(super) fn by_itself(&self) -> bool {
        matches!(
            self.state,
            TaskState::Complete | TaskState::Failed | TaskState::Rejected
        )
    }

    pub(super) fn success(&self) -> bool {
        self.state == TaskState::Complete
    }

    pub(super) fn write(self, report: &mut Report) {
        report.state = self.state;
        self.message.clone_into(&mut report.message);
        report.error = self.error;
        report.exit_code = self.exit_code;
        report.wait = None;
        report.at = self.at;
    }
}

/// What a check that failed too often wrote, for a user.
pub(super) fn describe_unhealthy(output: &str) -> String {
    let shown: String = output.trim().chars().take(OUTPUT_SHOWN).collect();
    if shown.is_empty() {
        "unhealthy: its check failed without a word".to_owned()
    } else {
        format!("unhealthy: {shown}")
    }
}

/// What an exit says, for a user.
pub fn describe_exit(exit: &Exit, memory: Option<Bytes>) -> String {
    match &exit.reason {
        ExitReason::NeverStarted { message } => message.clone(),
        ExitReason::ShimLost => {
            let lost =
                "its shim was killed, and the container with it (who or what sent SIGKILL to shoal-shim?)";
            if exit.oom_killed {
                format!("{lost}; before that it had run out of memory: the kernel killed a process of it")
            } else {
                lost.to_owned()
            }
        }
        ExitReason::Exited if exit.oom_killed => match memory {
            Some(limit) => format!(
                "out of memory: the kernel killed a process at the limit of {limit} (exit code {}); raise the memory limit",
                exit.code
            ),
            None => format!(
                "out of memory: the kernel killed a process (exit code {})",
                exit.code
            ),
        },
        ExitReason::Exited => match exit.signal.map(Signal::try_from) {
            Some(Ok(signal)) => format!("killed by {signal} (exit code {})", exit.code),
            Some(Err(_)) | None => format!("exited with code {}", exit.code),
        },
    }
}
