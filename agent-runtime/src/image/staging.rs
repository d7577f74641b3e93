//! What one load, import or pull has gathered, and the commit that makes it visible.
//!
//! Until the commit everything lies in the operation's own directory, which goes with the value: an error, a
//! cancelled pull or a crash leaves no trace. The commit syncs the file system once, renames, and writes the records.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::digest::{Digest, chain_ids};
use super::records::{Changes, ImageRecord, LayerRecord, RecordError};
use super::reference::Reference;
use super::store::{ImageStore, Pins};
use crate::content::disk::{DiskError, DiskResult};
use crate::content::step::step;
use crate::content::{BlobWriter, StageDir, StagedBlob, sync_directory};
use crate::unpack::{Layer, TarError, UnpackError, Unpacked, adopt_implied, unpack_layer};

/// Read at once from a blob: headers are far smaller.
const READ_BYTES: usize = 128 << 10;

/// Why an image could not be unpacked or made visible.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A file operation failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The metadata could not be written.
    #[error(transparent)]
    Records(#[from] RecordError),
    /// A layer could not be unpacked.
    #[error("layer {layer} of the image cannot be unpacked")]
    Unpack {
        layer: Digest,
        #[source]
        source: UnpackError,
    },
    /// A layer unpacked to something else than the image's configuration says.
    #[error(
        "layer {layer} is not what the image says: its contents have digest {found}, expected {expected}"
    )]
    DiffId {
        layer: Digest,
        expected: Digest,
        found: Digest,
    },
    /// A part is neither staged nor in the store.
    #[error("part {digest} of the image is missing")]
    Missing { digest: Digest },
}

/// An image that is complete in the staging directory or the store.
#[derive(Debug, Clone)]
pub(crate) struct NewImage {
    pub(crate) manifest: Digest,
    pub(crate) config: Digest,
    /// Blob and diff id, bottom first.
    pub(crate) layers: Vec<(Digest, Digest)>,
    pub(crate) index: Option<Digest>,
    /// With tags or digests.
    pub(crate) names: Vec<Reference>,
}

/// One layer to unpack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LayerPlan {
    pub(crate) blob: Digest,
    pub(crate) diff_id: Digest,
    pub(crate) chain_id: Digest,
}

/// The layers of an image, bottom first.
pub(crate) fn plan_layers(layers: &[(Digest, Digest)]) -> Vec<LayerPlan> {
    let diff_ids: Vec<Digest> = layers.iter().map(|(_, diff_id)| diff_id.clone()).collect();
    let plans = layers
        .iter()
        .zip(chain_ids(&diff_ids))
        .map(|((blob, diff_id), chain_id)| LayerPlan {
            blob: blob.clone(),
            diff_id: diff_id.clone(),
            chain_id,
        });
    plans.collect()
}

#[derive(Debug)]
struct StagedLayer {
    path: PathBuf,
    unpacked: Unpacked,
}

/// One operation's gatherings; shared by the threads that work for it.
#[derive(Debug)]
pub(crate) struct Staging {
    store: Arc<ImageStore>,
    dir: StageDir,
    gathered: Mutex<Gathered>,
}

#[derive(Debug)]
struct Gathered {
    blobs: BTreeMap<Digest, StagedBlob>,
    /// By chain id.
    layers: BTreeMap<Digest, StagedLayer>,
    pins: Pins,
}

impl Staging {
    pub(crate) fn begin(store: &Arc<ImageStore>) -> Result<Self, DiskError> {
        let gathered = Gathered {
            blobs: BTreeMap::new(),
            layers: BTreeMap::new(),
            pins: store.pin([]),
        };
        Ok(Self {
            store: Arc::clone(store),
            dir: store.content.stage()?,
            gathered: Mutex::new(gathered),
        })
    }

    pub(crate) fn dir(&self) -> &StageDir {
        &self.dir
    }

    pub(crate) fn add_blob(&self, blob: StagedBlob) {
        let mut gathered = self.gathered();
        gathered.pins.add([blob.digest.clone()]);
        gathered.blobs.entry(blob.digest.clone()).or_insert(blob);
    }

    /// The file of a blob, staged or in the store.
    pub(crate) fn blob_path(&self, digest: &Digest) -> Option<PathBuf> {
        let mut gathered = self.gathered();
        if let Some(staged) = gathered.blobs.get(digest) {
            return Some(staged.path.clone());
        }
        gathered.pins.add([digest.clone()]);
        self.store
            .content
            .has(digest)
            .then(|| self.store.content.path(digest))
    }

