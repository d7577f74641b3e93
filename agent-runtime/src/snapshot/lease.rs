//! Which image a container's directories were made from: a file among them, so that both come and go in one rename.
//!
//! It outlives this process in any form. It is not synced: after a loss of power no container runs, and a directory
//! whose lease is damaged is only there to be released.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::content::disk::{DiskError, DiskResult};
use crate::image::Digest;

const FILE: &str = "lease.json";

const VERSION: u32 = 1;

/// Bytes of a lease: 500 layers of 75 bytes, and some.
const MAX_BYTES: u64 = 256 << 10;

/// A container's hold on an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lease {
    version: u32,
    pub(crate) image: Digest,
    /// Chain ids of the layers below it, topmost first.
    pub(crate) lowers: Vec<Digest>,
}

impl Lease {
    pub(crate) fn new(image: Digest, lowers: Vec<Digest>) -> Self {
        Self {
            version: VERSION,
            image,
            lowers,
        }
    }

    /// Writes it into a directory that is not visible yet.
    pub(super) fn write(&self, dir: &Path) -> Result<(), DiskError> {
        let path = dir.join(FILE);
        let bytes = serde_json::to_vec(self)
            .map_err(std::io::Error::from)
            .on("write", &path)?;
        std::fs::write(&path, bytes).on("write", &path)
    }

    /// The lease in a container's directory; none if there is no such directory or its lease is damaged.
    pub(super) fn read(dir: &Path) -> Result<Option<Self>, DiskError> {
        let path = dir.join(FILE);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(DiskError::new("open", &path, source)),
        };
        let mut bytes = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut bytes).on("read", &path)?;
        match serde_json::from_slice::<Self>(&bytes) {
            Ok(lease) if lease.version <= VERSION => Ok(Some(lease)),
            Ok(lease) => {
                let text = format!("version {} is newer than this program; upgrade it", lease.version);
                Err(DiskError::new("read", &path, std::io::Error::other(text)))
            }
            Err(error) => {
                tracing::warn!(
                    path = %path.display(),
                    error = &error as &dyn std::error::Error,
                    "a container's hold on its image is damaged"
                );
                Ok(None)
            }
        }
    }
}

/// Every container with its lease.
pub(crate) fn list(containers: &Path) -> Result<Vec<(String, Lease)>, DiskError> {
    let mut leases = Vec::new();
    for entry in std::fs::read_dir(containers).on("list", containers)? {
        let entry = entry.on("list", containers)?;
        let Ok(id) = entry.file_name().into_string() else {
            continue;
        };
        if let Some(lease) = Lease::read(&entry.path())? {
            leases.push((id, lease));
        }
    }
    leases.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(leases)
}
