//! What a node has and what a task reserves.
//!
//! The scheduler adds reservations up per node; limits are the worker's business alone.

use super::bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Processor time in billionths of a core: 500,000,000 is half a core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CpuNanos(pub u64);

/// An amount of each schedulable resource. Zero reserves nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    pub cpu: CpuNanos,
    pub memory: Bytes,
}
