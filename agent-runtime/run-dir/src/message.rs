//! Messages on the shim's socket: `SOCK_SEQPACKET`, one message a packet, descriptors beside it.
//!
//! A client opens with [`Request::Hello`] and what it speaks; the shim answers with what both will use. A
//! connection carries one exec at most; closing it ends that exec. Signals to the container's first process do not
//! come through here: the daemon sends them by pidfd, so that a shim that hangs cannot keep a container alive. Who is
//! attached to the first process's streams needs no connection: its pipes say when it is gone.

/// The version of these messages; 2 added [`Request::Attach`] and [`Request::CloseStdin`].
pub const PROTOCOL: u32 = 2;

/// The oldest version that a client still speaks: shims live on when a newer daemon comes.
pub const OLDEST_PROTOCOL: u32 = 1;

/// The longest message: an error text is cut long before, everything else is a few words.
pub const MAX_MESSAGE: usize = 8 * 1024;

/// The most descriptors in one message: `shoal-spawn`, the request, three streams.
pub const MAX_DESCRIPTORS: usize = 5;

/// The most files of a log that are handed to a client: what a terminal can show of more is nobody's wish.
pub const MAX_LOG_FILES: usize = 8;

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// First message of a connection: the versions that the client speaks.
    Hello {
        /// Lowest.
        min: u32,
        /// Highest.
        max: u32,
    },
    /// Make the container, its program not started. With it: `shoal-spawn`.
    Create,
    /// Start the program.
    Start,
    /// Start a further process. With it: `shoal-spawn`, an [`crate::request::ExecRequest`] as JSON, and stdin,
    /// stdout, stderr, or for a terminal the socket that its master is to be sent to.
    Exec,
    /// Send a signal to this connection's exec.
    ExecSignal {
        /// Its number.
        signal: i32,
    },
    /// Follow what the container's first process writes from here on. With it: the pipes that its standard output
    /// (or terminal) and its standard error are to be copied to. A copy that is not read holds the container up.
    Attach {
        /// Whether what it wrote before is asked for too.
        replay: bool,
    },
    /// Let the container's first process see the end of its standard input, once nobody else holds it open.
    CloseStdin,
}

/// What the shim answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The version that both speak.
    Hello {
        /// The version.
        version: u32,
    },
    /// The container is made.
    Created {
        /// Its first process.
        pid: u32,
    },
    /// The program runs.
    Started {
        /// Its process.
        pid: u32,
        /// Since when, in nanoseconds since 1970.
        at_ns: u64,
    },
    /// The exec runs.
    ExecStarted {
        /// Its process.
        pid: u32,
    },
    /// The exec has ended.
    ExecEnded {
        /// Its exit code, 128 plus the signal's number where a signal ended it.
        code: i32,
    },
    /// Done.
    Done,
    /// The client is attached. With it: where its input goes, if there is such a place, and then the files of the
    /// log, the oldest first, if they were asked for; what follows them is in the pipes.
    Attached {
        /// Whether there is somewhere to write to, or a terminal to be resized.
        input: Input,
        /// Bytes of the last of the files that belong to what was before.
        log_size: u64,
    },
    /// It could not be done.
    Failed {
        /// What kind of failure.
        kind: FailureKind,
        /// What the program's exit code would be (126, 127), or an error number.
        code: i32,
        /// What the user needs to know.
        message: String,
    },
}

/// What a client that attaches is given for its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// Nothing: the container has no standard input, or it was closed.
    None,
    /// The writing end of the pipe that it reads from.
    Pipe,
    /// The master of its terminal.
    Terminal,
}

/// What kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The command cannot be run; `code` is what a shell would exit with.
    Command,
    /// The runtime could not do it.
    Runtime,
    /// Not in this state, or not understood.
    State,
}

/// A message was not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed message on the shim's socket")]
pub struct Malformed;

impl Request {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello { min, max } => packet(1, &[&min.to_le_bytes(), &max.to_le_bytes()]),
            Self::Create => packet(2, &[]),
            Self::Start => packet(3, &[]),
            Self::Exec => packet(4, &[]),
            Self::ExecSignal { signal } => packet(5, &[&signal.to_le_bytes()]),
            Self::Attach { replay } => packet(6, &[&u32::from(*replay).to_le_bytes()]),
            Self::CloseStdin => packet(7, &[]),
        }
    }

    /// From bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let (kind, mut fields) = open(bytes)?;
        let message = match kind {
            1 => Self::Hello {
                min: fields.u32()?,
                max: fields.u32()?,
            },
            2 => Self::Create,
            3 => Self::Start,
            4 => Self::Exec,
            5 => Self::ExecSignal {
                signal: fields.i32()?,
            },
            6 => Self::Attach {
                replay: fields.u32()? != 0,
            },
            7 => Self::CloseStdin,
            _ => return Err(Malformed),
        };
        Ok(message)
    }
}

