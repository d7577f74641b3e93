//! A read-only look at stacked layers through an overlay mount that is attached nowhere.
//!
//! The kernel merges the layers, and the mount goes with its descriptor: the host's mount table never shows it.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sched::CloneFlags;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, OpenTreeFlags,
    fsconfig_create, fsconfig_set_fd, fsconfig_set_string, fsmount, fsopen, mount, mount_change, open_tree,
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
    match by_layer(&context, lowers, above, read_only) {
        // What a kernel before 6.7 says to options that it does not know; others say it again.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => by_page(lowers, above, read_only).map_err(|errno| {
            let because = explained(&context, errno);
            DiskError::new("mount an overlay of", shown, because)
        }),
        done => {
            done.map_err(|errno| DiskError::new("mount an overlay of", shown, explained(&context, errno)))
        }
    }
}

fn by_layer(
    context: &OwnedFd,
    lowers: &[PathBuf],
    above: Option<(&Path, &Path)>,
    read_only: bool,
) -> Result<OwnedFd, Errno> {
    for lower in lowers {
        add_lower(context, lower)?;
    }
    if let Some((upper, work)) = above {
        fsconfig_set_string(context, "upperdir", upper)?;
        fsconfig_set_string(context, "workdir", work)?;
    }
    fsconfig_create(context)?;
    let attributes = if read_only {
        MountAttrFlags::MOUNT_ATTR_RDONLY
    } else {
        MountAttrFlags::empty()
    };
    fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// By descriptor where the kernel can, which has no limit on the length of paths (6.13), else by path (6.7).
fn add_lower(context: &OwnedFd, lower: &Path) -> Result<(), Errno> {
    let opened = open_layer(lower)?;
    match fsconfig_set_fd(context, "lowerdir+", opened.as_fd()) {
        Err(Errno::INVAL | Errno::OPNOTSUPP) => fsconfig_set_string(context, "lowerdir+", lower),
        other => other,
    }
}

fn open_layer(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

/// Older kernels take one page of options and mount only where something can be seen: a thread mounts in a mount
/// namespace of its own, and takes the mount out of it.
fn by_page(lowers: &[PathBuf], above: Option<(&Path, &Path)>, read_only: bool) -> Result<OwnedFd, Errno> {
    let mounted = std::thread::scope(|scope| {
        let work = || detached(lowers, above, read_only);
        let thread = std::thread::Builder::new().spawn_scoped(scope, work)?;
        thread.join().unwrap_or_else(|_panic| Err(Errno::IO.into()))
    });
    mounted.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// Any directory that every system has will do: only this thread's namespace sees what covers it.
const COVERED: &str = "/proc";

fn detached(lowers: &[PathBuf], above: Option<(&Path, &Path)>, read_only: bool) -> std::io::Result<OwnedFd> {
    nix::sched::unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FS)?;
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
    // Layers are named by descriptor, so that many fit; opened here, since they must be of this namespace.
    let mut held = Vec::new();
    let mut name = |path: &Path| -> Result<String, Errno> {
        let layer = open_layer(path)?;
        let name = format!("/proc/self/fd/{}", layer.as_raw_fd());
        held.push(layer);
        Ok(name)
    };
    let named: Result<Vec<String>, Errno> = lowers.iter().map(|lower| name(lower)).collect();
    let mut options = format!("lowerdir={}", named?.join(":"));
    if let Some((upper, work)) = above {
        options.push_str(&format!(",upperdir={},workdir={}", name(upper)?, name(work)?));
    }
    let flags = if read_only {
        MountFlags::RDONLY
    } else {
        MountFlags::empty()
    };
    let options = std::ffi::CString::new(options)?;
    mount("overlay", COVERED, "overlay", flags, options.as_c_str())?;
    let tree = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    Ok(open_tree(CWD, COVERED, tree)?)
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

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::openat;

    /// Kernels before 6.7 are served by a way that newer ones still offer.
    #[test]
    fn an_older_kernel_gets_the_same_view() {
        let dir = tempfile::tempdir().expect("tempdir");
        let place = |name: &str| dir.path().join(name);
        for (layer, file) in [("one", "first"), ("two:,\\", "second"), ("upper", "third")] {
            std::fs::create_dir(place(layer)).expect("mkdir");
            std::fs::write(place(layer).join(file), layer).expect("write");
        }
        std::fs::create_dir(place("work")).expect("mkdir");
        let lowers = [place("one"), place("two:,\\")];
        let (upper, work) = (place("upper"), place("work"));
        for (above, read_only) in [(None, true), (Some((upper.as_path(), work.as_path())), false)] {
            let view = by_page(&lowers, above, read_only).expect("mount");
            for (file, seen) in [("first", true), ("second", true), ("third", above.is_some())] {
                let opened = openat(&view, file, OFlags::RDONLY, Mode::empty());
                assert_eq!(opened.is_ok(), seen, "{file}");
            }
            let made = openat(&view, "made", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR);
            assert_eq!(made.is_err(), read_only);
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        assert!(!mounts.contains("overlay /proc"), "the host sees the mount");
    }
}
