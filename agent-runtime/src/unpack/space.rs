//! The bytes that an archive may write: its own bound, and what the disk has left.
//!
//! Asked before bytes are written; never lets an archive fill the disk.

use std::path::Path;

use rustix::io::Errno;

use super::{UnpackError, UnpackLimits};
use crate::content::disk::{DiskError, free_bytes};

/// How often the free space is looked at while files are written.
const SPACE_CHECK_BYTES: u64 = 64 << 20;

/// Left free on any disk, so that the daemon can still write its own state; a hundredth of a small disk.
const RESERVE_BYTES: u64 = 64 << 20;

/// Counts what is written into one tree.
pub(super) struct Space<'a> {
    dest: &'a Path,
    limits: UnpackLimits,
    bytes: u64,
    unchecked: u64,
}

impl<'a> Space<'a> {
    pub(super) fn new(dest: &'a Path, limits: UnpackLimits) -> Self {
        // The first file looks at the free space.
        Self {
            dest,
            limits,
            bytes: 0,
            unchecked: SPACE_CHECK_BYTES,
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Counts what a file will take, and looks at the disk before a large amount.
    pub(super) fn charge(&mut self, stored: u64, real_size: u64) -> Result<(), UnpackError> {
        self.bytes = self.bytes.saturating_add(stored);
        if self.bytes > self.limits.bytes || real_size > self.limits.bytes {
            return Err(UnpackError::TooLarge {
                limit: self.limits.bytes,
            });
        }
        self.unchecked = self.unchecked.saturating_add(stored);
        if self.unchecked < SPACE_CHECK_BYTES {
            return Ok(());
        }
        self.unchecked = 0;
        let total = rustix::fs::statvfs(self.dest)
            .map(|stat| stat.f_blocks.saturating_mul(stat.f_frsize))
            .unwrap_or(u64::MAX);
        if free_bytes(self.dest)? < stored.saturating_add(RESERVE_BYTES.min(total / 100)) {
            return Err(DiskError::new("write", self.dest, Errno::NOSPC).into());
        }
        Ok(())
    }
}
