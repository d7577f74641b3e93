//! What `shoal-spawn` is asked to do, as JSON: `create.json` in the run directory, or an exec's own descriptor.
//!
//! The daemon writes it, `shoal-spawn` reads it; the shim passes it on without looking inside.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::process::FinalProcess;

/// What [`crate::layout::BUNDLE`] does not say about a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateRequest {
    /// [`crate::VERSION`].
    pub version: u32,
    /// Layer directories, topmost first.
    pub lowers: Vec<PathBuf>,
    /// The container's own files.
    pub upper: PathBuf,
    /// The overlay's work directory.
    pub work: PathBuf,
    /// Where the container's processes go.
    pub cgroup: Cgroup,
    /// `linux.resources` of the OCI specification, as JSON text.
    pub resources: String,
    /// Whether the container has a network namespace of its own, whose loopback device is to be set up.
    pub own_network: bool,
    /// Whether it sees its own part of cgroup v1 at `/sys/fs/cgroup`.
    pub mount_cgroups: bool,
    /// Whether it has a terminal.
    pub terminal: bool,
}

/// An exec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecRequest {
    /// [`crate::VERSION`].
    pub version: u32,
    /// What to run.
    pub process: FinalProcess,
    /// Where it goes: the container's place.
    pub cgroup: Cgroup,
    /// Whether its standard input is used; else it is `/dev/null`.
    pub stdin: bool,
    /// Columns and rows of its terminal.
    pub terminal_size: Option<(u16, u16)>,
}

/// A place in the control groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroup {
    /// Absolute within each hierarchy: `/shoal-<tag>/<id>`.
    pub path: String,
    /// Whether controllers are on v2.
    pub v2: bool,
    /// The hierarchies to be placed in.
    pub hierarchies: Vec<Hierarchy>,
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hierarchy {
    /// Its mount point.
    pub mount_point: PathBuf,
    /// Its controllers; `name=systemd` for systemd's own.
    pub controllers: Vec<String>,
}

impl Cgroup {
    /// The container's directory in each hierarchy.
    pub fn directories(&self) -> impl Iterator<Item = PathBuf> + '_ {
        self.hierarchies
            .iter()
            .map(|h| h.mount_point.join(self.path.trim_start_matches('/')))
    }

    /// The container's directory in the hierarchy of a controller.
    pub fn directory(&self, controller: &str) -> Option<PathBuf> {
        let found = self
            .hierarchies
            .iter()
            .find(|h| h.controllers.iter().any(|c| c == controller));
        found.map(|h| h.mount_point.join(self.path.trim_start_matches('/')))
    }
}
