//! A process by pid and start time, so that a reused pid is never taken for it.
//!
//! Start times are clock ticks since the machine came up, unique together with the pid; the boot id tells apart a
//! run directory that outlived a reboot.

use std::fs;
use std::io;
use std::path::Path;

use crate::RecordError;
use crate::record::{Reader, Writer};

/// A process as it was when somebody wrote it down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PidRecord {
    /// The pid in the host's namespace.
    pub pid: u32,
    /// Field 22 of `/proc/<pid>/stat`.
    pub start_time: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
}

impl PidRecord {
    /// Describes a living process.
    pub fn of(pid: u32) -> io::Result<Self> {
        Ok(Self {
            pid,
            start_time: start_time(pid)?,
            boot_id: boot_id()?,
        })
    }

    /// Whether a process of this pid is still the one that was written down (alive, or ended and not yet reaped).
    pub fn is_current(&self) -> bool {
        start_time(self.pid).is_ok_and(|now| now == self.start_time)
            && boot_id().is_ok_and(|now| now == self.boot_id)
    }

    /// Writes it to a file.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        Writer::new()
            .field("pid", self.pid)
            .field("start-time", self.start_time)
            .field("boot-id", &self.boot_id)
            .write(path)
    }

    /// Reads it; `None` if there is no such file.
    pub fn read(path: &Path) -> Result<Option<Self>, RecordError> {
        let reader = match Reader::open(path) {
            Err(error) if error.is_missing() => return Ok(None),
            other => other?,
        };
        Ok(Some(Self {
            pid: reader.get("pid")?,
            start_time: reader.get("start-time")?,
            boot_id: reader.get("boot-id")?,
        }))
    }
}

/// Whether a process has ended. A zombie has as well: its parent only has not looked.
pub fn has_ended(pid: u32) -> bool {
    field(pid, 3).map_or(true, |state| matches!(state.as_str(), "Z" | "X"))
}

fn start_time(pid: u32) -> io::Result<u64> {
    let ticks = field(pid, 22)?.parse();
    ticks.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// A field of `/proc/<pid>/stat` that comes after the name, by its number in proc(5).
fn field(pid: u32, number: usize) -> io::Result<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in parentheses, may hold anything; the fields after it start with the third.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let field = after_name.split_ascii_whitespace().nth(number - 3);
    field
        .map(str::to_owned)
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim()
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::{PidRecord, has_ended};
    use std::process::Command;

    #[test]
    fn a_process_that_nobody_has_waited_for_has_ended() {
        assert!(!has_ended(std::process::id()));
        let mut child = Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        assert!(!has_ended(child.id()));
        drop(child.stdin.take());
        while !has_ended(child.id()) {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(has_ended(child.id()));
    }

    #[test]
    fn another_start_time_is_another_process() {
        let me = PidRecord::of(std::process::id()).unwrap();
        assert!(me.is_current());
        assert!(
            !PidRecord {
                start_time: me.start_time + 1,
                ..me.clone()
            }
            .is_current()
        );
        assert!(
            !PidRecord {
                boot_id: String::new(),
                ..me
            }
            .is_current()
        );
    }
}
