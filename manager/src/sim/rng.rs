//! The one source of chance in a simulated world: the same seed gives the same draws.
//!
//! Used by everything in the world; nothing in it draws from anywhere else.

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

#[derive(Debug)]
pub(super) struct Rng(StdRng);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// True in so many of a thousand draws.
    pub(super) fn chance(&mut self, permille: u32) -> bool {
        self.0.random_range(0..1000) < permille
    }

    /// At least `low`, below `high`.
    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0.random_range(low..high)
    }

    pub(super) fn index(&mut self, count: usize) -> usize {
        self.0.random_range(0..count)
    }

    pub(super) fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        if items.is_empty() {
            None
        } else {
            Some(&items[self.index(items.len())])
        }
    }
}
