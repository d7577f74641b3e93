//! Starting the program of a created container.
//!
//! Called by the worker; may be repeated, and never starts a program twice.

use std::time::SystemTime;

use shoal_run_dir::layout::{self, RunDir};
use shoal_run_dir::message::{FailureKind, Reply, Request};
use shoal_run_dir::pid::PidRecord;

use crate::container::id::ContainerId;

use super::client::{ShimClient, unexpected};
use super::{Runtime, settle};

/// A container's program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    /// Its pid in the host's namespace.
    pub pid: u32,
    /// When it was started.
    pub at: SystemTime,
}

/// A container's program could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no such container.
    #[error("no container {0}")]
    NotFound(ContainerId),
    /// It has already ended.
    #[error("container {0} has already ended")]
    Ended(ContainerId),
    /// The program cannot be run: not found (127) or not executable (126), as Docker reports them.
    #[error("{message}")]
    Command {
        /// What is wrong with it.
        message: String,
        /// 126 or 127.
        exit_code: i32,
    },
    /// The runtime could not start it.
    #[error("starting container {id}: {message}")]
    Spawn {
        /// The container.
        id: ContainerId,
        /// What went wrong.
        message: String,
    },
    /// The container's shim could not be reached or broke off.
    #[error("talking to the shim of container {id}")]
    Shim {
        /// The container.
        id: ContainerId,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Runtime {
    /// Starts the program. Idempotent: started already, it says when.
    pub async fn start(&self, id: &ContainerId) -> Result<Started, StartError> {
        let entry = self.inner.entry(id);
        let _turn = entry.turn().await;
        let directory = self.inner.run_dir(id);
        if !directory.join(layout::INIT_PID).exists() {
            return Err(StartError::NotFound(id.clone()));
        }
        if directory.join(layout::EXIT).exists() {
            return Err(StartError::Ended(id.clone()));
        }
        if let Some(started) = already(&directory) {
            return Ok(started);
        }
        self.inner.crash_point("shoald.start.1-asked");
        let shim_error = |source| StartError::Shim {
            id: id.clone(),
            source,
        };
        let shim = ShimClient::connect(directory.path()).await.map_err(shim_error)?;
        let answer = shim.call(&Request::Start, &[]).await.map_err(shim_error)?;
        self.inner.crash_point("shoald.start.2-started");
        match answer {
            Reply::Started { pid, at_ns } => Ok(Started {
                pid,
                at: settle::time_of(at_ns),
            }),
            Reply::Failed {
                kind: FailureKind::Command,
                code,
                message,
            } => Err(StartError::Command {
                message,
                exit_code: code,
            }),
            Reply::Failed { message, .. } => Err(StartError::Spawn {
                id: id.clone(),
                message,
            }),
            other => Err(shim_error(unexpected(&other))),
        }
    }
}

fn already(directory: &RunDir) -> Option<Started> {
    let at = settle::started_at(directory)?;
    let first = PidRecord::read(&directory.join(layout::INIT_PID))
        .ok()
        .flatten()?;
    Some(Started { pid: first.pid, at })
}