    /// Whether the layer is unpacked already, here or in the store; from now on it is kept.
    pub(crate) fn has_layer(&self, chain_id: &Digest) -> bool {
        let mut gathered = self.gathered();
        gathered.pins.add([chain_id.clone()]);
        gathered.layers.contains_key(chain_id) || self.store.has_layer(chain_id)
    }

    /// Unpacks a layer's blob that is staged or in the store.
    pub(crate) fn unpack_blob(&self, plan: &LayerPlan) -> Result<(), CommitError> {
        let Some(path) = self.blob_path(&plan.blob) else {
            return Err(CommitError::Missing {
                digest: plan.blob.clone(),
            });
        };
        let file = File::open(&path).on("open", &path)?;
        self.unpack_reader(plan, BufReader::with_capacity(READ_BYTES, file))
    }

    /// Unpacks a layer from a stream, and checks what came out.
    pub(crate) fn unpack_reader(&self, plan: &LayerPlan, reader: impl Read) -> Result<(), CommitError> {
        let path = self.dir.fresh();
        std::fs::create_dir(&path).on("create", &path)?;
        let layer = unpack_layer(reader, &path, self.store.limits).map_err(|source| CommitError::Unpack {
            layer: plan.blob.clone(),
            source,
        })?;
        if layer.diff_id != plan.diff_id {
            return Err(CommitError::DiffId {
                layer: plan.blob.clone(),
                expected: plan.diff_id.clone(),
                found: layer.diff_id,
            });
        }
        self.add_layer(plan.chain_id.clone(), path, layer.unpacked);
        Ok(())
    }

    /// Stores a blob and unpacks it as a layer while it is read, to its end. Neither is added yet: the caller
    /// decides whether they are what it wanted.
    pub(crate) fn receive(&self, reader: impl Read) -> Result<Received, ReceiveError> {
        let path = self.dir.fresh();
        std::fs::create_dir(&path).on("create", &path)?;
        let mut tee = Tee {
            reader,
            writer: self.dir.blob_writer()?,
            failed: None,
        };
        let layer = unpack_layer(&mut tee, &path, self.store.limits).and_then(|layer| {
            let drained = std::io::copy(&mut tee, &mut std::io::sink());
            drained.map_err(|source| TarError::Read { offset: 0, source })?;
            Ok(layer)
        });
        if let Some(error) = tee.failed {
            return Err(ReceiveError::Disk(error));
        }
        Ok(Received {
            blob: tee.writer.finish(),
            path,
            layer: layer.map_err(ReceiveError::Unpack)?,
        })
    }

    pub(crate) fn add_layer(&self, chain_id: Digest, path: PathBuf, unpacked: Unpacked) {
        let mut gathered = self.gathered();
        gathered.pins.add([chain_id.clone()]);
        gathered
            .layers
            .entry(chain_id)
            .or_insert(StagedLayer { path, unpacked });
    }

