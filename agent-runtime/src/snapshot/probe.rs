//! Whether the file system of the state directory can carry containers, found out by doing it once.
//!
//! Mounts an overlay that is attached nowhere and looks whether layers, whiteouts, opaque directories, changes and
//! attributes behave. Run when the daemon starts, so that an unsuitable disk is a message then and not a broken
//! container later.

use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, XattrFlags};
use rustix::io::Errno;

use super::view;
use crate::content::disk::{DiskError, DiskResult, describe_disk};
use crate::content::tree::{names, open_directory};
use crate::content::{Content, StageDir};
use crate::unpack::open_in_root;

/// Why containers cannot be kept in a directory.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The file system cannot do something that an overlay needs.
    #[error(
        "containers cannot be kept in {path}: {disk} {problem}; use a directory on ext4, xfs or btrfs for the state",
        path = path.display()
    )]
    Unsuitable {
        path: PathBuf,
        disk: String,
        problem: &'static str,
        #[source]
        source: Option<std::io::Error>,
    },
    /// The kernel cannot do something that unpacking needs.
    #[error("this kernel lacks {what}, which needs Linux {since} or newer")]
    Kernel { what: &'static str, since: &'static str },
    /// Something else failed.
    #[error("cannot find out whether containers can be kept there")]
    Disk(#[from] DiskError),
}

/// Probes once a kernel and file system: what was found is remembered in `dir`, since the start of the daemon waits
/// for it.
pub(crate) fn probe_once(dir: &Path, content: &Content) -> Result<(), ProbeError> {
    let marker = dir.join("probed");
    let device = std::fs::metadata(dir).on("read", dir)?.dev();
    let kernel = rustix::system::uname();
    let found = format!(
        "{} {} {device}\n",
        kernel.release().to_string_lossy(),
        kernel.version().to_string_lossy()
    );
    if std::fs::read_to_string(&marker).is_ok_and(|known| known == found) {
        return Ok(());
    }
    probe(&content.stage()?)?;
    std::fs::write(&marker, found).on("write", &marker)?;
    Ok(())
}

/// Tries everything that layers and containers need, in a directory of its own below `stage`.
pub(super) fn probe(stage: &StageDir) -> Result<(), ProbeError> {
    let dir = stage.path();
    let probe = Probe { dir };
    probe.kernel()?;
    probe.layers()?;
    let (lower, upper, work) = (dir.join("lower"), dir.join("upper"), dir.join("work"));
    let lowers = [dir.join("middle"), lower];
    let mounted = view::merged(&lowers, Some((&upper, &work)), false);
    let root = mounted.map_err(|error| probe.refuse("cannot carry an overlay mount", io_of(error)))?;
    probe.merged(&root)
}

fn io_of(error: DiskError) -> Option<std::io::Error> {
    match error {
        DiskError::Io { source, .. } => Some(source),
        full @ DiskError::Full { .. } => Some(std::io::Error::other(full)),
    }
}

struct Probe<'a> {
    dir: &'a Path,
}

impl Probe<'_> {
    fn kernel(&self) -> Result<(), ProbeError> {
        let root =
            rustix::fs::open(self.dir, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).on("open", self.dir)?;
        match open_in_root(&root, Path::new(""), OFlags::PATH | OFlags::CLOEXEC) {
            Err(Errno::NOSYS) => Err(ProbeError::Kernel {
                what: "openat2",
                since: "5.6",
            }),
            _ => Ok(()),
        }
    }

    /// Two layers, with everything by which one hides the other.
    fn layers(&self) -> Result<(), ProbeError> {
        for name in ["lower/opaque", "middle/opaque", "upper", "work"] {
            let path = self.dir.join(name);
            std::fs::create_dir_all(&path).on("create", &path)?;
        }
        for name in ["lower/seen", "lower/hidden", "lower/opaque/hidden"] {
            let path = self.dir.join(name);
            std::fs::write(&path, b"lower").on("write", &path)?;
        }
        let middle = self.dir.join("middle");
        let opened =
            rustix::fs::open(&middle, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).on("open", &middle)?;
        rustix::fs::mknodat(&opened, "hidden", FileType::CharacterDevice, Mode::empty(), 0).map_err(
            |errno| {
                self.refuse(
                    "has no device files, by which layers hide files",
                    Some(errno.into()),
                )
            },
        )?;
        let opaque = middle.join("opaque");
        rustix::fs::setxattr(&opaque, "trusted.overlay.opaque", b"y", XattrFlags::empty()).map_err(|errno| {
            self.refuse(
                "has no trusted attributes, by which layers hide directories",
                Some(errno.into()),
            )
        })
    }

    /// What a container would see and do.
    fn merged(&self, root: &OwnedFd) -> Result<(), ProbeError> {
        let exists = |name: &str| rustix::fs::statat(root, name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
        if !exists("seen") || exists("hidden") || exists("opaque/hidden") {
            return Err(self.refuse("shows files that upper layers hide", None));
        }
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC;
        let changed = rustix::fs::openat(root, "seen", flags, Mode::empty())
            .and_then(|file| rustix::io::write(&file, b"+").map(drop))
            .and_then(|()| rustix::fs::unlinkat(root, "seen", AtFlags::empty()))
            .and_then(|()| rustix::fs::mkdirat(root, "seen", Mode::from_raw_mode(0o755)))
            .and_then(|()| rustix::fs::renameat(root, "seen", root, "renamed"));
        changed
            .map_err(|errno| self.refuse("cannot carry changes in an overlay mount", Some(errno.into())))?;
        // Without the kinds of entries in directory listings, whiteouts would be listed as files.
        let listed = open_directory(root, ".").and_then(|root| names(&root));
        let mut listed = listed.on("list", self.dir)?;
        listed.sort();
        if listed == [c"opaque".to_owned(), c"renamed".to_owned()] {
            Ok(())
        } else {
            Err(self.refuse("lists files that upper layers hide", None))
        }
    }

    fn refuse(&self, problem: &'static str, source: Option<std::io::Error>) -> ProbeError {
        ProbeError::Unsuitable {
            path: self.dir.to_owned(),
            disk: describe_disk(self.dir),
            problem,
            source,
        }
    }
}
