//! `shoald down`: ends what a stopped daemon left running, and with `--purge` what it kept.
//!
//! Run when no daemon holds the state directory: after `dev down` stopped it, or after it crashed.

use crate::config::NodeConfig;
use crate::place::{Place, PlaceError};
use futures::{StreamExt, stream};
use shoal_agent_runtime::{ContainerState, ContainerStatus, OpenError, RemoveError, Runtime, Signal};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a container has to end by its stop signal where its service says nothing: Docker's default grace.
const GRACE: Duration = Duration::from_secs(10);
/// Containers ended at the same time.
const TOGETHER: usize = 16;

/// Something is left.
#[derive(Debug, thiserror::Error)]
pub enum DownError {
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error("opening the runtime")]
    Open(#[from] OpenError),
    #[error("listing containers")]
    List(#[from] shoal_agent_runtime::ListError),
    #[error("{count} containers stay, the first because")]
    Remove {
        count: usize,
        #[source]
        first: RemoveError,
    },
    #[error("taking the network of this node's containers down")]
    Network(#[from] shoal_overlay_net::OpenError),
    #[error("removing {path}")]
    Path {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// Takes everything down.
pub async fn down(config: &NodeConfig, purge: bool) -> Result<(), DownError> {
    if !config.state_dir.exists() && !config.run_dir.exists() {
        return Ok(());
    }
    let place = Place::take(config)?;
    let runtime = place.open_runtime(config).await?;
    let containers = runtime.list().await?;
    let mut failures: Vec<RemoveError> = stream::iter(containers)
        .map(|status| end(&runtime, status))
        .buffer_unordered(TOGETHER)
        .filter_map(|result| async move { result.err() })
        .collect()
        .await;
    if !failures.is_empty() {
        let count = failures.len();
        let first = failures.swap_remove(0);
        return Err(DownError::Remove { count, first });
    }
    drop(runtime);
    // After the containers: their links go with them.
    shoal_overlay_net::purge(place.net(config)).await?;
    remove_dir(&config.run_dir)?;
    if purge {
        remove_dir(&config.state_dir)?;
    }
    Ok(())
}

async fn end(runtime: &Runtime, status: ContainerStatus) -> Result<(), RemoveError> {
    let (signal, grace) = way_to_stop(&status);
    if status.state == ContainerState::Running && runtime.kill(&status.id, signal).await.is_ok() {
        // Whether it ended by itself or not: removing kills what is left.
        drop(tokio::time::timeout(grace, runtime.wait(&status.id)).await);
    }
    runtime.remove(&status.id).await
}

/// As the worker would, had it been asked.
fn way_to_stop(status: &ContainerStatus) -> (Signal, Duration) {
    (
        status.stop_signal.unwrap_or(Signal::TERM),
        status.stop_grace.unwrap_or(GRACE),
    )
}

fn remove_dir(path: &Path) -> Result<(), DownError> {
    match std::fs::remove_dir_all(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(DownError::Path {
            path: path.to_owned(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_stopped_as_its_service_and_its_image_say() {
        let status = |stop_signal, stop_grace| ContainerStatus {
            id: "ab".repeat(32).parse().unwrap(),
            labels: std::collections::BTreeMap::new(),
            stop_signal,
            stop_grace,
            state: ContainerState::Running,
            pid: None,
            started_at: None,
        };
        assert_eq!(way_to_stop(&status(None, None)), (Signal::TERM, GRACE));
        let minute = Duration::from_secs(60);
        let said = status(Some(Signal::KILL), Some(minute));
        assert_eq!(way_to_stop(&said), (Signal::KILL, minute));
    }
}
