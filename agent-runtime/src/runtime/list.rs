//! Listing the containers of this daemon's tag.
//!
//! Called by the worker and the node; never shows what another data directory owns.

use std::fs;
use std::path::PathBuf;

use shoal_run_dir::layout::{self, CONTAINERS, RunDir};
use shoal_run_dir::pid::PidRecord;

use crate::container::id::ContainerId;
use crate::container::signal::Signal;
use crate::container::spec::ContainerSpec;
use crate::container::status::{ContainerState, ContainerStatus};
use crate::image::ImageConfig;

use super::{Inner, Runtime, bundle, settle};

/// The containers could not be listed.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The run directory could not be read.
    #[error("reading {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Runtime {
    /// Every container of this tag, ended ones included until they are removed, by id.
    #[expect(clippy::unused_async, reason = "a runtime behind a socket would wait here")]
    pub async fn list(&self) -> Result<Vec<ContainerStatus>, ListError> {
        let ids = self.inner.known()?;
        ids.iter()
            .filter_map(|id| self.inner.status(id).transpose())
            .collect()
    }
}

impl Inner {
    /// The containers that have a run directory, by id.
    pub(super) fn known(&self) -> Result<Vec<ContainerId>, ListError> {
        let path = self.config.run_dir.join(CONTAINERS);
        let failed = |source| ListError::Read {
            path: path.clone(),
            source,
        };
        let mut ids = Vec::new();
        for entry in fs::read_dir(&path).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            ids.extend(name.to_str().and_then(|name| name.parse::<ContainerId>().ok()));
        }
        ids.sort();
        Ok(ids)
    }

    /// `None` for one that is still being created, or gone meanwhile.
    fn status(&self, id: &ContainerId) -> Result<Option<ContainerStatus>, ListError> {
        let directory = self.run_dir(id);
        let failed = |source| ListError::Read {
            path: directory.path().to_owned(),
            source,
        };
        let first = PidRecord::read(&directory.join(layout::INIT_PID))
            .map_err(|e| failed(std::io::Error::other(e)))?;
        let exit = settle::read(&directory).map_err(failed)?;
        let started_at = settle::started_at(&directory);
        // A spec that cannot be read any more says nothing of its container.
        let spec = bundle::read_json::<ContainerSpec>(&directory.join(layout::SPEC)).ok();
        let (state, pid) = match (exit, first) {
            (Some(exit), _) => (ContainerState::Exited(exit), None),
            (None, Some(first)) if started_at.is_some() => (ContainerState::Running, Some(first.pid)),
            (None, Some(first)) => (ContainerState::Created, Some(first.pid)),
            (None, None) => return Ok(None),
        };
        Ok(Some(ContainerStatus {
            id: id.clone(),
            stop_signal: spec
                .as_ref()
                .and_then(|spec| spec.stop_signal)
                .or_else(|| image_stop_signal(&directory)),
            stop_grace: spec.as_ref().and_then(|spec| spec.stop_grace),
            labels: spec.map(|spec| spec.labels).unwrap_or_default(),
            state,
            pid,
            started_at,
        }))
    }
}

fn image_stop_signal(directory: &RunDir) -> Option<Signal> {
    let image: ImageConfig = bundle::read_json(&directory.join(layout::IMAGE)).ok()?;
    image.stop_signal.parse().ok()
}
