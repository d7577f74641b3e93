//! A hash over everything that happened: two runs of one seed must have the same.
//!
//! Fed by the world at each step; never influences what happens.

use std::hash::{DefaultHasher, Hash, Hasher as _};

#[derive(Debug, Default)]
pub(super) struct Trace(DefaultHasher);

impl Trace {
    pub(super) fn add(&mut self, what: impl Hash) {
        what.hash(&mut self.0);
    }

    pub(super) fn finish(&self) -> u64 {
        self.0.finish()
    }
}
