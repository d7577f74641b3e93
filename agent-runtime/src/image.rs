//! Images of this node: everything that reads, fetches, names, lists and removes them.
//!
//! `Images` is the only door. Blocking work runs on the blocking pool; every operation stages its files in a
//! directory of its own and makes them visible in one commit, so that an error or a crash leaves nothing behind.
//! What containers mount is made by `Snapshots`, which shares this store.

pub(crate) mod changes;
pub(crate) mod config;
#[cfg(test)]
mod crash;
mod digest;
mod find;
pub(crate) mod manifest;
pub(crate) mod platform;
mod progress;
pub(crate) mod records;
mod reference;
mod remote;
mod remove;
pub(crate) mod staging;
pub(crate) mod store;
mod types;

#[cfg(test)]
pub(crate) mod tests;

pub use crate::content::BlobError;
pub use crate::content::disk::DiskError;
pub use changes::ChangeError;
pub use config::{ImageConfig, ImageHealthcheck};
pub use digest::{Digest, DigestError};
pub use find::LookupError;
pub use manifest::DocumentError;
pub use progress::{ImageEvent, Progress};
pub use records::RecordError;
pub use reference::{Reference, ReferenceError};
pub use remote::ResolveError;
pub use remove::ImageRemoveError;
pub use staging::CommitError;
pub use store::StoreError;
pub use types::{
    ImageDetails, ImageGraphDriver, ImageRootfs, ImageSummary, ImagesConfig, ImportSpec, Removed, Resolved,
};

use std::io::BufReader;
use std::sync::Arc;

use tokio::io::AsyncRead;
use tokio_util::io::SyncIoBridge;

pub use crate::archive::LoadError;
pub use crate::archive::import::ImportError;
pub use crate::registry::{PullError, RegistryError};
use crate::snapshot::Snapshots;
use crate::unpack::UnpackLimits;
use remote::Remote;
use store::ImageStore;

/// Read at once from a caller's stream.
const READ_BYTES: usize = 128 << 10;

/// The images of this node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Images {
    store: Arc<ImageStore>,
    snapshots: Snapshots,
    remote: Arc<Remote>,
}

impl Images {
    /// Opens or makes the store, and removes what a crash left.
    ///
    /// # Errors
    /// When another process has it open, its records cannot be read, or the disk fails.
    pub async fn open(config: ImagesConfig) -> Result<Self, StoreError> {
        let dir = config.dir.clone();
        let opened = blocking(move || ImageStore::open(&dir, UnpackLimits::default())).await;
        let store = Arc::new(opened.unwrap_or_else(|| Err(StoreError::Stopped))?);
        Ok(Self {
            snapshots: Snapshots::new(Arc::clone(&store)),
            store,
            remote: Arc::new(Remote::new(config.insecure_registries)),
        })
    }

    /// The directories of containers.
    #[must_use]
    pub fn snapshots(&self) -> Snapshots {
        self.snapshots.clone()
    }

    /// Loads every image of an archive (`docker save` or OCI layout, plain or compressed), all or none.
    ///
    /// # Errors
    /// Says which part of the archive is missing, broken, lying or refused; nothing is left of it then.
    pub async fn load(
        &self,
        archive: impl AsyncRead + Send + Unpin + 'static,
        progress: &Progress,
    ) -> Result<Vec<LoadedImage>, LoadError> {
        let (store, progress) = (Arc::clone(&self.store), progress.clone());
        let archive = BufReader::with_capacity(READ_BYTES, SyncIoBridge::new(archive));
        let loaded = blocking(move || crate::archive::load(&store, archive, &progress)).await;
        let loaded = loaded.unwrap_or(Err(LoadError::Stopped))?;
        let images = loaded.into_iter().map(|(record, names)| LoadedImage {
            id: record.config,
            digest: record.manifest,
            names,
        });
        Ok(images.collect())
    }

    /// Makes an image of one layer from the archive of a root file system (plain, gzip or zstd).
    ///
    /// # Errors
    /// Says what in the archive or the changes is wrong; nothing is left of it then.
    pub async fn import(
        &self,
        archive: impl AsyncRead + Send + Unpin + 'static,
        spec: ImportSpec,
        progress: &Progress,
    ) -> Result<LoadedImage, ImportError> {
        let (store, progress) = (Arc::clone(&self.store), progress.clone());
        let archive = BufReader::with_capacity(READ_BYTES, SyncIoBridge::new(archive));
        let names = spec.reference.iter().cloned().collect();
        let work = move || crate::archive::import::import(&store, archive, &spec, &progress);
        let record = blocking(work).await.unwrap_or(Err(ImportError::Stopped))?;
        Ok(LoadedImage {
            id: record.config,
            digest: record.manifest,
            names,
        })
    }

    /// Removes a name; with an image's last tag, or by its id, the image and what only it used.
    ///
    /// # Errors
    /// When a container uses the image, or an id stands for names in several repositories and `force` is not set.
    pub async fn remove(&self, name: &str, force: bool) -> Result<Vec<Removed>, ImageRemoveError> {
        let (store, name) = (Arc::clone(&self.store), name.to_owned());
        let removed = blocking(move || remove::remove(&store, &name, force)).await;
        removed.unwrap_or(Err(ImageRemoveError::Stopped))
    }