impl Reply {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello { version } => packet(1, &[&version.to_le_bytes()]),
            Self::Created { pid } => packet(2, &[&pid.to_le_bytes()]),
            Self::Started { pid, at_ns } => packet(3, &[&pid.to_le_bytes(), &at_ns.to_le_bytes()]),
            Self::ExecStarted { pid } => packet(4, &[&pid.to_le_bytes()]),
            Self::ExecEnded { code } => packet(5, &[&code.to_le_bytes()]),
            Self::Done => packet(6, &[]),
            Self::Attached { input, log_size } => {
                let input: u32 = match input {
                    Input::None => 0,
                    Input::Pipe => 1,
                    Input::Terminal => 2,
                };
                packet(8, &[&input.to_le_bytes(), &log_size.to_le_bytes()])
            }
            Self::Failed { kind, code, message } => {
                let kind: u32 = match kind {
                    FailureKind::Command => 0,
                    FailureKind::Runtime => 1,
                    FailureKind::State => 2,
                };
                let mut end = message.len().min(MAX_MESSAGE / 2);
                while !message.is_char_boundary(end) {
                    end -= 1;
                }
                packet(
                    7,
                    &[
                        &kind.to_le_bytes(),
                        &code.to_le_bytes(),
                        &message.as_bytes()[..end],
                    ],
                )
            }
        }
    }

    /// From bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let (kind, mut fields) = open(bytes)?;
        let message = match kind {
            1 => Self::Hello {
                version: fields.u32()?,
            },
            2 => Self::Created { pid: fields.u32()? },
            3 => Self::Started {
                pid: fields.u32()?,
                at_ns: fields.u64()?,
            },
            4 => Self::ExecStarted { pid: fields.u32()? },
            5 => Self::ExecEnded { code: fields.i32()? },
            6 => Self::Done,
            7 => {
                let kind = match fields.u32()? {
                    0 => FailureKind::Command,
                    1 => FailureKind::Runtime,
                    _ => FailureKind::State,
                };
                Self::Failed {
                    kind,
                    code: fields.i32()?,
                    message: fields.text(),
                }
            }
            8 => Self::Attached {
                input: match fields.u32()? {
                    0 => Input::None,
                    1 => Input::Pipe,
                    2 => Input::Terminal,
                    _ => return Err(Malformed),
                },
                log_size: fields.u64()?,
            },
            _ => return Err(Malformed),
        };
        Ok(message)
    }
}

fn packet(kind: u8, fields: &[&[u8]]) -> Vec<u8> {
    let mut bytes = vec![kind];
    for field in fields {
        bytes.extend_from_slice(field);
    }
    bytes
}

fn open(bytes: &[u8]) -> Result<(u8, Fields<'_>), Malformed> {
    let (kind, rest) = bytes.split_first().ok_or(Malformed)?;
    Ok((*kind, Fields(rest)))
}

/// Later versions append fields: what is left over is not an error.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*field)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.take().map(u32::from_le_bytes)
    }

    fn i32(&mut self) -> Result<i32, Malformed> {
        self.take().map(i32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.take().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> String {
        String::from_utf8_lossy(std::mem::take(&mut self.0)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::{FailureKind, Input, Reply, Request};

    #[test]
    fn every_message_survives_the_wire() {
        for request in [
            Request::Hello { min: 1, max: 7 },
            Request::Create,
            Request::Start,
            Request::Exec,
            Request::ExecSignal { signal: 9 },
            Request::Attach { replay: true },
            Request::Attach { replay: false },
            Request::CloseStdin,
        ] {
            assert_eq!(Request::decode(&request.encode()), Ok(request));
        }
        let failed = |message: &str| Reply::Failed {
            kind: FailureKind::Command,
            code: 127,
            message: message.to_owned(),
        };
        for reply in [
            Reply::Hello { version: 1 },
            Reply::Created { pid: 5 },
            Reply::Started {
                pid: 5,
                at_ns: u64::MAX,
            },
            Reply::ExecStarted { pid: 6 },
            Reply::ExecEnded { code: -1 },
            Reply::Done,
            Reply::Attached {
                input: Input::None,
                log_size: u64::MAX,
            },
            Reply::Attached {
                input: Input::Pipe,
                log_size: 0,
            },
            Reply::Attached {
                input: Input::Terminal,
                log_size: 1,
            },
            failed("no such file"),
        ] {
            assert_eq!(Reply::decode(&reply.encode()), Ok(reply));
        }
        let long = failed(&"ü".repeat(10_000)).encode();
        assert!(long.len() < super::MAX_MESSAGE && Reply::decode(&long).is_ok());
        assert!(
            Request::decode(&[]).is_err()
                && Request::decode(&[1, 0]).is_err()
                && Request::decode(&[99]).is_err()
        );
    }
}