    /// Makes the images visible, all or none of them.
    pub(crate) fn commit(self, images: &[NewImage]) -> Result<Vec<ImageRecord>, CommitError> {
        let store = Arc::clone(&self.store);
        let result = self.try_commit(images);
        // Lets go of the pins, so that the collection sees what no image refers to.
        drop(self);
        if result.is_err()
            && let Err(error) = store.collect()
        {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "parts of an image that could not be stored stay until the next start"
            );
        }
        result
    }

    fn try_commit(&self, images: &[NewImage]) -> Result<Vec<ImageRecord>, CommitError> {
        let mut gathered = self.gathered();
        let mut records = Vec::new();
        for image in images {
            records.push(self.check(image, &gathered)?);
        }
        self.adopt(&records, &gathered)?;
        step("commit.1-begun");
        let root = self.store.dir();
        let handle = File::open(root).on("open", root)?;
        rustix::fs::syncfs(&handle).on("sync", root)?;

        step("commit.2-synced");

        let _guard = self.store.commit_lock();
        for blob in std::mem::take(&mut gathered.blobs).into_values() {
            if images.iter().any(|image| image.needs(&blob.digest)) && !self.store.content.has(&blob.digest) {
                self.store.content.commit(&blob)?;
            }
        }
        step("commit.3-blobs-visible");
        for (chain_id, layer) in std::mem::take(&mut gathered.layers) {
            let target = self.store.layer_dir(&chain_id);
            // Another operation may have been quicker.
            if !target.exists() {
                std::fs::rename(&layer.path, &target).on("create", &target)?;
            }
        }
        self.store.content.sync_directory()?;
        sync_directory(&self.store.layers_dir())?;
        step("commit.4-layers-visible");
        self.record(images, &mut records)?;
        step("commit.5-recorded");
        Ok(records)
    }

    /// The record of an image all of whose parts are here.
    fn check(&self, image: &NewImage, gathered: &Gathered) -> Result<ImageRecord, CommitError> {
        let missing = |digest: &Digest| CommitError::Missing {
            digest: digest.clone(),
        };
        let small = [Some(&image.manifest), Some(&image.config), image.index.as_ref()];
        let blobs = small
            .into_iter()
            .flatten()
            .chain(image.layers.iter().map(|(blob, _)| blob));
        for digest in blobs {
            if !gathered.blobs.contains_key(digest) && !self.store.content.has(digest) {
                return Err(missing(digest));
            }
        }
        let mut layers = Vec::new();
        for LayerPlan {
            blob,
            diff_id,
            chain_id,
        } in plan_layers(&image.layers)
        {
            let bytes = match gathered.layers.get(&chain_id) {
                Some(staged) => staged.unpacked.bytes,
                None if self.store.has_layer(&chain_id) => self.store.layer_bytes(&chain_id)?.unwrap_or(0),
                None => return Err(missing(&chain_id)),
            };
            layers.push(LayerRecord {
                blob,
                diff_id,
                chain_id,
                bytes,
            });
        }
        Ok(ImageRecord {
            manifest: image.manifest.clone(),
            config: image.config.clone(),
            layers,
            indexes: image.index.iter().cloned().collect(),
        })
    }

    /// Fills in, bottom first, what staged layers leave to those below them.
    fn adopt(&self, records: &[ImageRecord], gathered: &Gathered) -> Result<(), DiskError> {
        let path_of = |chain_id: &Digest| match gathered.layers.get(chain_id) {
            Some(staged) => staged.path.clone(),
            None => self.store.layer_dir(chain_id),
        };
        for record in records {
            let mut lowers: Vec<PathBuf> = Vec::new();
            for layer in &record.layers {
                if let Some(staged) = gathered.layers.get(&layer.chain_id) {
                    adopt_implied(&staged.path, &staged.unpacked.implied, &lowers)?;
                }
                lowers.insert(0, path_of(&layer.chain_id));
            }
        }
        Ok(())
    }

    fn record(&self, images: &[NewImage], records: &mut [ImageRecord]) -> Result<(), RecordError> {
        let mut changes = Changes::default();
        for (image, record) in images.iter().zip(records) {
            if let Some(known) = self.store.records.image(&record.manifest)? {
                let new = std::mem::take(&mut record.indexes);
                record.indexes = known.indexes;
                let unknown = new.into_iter().find(|index| !record.indexes.contains(index));
                record.indexes.extend(unknown);
            }
            changes.put_image(record)?;
            for name in &image.names {
                changes.put_name(name, &record.manifest)?;
            }
        }
        self.store.records.apply(changes)
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A blob and the layer that was unpacked from it.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) blob: StagedBlob,
    pub(crate) path: PathBuf,
    pub(crate) layer: Layer,
}

/// Why a layer could not be received.
#[derive(Debug)]
pub(crate) enum ReceiveError {
    Disk(DiskError),
    Unpack(UnpackError),
}

impl From<DiskError> for ReceiveError {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}

/// Writes what is read to a blob.
struct Tee<R> {
    reader: R,
    writer: BlobWriter,
    failed: Option<DiskError>,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.reader.read(buffer)?;
        if let Err(source) = self.writer.write_all(&buffer[..read]) {
            self.failed = Some(DiskError::new("write", self.writer.path(), source));
            return Err(std::io::Error::other("the blob could not be written"));
        }
        Ok(read)
    }
}

impl NewImage {
    fn needs(&self, blob: &Digest) -> bool {
        self.manifest == *blob
            || self.config == *blob
            || self.index.as_ref() == Some(blob)
            || self.layers.iter().any(|(layer, _)| layer == blob)
    }
}
