//! Removing a directory tree that may have been made by someone hostile.
//!
//! Works by descriptors and never follows a link; however deep the tree is, the stack and the open descriptors
//! stay bounded, because directories below a fixed depth are first moved up.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;

use super::disk::{DiskError, DiskResult};

/// Levels that are walked by recursion; what is deeper is moved to the top of the tree first.
const MAX_DEPTH: usize = 32;

/// Removes `path` and everything below it. A path that is not there is no error.
pub(crate) fn remove_tree(path: &Path) -> Result<(), DiskError> {
    let metadata = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(DiskError::new("remove", path, source)),
    };
    if !metadata.is_dir() {
        return std::fs::remove_file(path).on("remove", path);
    }
    clear_directory(path)?;
    std::fs::remove_dir(path).on("remove", path)
}

/// Removes everything below `path`, and leaves `path` itself.
pub(crate) fn clear_directory(path: &Path) -> Result<(), DiskError> {
    let root = open_directory(rustix::fs::CWD, path).on("open", path)?;
    clear(&root).on("remove the contents of", path)
}

/// Removes `name` in `parent` and everything below it.
pub(crate) fn remove_at(parent: &OwnedFd, name: impl rustix::path::Arg + Copy) -> Result<(), Errno> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => {}
        other => return other,
    }
    clear(&open_directory(parent, name)?)?;
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

fn clear(root: &OwnedFd) -> Result<(), Errno> {
    let mut sweep = Sweep {
        root,
        moved: 0,
        depth: 0,
    };
    // Each round removes at least all that lies above the depth limit, and moves the rest to the top.
    loop {
        let before = sweep.moved;
        sweep.clear(root)?;
        if sweep.moved == before {
            return Ok(());
        }
    }
}

/// Names that are read before they are removed: a directory may have millions.
const NAMES_AT_ONCE: usize = 4096;

struct Sweep<'a> {
    root: &'a OwnedFd,
    moved: u64,
    depth: usize,
}

impl Sweep<'_> {
    fn clear(&mut self, directory: &OwnedFd) -> Result<(), Errno> {
        while let found @ [_, ..] = &names_up_to(directory, NAMES_AT_ONCE)?[..] {
            self.remove_all(directory, found)?;
        }
        Ok(())
    }

    fn remove_all(&mut self, directory: &OwnedFd, names: &[CString]) -> Result<(), Errno> {
        for name in names {
            match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                // Linux answers EISDIR; POSIX allows EPERM.
                Err(Errno::ISDIR | Errno::PERM) => self.remove_directory(directory, name)?,
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    fn remove_directory(&mut self, parent: &OwnedFd, name: &CString) -> Result<(), Errno> {
        match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            other => return other,
        }
        if self.depth >= MAX_DEPTH {
            self.moved += 1;
            let target = format!(".moved-up-{}", self.moved);
            return rustix::fs::renameat(parent, name, self.root, target);
        }
        let child = open_directory(parent, name.as_c_str())?;
        self.depth += 1;
        let cleared = self.clear(&child);
        self.depth -= 1;
        cleared?;
        rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
    }
}

/// The names in a directory, without `.` and `..`.
pub(crate) fn names(directory: &OwnedFd) -> Result<Vec<CString>, Errno> {
    names_up_to(directory, usize::MAX)
}

fn names_up_to(directory: &OwnedFd, limit: usize) -> Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_bytes() != b"." && name.to_bytes() != b".." {
            names.push(name.to_owned());
        }
        if names.len() >= limit {
            break;
        }
    }
    Ok(names)
}

/// Opens a directory for reading without following a link in its last component.
pub(crate) fn open_directory(parent: impl AsFd, name: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(
        parent,
        name,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_deep_wide_and_linked_trees() {
        let scratch = tempfile::tempdir().expect("temporary directory");
        let outside = scratch.path().join("outside");
        std::fs::create_dir(&outside).expect("mkdir");
        std::fs::write(outside.join("keep"), b"x").expect("write");
        let tree = scratch.path().join("tree");
        std::fs::create_dir(&tree).expect("mkdir");
        std::os::unix::fs::symlink(&outside, tree.join("link")).expect("symlink");
        // 3,000 levels: beyond PATH_MAX and beyond the usual limit of open files.
        let mut here = open_directory(rustix::fs::CWD, &tree).expect("open");
        for level in 0..3000 {
            rustix::fs::mkdirat(&here, "directory", Mode::from_raw_mode(0o700)).expect("mkdir");
            if level % 100 == 0 {
                rustix::fs::symlinkat("/etc", &here, "link2").expect("symlink");
            }
            here = open_directory(&here, "directory").expect("open");
        }
        remove_tree(&tree).expect("remove");
        assert!(!tree.exists());
        assert!(outside.join("keep").exists());
        remove_tree(&tree).expect("removing what is gone is no error");
    }
}
