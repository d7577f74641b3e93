//! File errors that name the file, and a full disk that names the disk.
//!
//! Every write of the image store ends here, so that "no space left" never reaches a user without saying where.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A file operation failed.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// No space or no inodes are left, or a quota is used up.
    #[error("cannot {action} {path}: {disk} is full; free space there and try again", path = path.display())]
    Full {
        /// What was being done, as a verb.
        action: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// The device, its mount point and what is free there.
        disk: String,
    },
    /// Anything else.
    #[error("cannot {action} {path}", path = path.display())]
    Io {
        /// What was being done, as a verb.
        action: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

impl DiskError {
    pub(crate) fn new(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        let path = path.to_owned();
        if is_full(&source) {
            Self::Full {
                action,
                disk: describe_disk(&path),
                path,
            }
        } else {
            Self::Io { action, path, source }
        }
    }
}

/// Attaches what was being done, and to which file, to a result.
pub(crate) trait DiskResult<T> {
    fn on(self, action: &'static str, path: &Path) -> Result<T, DiskError>;
}

impl<T, E: Into<io::Error>> DiskResult<T> for Result<T, E> {
    fn on(self, action: &'static str, path: &Path) -> Result<T, DiskError> {
        self.map_err(|source| DiskError::new(action, path, source))
    }
}

/// Whether this is the error of a full file system or quota.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Bytes that may still be written at `path`.
pub(crate) fn free_bytes(path: &Path) -> Result<u64, DiskError> {
    let stat = rustix::fs::statvfs(path).on("read the free space of", path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// The device that holds `path`, in words: "/dev/vda1 (ext4, mounted at /var)".
pub(crate) fn describe_disk(path: &Path) -> String {
    // The path itself may be what could not be made: ask its nearest ancestor.
    let found = path
        .ancestors()
        .find_map(|ancestor| Some((ancestor, std::fs::metadata(ancestor).ok()?)));
    let Some((ancestor, metadata)) = found else {
        return format!("the file system of {}", path.display());
    };
    let device = metadata.dev();
    let number = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    let free = rustix::fs::statvfs(ancestor)
        .map(|stat| {
            let bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
            format!(", {} KiB and {} files free", bytes / 1024, stat.f_favail)
        })
        .unwrap_or_default();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let described = mounts.lines().rev().find_map(|line| mount_of(line, &number));
    match described {
        Some((source, kind, target)) => format!("the disk {source} ({kind}, mounted at {target}{free})"),
        None => format!("the file system of {}{free}", ancestor.display()),
    }
}

/// Source, type and target of a line of mountinfo if it is about the device `number`.
fn mount_of<'a>(line: &'a str, number: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(2);
    if left.next()? != number {
        return None;
    }
    let target = left.nth(1)?;
    let mut right = right.split(' ');
    let kind = right.next()?;
    Some((right.next()?, kind, target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_named() {
        let error = DiskError::new(
            "write",
            Path::new("/proc/nowhere/file"),
            io::Error::from_raw_os_error(28),
        );
        let text = error.to_string();
        assert!(text.contains("/proc/nowhere/file"), "{text}");
        assert!(text.contains("mounted at /proc"), "{text}");
        assert!(text.contains("is full"), "{text}");
        let other = DiskError::new("write", Path::new("/x"), io::Error::from_raw_os_error(5));
        assert!(matches!(other, DiskError::Io { .. }));
    }
}
