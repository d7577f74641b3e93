//! Blobs by digest, and the directories in which operations stage what is not finished.
//!
//! A blob becomes visible by a rename after its bytes were hashed and synced (the commit of an operation syncs all
//! of its files at once), so a name under `blobs/` always means the right content. Everything unfinished lives under
//! `tmp/`, which is emptied when the store is opened.

pub(crate) mod disk;
pub(crate) mod step;
pub(crate) mod tree;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest as _, Sha256};

use crate::image::Digest;
use disk::{DiskError, DiskResult};

/// The blob store of one node. Its directory is locked by the metadata store beside it.
#[derive(Debug)]
pub(crate) struct Content {
    blobs: PathBuf,
    tmp: PathBuf,
    next: AtomicU64,
}

/// A staged blob: hashed, not yet synced and visible.
#[derive(Debug, Clone)]
pub(crate) struct StagedBlob {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) path: PathBuf,
}

/// Why a blob could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The file operation failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The bytes are not those of the digest: the disk or somebody changed them.
    #[error("blob {digest} in the image store has changed on disk; remove the image and fetch it again")]
    Changed { digest: Digest },
    /// More bytes than such an object may have.
    #[error(
        "blob {digest} has {size} bytes, more than the {limit} that a manifest or configuration may have"
    )]
    TooLarge { digest: Digest, size: u64, limit: u64 },
}

impl Content {
    /// Opens the store and removes what a crash left unfinished.
    pub(crate) fn open(dir: &Path) -> Result<Self, DiskError> {
        let (blobs, tmp) = (dir.join("blobs/sha256"), dir.join("tmp"));
        std::fs::create_dir_all(&blobs).on("create", &blobs)?;
        std::fs::create_dir_all(&tmp).on("create", &tmp)?;
        tree::clear_directory(&tmp)?;
        Ok(Self {
            blobs,
            tmp,
            next: AtomicU64::new(0),
        })
    }

    /// A new directory for one operation, removed with the value.
    pub(crate) fn stage(&self) -> Result<StageDir, DiskError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.tmp.join(number.to_string());
        std::fs::create_dir(&path).on("create", &path)?;
        Ok(StageDir {
            path,
            next: AtomicU64::new(0),
        })
    }

    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.blobs.join(digest.hex())
    }

    pub(crate) fn has(&self, digest: &Digest) -> bool {
        self.path(digest).is_file()
    }

    /// Reads a small blob whole, and checks it.
    pub(crate) fn read(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, BlobError> {
        let path = self.path(digest);
        let file = File::open(&path).on("open", &path)?;
        let size = file.metadata().on("read", &path)?.len();
        if size > limit {
            return Err(BlobError::TooLarge {
                digest: digest.clone(),
                size,
                limit,
            });
        }
        let mut bytes = Vec::new();
        (&file).take(limit).read_to_end(&mut bytes).on("read", &path)?;
        if Digest::of(&bytes) != *digest {
            return Err(BlobError::Changed {
                digest: digest.clone(),
            });
        }
        Ok(bytes)
    }

    /// Makes a staged blob visible. The caller has synced its bytes, and syncs the directory once for all.
    pub(crate) fn commit(&self, staged: &StagedBlob) -> Result<(), DiskError> {
        let target = self.path(&staged.digest);
        std::fs::rename(&staged.path, &target).on("create", &target)
    }

    /// Makes committed renames durable.
    pub(crate) fn sync_directory(&self) -> Result<(), DiskError> {
        sync_directory(&self.blobs)
    }

    /// The digests of all blobs; files with other names are reported as paths.
    pub(crate) fn list(&self) -> Result<Vec<Result<Digest, PathBuf>>, DiskError> {
        list_digests(&self.blobs)
    }
}

/// The entries of a directory whose names are digests, and the paths of those that are not.
pub(crate) fn list_digests(dir: &Path) -> Result<Vec<Result<Digest, PathBuf>>, DiskError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).on("list", dir)? {
        let entry = entry.on("list", dir)?;
        let digest = entry
            .file_name()
            .to_str()
            .and_then(|name| Digest::from_hex(name).ok());
        found.push(digest.ok_or_else(|| entry.path()));
    }
    Ok(found)
}

pub(crate) fn sync_directory(path: &Path) -> Result<(), DiskError> {
    File::open(path).and_then(|dir| dir.sync_all()).on("sync", path)
}

/// The directory of one operation: whatever it holds when dropped is removed.
#[derive(Debug)]
pub(crate) struct StageDir {
    path: PathBuf,
    next: AtomicU64,
}

impl StageDir {
    /// A path in it that was not used before.
    pub(crate) fn fresh(&self) -> PathBuf {
        self.path
            .join(self.next.fetch_add(1, Ordering::Relaxed).to_string())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A writer that hashes what it writes to a new file.
    pub(crate) fn blob_writer(&self) -> Result<BlobWriter, DiskError> {
        let path = self.fresh();
        let file = File::create_new(&path).on("create", &path)?;
        Ok(BlobWriter {
            file,
            path,
            hasher: Sha256::new(),
            size: 0,
        })
    }

    /// Stages bytes that are in memory.
    pub(crate) fn put(&self, bytes: &[u8]) -> Result<StagedBlob, DiskError> {
        let mut writer = self.blob_writer()?;
        writer.write_all(bytes).on("write", &writer.path.clone())?;
        Ok(writer.finish())
    }
}

impl Drop for StageDir {
    fn drop(&mut self) {
        if let Err(error) = tree::remove_tree(&self.path) {
            tracing::warn!(
                path = %self.path.display(),
                error = &error as &dyn std::error::Error,
                "files of an image operation stay until the next start"
            );
        }
    }
}

/// Hashes and writes a blob.
#[derive(Debug)]
pub(crate) struct BlobWriter {
    file: File,
    path: PathBuf,
    hasher: Sha256,
    size: u64,
}

impl BlobWriter {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What was written. It is not synced yet: a commit syncs the whole file system once for all its files.
    pub(crate) fn finish(self) -> StagedBlob {
        StagedBlob {
            digest: Digest::from_hasher(self.hasher),
            size: self.size,
            path: self.path,
        }
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_appear_whole_or_not_at_all() {
        let scratch = tempfile::tempdir().expect("temporary directory");
        let content = Content::open(scratch.path()).expect("open");
        let stage = content.stage().expect("stage");
        let blob = stage.put(b"hello").expect("put");
        assert!(!content.has(&blob.digest));
        content.commit(&blob).expect("commit");
        drop(stage);
        assert_eq!(content.read(&blob.digest, 100).expect("read"), b"hello");
        assert!(matches!(
            content.read(&blob.digest, 4),
            Err(BlobError::TooLarge { .. })
        ));
        std::fs::write(content.path(&blob.digest), b"hellO").expect("tamper");
        assert!(matches!(
            content.read(&blob.digest, 100),
            Err(BlobError::Changed { .. })
        ));
        assert_eq!(
            std::fs::read_dir(scratch.path().join("tmp"))
                .expect("tmp")
                .count(),
            0
        );
    }

    #[test]
    fn leftovers_of_a_crash_are_swept_at_open() {
        let scratch = tempfile::tempdir().expect("temporary directory");
        let content = Content::open(scratch.path()).expect("open");
        let stage = content.stage().expect("stage");
        std::fs::write(stage.fresh(), b"half").expect("write");
        let _never_dropped = std::mem::ManuallyDrop::new(stage);
        drop(content);
        Content::open(scratch.path()).expect("open again");
        assert_eq!(
            std::fs::read_dir(scratch.path().join("tmp"))
                .expect("tmp")
                .count(),
            0
        );
    }
}
