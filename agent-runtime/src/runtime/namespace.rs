//! Where the network namespace of a container is, for whoever gives it links.
//!
//! Called between the creation of a container and its start, and by a daemon that finds containers running.

use std::path::PathBuf;

use shoal_run_dir::layout;
use shoal_run_dir::pid::PidRecord;

use crate::container::id::ContainerId;

use super::Runtime;

/// A container's network namespace could not be named.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// There is no such container, or its creation has not come to its end.
    #[error("no container {0}")]
    NotFound(ContainerId),
    /// It has ended, and its namespace with it.
    #[error("container {0} is not running")]
    NotRunning(ContainerId),
    /// Its record could not be read.
    #[error("reading the first process of container {id}")]
    Read {
        /// The container.
        id: ContainerId,
        /// Why.
        #[source]
        source: shoal_run_dir::RecordError,
    },
}

impl Runtime {
    /// The file of the container's network namespace: `/proc/PID/ns/net` of its first process, started or not. On
    /// [`crate::Network::Host`] it is the host's. Valid while the container lives: open it, then believe it if this
    /// still answers the same.
    #[expect(clippy::unused_async, reason = "a runtime behind a socket would wait here")]
    pub async fn network_namespace(&self, id: &ContainerId) -> Result<PathBuf, NamespaceError> {
        let directory = self.inner.run_dir(id);
        let record =
            PidRecord::read(&directory.join(layout::INIT_PID)).map_err(|source| NamespaceError::Read {
                id: id.clone(),
                source,
            })?;
        let first = record.ok_or_else(|| NamespaceError::NotFound(id.clone()))?;
        if directory.join(layout::EXIT).exists() || !first.is_current() {
            return Err(NamespaceError::NotRunning(id.clone()));
        }
        Ok(PathBuf::from(format!("/proc/{}/ns/net", first.pid)))
    }
}
