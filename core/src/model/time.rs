//! The two times of a cluster: cluster time for decisions, wall time for people.
//!
//! Cluster time is stamped into each entry by the leader and never goes back; deadlines are points in
//! it. Wall time stands beside it for display, certificates and calendars, and decides nothing else.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A point in cluster time, in nanoseconds since the cluster began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The moment the cluster began.
    pub const ZERO: Self = Self(0);

    /// This point plus a duration; stops at the end of time rather than wrapping.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)),
        )
    }

    /// How long after `earlier` this is; zero if it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Wall time in nanoseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WallTime(pub i64);
