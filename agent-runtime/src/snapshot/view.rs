//! A read-only look at stacked layers through an overlay mount that is attached nowhere.
//!
//! The kernel merges the layers, and the mount goes with its descriptor: the host's mount table never shows it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_fd, fsconfig_set_string,
    fsmount, fsopen,
};

use crate::content::disk::DiskError;

/// The layers, topmost first, merged. With `upper` and `work` the result is writable.
pub(crate) fn merged(
    lowers: &[PathBuf],
    above: Option<(&Path, &Path)>,
    read_only: bool,
) -> Result<OwnedFd, DiskError> {
    let shown = lowers.first().map_or(Path::new("/"), PathBuf::as_path);
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)
        .map_err(|errno| DiskError::new("open an overlay of", shown, errno))?;
    let fail = |errno: Errno| DiskError::new("mount an overlay of", shown, explained(&context, errno));
    for lower in lowers {
        add_lower(&context, lower).map_err(fail)?;
    }
    if let Some((upper, work)) = above {
        fsconfig_set_string(&context, "upperdir", upper).map_err(fail)?;
        fsconfig_set_string(&context, "workdir", work).map_err(fail)?;
    }
    fsconfig_create(&context).map_err(fail)?;
    let attributes = if read_only {
        MountAttrFlags::MOUNT_ATTR_RDONLY
    } else {
        MountAttrFlags::empty()
    };
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(fail)
}

/// By descriptor where the kernel can, which has no limit on the length of paths (6.13), else by path (6.7).
fn add_lower(context: &OwnedFd, lower: &Path) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(lower, flags, Mode::empty())?;
    match fsconfig_set_fd(context, "lowerdir+", opened.as_fd()) {
        Err(Errno::INVAL | Errno::OPNOTSUPP) => fsconfig_set_string(context, "lowerdir+", lower),
        other => other,
    }
}

/// The kernel writes what it did not like to the context's descriptor.
fn explained(context: &OwnedFd, errno: Errno) -> std::io::Error {
    let mut messages = Vec::new();
    // One message a read, until there is none; the kernel keeps eight.
    for _ in 0..8 {
        let mut buffer = [0; 512];
        match rustix::io::read(context, &mut buffer) {
            Ok(length) if length > 0 => {
                messages.push(String::from_utf8_lossy(&buffer[..length]).trim().to_owned());
            }
            _ => break,
        }
    }
    let system = std::io::Error::from(errno);
    if messages.is_empty() {
        system
    } else {
        std::io::Error::new(system.kind(), messages.join("; "))
    }
}
