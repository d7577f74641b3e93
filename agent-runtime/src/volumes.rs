//! Named local volumes: `<volumes_dir>/<name>/_data`, made on first use and kept until removed by name.
//!
//! Called by the runtime (mounts) and by the node-local verbs (`volume ls`, `volume rm`). Which containers use a
//! volume is known to the caller only, and passed in where it matters.

mod copy;
mod record;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::content::disk::{DiskError, DiskResult};
use crate::content::step::step;
use crate::content::sync_directory;
use crate::content::tree::remove_tree;
use crate::image::blocking;
use record::Record;

pub use copy::PopulateError;

/// The longest name: it is one component of a path, and a temporary name is longer.
const MAX_NAME_BYTES: usize = 200;

/// A prefix that no volume's name can have, for directories that are being made or removed.
const UNFINISHED: &str = ".unfinished-";

/// A volume. Keys as in Docker's API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Volume {
    pub name: String,
    pub driver: String,
    /// The directory that containers mount.
    pub mountpoint: PathBuf,
    pub labels: BTreeMap<String, String>,
    /// RFC 3339.
    pub created_at: String,
    pub scope: String,
}

/// Why a volume was not made, found or removed.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// The name is not one.
    #[error(
        "{name:?} is not a volume name: expected letters, digits, \"_\", \".\" and \"-\", beginning with a letter or \
         digit, at most {MAX_NAME_BYTES} in all"
    )]
    Name { name: String },
    /// There is none.
    #[error("no volume {name:?} on this node; \"volume ls\" shows what there is")]
    NotFound { name: String },
    /// Containers use it.
    #[error("volume {name:?} is in use by {}; remove the containers first", containers.join(", "))]
    InUse { name: String, containers: Vec<String> },
    /// What is recorded about it cannot be read.
    #[error("the record of volume {name:?} cannot be read")]
    Record {
        name: String,
        #[source]
        source: serde_json::Error,
    },
    /// It was made by a newer version.
    #[error(
        "the record of volume {name:?} has version {found}, which this program does not know; upgrade it"
    )]
    Version { name: String, found: u32 },
    /// A file operation failed.
    #[error("cannot keep volume {name:?}")]
    Disk {
        name: String,
        #[source]
        source: DiskError,
    },
    /// The directory of all volumes cannot be used.
    #[error("cannot keep volumes")]
    Directory(#[source] DiskError),
    /// The daemon is stopping.
    #[error("interrupted because the daemon is stopping")]
    Stopped,
}

/// The volumes of this node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Volumes {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    /// Making, filling and removing a volume exclude each other.
    change: Mutex<()>,
}

impl Volumes {
    /// Opens or makes the directory of all volumes, and removes what a crash left unfinished in it.
    ///
    /// # Errors
    /// When the directory cannot be used.
    pub async fn open(dir: &Path) -> Result<Self, VolumeError> {
        let dir = dir.to_owned();
        let opened = blocking(move || {
            std::fs::create_dir_all(&dir).on("create", &dir)?;
            for entry in std::fs::read_dir(&dir).on("list", &dir)? {
                let entry = entry.on("list", &dir)?;
                if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                    remove_tree(&entry.path())?;
                }
            }
            Ok(Self {
                shared: Arc::new(Shared {
                    dir,
                    change: Mutex::new(()),
                }),
            })
        });
        opened
            .await
            .unwrap_or(Err(VolumeStart::Stopped))
            .map_err(|error| match error {
                VolumeStart::Disk(source) => VolumeError::Directory(source),
                VolumeStart::Stopped => VolumeError::Stopped,
            })
    }

    /// The volume of this name, made if there is none. Labels are for a new one only.
    ///
    /// # Errors
    /// When the name is not one or the disk fails; no half-made volume is left then.
    pub async fn ensure(&self, name: &str, labels: BTreeMap<String, String>) -> Result<Volume, VolumeError> {
        self.with(name, move |shared, name| shared.ensure(name, labels))
            .await
    }

    /// Every volume, by name.
    ///
    /// # Errors
    /// When the directory cannot be read. A volume whose record is damaged is listed without it.
    pub async fn list(&self) -> Result<Vec<Volume>, VolumeError> {
        let shared = Arc::clone(&self.shared);
        blocking(move || shared.list())
            .await
            .unwrap_or(Err(VolumeError::Stopped))
    }

    /// One volume.
    ///
    /// # Errors
    /// When there is none of this name.
    pub async fn inspect(&self, name: &str) -> Result<Volume, VolumeError> {
        self.with(name, |shared, name| shared.read(name).map(|(volume, _)| volume))
            .await
    }

    /// Removes a volume with its contents, unless `users`, the containers that mount it, are any.
    ///
    /// # Errors
    /// When it is in use, there is none, or the disk fails; calling again goes on where it ended.
    pub async fn remove(&self, name: &str, users: &[String]) -> Result<(), VolumeError> {
        let users = users.to_vec();
        self.with(name, move |shared, name| shared.remove(name, users))
            .await
    }

    /// Fills a volume that was never filled or used with what an image has at `path`, as Docker does when a new
    /// volume is mounted over it: contents, owners, modes, times, links and attributes, and those of the directory
    /// itself. A volume that holds something, or an image without that path, is left alone. `lowers` are the
    /// image's layers, topmost first.
    ///
    /// # Errors
    /// When the path is no directory or the disk fails; the volume is as empty as before then.
    pub async fn populate(&self, name: &str, lowers: &[PathBuf], path: &Path) -> Result<(), PopulateError> {
        check_name(name)?;
        let (shared, name) = (Arc::clone(&self.shared), name.to_owned());
        let (lowers, path) = (lowers.to_vec(), path.to_owned());
        let work = move || shared.populate(&name, &lowers, &path);
        blocking(work)
            .await
            .unwrap_or(Err(PopulateError::Volume(VolumeError::Stopped)))
    }

    async fn with<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce(&Shared, &str) -> Result<T, VolumeError> + Send + 'static,
    ) -> Result<T, VolumeError> {
        check_name(name)?;
        let (shared, name) = (Arc::clone(&self.shared), name.to_owned());
        blocking(move || work(&shared, &name))
            .await
            .unwrap_or(Err(VolumeError::Stopped))
    }
}

