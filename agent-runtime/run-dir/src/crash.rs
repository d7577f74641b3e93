//! Named points at which a test build ends itself by SIGKILL.
//!
//! A test writes the name of one point into `<run>/crash` and watches what the next daemon makes of the remains.
//! The file is taken away by whoever dies of it, so that a point strikes once. [`POINTS`] is the table that the
//! test goes through; without the feature `crash-points` everything here is nothing.

use std::path::Path;

/// The file below the daemon's run directory that names the point.
pub const FILE: &str = "crash";

/// Every point, in the order in which a container's life meets them.
pub const POINTS: &[&str] = &[
    "shoald.create.1-locked",
    "shoald.create.2-snapshot-prepared",
    "shoald.create.3-directory-made",
    "shoald.create.4-bundle-written",
    "shoald.create.5-shim-running",
    "shoald.create.6-created",
    "shim.create.1-up",
    "shim.create.2-spawn-running",
    "shim.create.3-process-known",
    "shim.create.4-recorded",
    "spawn.create.1-request-read",
    "spawn.create.2-cgroup-made",
    "spawn.create.3-cgroup-joined",
    "spawn.create.4-rootfs-mounted",
    "spawn.create.5-init-prepared",
    "spawn.create.6-built",
    "spawn.create.7-limited",
    "shoald.attach.1-attached",
    "shim.attach.1-asked",
    "shoald.start.1-asked",
    "shoald.start.2-started",
    "shim.start.1-asked",
    "shim.start.2-released",
    "shim.start.3-recorded",
    "spawn.start.1-released",
    "shoald.exec.1-asked",
    "shoald.exec.2-started",
    "shim.exec.1-asked",
    "shim.exec.2-spawn-running",
    "shim.exec.3-process-known",
    "spawn.exec.1-request-read",
    "spawn.exec.2-joined",
    "spawn.exec.3-forked",
    "spawn.exec.4-confined",
    "shim.exit.1-ended",
    "shim.exit.2-noted",
    "shim.exit.3-drained",
    "shim.exit.4-recorded",
    "shoald.remove.1-asked",
    "shoald.remove.2-killed",
    "shoald.remove.3-cgroup-gone",
    "shoald.remove.4-snapshot-released",
    "shoald.remove.5-directory-gone",
];

/// Ends this process if `<run>/crash` names this point.
#[cfg(feature = "crash-points")]
pub fn reached(run: &Path, point: &str) {
    debug_assert!(POINTS.contains(&point), "{point} is not in the table");
    strike(run, point);
}

/// The same for a point of another table.
#[cfg(feature = "crash-points")]
pub fn strike(run: &Path, point: &str) {
    let file = run.join(FILE);
    if std::fs::read_to_string(&file).is_ok_and(|named| named.trim() == point)
        && std::fs::remove_file(&file).is_ok()
    {
        die();
    }
}

/// Nothing, in a build without crash points.
#[cfg(not(feature = "crash-points"))]
#[inline]
pub fn reached(_run: &Path, _point: &str) {}

/// The point that this process is to die of, for one that will lose sight of the file: `shoal-spawn`, whose init
/// changes its root.
#[derive(Debug, Clone, Default)]
pub struct Armed {
    #[cfg(feature = "crash-points")]
    point: Option<String>,
}

impl Armed {
    /// Takes the file if it names a point with one of these prefixes.
    #[cfg(feature = "crash-points")]
    pub fn take(run: &Path, prefixes: &[&str]) -> Self {
        let file = run.join(FILE);
        let named = std::fs::read_to_string(&file)
            .ok()
            .map(|text| text.trim().to_owned());
        let point = named.filter(|name| {
            prefixes.iter().any(|prefix| name.starts_with(prefix)) && std::fs::remove_file(&file).is_ok()
        });
        Self { point }
    }

    /// Nothing, in a build without crash points.
    #[cfg(not(feature = "crash-points"))]
    #[inline]
    pub fn take(_run: &Path, _prefixes: &[&str]) -> Self {
        Self {}
    }

    /// Ends this process if this is its point.
    #[cfg(feature = "crash-points")]
    pub fn reached(&self, point: &str) {
        debug_assert!(POINTS.contains(&point), "{point} is not in the table");
        if self.point.as_deref() == Some(point) {
            die();
        }
    }

    /// Nothing, in a build without crash points.
    #[cfg(not(feature = "crash-points"))]
    #[inline]
    pub fn reached(&self, _point: &str) {}
}

#[cfg(feature = "crash-points")]
fn die() {
    // A first process of a pid namespace does not die of its own SIGKILL; it does of an abort.
    let _unkillable = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    std::process::abort();
}
