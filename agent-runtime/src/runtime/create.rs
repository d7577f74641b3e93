//! Creating a container: snapshot, run directory, shim, and everything but the start of its program.
//!
//! Called by the worker; may be repeated with the same spec, and undoes what it made if it fails.

use std::os::fd::AsFd;
use std::process::Stdio;
use std::sync::Arc;

use shoal_run_dir::layout::{self, RunDir};
use shoal_run_dir::message::{FailureKind, Reply, Request};

use crate::container::id::ContainerId;
use crate::container::spec::ContainerSpec;
use crate::image::Digest;
use crate::oci_spec::SpecError;
use crate::snapshot::{Rootfs, SnapshotError};

use super::bundle::{self, Parts, failed};
use super::client::{self, ShimClient, unexpected};
use super::{Inner, Runtime};

/// A container could not be created. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The id is taken by a container with another spec.
    #[error("container {0} exists with another spec")]
    Exists(ContainerId),
    /// The image is not on this node.
    #[error("image {reference} ({digest}) is not on this node")]
    ImageMissing {
        /// What the user called it.
        reference: String,
        /// Its digest.
        digest: String,
    },
    /// The spec asks for what cannot be had.
    #[error("{field}: {message}")]
    Spec {
        /// The field of the spec.
        field: String,
        /// What is wrong and what to do.
        message: String,
    },
    /// The program cannot be run: not found (127) or not executable (126), as Docker reports them.
    #[error("{message}")]
    Command {
        /// What is wrong with it.
        message: String,
        /// 126 or 127.
        exit_code: i32,
    },
    /// The root file system could not be prepared.
    #[error("preparing the root file system of container {id}: {message}")]
    Snapshot {
        /// The container.
        id: ContainerId,
        /// Why.
        message: String,
    },
    /// `shoal-spawn` could not make the container.
    #[error("creating container {id}: {message}")]
    Spawn {
        /// The container.
        id: ContainerId,
        /// What went wrong.
        message: String,
    },
    /// A file, directory or process of the container could not be made.
    #[error("creating container {id}: {what}")]
    Io {
        /// The container.
        id: ContainerId,
        /// What could not be done.
        what: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl CreateError {
    pub(super) fn from_spec(error: SpecError) -> Self {
        Self::Spec {
            field: error.field,
            message: error.message,
        }
    }
}

/// What is already there under an id.
enum Found {
    Nothing,
    Same,
    Other,
    /// A creation that did not come to its end.
    Remains,
}

impl Runtime {
    /// Makes a container whose program is not started. Idempotent for the same id and spec.
    pub async fn create(&self, spec: ContainerSpec) -> Result<(), CreateError> {
        let entry = self.inner.entry(&spec.id);
        let _turn = entry.turn().await;
        self.inner.crash_point("shoald.create.1-locked");
        let directory = self.inner.run_dir(&spec.id);
        match found(&directory, &spec) {
            Found::Nothing => {}
            Found::Same => return Ok(()),
            Found::Other => return Err(CreateError::Exists(spec.id)),
            Found::Remains => self.undo(&spec.id).await,
        }
        let id = spec.id.clone();
        let created = self.create_new(spec, &directory).await;
        match created {
            Ok(()) => self.inner.monitor(&entry, &id),
            Err(_) => self.undo(&id).await,
        }
        created
    }

    async fn create_new(&self, spec: ContainerSpec, directory: &RunDir) -> Result<(), CreateError> {
        let rootfs = self.prepare(&spec).await?;
        self.inner.crash_point("shoald.create.2-snapshot-prepared");
        bundle::make_directory(directory, &spec)?;
        self.inner.crash_point("shoald.create.3-directory-made");
        let spec = Arc::new(spec);
        let rootfs = self.write_bundle(&spec, directory, rootfs).await?;
        self.inner.crash_point("shoald.create.4-bundle-written");
        launch_shim(&self.inner, &spec, directory, rootfs).map_err(failed(&spec, "starting its shim"))?;
        self.inner.crash_point("shoald.create.5-shim-running");
        let shim = ShimClient::connect(directory.path())
            .await
            .map_err(failed(&spec, "reaching its shim"))?;
        let answer = shim.call(&Request::Create, &[self.inner.spawn.as_fd()]).await;
        match answer.map_err(failed(&spec, "waiting for its shim"))? {
            Reply::Created { .. } => {}
            Reply::Failed {
                kind: FailureKind::Command,
                code,
                message,
            } => {
                return Err(CreateError::Command {
                    message,
                    exit_code: code,
                });
            }
            Reply::Failed { message, .. } => {
                return Err(CreateError::Spawn {
                    id: spec.id.clone(),
                    message,
                });
            }
            other => return Err(failed(&spec, "waiting for its shim")(unexpected(&other))),
        }
        self.inner.crash_point("shoald.create.6-created");
        Ok(())
    }

    async fn prepare(&self, spec: &ContainerSpec) -> Result<Rootfs, CreateError> {
        let digest: Digest = spec.image.digest.parse().map_err(|error| CreateError::Spec {
            field: "image.digest".to_owned(),
            message: format!("{error}"),
        })?;
        self.inner
            .snapshots
            .prepare(&digest, spec.id.as_str())
            .await
            .map_err(|error| match error {
                SnapshotError::NoImage { .. } => CreateError::ImageMissing {
                    reference: spec.image.reference.clone(),
                    digest: spec.image.digest.clone(),
                },
                other => CreateError::Snapshot {
                    id: spec.id.clone(),
                    message: chain(&other),
                },
            })
    }

    async fn write_bundle(
        &self,
        spec: &Arc<ContainerSpec>,
        directory: &RunDir,
        rootfs: Rootfs,
    ) -> Result<Rootfs, CreateError> {
        let snapshot = |error: &dyn std::error::Error| CreateError::Snapshot {
            id: spec.id.clone(),
            message: chain(error),
        };
        let digest: Digest = spec.image.digest.parse().map_err(|error| snapshot(&error))?;
        let image = self
            .inner
            .images
            .config(&digest)
            .await
            .map_err(|error| snapshot(&error))?;
        let apparmor = self.inner.apparmor.profile().await;
        let volumes = super::volumes::ensure(&self.inner, spec, &rootfs.lowers).await?;
        let (inner, spec, directory) = (Arc::clone(&self.inner), Arc::clone(spec), directory.clone());
        let id = spec.id.clone();
        let filled = tokio::task::spawn_blocking(move || {
            let parts = Parts {
                inner: &inner,
                spec: &spec,
                image: &image,
                rootfs: &rootfs,
                volumes,
                apparmor,
            };
            bundle::fill(&parts, &directory)?;
            Ok(rootfs)
        });
        filled.await.unwrap_or_else(|error| {
            Err(CreateError::Spawn {
                id,
                message: error.to_string(),
            })
        })
    }

    /// Takes away what a failed creation left. What cannot be taken away now is swept at the next start.
    async fn undo(&self, id: &ContainerId) {
        if let Err(error) = self.take_away(id).await {
            tracing::warn!(container = %id, error = %chain(&error), "remains of a container stay for now");
        }
    }
}

fn found(directory: &RunDir, spec: &ContainerSpec) -> Found {
    if !directory.path().exists() {
        return Found::Nothing;
    }
    let complete = [layout::INIT_PID, layout::EXIT]
        .iter()
        .any(|name| directory.join(name).exists());
    match bundle::read_json::<ContainerSpec>(&directory.join(layout::SPEC)) {
        Ok(there) if complete && there == *spec => Found::Same,
        Ok(_) if complete => Found::Other,
        _ => Found::Remains,
    }
}

/// Starts the shim in its directory, with the socket as standard input and the snapshot's lock as standard output.
fn launch_shim(
    inner: &Inner,
    spec: &ContainerSpec,
    directory: &RunDir,
    rootfs: Rootfs,
) -> std::io::Result<()> {
    let listener = client::listen_in(directory.path())?;
    let mut child = tokio::process::Command::new(&inner.config.shim)
        .arg(&inner.config.tag)
        .arg(spec.id.as_str())
        .current_dir(directory.path())
        .env_clear()
        .stdin(Stdio::from(listener))
        .stdout(Stdio::from(rootfs.lock))
        .stderr(Stdio::null())
        .spawn()?;
    // It outlives us; while we live, somebody has to reap it.
    tokio::spawn(async move { child.wait().await });
    Ok(())
}

/// An error with its causes, for messages that cross a boundary as text.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