/// Why the directory could not be opened.
enum VolumeStart {
    Disk(DiskError),
    Stopped,
}

impl From<DiskError> for VolumeStart {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}

/// Docker's rule for names.
fn check_name(name: &str) -> Result<(), VolumeError> {
    let begins = name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    if begins && rest && name.len() <= MAX_NAME_BYTES {
        Ok(())
    } else {
        Err(VolumeError::Name {
            name: name.chars().take(300).collect(),
        })
    }
}

impl Shared {
    fn ensure(&self, name: &str, labels: BTreeMap<String, String>) -> Result<Volume, VolumeError> {
        let _guard = self.lock();
        match self.read(name) {
            Err(VolumeError::NotFound { .. }) => {}
            other => return other.map(|(volume, _)| volume),
        }
        let created = jiff::Timestamp::now().to_string();
        let record = Record::new(created, labels);
        self.make(name, &record).map_err(|source| VolumeError::Disk {
            name: name.to_owned(),
            source,
        })?;
        Ok(self.describe(name, record))
    }

    /// Makes the volume under another name, so that it appears whole.
    fn make(&self, name: &str, record: &Record) -> Result<(), DiskError> {
        let making = self.dir.join(format!("{UNFINISHED}{name}"));
        remove_tree(&making)?;
        let made = std::fs::create_dir(&making)
            .and_then(|()| std::fs::create_dir(making.join("_data")))
            .on("create", &making)
            .and_then(|()| record.write(&making))
            .and_then(|()| {
                step("volume.1-made");
                std::fs::rename(&making, self.dir.join(name)).on("create", &self.dir.join(name))
            })
            .and_then(|()| sync_directory(&self.dir));
        step("volume.2-visible");
        if made.is_err() {
            remove_tree(&making)?;
        }
        made
    }

    fn read(&self, name: &str) -> Result<(Volume, Record), VolumeError> {
        if !self.dir.join(name).join("_data").is_dir() {
            return Err(VolumeError::NotFound {
                name: name.to_owned(),
            });
        }
        let record = Record::read(&self.dir.join(name), name)?;
        Ok((self.describe(name, record.clone()), record))
    }

    fn describe(&self, name: &str, record: Record) -> Volume {
        Volume {
            name: name.to_owned(),
            driver: "local".to_owned(),
            mountpoint: self.dir.join(name).join("_data"),
            labels: record.labels,
            created_at: record.created_at,
            scope: "local".to_owned(),
        }
    }

    fn list(&self) -> Result<Vec<Volume>, VolumeError> {
        let mut volumes = Vec::new();
        for entry in std::fs::read_dir(&self.dir)
            .on("list", &self.dir)
            .map_err(VolumeError::Directory)?
        {
            let entry = entry.on("list", &self.dir).map_err(VolumeError::Directory)?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if check_name(&name).is_err() {
                continue;
            }
            match self.read(&name) {
                Ok((volume, _)) => volumes.push(volume),
                Err(VolumeError::NotFound { .. }) => {}
                Err(error) => {
                    tracing::warn!(
                        volume = name,
                        error = &error as &dyn std::error::Error,
                        "the record of a volume cannot be read"
                    );
                    volumes.push(self.describe(&name, Record::new(String::new(), BTreeMap::new())));
                }
            }
        }
        volumes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(volumes)
    }

    fn remove(&self, name: &str, users: Vec<String>) -> Result<(), VolumeError> {
        let _guard = self.lock();
        let path = self.dir.join(name);
        if !path.is_dir() {
            return Err(VolumeError::NotFound {
                name: name.to_owned(),
            });
        }
        if !users.is_empty() {
            return Err(VolumeError::InUse {
                name: name.to_owned(),
                containers: users,
            });
        }
        let going = self.dir.join(format!("{UNFINISHED}{name}"));
        let removed = remove_tree(&going)
            .and_then(|()| std::fs::rename(&path, &going).on("remove", &path))
            .inspect(|()| step("volume-remove.1-hidden"))
            .and_then(|()| remove_tree(&going));
        removed.map_err(|source| VolumeError::Disk {
            name: name.to_owned(),
            source,
        })
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.change.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
