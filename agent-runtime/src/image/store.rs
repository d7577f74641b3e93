//! The image store's parts under one roof, and the collection of what nothing refers to.
//!
//! Records are the truth: a blob or layer directory that no image, lease or running operation names is garbage,
//! whether a removal or a crash left it. Commits and collections exclude each other.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::digest::Digest;
use super::records::{ImageRecord, RecordError, Records};
use crate::content::Content;
use crate::content::disk::{DiskError, DiskResult};
use crate::content::list_digests;
use crate::content::step::step;
use crate::snapshot::lease;
use crate::snapshot::probe::{ProbeError, probe_once};
use crate::unpack::UnpackLimits;

/// Everything that images and snapshots share.
#[derive(Debug)]
pub(crate) struct ImageStore {
    dir: PathBuf,
    pub(crate) content: Content,
    pub(crate) records: Records,
    pub(crate) limits: UnpackLimits,
    /// Blobs and chains that running operations rely on, counted.
    pins: Mutex<HashMap<Digest, usize>>,
    commit: Mutex<()>,
}

/// Why the store could not be opened or swept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Records(#[from] RecordError),
    #[error(transparent)]
    Probe(#[from] ProbeError),
    #[error("interrupted because the daemon is stopping")]
    Stopped,
}

impl ImageStore {
    /// Opens or makes the store in `dir`, and removes what a crash left.
    pub(crate) fn open(dir: &Path, limits: UnpackLimits) -> Result<Self, StoreError> {
        std::fs::create_dir_all(dir).on("create", dir)?;
        // The records' lock also guards the directories: nothing is swept that another process uses.
        let records = Records::open(&dir.join("meta"))?;
        let content = Content::open(dir)?;
        probe_once(dir, &content)?;
        let store = Self {
            dir: dir.to_owned(),
            content,
            records,
            limits,
            pins: Mutex::new(HashMap::new()),
            commit: Mutex::new(()),
        };
        for sub in [store.layers_dir(), store.containers_dir(), store.empty_dir()] {
            std::fs::create_dir_all(&sub).on("create", &sub)?;
        }
        store.collect()?;
        Ok(store)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn layers_dir(&self) -> PathBuf {
        self.dir.join("layers")
    }

    pub(crate) fn containers_dir(&self) -> PathBuf {
        self.dir.join("containers")
    }

    /// The lower directory of an image without layers.
    pub(crate) fn empty_dir(&self) -> PathBuf {
        self.dir.join("empty")
    }

    pub(crate) fn layer_dir(&self, chain_id: &Digest) -> PathBuf {
        self.layers_dir().join(chain_id.hex())
    }

    pub(crate) fn has_layer(&self, chain_id: &Digest) -> bool {
        self.layer_dir(chain_id).is_dir()
    }

    /// The image that a manifest's or index's digest stands for on this node.
    pub(crate) fn image_by_digest(&self, digest: &Digest) -> Result<Option<ImageRecord>, RecordError> {
        if let Some(image) = self.records.image(digest)? {
            return Ok(Some(image));
        }
        Ok(self
            .records
            .images()?
            .into_iter()
            .find(|image| image.indexes.contains(digest)))
    }

    /// Bytes of the files in a layer, if an image with it is known.
    pub(crate) fn layer_bytes(&self, chain_id: &Digest) -> Result<Option<u64>, RecordError> {
        let images = self.records.images()?;
        let mut layers = images.iter().flat_map(|image| &image.layers);
        Ok(layers
            .find(|layer| layer.chain_id == *chain_id)
            .map(|layer| layer.bytes))
    }

    /// Keeps `digests` from being collected until the guard goes.
    pub(crate) fn pin(self: &Arc<Self>, digests: impl IntoIterator<Item = Digest>) -> Pins {
        let mut held = Pins {
            store: Arc::clone(self),
            digests: Vec::new(),
        };
        held.add(digests);
        held
    }

    /// Excludes other commits and collections.
    pub(crate) fn commit_lock(&self) -> MutexGuard<'_, ()> {
        lock(&self.commit)
    }

    /// Removes every blob and layer that nothing refers to.
    pub(crate) fn collect(&self) -> Result<(), StoreError> {
        let guard = self.commit_lock();
        let doomed = self.unreferenced()?;
        let hidden = !doomed.is_empty();
        let stage = self.content.stage()?;
        // Out of sight first, in one step each: a crash in the middle leaves no half layer under a good name.
        for path in doomed {
            let target = stage.fresh();
            match std::fs::rename(&path, &target) {
                Err(source) if source.kind() == std::io::ErrorKind::NotFound => {}
                result => result.on("remove", &path)?,
            }
        }
        if hidden {
            step("remove.3-hidden");
        }
        drop(guard);
        drop(stage);
        Ok(())
    }

    fn unreferenced(&self) -> Result<Vec<PathBuf>, StoreError> {
        let mut blobs: BTreeSet<Digest> = BTreeSet::new();
        let mut layers: BTreeSet<Digest> = BTreeSet::new();
        for image in self.records.images()? {
            blobs.extend([image.manifest, image.config]);
            blobs.extend(image.indexes);
            for layer in image.layers {
                blobs.insert(layer.blob);
                layers.insert(layer.chain_id);
            }
        }
        for (_, lease) in lease::list(&self.containers_dir())? {
            layers.extend(lease.lowers);
        }
        let pins = lock(&self.pins);
        let keep =
            |digest: &Digest, set: &BTreeSet<Digest>| set.contains(digest) || pins.contains_key(digest);
        let mut doomed = Vec::new();
        for found in self.content.list()? {
            match found {
                Ok(digest) if keep(&digest, &blobs) => {}
                Ok(digest) => doomed.push(self.content.path(&digest)),
                Err(path) => doomed.push(path),
            }
        }
        for found in list_digests(&self.layers_dir())? {
            match found {
                Ok(digest) if keep(&digest, &layers) => {}
                Ok(digest) => doomed.push(self.layer_dir(&digest)),
                Err(path) => doomed.push(path),
            }
        }
        Ok(doomed)
    }
}

/// Digests that are kept from collection.
#[derive(Debug)]
pub(crate) struct Pins {
    store: Arc<ImageStore>,
    digests: Vec<Digest>,
}

impl Pins {
    pub(crate) fn add(&mut self, digests: impl IntoIterator<Item = Digest>) {
        let mut pins = lock(&self.store.pins);
        for digest in digests {
            *pins.entry(digest.clone()).or_default() += 1;
            self.digests.push(digest);
        }
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        let mut pins = lock(&self.store.pins);
        for digest in &self.digests {
            if let Some(count) = pins.get_mut(digest) {
                *count -= 1;
                if *count == 0 {
                    pins.remove(digest);
                }
            }
        }
    }
}

/// The maps behind these locks stay whole whatever panics while one is held.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
