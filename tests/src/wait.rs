//! Waiting for a condition, with a deadline, and nothing else.
//!
//! A test that waits for time instead is a test that fails on a slower machine.

use anyhow::{Result, bail};
use rustix::thread::{ClockId, Timespec, clock_nanosleep_relative};
use std::time::{Duration, Instant};

/// Between two looks; short beside what is waited for.
const PAUSE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 10_000_000,
};

/// Looks until `seen` gives a value; the error carries what it last said instead.
pub fn until<T>(what: &str, patience: Duration, mut seen: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        match seen() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() > deadline => {
                bail!("waited {patience:?} for {what}: {error:#}");
            }
            // An interrupted pause is a shorter one.
            Err(_) => drop(clock_nanosleep_relative(ClockId::Monotonic, &PAUSE)),
        }
    }
}
