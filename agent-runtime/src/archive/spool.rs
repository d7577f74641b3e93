//! The files of an image archive, spooled under names of ours and found by their names in the archive.
//!
//! Called by the readers of both archive forms; never makes a path of a name in the archive.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use tar::EntryType;

use super::LoadError;
use crate::content::disk::{DiskError, DiskResult, free_bytes};
use crate::content::{StageDir, StagedBlob};
use crate::image::manifest::{Descriptor, MAX_DOCUMENT_BYTES};
use crate::image::{Digest, ImageEvent, Progress};
use crate::unpack::{TarStream, UnpackLimits, clean_name, decompressed};

/// Entries of an image archive: a thousand images of a hundred layers.
const MAX_ENTRIES: usize = 100_000;

/// How often progress is told and the free space is looked at.
const STEP_BYTES: u64 = 16 << 20;

/// Left free on the disk while spooling.
const RESERVE_BYTES: u64 = 16 << 20;

/// Links that are followed from one name in the archive to another.
const MAX_LINKS: usize = 8;

/// What the archive holds.
#[derive(Debug)]
pub(super) struct Spool {
    files: BTreeMap<String, StagedBlob>,
    links: BTreeMap<String, String>,
}

impl Spool {
    /// Reads the archive to its end.
    pub(super) fn read(
        reader: impl Read,
        dir: &StageDir,
        limits: UnpackLimits,
        progress: &Progress,
    ) -> Result<Self, LoadError> {
        let reader = decompressed(reader).map_err(LoadError::Unpack)?;
        let mut stream = TarStream::new(reader);
        let mut spool = Self {
            files: BTreeMap::new(),
            links: BTreeMap::new(),
        };
        let mut copier = Copier {
            dir,
            limits,
            progress,
            bytes: 0,
            told: 0,
        };
        let mut entries = 0;
        while let Some(entry) = stream.next_entry()? {
            let shown = String::from_utf8_lossy(&entry.path).into_owned();
            let refuse = |problem: String| LoadError::Entry {
                entry: shown.clone(),
                problem,
            };
            entries += 1;
            if entries > MAX_ENTRIES {
                return Err(refuse(format!("the archive has more than {MAX_ENTRIES} entries")));
            }
            let name = clean_name(&entry.path).map_err(|problem| refuse(problem.to_string()))?;
            match entry.header.entry_type() {
                EntryType::Directory => {}
                EntryType::Regular | EntryType::Continuous => {
                    let blob = copier.copy(&mut stream, &shown, entry.size)?;
                    spool.insert(name, blob).map_err(refuse)?;
                }
                // Older versions of Docker link a layer that an image has twice.
                EntryType::Symlink => {
                    let target = join(Path::new(&name), &entry.link)
                        .ok_or_else(|| refuse("it is a link that leaves the archive".to_owned()))?;
                    spool.links.insert(name, target);
                }
                EntryType::Link => {
                    let target = clean_name(&entry.link).map_err(|problem| refuse(problem.to_string()))?;
                    spool.links.insert(name, target);
                }
                other => {
                    return Err(refuse(format!(
                        "an image archive has no entries of type {other:?}"
                    )));
                }
            }
        }
        // What follows the end mark is read, so that whoever sends it is not cut off.
        std::io::copy(&mut stream.into_reader().take(limits.bytes), &mut std::io::sink()).map_err(
            |source| crate::unpack::TarError::Read {
                offset: copier.bytes,
                source,
            },
        )?;
        Ok(spool)
    }

