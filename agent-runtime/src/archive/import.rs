//! Making an image of one layer from the archive of a root file system.
//!
//! The same archive with the same changes gives the same image on every node: its time of creation is the newest
//! time in the archive, not the clock's.

use std::io::Read;
use std::sync::Arc;

use crate::content::disk::DiskError;
use crate::image::changes::{self, ChangeError};
use crate::image::config::{ConfigBlob, HistoryBlob, ImageConfig, RootfsBlob};
use crate::image::manifest::{Compression, build_manifest};
use crate::image::records::ImageRecord;
use crate::image::staging::{CommitError, NewImage, ReceiveError, Received, Staging};
use crate::image::store::ImageStore;
use crate::image::{Digest, ImageEvent, ImportSpec, Progress, platform};
use crate::unpack::{TarError, UnpackError};

/// Why a root file system was not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A change is not usable.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// A name with a digest cannot be given to something new.
    #[error("image name {name} has a digest; an imported image can only be given a name and a tag")]
    Digest { name: String },
    /// The archive is broken, hostile or too large.
    #[error("cannot import the root file system")]
    Unpack(#[source] UnpackError),
    /// The archive has no entries.
    #[error("cannot import the root file system: the archive is empty")]
    Empty,
    /// A file could not be written.
    #[error("cannot store the image")]
    Disk(#[from] DiskError),
    /// The image could not be stored.
    #[error("cannot store the image")]
    Commit(#[from] CommitError),
    /// The configuration could not be written as JSON.
    #[error("cannot write the image's configuration")]
    Json(#[from] serde_json::Error),
    /// The daemon is stopping.
    #[error("the import was interrupted because the daemon is stopping")]
    Stopped,
}

/// Imports a root file system.
pub(crate) fn import(
    store: &Arc<ImageStore>,
    reader: impl Read,
    spec: &ImportSpec,
    progress: &Progress,
) -> Result<ImageRecord, ImportError> {
    let mut config = ImageConfig::default();
    for change in &spec.changes {
        changes::apply(&mut config, change)?;
    }
    if let Some(name) = spec.reference.as_ref().filter(|name| name.digest().is_some()) {
        return Err(ImportError::Digest {
            name: name.to_string(),
        });
    }
    let staging = Staging::begin(store)?;
    let received = staging.receive(reader).map_err(|error| match error {
        ReceiveError::Disk(error) => ImportError::Disk(error),
        ReceiveError::Unpack(error) => ImportError::Unpack(error),
    })?;
    let unpacked = &received.layer.unpacked;
    if unpacked.entries == 0 {
        return Err(ImportError::Empty);
    }
    if !unpacked.marked_end {
        // Nothing else would tell a stream that broke off between two entries from a whole one.
        let offset = received.blob.size;
        return Err(ImportError::Unpack(TarError::Truncated { offset }.into()));
    }
    let image = describe(&staging, received, config, spec)?;
    progress.send(ImageEvent::Committing);
    let mut records = staging.commit(std::slice::from_ref(&image))?;
    progress.send(ImageEvent::Done {
        image: image.manifest.clone(),
        names: image.names,
    });
    records.pop().ok_or(ImportError::Commit(CommitError::Missing {
        digest: image.manifest,
    }))
}

/// Stages configuration and manifest.
fn describe(
    staging: &Staging,
    received: Received,
    config: ImageConfig,
    spec: &ImportSpec,
) -> Result<NewImage, ImportError> {
    let host = platform::host();
    let diff_id = received.layer.diff_id.clone();
    let newest = jiff::Timestamp::from_second(received.layer.unpacked.newest).ok();
    let created = newest.map(|time| time.to_string());
    let blob = ConfigBlob {
        created: created.clone(),
        author: String::new(),
        architecture: host.architecture,
        os: host.os,
        variant: host.variant,
        config,
        rootfs: RootfsBlob {
            kind: "layers".to_owned(),
            diff_ids: vec![diff_id.clone()],
        },
        history: vec![HistoryBlob {
            created,
            comment: Some(spec.message.clone().unwrap_or_else(|| "imported".to_owned())),
            ..HistoryBlob::default()
        }],
    };
    let stage = |bytes: &[u8]| -> Result<(Digest, u64), DiskError> {
        let staged = staging.dir().put(bytes)?;
        let described = (staged.digest.clone(), staged.size);
        staging.add_blob(staged);
        Ok(described)
    };
    let layer = (
        received.blob.digest.clone(),
        received.blob.size,
        Compression::of_file(&received.blob.path)?,
    );
    let config = stage(&serde_json::to_vec(&blob)?)?;
    let manifest = build_manifest(config.clone(), std::slice::from_ref(&layer))?;
    let (manifest, _) = stage(&manifest)?;
    staging.add_blob(received.blob);
    staging.add_layer(diff_id.clone(), received.path, received.layer.unpacked);
    Ok(NewImage {
        manifest,
        config: config.0,
        layers: vec![(layer.0, diff_id)],
        index: None,
        names: spec.reference.iter().cloned().collect(),
    })
}
