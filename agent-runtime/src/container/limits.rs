//! What a container may use: memory, cpu, pids, rlimits, and the size of its log.
//!
//! Values only: checked where the specification is built, enforced by the kernel.

use serde::{Deserialize, Serialize};

/// Limits of a container. `None` means no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory in bytes. Docker refuses less than 6 MiB; so does this crate.
    pub memory: Option<u64>,
    /// Memory and swap together in bytes, as Docker's `--memory-swap`; -1 is unlimited swap.
    pub memory_swap: Option<i64>,
    /// Cpu time in billionths of a cpu, as Docker's `NanoCPUs`.
    pub cpu_nanos: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Resource limits of every process.
    pub ulimits: Vec<Ulimit>,
}

/// One resource limit (`nofile`, `nproc`, …).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// Docker's name of it: lowercase, without `RLIMIT_`.
    pub name: String,
    /// The soft limit; `u64::MAX` is unlimited.
    pub soft: u64,
    /// The hard limit; `u64::MAX` is unlimited.
    pub hard: u64,
}

/// How much log of a container is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLimits {
    /// Bytes of one file before it is rotated.
    pub max_size: u64,
    /// Files kept, the current one included; at least one.
    pub max_files: u32,
}

impl Default for LogLimits {
    /// Twenty megabytes in two files: enough to see what went wrong, and bounded, which Docker's default is not.
    fn default() -> Self {
        Self {
            max_size: 10 * 1024 * 1024,
            max_files: 2,
        }
    }
}
