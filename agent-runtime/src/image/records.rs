//! What the image store knows, in sled: images and their names.
//!
//! One tree with a prefix per kind, so that a change of several records is one atomic batch. Every record is
//! versioned JSON. A change is flushed and synced before it is acted on.

mod database;

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::reference::Reference;
use database::{Batch, Database};

/// The version of every record written here. A reader refuses higher ones.
const VERSION: u32 = 1;

/// Why the metadata could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Another process holds it.
    #[error("the image store in {path} is in use by another process; only one shoald can use a data directory", path = path.display())]
    Locked { path: PathBuf },
    /// The database failed.
    #[error("the metadata of the image store in {path} cannot be read or written", path = path.display())]
    Database {
        path: PathBuf,
        #[source]
        source: sled::Error,
    },
    /// A record was written by a newer version.
    #[error(
        "record {key:?} of the image store has version {found}, and this program reads up to {VERSION}; upgrade it"
    )]
    Version { key: String, found: u32 },
    /// A record is not what was written.
    #[error("record {key:?} of the image store is damaged")]
    Damaged {
        key: String,
        #[source]
        source: serde_json::Error,
    },
    /// The disk refused the sync.
    #[error(transparent)]
    Disk(#[from] crate::content::disk::DiskError),
}

/// An image of this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImageRecord {
    pub(crate) manifest: Digest,
    pub(crate) config: Digest,
    /// Bottom first.
    pub(crate) layers: Vec<LayerRecord>,
    /// Indexes through which it was found; each is a blob and stands for this image here.
    pub(crate) indexes: Vec<Digest>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    pub(crate) blob: Digest,
    pub(crate) diff_id: Digest,
    pub(crate) chain_id: Digest,
    /// Bytes of its files.
    pub(crate) bytes: u64,
}

#[derive(Serialize, Deserialize)]
struct NameRecord {
    image: Digest,
}

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    version: u32,
    record: T,
}

/// Changes that become visible together.
#[derive(Debug, Default)]
pub(crate) struct Changes(Batch);

impl Changes {
    pub(crate) fn put_image(&mut self, image: &ImageRecord) -> Result<(), RecordError> {
        self.put(&format!("image/{}", image.manifest), image)
    }

    pub(crate) fn remove_image(&mut self, manifest: &Digest) {
        self.0.remove(&format!("image/{manifest}"));
    }

    /// A name with a tag, or with a digest as a registry knows it.
    pub(crate) fn put_name(&mut self, name: &Reference, image: &Digest) -> Result<(), RecordError> {
        self.put(&format!("name/{name}"), &NameRecord { image: image.clone() })
    }

    pub(crate) fn remove_name(&mut self, name: &Reference) {
        self.0.remove(&format!("name/{name}"));
    }

    fn put<T: Serialize>(&mut self, key: &str, record: &T) -> Result<(), RecordError> {
        let bytes = serde_json::to_vec(&Versioned {
            version: VERSION,
            record,
        })
        .map_err(|source| RecordError::Damaged {
            key: key.to_owned(),
            source,
        })?;
        self.0.insert(key, bytes);
        Ok(())
    }
}

/// The open database; holds its lock.
#[derive(Debug)]
pub(crate) struct Records {
    db: Database,
}

impl Records {
    pub(crate) fn open(path: &Path) -> Result<Self, RecordError> {
        Ok(Self {
            db: Database::open(path)?,
        })
    }

    /// Applies changes in one step and makes them durable.
    pub(crate) fn apply(&self, changes: Changes) -> Result<(), RecordError> {
        self.db.apply(changes.0)
    }

    /// The same for changes after which files are removed: they work on a full disk too.
    pub(crate) fn apply_removal(&self, changes: Changes) -> Result<(), RecordError> {
        self.db.apply_removal(changes.0)
    }

    /// Called after files were removed.
    pub(crate) fn freed(&self) {
        self.db.restore_ballast();
    }

    pub(crate) fn image(&self, manifest: &Digest) -> Result<Option<ImageRecord>, RecordError> {
        self.get(&format!("image/{manifest}"))
    }

    pub(crate) fn images(&self) -> Result<Vec<ImageRecord>, RecordError> {
        Ok(self.scan("image/")?.into_iter().map(|(_, image)| image).collect())
    }

