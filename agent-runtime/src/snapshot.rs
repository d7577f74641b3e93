//! What a container mounts: the layers of its image below, a directory of its own above.
//!
//! Called by the runtime when it creates and removes a container. Nothing is mounted here: the overlay is mounted
//! in the container's own mount namespace by whoever creates it. A lease that appears together with the directories
//! keeps the image from being removed.

pub(crate) mod lease;
pub(crate) mod probe;
pub(crate) mod view;

#[cfg(test)]
pub(crate) mod tests;

use std::fs::{File, Permissions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FlockOperation;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::content::StageDir;
use crate::content::disk::{DiskError, DiskResult};
use crate::content::step::step;
use crate::content::tree::{clear_directory, open_directory};
use crate::image::records::{ImageRecord, RecordError};
use crate::image::store::ImageStore;
use crate::image::{Digest, blocking};
use crate::unpack::copy_attributes;
use lease::Lease;
pub use probe::ProbeError;

/// Removals that go on at once after releases: more would take the disk from what is being started.
const PARALLEL_SWEEPS: usize = 2;

/// The parts of a container's overlay mount.
#[derive(Debug)]
pub struct Rootfs {
    /// Layer directories, topmost first; never empty (an image without layers gets an empty directory).
    pub lowers: Vec<PathBuf>,
    /// The container's own files.
    pub upper: PathBuf,
    /// The overlay's work directory, empty, on the same file system as `upper`.
    pub work: PathBuf,
    /// Exclusively locked (`flock`). The lock follows the open file: hand a duplicate to the process that lives as
    /// long as the mount, so that no second mount of `upper` can be prepared meanwhile.
    pub lock: File,
}

/// Why a container's directories were not prepared, released or listed.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The id is not 64 hexadecimal digits.
    #[error("{id:?} is not a container id: expected 64 lowercase hexadecimal digits")]
    ContainerId { id: String },
    /// The image is not on this node.
    #[error("image {image} is not on this node; pull or load it first")]
    NoImage { image: Digest },
    /// A layer's directory has gone.
    #[error("layer {layer} of image {image} has gone from the disk; remove the image and fetch it again")]
    NoLayer { image: Digest, layer: Digest },
    /// The id is taken.
    #[error("container {container} was made from image {has}, not from {wanted}")]
    OtherImage {
        container: String,
        has: Digest,
        wanted: Digest,
    },
    /// The upper directory is mounted by another process.
    #[error("the files of container {container} are in use by a running process")]
    InUse { container: String },
    /// A file operation failed.
    #[error("cannot prepare or remove the files of a container")]
    Disk(#[from] DiskError),
    /// The metadata could not be read or written.
    #[error("cannot record the use of an image")]
    Records(#[from] RecordError),
    /// The daemon is stopping.
    #[error("interrupted because the daemon is stopping")]
    Stopped,
}

/// Makes and removes containers' directories. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Snapshots {
    store: Arc<ImageStore>,
    /// Turns of the removals that go on after a release, and the removals themselves.
    turns: Arc<Semaphore>,
    sweeps: TaskTracker,
}

impl Snapshots {
    pub(crate) fn new(store: Arc<ImageStore>) -> Self {
        Self {
            store,
            turns: Arc::new(Semaphore::new(PARALLEL_SWEEPS)),
            sweeps: TaskTracker::new(),
        }
    }

    /// The directories for a container of the image with this manifest or index digest. Idempotent: what the
    /// container wrote before is kept, unless another image is asked for, which is an error.
    ///
    /// # Errors
    /// When the image is not here, the directories are in use, or the disk fails; nothing new is left then.
    pub async fn prepare(&self, image: &Digest, container_id: &str) -> Result<Rootfs, SnapshotError> {
        let (store, image, id) = (Arc::clone(&self.store), image.clone(), container_id.to_owned());
        blocking(move || prepare(&store, &image, &id))
            .await
            .unwrap_or(Err(SnapshotError::Stopped))
    }

    /// Removes a container's directories and its hold on the image. Idempotent. The directories are gone when this
    /// returns; their contents are removed from the disk soon after, so that nobody waits for large ones.
    ///
    /// # Errors
    /// When the directories are still mounted, or the disk fails; nothing has changed then.
    pub async fn release(&self, container_id: &str) -> Result<(), SnapshotError> {
        let (store, id) = (Arc::clone(&self.store), container_id.to_owned());
        let released = blocking(move || release(&store, &id)).await;
        if let Some(stage) = released.unwrap_or(Err(SnapshotError::Stopped))? {
            let turns = Arc::clone(&self.turns);
            self.sweeps.spawn(async move {
                // Never closed; removes what it was given either way.
                let _turn = turns.acquire().await;
                blocking(move || drop(stage)).await
            });
        }
        Ok(())
    }

    /// Waits until what released containers left is removed from the disk.
    pub async fn swept(&self) {
        self.sweeps.close();
        self.sweeps.wait().await;
    }

    /// The containers that hold an image, with that image's manifest digest. After a crash the caller releases
    /// those that it does not know.
    ///
    /// # Errors
    /// When the metadata cannot be read.
    pub async fn leases(&self) -> Result<Vec<(String, Digest)>, SnapshotError> {
        let store = Arc::clone(&self.store);
        let listed = move || {
            let leases = lease::list(&store.containers_dir())?.into_iter();
            Ok(leases.map(|(id, lease)| (id, lease.image)).collect())
        };
        blocking(listed).await.unwrap_or(Err(SnapshotError::Stopped))
    }
}

fn check_id(id: &str) -> Result<(), SnapshotError> {
    if id.len() == 64 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        Ok(())
    } else {
        Err(SnapshotError::ContainerId {
            id: id.chars().take(100).collect(),
        })
    }
}

