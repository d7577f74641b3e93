//! One mount of a container, as its user asked for it.
//!
//! Values only: checked where the specification is built, carried out by `shoal-spawn`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountKind {
    /// A path of the host, which must exist.
    Bind,
    /// Memory, gone with the container.
    Tmpfs,
    /// A volume of this node by its name, made on first use.
    Volume,
}

/// One mount of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// What is mounted.
    pub kind: MountKind,
    /// The host path, or the volume's name; empty for a tmpfs.
    pub source: String,
    /// Where in the container; absolute.
    pub target: PathBuf,
    /// Whether the container may not write.
    pub read_only: bool,
    /// Further options (`size=64m`, `mode=1777`, `nosuid`, …), as mount(8) takes them.
    pub options: Vec<String>,
}
