//! A signal, by number, read from the names that Docker takes.
//!
//! Used by specs, stops and execs; never sends anything.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A signal number of this kernel, 1 to 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i32", into = "i32")]
pub struct Signal(i32);

/// What was given is not a signal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not a signal: expected a name such as SIGTERM or a number from 1 to 64")]
pub struct SignalError {
    /// What was given.
    pub given: String,
}

const NAMES: [(&str, i32); 31] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("STKFLT", libc::SIGSTKFLT),
    ("CHLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
];

/// glibc keeps 32 and 33 for itself; RTMIN counts from 34, as Docker does.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

impl Signal {
    /// Asks a process to end.
    pub const TERM: Signal = Signal(libc::SIGTERM);
    /// Ends a process.
    pub const KILL: Signal = Signal(libc::SIGKILL);

    /// The number.
    pub fn number(self) -> i32 {
        self.0
    }
}

impl TryFrom<i32> for Signal {
    type Error = SignalError;

    fn try_from(number: i32) -> Result<Self, SignalError> {
        if (1..=RTMAX).contains(&number) {
            Ok(Self(number))
        } else {
            Err(SignalError {
                given: number.to_string(),
            })
        }
    }
}

impl From<Signal> for i32 {
    fn from(signal: Signal) -> i32 {
        signal.0
    }
}

impl FromStr for Signal {
    type Err = SignalError;

    fn from_str(text: &str) -> Result<Self, SignalError> {
        let error = || SignalError {
            given: text.to_owned(),
        };
        if let Ok(number) = text.parse::<i32>() {
            return Self::try_from(number).map_err(|_ignored| error());
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
            return Ok(Self(*number));
        }
        let offset = |rest: &str, sign: char| {
            if rest.is_empty() {
                Some(0)
            } else {
                rest.strip_prefix(sign)?.parse::<i32>().ok()
            }
        };
        let number = if let Some(rest) = name.strip_prefix("RTMIN") {
            offset(rest, '+').and_then(|n| RTMIN.checked_add(n))
        } else if let Some(rest) = name.strip_prefix("RTMAX") {
            offset(rest, '-').and_then(|n| RTMAX.checked_sub(n))
        } else {
            None
        };
        number
            .filter(|n| (RTMIN..=RTMAX).contains(n))
            .map(Self)
            .ok_or_else(error)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => write!(f, "SIG{name}"),
            None => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Signal;

    #[test]
    fn names_as_docker_takes_them() {
        for (text, number) in [
            ("SIGTERM", 15),
            ("term", 15),
            ("9", 9),
            ("SIGRTMIN+3", 37),
            ("RTMAX", 64),
            ("RTMAX-1", 63),
            ("SIGQUIT", 3),
        ] {
            assert_eq!(text.parse::<Signal>().unwrap().number(), number, "{text}");
        }
        for bad in ["", "0", "65", "-9", "SIGNOPE", "RTMIN+99", "RTMIN-1"] {
            assert!(bad.parse::<Signal>().is_err(), "{bad}");
        }
    }
}
