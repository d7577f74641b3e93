//! Loading images from archives: what `docker save`, BuildKit, skopeo and podman write.
//!
//! An archive may list its parts before or after the files themselves, so every file is first spooled (and hashed)
//! under a name of ours; names in the archive are keys of a map and never paths. Then the layers are unpacked side
//! by side, and everything is committed at once.

pub(crate) mod import;
mod layout;
mod spool;

#[cfg(test)]
mod tests;

use std::io::Read;
use std::sync::Arc;

use crate::content::disk::DiskError;
use crate::image::manifest::{Document, DocumentError, parse_config, parse_document};
use crate::image::records::ImageRecord;
use crate::image::staging::{CommitError, LayerPlan, NewImage, Staging, plan_layers};
use crate::image::store::ImageStore;
use crate::image::{Digest, ImageEvent, Progress, Reference, ReferenceError};
use crate::unpack::{TarError, UnpackError};
use spool::Spool;

/// Layers that are unpacked at once: more threads than this only fight over the disk.
const PARALLEL_LAYERS: usize = 3;

/// Why an archive was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The archive cannot be read.
    #[error("cannot load the image archive")]
    Archive(#[from] TarError),
    /// The archive cannot be decompressed or has an entry that is refused.
    #[error("cannot load the image archive")]
    Unpack(#[source] UnpackError),
    /// An entry of the archive that no image archive has.
    #[error("cannot load the image archive: entry {entry:?} is refused: {problem}")]
    Entry { entry: String, problem: String },
    /// It is a tar archive, but not of images.
    #[error(
        "the archive holds no image: expected manifest.json (docker save) or index.json (OCI layout) in it; \
         a root file system is brought in with \"image import\""
    )]
    NoImage,
    /// A part that the archive's list names is not in it.
    #[error("the archive is incomplete: {name:?} is missing, which {wanted_by} names")]
    Missing { name: String, wanted_by: String },
    /// A part is not what its name or descriptor says.
    #[error("the archive lies: {name:?} has {found}, expected {expected}")]
    Lie {
        name: String,
        expected: String,
        found: String,
    },
    /// A list or configuration is broken.
    #[error("cannot load the image archive")]
    Document(#[from] DocumentError),
    /// A name in the archive is none.
    #[error("cannot load the image archive")]
    Reference(#[from] ReferenceError),
    /// Unpacking or storing failed.
    #[error("cannot store the image")]
    Commit(#[from] CommitError),
    /// A file could not be written.
    #[error("cannot store the image archive")]
    Disk(#[from] DiskError),
    /// The daemon is stopping.
    #[error("the load was interrupted because the daemon is stopping")]
    Stopped,
}

/// An image of an archive before its layers are unpacked.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// The manifest's bytes.
    pub(crate) manifest: Vec<u8>,
    /// The index through which it was found, to be kept with it.
    pub(crate) index: Option<Vec<u8>>,
    pub(crate) names: Vec<Reference>,
}

/// Loads every image of the archive, all or none.
pub(crate) fn load(
    store: &Arc<ImageStore>,
    reader: impl Read,
    progress: &Progress,
) -> Result<Vec<(ImageRecord, Vec<Reference>)>, LoadError> {
    let staging = Staging::begin(store)?;
    let spool = Spool::read(reader, staging.dir(), store.limits, progress)?;
    let found = layout::find_images(&spool)?;
    let mut images = Vec::new();
    for image in found {
        images.push(stage_image(&staging, &spool, image)?);
    }
    unpack_all(&staging, &images, progress)?;
    progress.send(ImageEvent::Committing);
    let records = staging.commit(&images)?;
    for image in &images {
        progress.send(ImageEvent::Done {
            image: image.manifest.clone(),
            names: image.names.clone(),
        });
    }
    Ok(records
        .into_iter()
        .zip(images.into_iter().map(|image| image.names))
        .collect())
}

/// Stages the documents and layer blobs of one image.
fn stage_image(staging: &Staging, spool: &Spool, found: Found) -> Result<NewImage, LoadError> {
    let Document::Manifest(manifest) = parse_document(&found.manifest, "the image's manifest")? else {
        return Err(LoadError::NoImage);
    };
    let config_blob = spool.blob(&manifest.config, "the manifest")?;
    let config_bytes = spool.bytes(config_blob)?;
    let config = parse_config(&config_bytes, "the image's configuration", manifest.layers.len())?;
    staging.add_blob(config_blob.clone());
    let mut layers = Vec::new();
    for (descriptor, diff_id) in manifest.layers.iter().zip(config.rootfs.diff_ids) {
        let blob = spool.blob(descriptor, "the manifest")?;
        staging.add_blob(blob.clone());
        layers.push((blob.digest.clone(), diff_id));
    }
    let stage_bytes = |bytes: &[u8]| -> Result<Digest, LoadError> {
        let blob = staging.dir().put(bytes)?;
        let digest = blob.digest.clone();
        staging.add_blob(blob);
        Ok(digest)
    };
    Ok(NewImage {
        manifest: stage_bytes(&found.manifest)?,
        config: manifest.config.digest,
        layers,
        index: found.index.as_deref().map(stage_bytes).transpose()?,
        names: found.names,
    })
}

/// Unpacks every layer that is not here yet, a few at a time.
fn unpack_all(staging: &Staging, images: &[NewImage], progress: &Progress) -> Result<(), LoadError> {
    let mut plans: Vec<LayerPlan> = Vec::new();
    for plan in images.iter().flat_map(|image| plan_layers(&image.layers)) {
        if plans.iter().any(|known| known.chain_id == plan.chain_id) {
            continue;
        }
        if staging.has_layer(&plan.chain_id) {
            progress.send(ImageEvent::LayerExists { digest: plan.blob });
        } else {
            plans.push(plan);
        }
    }
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || -> Result<(), CommitError> {
        while let Some(plan) = plans.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
            progress.send(ImageEvent::LayerUnpacking {
                digest: plan.blob.clone(),
            });
            let unpacked = staging.unpack_blob(plan);
            if unpacked.is_err() {
                // The others need not begin what will be thrown away.
                next.store(plans.len(), std::sync::atomic::Ordering::Relaxed);
            }
            unpacked?;
            progress.send(ImageEvent::LayerDone {
                digest: plan.blob.clone(),
            });
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let helpers: Vec<_> = (1..PARALLEL_LAYERS.min(plans.len()))
            .map(|_| scope.spawn(work))
            .collect();
        let mut result = work();
        for helper in helpers {
            let finished = helper
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            result = result.and(finished);
        }
        result
    })?;
    Ok(())
}
