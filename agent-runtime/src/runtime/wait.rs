//! Waiting for the end of a container.
//!
//! Called by the worker, by any number of waiters at a time; never misses an end that has been.

use crate::container::id::ContainerId;
use crate::container::status::Exit;

use super::{Runtime, settle};

/// The end of a container could not be learned.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// There is no such container, or it was removed meanwhile.
    #[error("no container {0}")]
    NotFound(ContainerId),
    /// Its run directory could not be read.
    #[error("reading the exit of container {id}")]
    Read {
        /// The container.
        id: ContainerId,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Runtime {
    /// Waits until the container has ended, and says how. May be called many times and cancelled at any point.
    pub async fn wait(&self, id: &ContainerId) -> Result<Exit, WaitError> {
        let directory = self.inner.run_dir(id);
        if !directory.path().exists() {
            return Err(WaitError::NotFound(id.clone()));
        }
        if let Some(exit) = settle::read(&directory).map_err(|source| WaitError::Read {
            id: id.clone(),
            source,
        })? {
            return Ok(exit);
        }
        let entry = self.inner.entry(id);
        self.inner.monitor(&entry, id);
        entry.ended().await.ok_or_else(|| WaitError::NotFound(id.clone()))
    }
}