    fn insert(&mut self, name: String, blob: StagedBlob) -> Result<(), String> {
        match self.files.insert(name, blob.clone()) {
            Some(before) if before.digest != blob.digest => {
                Err("the archive holds two different files of this name".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// A file by its name in the archive.
    pub(super) fn file(&self, name: &str) -> Option<&StagedBlob> {
        let mut name = name.to_owned();
        for _ in 0..MAX_LINKS {
            if let Some(blob) = self.files.get(&name) {
                return Some(blob);
            }
            name = self.links.get(&name)?.clone();
        }
        None
    }

    /// The blob that a descriptor names, checked against it.
    pub(super) fn blob(&self, descriptor: &Descriptor, wanted_by: &str) -> Result<&StagedBlob, LoadError> {
        let blob = self.named(&descriptor.digest, wanted_by)?;
        if blob.size != descriptor.size {
            return Err(LoadError::Lie {
                name: descriptor.digest.to_string(),
                expected: format!("{} bytes", descriptor.size),
                found: format!("{} bytes", blob.size),
            });
        }
        Ok(blob)
    }

    /// The blob of a digest: from its place in an OCI layout, or any file with that content.
    pub(super) fn named(&self, digest: &Digest, wanted_by: &str) -> Result<&StagedBlob, LoadError> {
        let name = format!("blobs/sha256/{}", digest.hex());
        let blob = match self.file(&name) {
            Some(blob) => Some(blob),
            None => self.files.values().find(|blob| blob.digest == *digest),
        };
        let Some(blob) = blob else {
            return Err(LoadError::Missing {
                name,
                wanted_by: wanted_by.to_owned(),
            });
        };
        if blob.digest != *digest {
            return Err(LoadError::Lie {
                name,
                expected: digest.to_string(),
                found: blob.digest.to_string(),
            });
        }
        Ok(blob)
    }

    /// The contents of a document.
    pub(super) fn bytes(&self, blob: &StagedBlob) -> Result<Vec<u8>, LoadError> {
        if blob.size > MAX_DOCUMENT_BYTES {
            let expected = format!("at most {MAX_DOCUMENT_BYTES} bytes, as a list or configuration");
            let found = format!("{} bytes", blob.size);
            return Err(LoadError::Lie {
                name: blob.digest.to_string(),
                expected,
                found,
            });
        }
        Ok(std::fs::read(&blob.path).on("read", &blob.path)?)
    }
}

struct Copier<'a> {
    dir: &'a StageDir,
    limits: UnpackLimits,
    progress: &'a Progress,
    bytes: u64,
    told: u64,
}

impl Copier<'_> {
    fn copy<R: Read>(
        &mut self,
        stream: &mut TarStream<R>,
        name: &str,
        size: u64,
    ) -> Result<StagedBlob, LoadError> {
        let over = self
            .bytes
            .checked_add(size)
            .is_none_or(|sum| sum > self.limits.bytes);
        if over {
            let limit = self.limits.bytes;
            return Err(LoadError::Unpack(crate::unpack::UnpackError::TooLarge { limit }));
        }
        if size > STEP_BYTES && free_bytes(self.dir.path())? < size.saturating_add(RESERVE_BYTES) {
            return Err(DiskError::new("write", self.dir.path(), rustix::io::Errno::NOSPC).into());
        }
        let mut writer = self.dir.blob_writer()?;
        let mut buffer = vec![0; 128 << 10];
        loop {
            let read = stream.read(&mut buffer).map_err(|source| stream.failed(source))?;
            if read == 0 {
                break;
            }
            let path = writer.path().to_owned();
            writer.write_all(&buffer[..read]).on("write", &path)?;
            self.bytes += read as u64;
            if self.bytes - self.told >= STEP_BYTES {
                self.told = self.bytes;
                self.progress.send(ImageEvent::Reading { bytes: self.bytes });
            }
        }
        tracing::debug!(entry = name, size, "spooled an entry of an image archive");
        Ok(writer.finish())
    }
}

/// The name that a symbolic link in an archive leads to; none when it leaves the archive.
fn join(link: &Path, target: &[u8]) -> Option<String> {
    if target.starts_with(b"/") {
        return None;
    }
    let mut parts: Vec<&[u8]> = link.parent()?.iter().map(OsStrExt::as_bytes).collect();
    for component in target.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    String::from_utf8(parts.join(&b'/')).ok()
}
