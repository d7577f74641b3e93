//! What the shim is told about its container, in `shim.conf`.
//!
//! The daemon writes it before the shim starts; the shim reads it once and never changes it.

use std::io;
use std::path::{Path, PathBuf};

use crate::RecordError;
use crate::layout::SHIM_CONF;
use crate::record::{Reader, Writer};

/// The shim's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShimConf {
    /// The container's id.
    pub id: String,
    /// The mark of the daemon's data directory.
    pub tag: String,
    /// Where the log files go; exists.
    pub log_dir: PathBuf,
    /// Bytes of one log file before it is rotated.
    pub log_max_size: u64,
    /// Log files kept, the current one included.
    pub log_max_files: u32,
    /// Whether the container has a terminal.
    pub terminal: bool,
    /// The columns and rows of it, where somebody said them.
    pub terminal_size: Option<(u16, u16)>,
    /// Whether its standard input is a pipe that the shim keeps open. A terminal is open anyway.
    pub stdin: bool,
    /// A directory of the container in some cgroup hierarchy: who is in it belongs to the container.
    pub cgroup: PathBuf,
    /// The file with a line `oom_kill N`, in the memory hierarchy; none without that controller.
    pub oom_file: Option<PathBuf>,
}

impl ShimConf {
    /// Writes it into a run directory.
    pub fn write(&self, directory: &Path) -> io::Result<()> {
        Writer::new()
            .field("id", &self.id)
            .field("tag", &self.tag)
            .field("log-dir", self.log_dir.display())
            .field("log-max-size", self.log_max_size)
            .field("log-max-files", self.log_max_files)
            .field("terminal", self.terminal)
            .maybe("terminal-columns", self.terminal_size.map(|size| size.0))
            .maybe("terminal-rows", self.terminal_size.map(|size| size.1))
            .field("stdin", self.stdin)
            .field("cgroup", self.cgroup.display())
            .maybe("oom-file", self.oom_file.as_ref().map(|p| p.display()))
            .write(&directory.join(SHIM_CONF))
    }

    /// Reads it from a run directory.
    pub fn read(directory: &Path) -> Result<Self, RecordError> {
        let reader = Reader::open(&directory.join(SHIM_CONF))?;
        Ok(Self {
            id: reader.get("id")?,
            tag: reader.get("tag")?,
            log_dir: reader.get("log-dir")?,
            log_max_size: reader.get("log-max-size")?,
            log_max_files: reader.get("log-max-files")?,
            terminal: reader.get("terminal")?,
            terminal_size: reader
                .maybe("terminal-columns")?
                .zip(reader.maybe("terminal-rows")?),
            stdin: reader.maybe("stdin")?.unwrap_or_default(),
            cgroup: reader.get("cgroup")?,
            oom_file: reader.maybe("oom-file")?,
        })
    }
}
