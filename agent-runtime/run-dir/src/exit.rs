//! How a container ended, in the file `exit`: written once, by the shim, or by the daemon for a shim that is gone.
//!
//! Everybody else only reads it; once it is there the container has ended.

use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;

use crate::RecordError;
use crate::record::{self, Reader, Writer};

/// Messages are cut here: an exit record is read whole by everyone who lists containers.
const MAX_MESSAGE: usize = 4096;

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitRecord {
    /// The exit code, 128 plus the signal's number where a signal ended it.
    pub code: i32,
    /// The signal.
    pub signal: Option<i32>,
    /// How many of its processes the kernel killed for want of memory.
    pub oom_kills: u64,
    /// Why there is an end.
    pub reason: ExitReason,
    /// What the user needs to know, for [`ExitReason::NeverStarted`].
    pub message: String,
    /// Nanoseconds since 1970.
    pub at_ns: u64,
}

/// Why a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitReason {
    /// Its first process ended.
    Exited,
    /// Its shim was killed, and it with the shim.
    ShimLost,
    /// Its program could not be started.
    NeverStarted,
}

const REASONS: [(ExitReason, &str); 3] = [
    (ExitReason::Exited, "exited"),
    (ExitReason::ShimLost, "shim-lost"),
    (ExitReason::NeverStarted, "never-started"),
];

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = REASONS
            .iter()
            .find(|(reason, _)| reason == self)
            .map_or("exited", |(_, name)| name);
        f.write_str(name)
    }
}

impl FromStr for ExitReason {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        REASONS
            .iter()
            .find(|(_, name)| *name == text)
            .map(|(reason, _)| *reason)
            .ok_or(())
    }
}

impl ExitRecord {
    /// Writes it to `exit` (or `ending`) of a run directory; a reader sees all of it or none.
    pub fn write(&self, file: &Path) -> io::Result<()> {
        let message: String = self.message.chars().take(MAX_MESSAGE).collect();
        Writer::new()
            .field("code", self.code)
            .maybe("signal", self.signal)
            .field("oom-kills", self.oom_kills)
            .field("reason", self.reason)
            .field("message", message)
            .field("at-ns", self.at_ns)
            .write(file)
    }

    /// Takes the room that writing one to this file will need.
    pub fn reserve(file: &Path) -> io::Result<()> {
        record::reserve(file)
    }

    /// Reads it; `None` while there is none.
    pub fn read(file: &Path) -> Result<Option<Self>, RecordError> {
        let reader = match Reader::open(file) {
            Err(error) if error.is_missing() => return Ok(None),
            other => other?,
        };
        Ok(Some(Self {
            code: reader.get("code")?,
            signal: reader.maybe("signal")?,
            oom_kills: reader.get("oom-kills")?,
            reason: reader.get("reason")?,
            message: reader.get("message")?,
            at_ns: reader.get("at-ns")?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::{ExitReason, ExitRecord};

    #[test]
    fn reads_what_it_wrote() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("exit");
        assert_eq!(ExitRecord::read(&file).unwrap(), None);
        let record = ExitRecord {
            code: 137,
            signal: Some(9),
            oom_kills: 2,
            reason: ExitReason::NeverStarted,
            message: "exec: \"x\"\nno".to_owned(),
            at_ns: u64::MAX,
        };
        record.write(&file).unwrap();
        assert_eq!(ExitRecord::read(&file).unwrap(), Some(record.clone()));
        ExitRecord::reserve(&file).unwrap();
        record.write(&file).unwrap();
        assert_eq!(ExitRecord::read(&file).unwrap(), Some(record));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
