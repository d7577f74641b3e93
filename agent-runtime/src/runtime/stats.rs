//! What a container uses right now.
//! Called by the worker. Nothing is kept between two readings.

use std::path::Path;

use crate::container::id::ContainerId;
use crate::stats::{Stats, StatsError};

use super::Runtime;

impl Runtime {
    /// Reads the container's control groups. A controller that this host lacks leaves its numbers out.
    pub async fn stats(&self, id: &ContainerId) -> Result<Stats, StatsError> {
        let layout = self.facts().cgroups.clone();
        let group = format!("/shoal-{}/{id}", self.config().tag);
        let read = tokio::task::spawn_blocking(move || crate::stats::read(&layout, Path::new(&group))).await;
        read.unwrap_or_else(|error| {
            Err(StatsError::Read {
                path: id.as_str().into(),
                source: std::io::Error::other(error),
            })
        })
    }
}
