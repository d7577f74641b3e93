//! What is recorded beside a volume's data: when it was made, its labels, and whether it was filled.
//!
//! Called by `Volumes`; never touches the data itself.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::VolumeError;
use crate::content::disk::{DiskError, DiskResult};

const VERSION: u32 = 1;

/// Bytes of a record; labels come from a user's spec, which is smaller.
const MAX_BYTES: u64 = 1 << 20;

/// `volume.json` beside `_data`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    version: u32,
    pub(super) created_at: String,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    /// Whether an image's contents were copied in, or a container has had the chance to write: never again then.
    #[serde(default)]
    pub(super) populated: bool,
}

impl Record {
    pub(super) fn new(created_at: String, labels: BTreeMap<String, String>) -> Self {
        Self {
            version: VERSION,
            created_at,
            labels,
            populated: false,
        }
    }

    pub(super) fn read(dir: &Path, name: &str) -> Result<Self, VolumeError> {
        use std::io::Read;
        let path = dir.join("volume.json");
        let disk = |source| VolumeError::Disk {
            name: name.to_owned(),
            source,
        };
        let file = File::open(&path).on("open", &path).map_err(disk)?;
        let mut bytes = Vec::new();
        file.take(MAX_BYTES)
            .read_to_end(&mut bytes)
            .on("read", &path)
            .map_err(disk)?;
        let record: Self = serde_json::from_slice(&bytes).map_err(|source| VolumeError::Record {
            name: name.to_owned(),
            source,
        })?;
        if record.version > VERSION {
            return Err(VolumeError::Version {
                name: name.to_owned(),
                found: record.version,
            });
        }
        Ok(record)
    }

    /// Writes the record whole or not at all.
    pub(super) fn write(&self, dir: &Path) -> Result<(), DiskError> {
        let (path, new) = (dir.join("volume.json"), dir.join("volume.json.new"));
        let bytes = serde_json::to_vec(self)
            .map_err(std::io::Error::from)
            .on("write", &path)?;
        let mut file = File::create(&new).on("create", &new)?;
        file.write_all(&bytes)
            .and_then(|()| file.sync_all())
            .on("write", &new)?;
        std::fs::rename(&new, &path).on("create", &path)?;
        crate::content::sync_directory(dir)
    }
}
