//! Named points of a task's life at which a test build ends `shoald`.
//!
//! As the runtime's own points for containers: [`POINTS`] is the closed table that a test goes through. Who strikes
//! is set once by the node, which knows where a test names its point; without the feature `crash-points` everything
//! here is nothing.

/// Every point, in the order in which a task's life meets them.
pub const POINTS: &[&str] = &[
    "worker.open.1-disk-read",
    "worker.open.2-containers-listed",
    "worker.open.3-network-open",
    "worker.open.4-taken-up",
    "worker.assign.1-received",
    "worker.assign.2-on-disk",
    "worker.tables.1-in-force",
    "worker.assign.3-reconciled",
    "worker.disk.1-written",
    "worker.disk.2-flushed",
    "worker.take.1-keeper-up",
    "worker.take.2-begun",
    "worker.fetch.1-begun",
    "worker.fetch.2-done",
    "worker.create.1-begun",
    "worker.create.2-done",
    "worker.attach.1-begun",
    "worker.attach.2-done",
    "worker.ports.1-checked",
    "worker.start.1-begun",
    "worker.start.2-done",
    "worker.report.1-noted",
    "worker.report.2-posted",
    "worker.report.3-said",
    "worker.report.4-taken",
    "worker.stop.1-begun",
    "worker.stop.2-signalled",
    "worker.end.1-seen",
    "worker.detach.1-begun",
    "worker.detach.2-done",
    "worker.end.2-on-disk",
    "worker.end.3-posted",
    "worker.remove.1-begun",
    "worker.remove.2-done",
    "worker.leave.1-told",
    "worker.forget.1-keeper-gone",
    "worker.forget.2-on-disk",
    "worker.forget.3-off-the-board",
];

/// Ends the process, if a test has named this point.
#[cfg(feature = "crash-points")]
pub type Strike = fn(&str);

#[cfg(feature = "crash-points")]
static STRIKE: std::sync::OnceLock<Strike> = std::sync::OnceLock::new();

/// Sets who strikes. The first call counts.
#[cfg(feature = "crash-points")]
pub fn install(strike: Strike) {
    STRIKE.get_or_init(|| strike);
}

/// Ends this process if a test has named this point.
#[cfg(feature = "crash-points")]
pub(crate) fn reached(point: &str) {
    debug_assert!(POINTS.contains(&point), "{point} is not in the table");
    if let Some(strike) = STRIKE.get() {
        strike(point);
    }
}

/// Nothing, in a build without crash points.
#[cfg(not(feature = "crash-points"))]
#[inline]
pub(crate) fn reached(_point: &str) {}
