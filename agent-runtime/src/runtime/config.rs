//! What the daemon tells the runtime: where things live and what it is called.
//!
//! Validated by its maker; never changed while the runtime is open.

use std::path::PathBuf;

/// Validated settings of the runtime.
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    /// Images, snapshots and metadata; survives a reboot.
    pub state_dir: PathBuf,
    /// Run directories; `containers/` is made inside.
    pub run_dir: PathBuf,
    /// Containers' logs, a directory each.
    pub logs_dir: PathBuf,
    /// Named volumes.
    pub volumes_dir: PathBuf,
    /// The mark of this daemon's data directory in every cgroup and name: eight hexadecimal characters.
    pub tag: String,
    /// The `shoal-shim` binary.
    pub shim: PathBuf,
    /// The `shoal-spawn` binary; read once, into a sealed memfd.
    pub spawn: PathBuf,
    /// Registries that are spoken to over plain HTTP (`host:port`).
    pub insecure_registries: Vec<String>,
    /// Whether cgroup2 is remounted with `favordynmods`: cheaper cgroup moves for the whole machine.
    pub favordynmods: bool,
}
