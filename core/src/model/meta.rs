//! What every stored object carries beside its spec and status.
//!
//! The version is the Raft index of the entry that last wrote the object. An update names the version it
//! was made from, and a stale one is refused.

use super::time::WallTime;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Free key and value pairs that a user attaches.
pub type Labels = BTreeMap<String, String>;

/// The Raft index of the entry that last wrote an object; 0 before it was ever stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version(pub u64);

/// Set by `apply`, never by a planner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    pub version: Version,
    pub created_at: WallTime,
    pub updated_at: WallTime,
}
