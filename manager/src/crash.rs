//! Named points of a write's way at which a test build ends `shoald`.
//!
//! As the worker's points for tasks: [`POINTS`] is the closed table that a test goes through. Who strikes
//! is set once by the node, which knows where a test names its point; without the feature `crash-points` everything
//! here is nothing.

/// Every point, in the order in which a write meets them.
pub const POINTS: &[&str] = &[
    "manager.write.1-asked",
    "manager.write.2-on-its-way",
    "manager.write.3-synced",
    "manager.write.4-applied",
    "manager.write.5-published",
    "manager.write.6-answered",
    "manager.assign.1-made",
    "manager.report.1-durable",
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
