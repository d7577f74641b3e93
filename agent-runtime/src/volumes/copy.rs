//! Copies what an image has at a path into an empty volume, metadata and all.
//!
//! The image is seen through a merged view of its layers in which no name leads out of it. The copy is made beside
//! the volume's directory and takes its place in one step.

use std::collections::HashMap;
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::{Shared, VolumeError};
use crate::content::disk::{DiskError, DiskResult};
use crate::content::step::step;
use crate::content::tree::{names, open_directory, remove_tree};
use crate::snapshot::view;
use crate::unpack::open_in_root;

/// Directories inside each other; deeper trees are refused rather than followed.
const MAX_DEPTH: usize = 200;

/// The longest attribute and list of attributes that the kernel gives out.
const MAX_XATTR_BYTES: usize = 65536;

/// Why a volume was not filled from an image.
#[derive(Debug, thiserror::Error)]
pub enum PopulateError {
    /// The volume is not usable.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// The path in the image is a file.
    #[error("{path} in the image is not a directory, so no volume can be mounted there", path = path.display())]
    NotADirectory { path: PathBuf },
    /// The tree is deeper than any honest one.
    #[error("{path} in the image has more than {MAX_DEPTH} directories inside each other", path = path.display())]
    TooDeep { path: PathBuf },
    /// A file operation failed.
    #[error("cannot copy the image's files into volume {name:?}")]
    Disk {
        name: String,
        #[source]
        source: DiskError,
    },
}

impl Shared {
    pub(super) fn populate(&self, name: &str, lowers: &[PathBuf], path: &Path) -> Result<(), PopulateError> {
        let _guard = self.lock();
        let (volume, mut record) = self.read(name)?;
        if record.populated {
            return Ok(());
        }
        let disk = |source| PopulateError::Disk {
            name: name.to_owned(),
            source,
        };
        let dir = self.dir.join(name);
        let data = &volume.mountpoint;
        let empty = std::fs::read_dir(data)
            .on("list", data)
            .map_err(disk)?
            .next()
            .is_none();
        if empty {
            let making = dir.join("_data.new");
            remove_tree(&making).map_err(disk)?;
            let copied = copy_from_image(lowers, path, &making, &disk);
            match copied {
                Ok(true) => {
                    step("populate.1-copied");
                    sync(&making)
                        .and_then(|()| std::fs::rename(&making, data).on("fill", data))
                        .map_err(disk)?;
                    step("populate.2-visible");
                }
                Ok(false) => {}
                Err(error) => {
                    remove_tree(&making).map_err(disk)?;
                    return Err(error);
                }
            }
        }
        record.populated = true;
        record.write(&dir).map_err(disk)
    }
}

fn sync(path: &Path) -> Result<(), DiskError> {
    let handle = File::open(path).on("open", path)?;
    rustix::fs::syncfs(&handle).on("sync", path)
}

/// False when the image has nothing at the path.
fn copy_from_image(
    lowers: &[PathBuf],
    path: &Path,
    making: &Path,
    disk: &impl Fn(DiskError) -> PopulateError,
) -> Result<bool, PopulateError> {
    let Some(bottom) = lowers.last() else {
        return Ok(false);
    };
    // A view needs two layers; the same one twice looks like it once, without its whiteouts.
    let mut stack = lowers.to_vec();
    let empty = making.with_extension("empty");
    if lowers.len() == 1 {
        remove_tree(&empty).map_err(disk)?;
        std::fs::create_dir(&empty).on("create", &empty).map_err(disk)?;
        stack.push(empty.clone());
    }
    let view = view::merged(&stack, None, true);
    remove_tree(&empty).map_err(disk)?;
    let root = view.map_err(disk)?;
    let relative = path.strip_prefix("/").unwrap_or(path);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let source = match open_in_root(&root, relative, flags) {
        Ok(source) => source,
        Err(Errno::NOENT) => return Ok(false),
        Err(Errno::NOTDIR) => {
            return Err(PopulateError::NotADirectory {
                path: path.to_owned(),
            });
        }
        Err(errno) => return Err(disk(DiskError::new("open", &bottom.join(relative), errno))),
    };
    std::fs::create_dir(making).on("create", making).map_err(disk)?;
    let target = open_directory(rustix::fs::CWD, making)
        .on("open", making)
        .map_err(disk)?;
    let mut copier = Copier {
        links: HashMap::new(),
        root: &target,
    };
    match copier.directory(&source, &target, Path::new(""), 0) {
        Ok(()) => Ok(true),
        Err(CopyError::TooDeep) => Err(PopulateError::TooDeep {
            path: path.to_owned(),
        }),
        Err(CopyError::System(at, error)) => Err(disk(DiskError::new("copy", &path.join(at), error))),
    }
}

