//! Network namespaces: made, pinned by a bind mount, opened, entered for the length of one call.
//!
//! Only threads that belong to this crate enter another namespace. A thread that could not come back would do its
//! next work in the wrong place, so it is ended on the spot.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::sched::{CloneFlags, setns, unshare};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, UnmountFlags};
use serde::{Deserialize, Serialize};

/// A network namespace, kept alive while this is.
#[derive(Debug, Clone)]
pub struct Namespace {
    descriptor: Arc<OwnedFd>,
    id: NamespaceId,
}

/// What tells namespaces apart for as long as one of them lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NamespaceId {
    device: u64,
    inode: u64,
}

impl NamespaceId {
    /// Of the namespace that a file stands for; nothing of it is held.
    pub fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }
}

/// A namespace could not be made, opened or entered.
#[derive(Debug, thiserror::Error)]
#[error("{step} {path}")]
pub struct NamespaceError {
    step: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl NamespaceError {
    /// Whether this process or the machine has too much open to tell.
    pub fn is_exhaustion(&self) -> bool {
        let raw = self.source.raw_os_error().map(Errno::from_raw_os_error);
        matches!(raw, Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM))
    }

    /// Whether there is no such namespace (any more).
    pub fn is_gone(&self) -> bool {
        let raw = self.source.raw_os_error().map(Errno::from_raw_os_error);
        self.source.kind() == io::ErrorKind::NotFound || raw == Some(Errno::SRCH)
    }
}

impl Namespace {
    /// The calling thread's own.
    pub fn current() -> Result<Self, NamespaceError> {
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// The one that a file stands for: `/proc/PID/ns/net`, or a bind mount of such a file.
    pub fn open(path: &Path) -> Result<Self, NamespaceError> {
        let file = File::open(path).map_err(failed("open the network namespace", path))?;
        let metadata = file
            .metadata()
            .map_err(failed("read the network namespace", path))?;
        let system = rustix::fs::fstatfs(&file).map_err(errno("read the network namespace", path))?;
        if system.f_type != libc::NSFS_MAGIC {
            let plain = io::Error::new(io::ErrorKind::NotFound, "no namespace is mounted there");
            return Err(failed("open the network namespace", path)(plain));
        }
        Ok(Self {
            descriptor: Arc::new(file.into()),
            id: NamespaceId {
                device: metadata.dev(),
                inode: metadata.ino(),
            },
        })
    }

    /// Makes a new one that lasts as long as the file that it is mounted on.
    pub fn create(path: &Path) -> Result<Self, NamespaceError> {
        let made = on_own_thread(path, |path| {
            unshare(CloneFlags::CLONE_NEWNET)
                .map_err(|errno| failed("make a network namespace for", path)(errno.into()))?;
            let namespace = Self::current()?;
            namespace.pin(path)?;
            Ok(namespace)
        })?;
        Ok(made)
    }

    /// Makes a new one that lasts as long as something holds it.
    pub fn unnamed() -> Result<Self, NamespaceError> {
        on_own_thread(Path::new("a container"), |path| {
            unshare(CloneFlags::CLONE_NEWNET)
                .map_err(|errno| failed("make a network namespace for", path)(errno.into()))?;
            Self::current()
        })
    }

    /// Mounts it on a file, so that it outlives every process.
    pub fn pin(&self, path: &Path) -> Result<(), NamespaceError> {
        File::create(path).map_err(failed("make a file for the network namespace", path))?;
        let own = format!(
            "/proc/self/fd/{}",
            std::os::fd::AsRawFd::as_raw_fd(&self.descriptor)
        );
        rustix::mount::mount_bind(own.as_str(), path)
            .map_err(errno("mount the network namespace on", path))?;
        // Unmounting it in another mount namespace, say a container's, must not reach this one.
        rustix::mount::mount_change(path, MountPropagationFlags::PRIVATE)
            .map_err(errno("mount the network namespace on", path))
    }

    /// Which one it is.
    pub fn id(&self) -> NamespaceId {
        self.id
    }

    /// Runs a call inside, on the calling thread.
    pub fn enter<T>(&self, call: impl FnOnce() -> T) -> Result<T, NamespaceError> {
        let inside = Path::new("of an endpoint");
        let home = Self::current()?;
        setns(self.descriptor.as_fd(), CloneFlags::CLONE_NEWNET)
            .map_err(|errno| failed("enter the network namespace", inside)(errno.into()))?;
        let _back = Back(home);
        Ok(call())
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Takes the thread back home, also when the call inside panicked.
struct Back(Namespace);

impl Drop for Back {
    fn drop(&mut self) {
        if setns(self.0.descriptor.as_fd(), CloneFlags::CLONE_NEWNET).is_err() {
            tracing::error!("a thread could not leave a network namespace and ends the process");
            std::process::abort();
        }
    }
}

/// Removes the file of a pinned namespace, which lasts on only as long as something else holds it.
pub fn unpin(path: &Path) -> Result<(), NamespaceError> {
    match rustix::mount::unmount(path, UnmountFlags::DETACH) {
        // Not a mount point, or not there.
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
        Err(error) => return Err(errno("unmount the network namespace", path)(error)),
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("remove the file of the network namespace", path)(error))
        }
        _ => Ok(()),
    }
}

/// A thread that made a namespace for itself must not be used for anything else.
fn on_own_thread<T: Send>(
    path: &Path,
    make: impl FnOnce(&Path) -> Result<T, NamespaceError> + Send,
) -> Result<T, NamespaceError> {
    let result = std::thread::scope(|scope| scope.spawn(|| make(path)).join());
    result.unwrap_or_else(|_panic| {
        let ended = io::Error::other("its thread panicked");
        Err(failed("make a network namespace for", path)(ended))
    })
}

fn failed(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> NamespaceError {
    let path = path.to_owned();
    move |source| NamespaceError { step, path, source }
}

fn errno(step: &'static str, path: &Path) -> impl FnOnce(Errno) -> NamespaceError {
    let failed = failed(step, path);
    move |errno| failed(errno.into())
}
