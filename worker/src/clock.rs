//! The worker's clocks: wall time for people, and a sleep until a machine's deadline.
//!
//! Used by the shell of the worker; its pure parts are told the time.

use shoal_core::model::WallTime;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Wall time now.
pub(crate) fn wall() -> WallTime {
    wall_of(SystemTime::now())
}

/// Wall time of a moment; 1970 for one before it.
pub(crate) fn wall_of(at: SystemTime) -> WallTime {
    let nanos = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    WallTime(i64::try_from(nanos).unwrap_or(i64::MAX))
}

/// Wall time of an RFC 3339 text; 1970 for what is none.
pub(crate) fn wall_of_text(text: &str) -> WallTime {
    let nanos = text
        .parse::<jiff::Timestamp>()
        .map_or(0, jiff::Timestamp::as_nanosecond);
    WallTime(i64::try_from(nanos).unwrap_or(0))
}

/// The instant of a moment of the past, as far as this machine's clock reaches back.
pub(crate) fn instant_of(at: SystemTime) -> Instant {
    let age = SystemTime::now().duration_since(at).unwrap_or_default();
    let now = Instant::now();
    now.checked_sub(age).unwrap_or(now)
}

/// Returns at the deadline; never, if there is none.
pub(crate) async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
