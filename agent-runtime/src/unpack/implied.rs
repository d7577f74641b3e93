//! Directories that a layer implies but does not list take their owner, mode and time from the layers below.
//!
//! Layers are unpacked side by side, before those below them are known; this runs when the stack is complete.
//! Overlayfs shows a merged directory with the attributes of its topmost layer, so an implied one must copy them.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use crate::content::disk::{DiskError, DiskResult};
use crate::content::tree::open_directory;

/// Gives the directories `implied` of `layer` what the topmost layer of `lowers` says about them.
pub(crate) fn adopt_implied(layer: &Path, implied: &[PathBuf], lowers: &[PathBuf]) -> Result<(), DiskError> {
    if implied.is_empty() || lowers.is_empty() {
        return Ok(());
    }
    let opened = |path: &PathBuf| open_directory(rustix::fs::CWD, path).on("open", path);
    let root = open_directory(rustix::fs::CWD, layer).on("open", layer)?;
    let lowers: Vec<OwnedFd> = lowers.iter().map(opened).collect::<Result<_, _>>()?;
    for path in implied {
        // One that a later entry replaced is no directory any more.
        let Ok(directory) = open_plain(&root, path) else {
            continue;
        };
        for lower in &lowers {
            match open_plain(lower, path) {
                Err(Errno::NOENT) => {}
                Err(_) => break,
                Ok(below) => {
                    copy_attributes(&below, &directory)
                        .on("set the owner, mode and time of", &layer.join(path))?;
                    break;
                }
            }
        }
    }
    Ok(())
}

/// Copies owner, mode and times from one directory to another.
pub(crate) fn copy_attributes(from: &OwnedFd, to: &OwnedFd) -> Result<(), Errno> {
    let stat = rustix::fs::fstat(from)?;
    rustix::fs::fchown(
        to,
        Some(Uid::from_raw(stat.st_uid)),
        Some(Gid::from_raw(stat.st_gid)),
    )?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    let nanos = stat.st_mtime_nsec.try_into().unwrap_or(0);
    let time = Timespec {
        tv_sec: stat.st_mtime,
        tv_nsec: nanos,
    };
    rustix::fs::futimens(
        to,
        &Timestamps {
            last_access: time,
            last_modification: time,
        },
    )
}

/// Opens a directory by a path without links.
fn open_plain(root: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    rustix::fs::openat2(
        root,
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
    )
}
