//! Reads a file of an image's root file system straight from its layers, before anything is mounted.
//!
//! Follows overlayfs's rules (whiteouts, opaque directories, an upper file hides a lower directory) and
//! resolves every link inside the image: nothing that a layer says can name a file of the host.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use thiserror::Error;

/// As many links as the kernel follows in one lookup.
const MAX_LINKS: u32 = 40;
/// More components than `PATH_MAX` allows in any one path, links expanded.
const MAX_COMPONENTS: u32 = 4096;

const OPAQUE: [&str; 2] = ["trusted.overlay.opaque", "user.overlay.opaque"];

/// A stack of directories, topmost first, read as if they were mounted as an overlay.
#[derive(Debug)]
pub struct LayeredRoot {
    layers: Vec<OwnedFd>,
}

/// A directory of the merged view: the same place in each layer that takes part.
type Merged = Vec<OwnedFd>;

enum Entry {
    Directory(Merged),
    Link(OsString),
    Other { parent: usize },
}

impl LayeredRoot {
    /// Opens the layers; each must be a directory that exists.
    pub fn open<'a>(layers: impl IntoIterator<Item = &'a Path>) -> Result<Self, LayeredError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let layers = layers
            .into_iter()
            .map(|path| {
                rustix::fs::open(path, flags, Mode::empty()).map_err(|source| LayeredError::Layer {
                    path: path.to_owned(),
                    source: source.into(),
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { layers })
    }

    /// One directory that is the whole root already.
    pub fn from_directory(root: BorrowedFd<'_>) -> Result<Self, LayeredError> {
        let copy = root.try_clone_to_owned().map_err(|source| LayeredError::Read {
            path: PathBuf::from("/"),
            source,
        })?;
        Ok(Self { layers: vec![copy] })
    }

    /// Reads a regular file of at most `limit` bytes; `None` if there is no such file.
    pub fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, LayeredError> {
        match self.walk(path, limit) {
            Err(Failure::Io(Errno::NOENT | Errno::NOTDIR)) => Ok(None),
            Err(Failure::Io(errno)) => Err(LayeredError::Read {
                path: path.into(),
                source: errno.into(),
            }),
            Err(Failure::TooLarge) => Err(LayeredError::TooLarge {
                path: path.into(),
                limit,
            }),
            Err(Failure::NotAFile) => Err(LayeredError::NotAFile { path: path.into() }),
            Ok(bytes) => Ok(Some(bytes)),
        }
    }

    fn walk(&self, path: &str, limit: u64) -> Result<Vec<u8>, Failure> {
        let mut pending = components(OsStr::new(path));
        let mut stack: Vec<Merged> = Vec::new();
        let (mut links, mut steps) = (0u32, 0u32);
        while let Some(name) = pending.pop() {
            steps += 1;
            if steps > MAX_COMPONENTS {
                return Err(Failure::Io(Errno::NAMETOOLONG));
            }
            if name == ".." {
                stack.pop();
                continue;
            }
            let here = stack.last().unwrap_or(&self.layers);
            match lookup(here, &name)? {
                Entry::Directory(merged) => stack.push(merged),
                Entry::Link(target) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Failure::Io(Errno::LOOP));
                    }
                    if target.as_bytes().first() == Some(&b'/') {
                        stack.clear();
                    }
                    pending.append(&mut components(&target));
                }
                Entry::Other { parent } if pending.is_empty() => {
                    return read_file(here[parent].as_fd(), &name, limit);
                }
                Entry::Other { .. } => return Err(Failure::Io(Errno::NOTDIR)),
            }
        }
        Err(Failure::NotAFile)
    }
}

/// The components of a path, last first, without empty ones and `.`.
fn components(path: &OsStr) -> Vec<OsString> {
    path.as_bytes()
        .rsplit(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .map(|part| OsString::from_vec(part.to_vec()))
        .collect()
}

/// What one name is in the merged view of a directory.
fn lookup(here: &[OwnedFd], name: &OsStr) -> Result<Entry, Failure> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut merged = Merged::new();
    for (index, layer) in here.iter().enumerate() {
        let found = match rustix::fs::openat(layer, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => continue,
            other => other?,
        };
        let stat = rustix::fs::fstat(&found)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::CharacterDevice if stat.st_rdev == 0 => break,
            FileType::Directory => {
                let opaque = is_opaque(layer, name);
                merged.push(found);
                if opaque {
                    break;
                }
            }
            _ if !merged.is_empty() => break,
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&found, "", Vec::new())?;
                return Ok(Entry::Link(OsString::from_vec(target.into_bytes())));
            }
            _ => return Ok(Entry::Other { parent: index }),
        }
    }
    if merged.is_empty() {
        return Err(Failure::Io(Errno::NOENT));
    }
    Ok(Entry::Directory(merged))
}

/// Whether this directory hides those below it. An unreadable attribute means that it does not: a file
/// system without such attributes cannot carry opaque directories either.
fn is_opaque(layer: &OwnedFd, name: &OsStr) -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(directory) = rustix::fs::openat(layer, name, flags, Mode::empty()) else {
        return false;
    };
    OPAQUE.iter().any(|attribute| {
        let mut value = [0u8; 4];
        matches!(rustix::fs::fgetxattr(&directory, *attribute, &mut value), Ok(length) if &value[..length] == b"y")
    })
}

fn read_file(parent: BorrowedFd<'_>, name: &OsStr, limit: u64) -> Result<Vec<u8>, Failure> {
    // Looked at before it is opened: opening a device or a pipe for reading can have effects.
    let stat = rustix::fs::statat(parent, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Failure::NotAFile);
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    let mut bytes = Vec::new();
    std::fs::File::from(file)
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::Io(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
    if bytes.len() as u64 > limit {
        return Err(Failure::TooLarge);
    }
    Ok(bytes)
}

enum Failure {
    Io(Errno),
    TooLarge,
    NotAFile,
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::Io(errno)
    }
}

/// Why a file could not be read out of the layers.
#[derive(Debug, Error)]
pub enum LayeredError {
    /// A layer itself is missing or not a directory.
    #[error("layer directory {} cannot be opened", path.display())]
    Layer {
        /// The directory on the host.
        path: PathBuf,
        #[source]
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The lookup failed inside the image.
    #[error("{} of the image cannot be read", path.display())]
    Read {
        /// The path inside the image.
        path: PathBuf,
        #[source]
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The file is larger than any sane one.
    #[error("{} of the image is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The path inside the image.
        path: PathBuf,
        /// The bound in bytes.
        limit: u64,
    },
    /// A directory, device, socket or pipe.
    #[error("{} of the image is not a regular file", path.display())]
    NotAFile {
        /// The path inside the image.
        path: PathBuf,
    },
}
