//! What `shoal-spawn` tells the shim, over a pipe that closes itself when the program runs.
//!
//! A line a record. The pipe's other ends are close-on-exec: end of file after `created` or `exec` means that
//! `execve` succeeded or that nobody is left; a `failed` line before it says why not.

use crate::message::FailureKind;

/// The longest line: a write of a pipe is atomic up to this many bytes (`PIPE_BUF`).
pub const MAX_LINE: usize = 4096;

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// The process exists: the container's first one, or an exec's.
    Process {
        /// In the host's pid namespace.
        pid: u32,
    },
    /// Everything is made; only `execve` is left.
    Ready,
    /// It failed.
    Failed {
        /// What kind of failure.
        kind: FailureKind,
        /// What the program's exit code would be.
        code: i32,
        /// What the user needs to know.
        message: String,
    },
}

impl Report {
    /// As one line, its newline included.
    pub fn encode(&self) -> String {
        match self {
            Self::Process { pid } => format!("process {pid}\n"),
            Self::Ready => "ready\n".to_owned(),
            Self::Failed { kind, code, message } => {
                let kind = if *kind == FailureKind::Command {
                    "command"
                } else {
                    "runtime"
                };
                let mut message = message.replace('\n', "; ");
                let mut end = message.len().min(MAX_LINE - 64);
                while !message.is_char_boundary(end) {
                    end -= 1;
                }
                message.truncate(end);
                format!("failed {kind} {code} {message}\n")
            }
        }
    }

    /// From one line without its newline.
    pub fn decode(line: &str) -> Option<Self> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "process" => Some(Self::Process {
                pid: rest.parse().ok()?,
            }),
            "ready" => Some(Self::Ready),
            "failed" => {
                let mut parts = rest.splitn(3, ' ');
                let kind = if parts.next()? == "command" {
                    FailureKind::Command
                } else {
                    FailureKind::Runtime
                };
                let code = parts.next()?.parse().ok()?;
                Some(Self::Failed {
                    kind,
                    code,
                    message: parts.next().unwrap_or("").to_owned(),
                })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Report;
    use crate::message::FailureKind;

    #[test]
    fn every_report_survives_the_pipe() {
        let failed = |message: &str| Report::Failed {
            kind: FailureKind::Command,
            code: 127,
            message: message.to_owned(),
        };
        for report in [
            Report::Process { pid: 7 },
            Report::Ready,
            failed("exec: \"a b\": not found"),
            failed(""),
        ] {
            let line = report.encode();
            assert_eq!(Report::decode(line.strip_suffix('\n').unwrap()), Some(report));
        }
        assert!(failed(&"ü\n".repeat(9000)).encode().len() <= super::MAX_LINE);
        assert_eq!(Report::decode("nonsense"), None);
    }
}
