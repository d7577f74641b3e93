//! Pulling images from registries, and asking them what a reference stands for.
//!
//! `pull` decides what is missing, fetches layers side by side (each verified, decompressed and unpacked while it
//! arrives), and commits everything at once. A pull that fails or is dropped leaves nothing behind.

mod attempt;
mod client;
mod fetch;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::content::disk::{DiskError, free_bytes};
use crate::image::config::ConfigBlob;
use crate::image::manifest::{
    Descriptor, Document, DocumentError, MAX_DOCUMENT_BYTES, Manifest, parse_config, parse_document,
};
use crate::image::records::{ImageRecord, RecordError};
use crate::image::staging::{CommitError, LayerPlan, NewImage, Staging, plan_layers};
use crate::image::store::ImageStore;
use crate::image::{Digest, ImageEvent, Progress, Reference, blocking, platform};
use crate::unpack::UnpackError;
pub use attempt::RegistryError;
pub(crate) use client::Registry;
use fetch::{Fetch, fetch_layer};

/// Layers that are fetched at once, as in Docker: more only share the same line.
const PARALLEL_LAYERS: usize = 3;

/// Left free on the disk while layers arrive.
const RESERVE_BYTES: u64 = 64 << 20;

/// Why an image was not pulled.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The registry did not give it.
    #[error("cannot pull {reference}")]
    Registry {
        reference: String,
        #[source]
        source: RegistryError,
    },
    /// What it gave is not an image for this node.
    #[error("cannot pull {reference}")]
    Document {
        reference: String,
        #[source]
        source: DocumentError,
    },
    /// What it gave is not what was asked for.
    #[error("the registry lies about {reference}: {digest} has {found}, expected {expected}")]
    Lie {
        reference: String,
        digest: Digest,
        expected: String,
        found: String,
    },
    /// A layer is broken, hostile or too large.
    #[error("layer {digest} of {reference} cannot be unpacked")]
    Unpack {
        reference: String,
        digest: Digest,
        #[source]
        source: UnpackError,
    },
    /// A file could not be written.
    #[error("cannot store {reference}")]
    Disk {
        reference: String,
        #[source]
        source: DiskError,
    },
    /// The image could not be stored.
    #[error("cannot store {reference}")]
    Commit {
        reference: String,
        #[source]
        source: CommitError,
    },
    /// The metadata could not be read.
    #[error("cannot store the image")]
    Records(#[from] RecordError),
    /// The daemon is stopping, or a layer of the same pull failed.
    #[error("the pull was interrupted")]
    Interrupted,
}

/// One pull on its way.
pub(crate) struct Pull {
    pub(crate) store: Arc<ImageStore>,
    pub(crate) registry: Registry,
    pub(crate) reference: Reference,
    pub(crate) progress: Progress,
}

/// The documents of the image to be pulled.
struct Wanted {
    /// What the reference stands for: the manifest or the index.
    top: Digest,
    index: Option<Vec<u8>>,
    manifest_bytes: Vec<u8>,
    manifest: Manifest,
    config_bytes: Vec<u8>,
    config: ConfigBlob,
}

impl Pull {
    /// Pulls the image; gives its record and what the reference stands for.
    pub(crate) async fn run(self) -> Result<(ImageRecord, Digest), PullError> {
        let wanted = self.documents().await?;
        self.progress.send(ImageEvent::Resolved {
            reference: self.reference.clone(),
            digest: wanted.top.clone(),
        });
        let staging = Arc::new(Staging::begin(&self.store).map_err(|source| self.disk(source))?);
        let layers: Vec<(Digest, Digest)> = wanted
            .manifest
            .layers
            .iter()
            .zip(&wanted.config.rootfs.diff_ids)
            .map(|(blob, diff_id)| (blob.digest.clone(), diff_id.clone()))
            .collect();
        let plans = plan_layers(&layers);
        self.fetch_all(&staging, &wanted.manifest, &plans).await?;
        self.unpack_rest(&staging, plans).await?;
        let top = wanted.top.clone();
        let record = self.commit(staging, wanted, layers).await?;
        Ok((record, top))
    }