fn prepare(store: &ImageStore, image: &Digest, id: &str) -> Result<Rootfs, SnapshotError> {
    check_id(id)?;
    // Held until the lease is visible: a removal of the image takes the same lock before it looks for leases.
    let guard = store.commit_lock();
    let found = store.image_by_digest(image)?;
    let dir = store.containers_dir().join(id);
    let lease = match Lease::read(&dir)? {
        Some(lease) => {
            let same = lease.image == *image || found.is_some_and(|found| found.manifest == lease.image);
            if !same {
                let (container, wanted) = (id.to_owned(), image.clone());
                return Err(SnapshotError::OtherImage {
                    container,
                    has: lease.image,
                    wanted,
                });
            }
            lease
        }
        None => {
            let found = found.ok_or_else(|| SnapshotError::NoImage { image: image.clone() })?;
            make(store, found, &dir)?
        }
    };
    drop(guard);
    let lock = lock(&dir, id)?;
    let work = dir.join("work");
    // An overlay that was mounted `volatile` and cut off leaves a mark here that refuses the next mount.
    clear_directory(&work)?;
    Ok(Rootfs {
        lowers: lower_dirs(store, &lease),
        upper: dir.join("upper"),
        work,
        lock,
    })
}

fn lower_dirs(store: &ImageStore, lease: &Lease) -> Vec<PathBuf> {
    let mut lowers: Vec<PathBuf> = lease
        .lowers
        .iter()
        .map(|chain_id| store.layer_dir(chain_id))
        .collect();
    if lowers.is_empty() {
        lowers.push(store.empty_dir());
    }
    lowers
}

/// Makes a container's directories out of sight, and shows them in one step.
fn make(store: &ImageStore, image: ImageRecord, dir: &Path) -> Result<Lease, SnapshotError> {
    let lowers: Vec<Digest> = image
        .layers
        .iter()
        .rev()
        .map(|layer| layer.chain_id.clone())
        .collect();
    if let Some(layer) = lowers.iter().find(|layer| !store.has_layer(layer)) {
        return Err(SnapshotError::NoLayer {
            image: image.manifest,
            layer: layer.clone(),
        });
    }
    let lease = Lease::new(image.manifest, lowers);
    let stage = store.content.stage()?;
    let making = stage.path();
    let (upper, work) = (making.join("upper"), making.join("work"));
    let private = |path: &Path| {
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(path)
            .on("create", path)
    };
    std::fs::set_permissions(making, Permissions::from_mode(0o700)).on("create", making)?;
    private(&work)?;
    std::fs::DirBuilder::new()
        .mode(0o755)
        .create(&upper)
        .on("create", &upper)?;
    // The root of the merged tree has the attributes of the topmost directory, which this one is to be.
    let open = |path: &Path| open_directory(rustix::fs::CWD, path).on("open", path);
    let (from, to) = (open(&lower_dirs(store, &lease)[0])?, open(&upper)?);
    copy_attributes(&from, &to).on("set the owner, mode and time of", &upper)?;
    lease.write(making)?;
    step("prepare.1-made");
    // A directory with a damaged lease is in the way; nothing runs in it.
    if dir.exists() {
        std::fs::rename(dir, store.content.stage()?.path()).on("remove", dir)?;
    }
    std::fs::rename(making, dir).on("create", dir)?;
    step("prepare.2-visible");
    Ok(lease)
}

fn lock(dir: &Path, id: &str) -> Result<File, SnapshotError> {
    let path = dir.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .on("open", &path)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(SnapshotError::InUse {
            container: id.to_owned(),
        }),
        Err(errno) => Err(DiskError::new("lock", &path, errno).into()),
    }
}

/// Takes the directories out of sight; what is left to remove comes back.
fn release(store: &ImageStore, id: &str) -> Result<Option<StageDir>, SnapshotError> {
    check_id(id)?;
    let dir = store.containers_dir().join(id);
    if !dir.is_dir() {
        return Ok(None);
    }
    let _held = lock(&dir, id)?;
    // Lease and all, in one step; what a crash leaves of it is swept at the next start.
    let stage = store.content.stage()?;
    std::fs::rename(&dir, stage.path()).on("remove", &dir)?;
    step("release.1-hidden");
    Ok(Some(stage))
}