enum CopyError {
    TooDeep,
    System(PathBuf, std::io::Error),
}

struct Copier<'a> {
    /// Where a file with several names was copied to first, by its inode.
    links: HashMap<u64, PathBuf>,
    root: &'a OwnedFd,
}

impl Copier<'_> {
    fn directory(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        path: &Path,
        depth: usize,
    ) -> Result<(), CopyError> {
        if depth > MAX_DEPTH {
            return Err(CopyError::TooDeep);
        }
        let at = |name: &CStr| path.join(OsStr::from_bytes(name.to_bytes()));
        for name in names(from).map_err(|errno| CopyError::System(path.to_owned(), errno.into()))? {
            let fail = |error: std::io::Error| CopyError::System(at(&name), error);
            let stat = rustix::fs::statat(from, &name, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|errno| fail(errno.into()))?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                let below = open_directory(from, name.as_c_str()).map_err(|errno| fail(errno.into()))?;
                let made = rustix::fs::mkdirat(to, &name, Mode::from_raw_mode(0o700))
                    .and_then(|()| open_directory(to, name.as_c_str()))
                    .map_err(|errno| fail(errno.into()))?;
                self.directory(&below, &made, &at(&name), depth + 1)?;
            } else {
                self.leaf(from, to, &name, &stat, &at(&name)).map_err(fail)?;
            }
        }
        // The times of a directory last: filling it changes them.
        let dressed = rustix::fs::fstat(from)
            .map_err(std::io::Error::from)
            .and_then(|stat| dress(from, to, &stat));
        dressed.map_err(|error| CopyError::System(path.to_owned(), error))
    }

    fn leaf(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        name: &CStr,
        stat: &Stat,
        path: &Path,
    ) -> std::io::Result<()> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&stat.st_ino) {
                // Both names were made here, one component after the other, without links on the way.
                let first_parent = first.parent().unwrap_or(Path::new(""));
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let parent = open_in_root(self.root, first_parent, flags)?;
                let first_name = first.file_name().unwrap_or_default();
                return Ok(rustix::fs::linkat(
                    &parent,
                    first_name,
                    to,
                    name,
                    AtFlags::empty(),
                )?);
            }
            self.links.insert(stat.st_ino, path.to_owned());
        }
        if kind == FileType::RegularFile {
            let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let source = File::from(rustix::fs::openat(from, name, read, Mode::empty())?);
            let write = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let target = File::from(rustix::fs::openat(to, name, write, Mode::from_raw_mode(0o600))?);
            // Shares blocks or copies in the kernel where it can.
            std::io::copy(&mut &source, &mut &target)?;
            return dress(&source, &target, stat);
        }
        if kind == FileType::Symlink {
            let target = rustix::fs::readlinkat(from, name, Vec::new())?;
            rustix::fs::symlinkat(&target, to, name)?;
        } else {
            rustix::fs::mknodat(
                to,
                name,
                kind,
                Mode::from_raw_mode(stat.st_mode & 0o7777),
                stat.st_rdev,
            )?;
        }
        let (uid, gid) = owners(stat);
        rustix::fs::chownat(to, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        if kind != FileType::Symlink {
            rustix::fs::chmodat(
                to,
                name,
                Mode::from_raw_mode(stat.st_mode & 0o7777),
                AtFlags::empty(),
            )?;
        }
        Ok(rustix::fs::utimensat(
            to,
            name,
            &times(stat),
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }
}

/// Owner, mode, attributes and times, in the order in which they do not undo each other.
fn dress(from: &impl AsFd, to: &impl AsFd, stat: &Stat) -> std::io::Result<()> {
    let (uid, gid) = owners(stat);
    rustix::fs::fchown(to, uid, gid)?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    let mut list = vec![0; MAX_XATTR_BYTES];
    let length = match rustix::fs::flistxattr(from, &mut list[..]) {
        Err(Errno::OPNOTSUPP) => 0,
        other => other?,
    };
    for name in list[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        // The kernel's own books are not the file's contents.
        if name.starts_with(b"trusted.") || name == b"security.selinux" {
            continue;
        }
        let mut value = vec![0; MAX_XATTR_BYTES];
        let length = rustix::fs::fgetxattr(from, name, &mut value[..])?;
        rustix::fs::fsetxattr(to, name, &value[..length], XattrFlags::empty())?;
    }
    Ok(rustix::fs::futimens(to, &times(stat))?)
}

fn owners(stat: &Stat) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))
}

fn times(stat: &Stat) -> Timestamps {
    let time = |seconds, nanos: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanos).unwrap_or(0),
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}