    async fn documents(&self) -> Result<Wanted, PullError> {
        let reference = &self.reference;
        let failed = |source| PullError::Registry {
            reference: reference.familiar(),
            source,
        };
        let bad = |source| PullError::Document {
            reference: reference.familiar(),
            source,
        };
        let top = self
            .registry
            .manifest(reference, &self.progress)
            .await
            .map_err(failed)?;
        let what = format!("what the registry has as {}", reference.familiar());
        let (index, bytes, manifest) = match parse_document(&top.bytes, &what).map_err(bad)? {
            Document::Manifest(manifest) => (None, top.bytes, manifest),
            Document::Index(index) => {
                let chosen = platform::choose(&index.manifests, &platform::host()).map_err(bad)?;
                let pinned = reference.with_digest(chosen.digest.clone());
                let found = self
                    .registry
                    .manifest(&pinned, &self.progress)
                    .await
                    .map_err(failed)?;
                match parse_document(&found.bytes, &chosen.digest.to_string()).map_err(bad)? {
                    Document::Manifest(manifest) => (Some(top.bytes), found.bytes, manifest),
                    Document::Index(_) => {
                        let problem = "it is an index inside an index".to_owned();
                        let what = chosen.digest.to_string();
                        return Err(bad(DocumentError::Unusable { what, problem }));
                    }
                }
            }
        };
        let config_bytes = self.config(&manifest.config).await?;
        let what = format!("configuration {}", manifest.config.digest);
        let config = parse_config(&config_bytes, &what, manifest.layers.len()).map_err(bad)?;
        Ok(Wanted {
            top: top.digest,
            index,
            manifest_bytes: bytes,
            manifest,
            config_bytes,
            config,
        })
    }

    async fn config(&self, descriptor: &Descriptor) -> Result<Vec<u8>, PullError> {
        if self.store.content.has(&descriptor.digest)
            && let Ok(bytes) = self.store.content.read(&descriptor.digest, MAX_DOCUMENT_BYTES)
        {
            return Ok(bytes);
        }
        let reference = self.reference.familiar();
        if descriptor.size > MAX_DOCUMENT_BYTES {
            let problem = format!("it has {} bytes, more than {MAX_DOCUMENT_BYTES}", descriptor.size);
            let what = format!("configuration {}", descriptor.digest);
            return Err(PullError::Document {
                reference,
                source: DocumentError::Unusable { what, problem },
            });
        }
        let fetch = Fetch {
            pull: self,
            descriptor,
            stop: &CancellationToken::new(),
            is_layer: false,
        };
        let bytes = fetch.bytes().await?;
        let found = Digest::of(&bytes);
        if found != descriptor.digest {
            let (expected, found) = (descriptor.digest.to_string(), found.to_string());
            return Err(PullError::Lie {
                reference,
                digest: descriptor.digest.clone(),
                expected,
                found,
            });
        }
        Ok(bytes)
    }

    /// Fetches every blob that is not here, each once, and unpacks it where its layer is not here either.
    async fn fetch_all(
        &self,
        staging: &Arc<Staging>,
        manifest: &Manifest,
        plans: &[LayerPlan],
    ) -> Result<(), PullError> {
        let mut missing: BTreeMap<&Digest, (&Descriptor, Option<LayerPlan>)> = BTreeMap::new();
        for (descriptor, plan) in manifest.layers.iter().zip(plans) {
            let unpacked = staging.has_layer(&plan.chain_id);
            if staging.blob_path(&plan.blob).is_some() {
                if unpacked {
                    self.progress.send(ImageEvent::LayerExists {
                        digest: plan.blob.clone(),
                    });
                }
                continue;
            }
            let (_, first) = missing.entry(&descriptor.digest).or_insert((descriptor, None));
            if first.is_none() && !unpacked {
                *first = Some(plan.clone());
            }
        }
        let bytes = missing
            .values()
            .map(|(descriptor, _)| descriptor.size)
            .fold(0, u64::saturating_add);
        let free = free_bytes(self.store.dir()).map_err(|source| self.disk(source))?;
        if bytes > 0 && free < bytes.saturating_add(RESERVE_BYTES) {
            return Err(self.disk(DiskError::new(
                "write",
                self.store.dir(),
                rustix::io::Errno::NOSPC,
            )));
        }
        let mut told = BTreeSet::new();
        let in_order = manifest.layers.iter();
        for descriptor in in_order.filter(|one| missing.contains_key(&one.digest) && told.insert(&one.digest))
        {
            self.progress.send(ImageEvent::LayerWaiting {
                digest: descriptor.digest.clone(),
                total: descriptor.size,
            });
        }
        // One that fails stops the others; all are waited for, so that nothing works on after the error is told.
        let stop = CancellationToken::new();
        // Boxed: a stream of a closure's own futures cannot be proven `Send` where its caller is generic.
        let mut fetches: Vec<BoxFuture<'_, Result<(), PullError>>> = Vec::with_capacity(missing.len());
        for (descriptor, plan) in missing.into_values() {
            let (staging, stop) = (Arc::clone(staging), &stop);
            fetches.push(Box::pin(async move {
                let fetch = Fetch {
                    pull: self,
                    descriptor,
                    stop,
                    is_layer: true,
                };
                let fetched = fetch_layer(fetch, staging, plan).await;
                if fetched.is_err() {
                    stop.cancel();
                }
                fetched
            }));
        }
        let results: Vec<Result<(), PullError>> = futures::stream::iter(fetches)
            .buffer_unordered(PARALLEL_LAYERS)
            .collect()
            .await;
        let (real, interrupted): (Vec<_>, Vec<_>) = results
            .into_iter()
            .filter_map(Result::err)
            .partition(|error| !matches!(error, PullError::Interrupted));
        real.into_iter().chain(interrupted).next().map_or(Ok(()), Err)
    }