    /// The image that a name (with tag or digest) stands for.
    pub(crate) fn named(&self, name: &Reference) -> Result<Option<Digest>, RecordError> {
        Ok(self
            .get::<NameRecord>(&format!("name/{name}"))?
            .map(|record| record.image))
    }

    /// Every name with the image that it stands for.
    pub(crate) fn names(&self) -> Result<Vec<(Reference, Digest)>, RecordError> {
        let found = self.scan::<NameRecord>("name/")?.into_iter();
        // A key that is no reference cannot have been written by this program.
        Ok(found
            .filter_map(|(name, record)| Some((name.parse().ok()?, record.image)))
            .collect())
    }

    fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, RecordError> {
        match self.db.get(key) {
            None => Ok(None),
            Some(bytes) => decode(key, &bytes).map(Some),
        }
    }

    fn scan<T: DeserializeOwned>(&self, prefix: &str) -> Result<Vec<(String, T)>, RecordError> {
        let mut found = Vec::new();
        for (key, bytes) in self.db.scan(prefix) {
            let key = String::from_utf8_lossy(&key).into_owned();
            let record = decode(&key, &bytes)?;
            found.push((key[prefix.len()..].to_owned(), record));
        }
        Ok(found)
    }
}

fn decode<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, RecordError> {
    #[derive(Deserialize)]
    struct VersionOnly {
        version: u32,
    }
    let damaged = |source| RecordError::Damaged {
        key: key.to_owned(),
        source,
    };
    let VersionOnly { version } = serde_json::from_slice(bytes).map_err(damaged)?;
    if version > VERSION {
        return Err(RecordError::Version {
            key: key.to_owned(),
            found: version,
        });
    }
    Ok(serde_json::from_slice::<Versioned<T>>(bytes)
        .map_err(damaged)?
        .record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::tests::Disk;

    fn name(number: usize) -> Reference {
        format!("a/{}/{number}:1", "b".repeat(200))
            .parse()
            .expect("reference")
    }

    #[test]
    fn a_disk_that_was_full_heals_without_a_restart() {
        let disk = Disk::tmpfs("size=12m");
        let records = Records::open(&disk.path().join("meta")).expect("open");
        let image = Digest::of(b"x");
        let mut first = Changes::default();
        first.put_name(&name(0), &image).expect("put");
        records.apply(first).expect("apply");
        let filler = disk.path().join("filler");
        let mut file = std::fs::File::create(&filler).expect("create");
        while std::io::Write::write(&mut file, &[0; 4096]).is_ok_and(|written| written > 0) {}
        let mut refused = Changes::default();
        refused.put_name(&name(1), &image).expect("put");
        assert!(matches!(records.apply(refused), Err(RecordError::Disk(_))));
        // Past the check, into sled: the ballast gives room for a while, then sled itself fails.
        let mut number = 2;
        let error = loop {
            let mut changes = Changes::default();
            for _ in 0..1000 {
                changes.put_name(&name(number), &image).expect("put");
                number += 1;
            }
            if let Err(error) = records.apply_removal(changes) {
                break error;
            }
            assert!(number < 1_000_000, "the disk is never full");
        };
        assert!(matches!(error, RecordError::Disk(_)), "{error:?}");
        assert_eq!(
            records.named(&name(0)).expect("reads are served"),
            Some(image.clone())
        );
        drop(file);
        std::fs::remove_file(&filler).expect("remove");
        let mut after = Changes::default();
        after.put_name(&name(1), &image).expect("put");
        records.apply(after).expect("healed");
        drop(records);
        let records = Records::open(&disk.path().join("meta")).expect("open again");
        assert_eq!(records.named(&name(1)).expect("read"), Some(image));
    }

    #[test]
    fn records_of_a_newer_version_are_refused_by_name() {
        let newer = format!(
            r#"{{"version":{},"record":{{"image":"{}"}}}}"#,
            VERSION + 1,
            Digest::of(b"x")
        );
        let refused = decode::<NameRecord>("name/x", newer.as_bytes()).map(|record| record.image);
        assert!(
            matches!(refused, Err(RecordError::Version { found: 2, .. })),
            "{refused:?}"
        );
        assert!(matches!(
            decode::<NameRecord>("name/x", b"{").map(drop),
            Err(RecordError::Damaged { .. })
        ));
    }
}
