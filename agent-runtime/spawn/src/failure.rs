//! Why something could not be started, in the words that its user reads.
//!
//! Used by both requests; never names a path of the host that the user did not give.

use std::fmt::Display;

use shoal_run_dir::message::FailureKind;

/// Why something could not be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    pub(crate) code: i32,
    pub(crate) message: String,
}

impl Failure {
    /// The runtime could not do its part.
    pub(crate) fn runtime(message: impl Display) -> Self {
        Self {
            kind: FailureKind::Runtime,
            code: 125,
            message: message.to_string(),
        }
    }

    /// The command is not there, as a shell says it with 127.
    pub(crate) fn not_found(message: impl Display) -> Self {
        Self {
            kind: FailureKind::Command,
            code: 127,
            message: message.to_string(),
        }
    }

    /// The command is there and cannot be run, as a shell says it with 126.
    pub(crate) fn not_executable(message: impl Display) -> Self {
        Self {
            kind: FailureKind::Command,
            code: 126,
            message: message.to_string(),
        }
    }
}

/// Says what was being done when an error came.
pub(crate) trait Doing<T> {
    /// Turns the error into a failure of the runtime that names what was being done.
    fn doing(self, what: impl Display) -> Result<T, Failure>;
}

impl<T, E: Display> Doing<T> for Result<T, E> {
    fn doing(self, what: impl Display) -> Result<T, Failure> {
        self.map_err(|error| Failure::runtime(format_args!("{what}: {error}")))
    }
}