    /// The configuration of the image with this manifest or index digest.
    ///
    /// # Errors
    /// When the image is not on this node or its configuration cannot be read.
    pub async fn config(&self, image: &Digest) -> Result<ImageConfig, LookupError> {
        let (store, image) = (Arc::clone(&self.store), image.clone());
        blocking(move || find::config(&store, &image))
            .await
            .unwrap_or(Err(LookupError::Stopped))
    }

    /// The stored configuration and manifest of the image with this manifest or index digest, JSON as they came.
    ///
    /// # Errors
    /// When the image is not on this node or its documents cannot be read.
    pub async fn documents(&self, image: &Digest) -> Result<(Vec<u8>, Vec<u8>), LookupError> {
        let (store, image) = (Arc::clone(&self.store), image.clone());
        blocking(move || find::documents(&store, &image))
            .await
            .unwrap_or(Err(LookupError::Stopped))
    }

    /// Every image, by name.
    ///
    /// # Errors
    /// When the metadata cannot be read.
    pub async fn list(&self) -> Result<Vec<ImageSummary>, LookupError> {
        let store = Arc::clone(&self.store);
        blocking(move || find::list(&store))
            .await
            .unwrap_or(Err(LookupError::Stopped))
    }

    /// One image, by name, name and digest, or the beginning of its id.
    ///
    /// # Errors
    /// When there is none or more than one.
    pub async fn inspect(&self, name: &str) -> Result<ImageDetails, LookupError> {
        let (store, name) = (Arc::clone(&self.store), name.to_owned());
        blocking(move || find::inspect(&store, &name))
            .await
            .unwrap_or(Err(LookupError::Stopped))
    }

    /// Pulls an image for this node's platform, anonymously. With a digest that is here nothing is asked; the same
    /// reference pulled twice at once is fetched once. Dropping the future stops the pull.
    ///
    /// # Errors
    /// Says what the registry answered or what in the image is wrong; nothing is left of it then.
    pub async fn pull(&self, reference: &Reference, progress: &Progress) -> Result<PulledImage, PullError> {
        let turn = self.remote.turn(reference);
        let _turn = turn.lock().await;
        if let Some(digest) = reference.digest() {
            let (store, wanted) = (Arc::clone(&self.store), digest.clone());
            let here = blocking(move || store.image_by_digest(&wanted))
                .await
                .ok_or(PullError::Interrupted)??;
            if let Some(record) = here.filter(|record| {
                record
                    .layers
                    .iter()
                    .all(|layer| self.store.has_layer(&layer.chain_id))
            }) {
                return Ok(PulledImage {
                    id: record.config,
                    digest: record.manifest,
                    resolved: digest.clone(),
                });
            }
        }
        let registry = self.remote.registry().map_err(|source| PullError::Registry {
            reference: reference.familiar(),
            source,
        })?;
        let (store, reference, progress) = (Arc::clone(&self.store), reference.clone(), progress.clone());
        let pull = crate::registry::Pull {
            store,
            registry,
            reference,
            progress,
        };
        let (record, resolved) = Box::pin(pull.run()).await?;
        Ok(PulledImage {
            id: record.config,
            digest: record.manifest,
            resolved,
        })
    }

    /// What a reference stands for: on this node, else at its registry. Nothing is pulled.
    ///
    /// # Errors
    /// When neither knows it, or the registry cannot be asked.
    pub async fn resolve(&self, reference: &Reference) -> Result<Resolved, ResolveError> {
        let (store, wanted) = (Arc::clone(&self.store), reference.clone());
        let local = blocking(move || find::resolve_shared(&store, &wanted)).await;
        if let Some(digest) = local.unwrap_or(Err(LookupError::Stopped))? {
            return Ok(Resolved { digest, local: true });
        }
        let failed = |source| ResolveError::Registry {
            reference: reference.familiar(),
            source,
        };
        let digest = self
            .remote
            .registry()
            .map_err(failed)?
            .resolve(reference)
            .await
            .map_err(failed)?;
        Ok(Resolved { digest, local: false })
    }

    /// What a reference stands for on this node, without asking a registry.
    ///
    /// # Errors
    /// When the metadata cannot be read.
    pub async fn resolve_local(&self, reference: &Reference) -> Result<Option<Digest>, LookupError> {
        let (store, reference) = (Arc::clone(&self.store), reference.clone());
        blocking(move || find::resolve(&store, &reference))
            .await
            .unwrap_or(Err(LookupError::Stopped))
    }
}

/// An image that a load or import brought in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedImage {
    /// Docker's image id.
    pub id: Digest,
    /// The manifest's digest.
    pub digest: Digest,
    pub names: Vec<Reference>,
}

/// An image that a pull brought in or found here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PulledImage {
    /// Docker's image id.
    pub id: Digest,
    /// The digest of the manifest for this node's platform.
    pub digest: Digest,
    /// What the reference stands for: that manifest, or the index that lists it.
    pub resolved: Digest,
}

/// Runs blocking work on the pool for it; `None` when the daemon is stopping. A panic goes on in the caller.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => Some(value),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_cancelled) => None,
        },
    }
}