    /// Unpacks layers whose blob was here, or whose blob another layer of the image has too.
    async fn unpack_rest(&self, staging: &Arc<Staging>, plans: Vec<LayerPlan>) -> Result<(), PullError> {
        let (staging, progress) = (Arc::clone(staging), self.progress.clone());
        let work = move || {
            let mut todo = plans.iter().filter(|plan| !staging.has_layer(&plan.chain_id));
            todo.try_for_each(|plan| {
                let digest = || plan.blob.clone();
                progress.send(ImageEvent::LayerUnpacking { digest: digest() });
                staging.unpack_blob(plan)?;
                progress.send(ImageEvent::LayerDone { digest: digest() });
                Ok(())
            })
        };
        blocking(work)
            .await
            .ok_or(PullError::Interrupted)?
            .map_err(|source| self.commit_error(source))
    }

    async fn commit(
        &self,
        staging: Arc<Staging>,
        wanted: Wanted,
        layers: Vec<(Digest, Digest)>,
    ) -> Result<ImageRecord, PullError> {
        self.progress.send(ImageEvent::Committing);
        // A tag beside a digest is not moved: it may stand for something newer by now.
        let tag = self.reference.digest().is_none().then(|| self.reference.clone());
        let names: Vec<Reference> = tag
            .into_iter()
            .chain([self.reference.with_digest(wanted.top.clone())])
            .collect();
        let told = names.clone();
        let work = move || -> Result<Vec<ImageRecord>, CommitError> {
            let stage = |bytes: &[u8]| -> Result<Digest, DiskError> {
                let blob = staging.dir().put(bytes)?;
                let digest = blob.digest.clone();
                staging.add_blob(blob);
                Ok(digest)
            };
            let image = NewImage {
                manifest: stage(&wanted.manifest_bytes)?,
                config: stage(&wanted.config_bytes)?,
                index: wanted.index.as_deref().map(stage).transpose()?,
                layers,
                names,
            };
            // Every other holder has ended by now.
            match Arc::try_unwrap(staging) {
                Ok(staging) => staging.commit(&[image]),
                Err(_) => Err(CommitError::Missing {
                    digest: image.manifest,
                }),
            }
        };
        let committed = blocking(work).await.ok_or(PullError::Interrupted)?;
        let mut records = committed.map_err(|source| self.commit_error(source))?;
        let record = records.pop().ok_or(PullError::Interrupted)?;
        self.progress.send(ImageEvent::Done {
            image: record.manifest.clone(),
            names: told,
        });
        Ok(record)
    }

    fn disk(&self, source: DiskError) -> PullError {
        PullError::Disk {
            reference: self.reference.familiar(),
            source,
        }
    }

    fn commit_error(&self, source: CommitError) -> PullError {
        PullError::Commit {
            reference: self.reference.familiar(),
            source,
        }
    }
}
