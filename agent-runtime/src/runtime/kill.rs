//! Sending a signal to a container's first process.
//!
//! Called by the worker; never signals a process that is not known to be the container's.

use shoal_run_dir::layout;
use shoal_run_dir::pid::PidRecord;

use crate::container::id::ContainerId;
use crate::container::signal::Signal;

use super::Runtime;
use super::process::Process;

/// A signal could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum KillError {
    /// There is no such container.
    #[error("no container {0}")]
    NotFound(ContainerId),
    /// It has ended.
    #[error("container {0} is not running")]
    NotRunning(ContainerId),
    /// The kernel refused.
    #[error("sending {signal} to container {id}")]
    Signal {
        /// The container.
        id: ContainerId,
        /// Which signal.
        signal: Signal,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Runtime {
    /// Sends a signal to the container's first process. By pidfd: a shim that hangs cannot keep it alive, and a
    /// reused pid is never hit.
    #[expect(clippy::unused_async, reason = "a runtime behind a socket would wait here")]
    pub async fn kill(&self, id: &ContainerId, signal: Signal) -> Result<(), KillError> {
        let directory = self.inner.run_dir(id);
        let failed = |source| KillError::Signal {
            id: id.clone(),
            signal,
            source,
        };
        let record = PidRecord::read(&directory.join(layout::INIT_PID))
            .map_err(|e| failed(std::io::Error::other(e)))?;
        let Some(record) = record else {
            return Err(KillError::NotFound(id.clone()));
        };
        let not_running = || KillError::NotRunning(id.clone());
        if directory.join(layout::EXIT).exists() {
            return Err(not_running());
        }
        let first = Process::of_record(&record)
            .map_err(failed)?
            .ok_or_else(not_running)?;
        first.signal(signal.number()).map_err(failed)
    }
}
