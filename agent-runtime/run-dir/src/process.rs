//! The final process: what becomes of a container's first program, or of an exec, at the last moment.
//!
//! `libcontainer` builds the container as plain root; this is what `shoal-spawn` turns that into just before
//! `execve`. Written by the daemon as JSON (`process.json`), read by `shoal-spawn`.

use serde::{Deserialize, Serialize};

/// The version of [`FinalProcess`] that this build writes and reads.
pub const VERSION: u32 = 1;

/// What a process in a container is, after everything was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinalProcess {
    /// [`VERSION`].
    pub version: u32,
    /// The command line; `args[0]` is looked up in the `PATH` of `env`, inside the container.
    pub args: Vec<String>,
    /// `NAME=value`, complete.
    pub env: Vec<String>,
    /// Absolute; made (owned by root, as Docker does) if it does not exist.
    pub cwd: String,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// File mode creation mask.
    pub umask: u32,
    /// Resource limits; hard limits above what may be set are lowered to the inherited hard limit.
    pub rlimits: Vec<Rlimit>,
    /// Capability sets.
    pub capabilities: Capabilities,
    /// `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privileges: bool,
    /// The AppArmor profile to change to on `execve`.
    pub apparmor: Option<String>,
    /// The SELinux label to change to on `execve`.
    pub selinux: Option<String>,
    /// Written to `/proc/self/oom_score_adj`.
    pub oom_score_adj: i32,
    /// Whether a process of ours is in its place, passes signals on to it, and reaps what it leaves.
    #[serde(default)]
    pub init: bool,
    /// Whether it has a controlling terminal.
    pub terminal: bool,
    /// Whether the seccomp program in the container's `seccomp.bpf` is loaded.
    pub seccomp: bool,
    /// The flags to load it with (`SECCOMP_FILTER_FLAG_*`).
    #[serde(default)]
    pub seccomp_flags: u32,
}

/// One resource limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// `RLIMIT_*`, the kernel's number.
    pub resource: u32,
    /// The soft limit; `u64::MAX` is unlimited.
    pub soft: u64,
    /// The hard limit; `u64::MAX` is unlimited.
    pub hard: u64,
}

/// The five capability sets, bit n for capability n.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// What may ever be gained.
    pub bounding: u64,
    /// What the kernel checks.
    pub effective: u64,
    /// What may be made effective.
    pub permitted: u64,
    /// What is kept over `execve` of a file with the same.
    pub inheritable: u64,
    /// What is kept over `execve` without privileges of the file.
    pub ambient: u64,
}
