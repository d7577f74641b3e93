//! Whole clusters of machines in one process, under a seeded clock, network and disk.
//!
//! Real machines and the real planner, fake workers and users. A failure is a seed: the same seed runs
//! the same way again, step by step. Planted bugs show that the checks find what they are there for.

mod addresses;
mod bugs;
mod client;
mod codec;
mod counters;
mod disk;
mod history;
mod network;
mod placements;
mod rng;
#[cfg(test)]
mod tests;
mod trace;
mod worker;
mod world;

pub use bugs::PlantedBug;
pub use codec::PostcardCodec;
pub use counters::{Counters, Fault};
pub use placements::Placements;

use network::MS;

/// One run.
#[derive(Clone, Debug)]
pub struct Options {
    pub seed: u64,
    pub members: usize,
    pub workers: usize,
    /// Simulated nanoseconds until nothing goes wrong any more.
    pub duration: u64,
    pub faults: bool,
    /// One more member joins, and one goes.
    pub membership: bool,
    pub bug: Option<PlantedBug>,
}

impl Options {
    /// What a seed stands for: three members or five, and so many workers.
    pub fn of_seed(seed: u64) -> Self {
        Self {
            seed,
            members: if seed.is_multiple_of(4) { 5 } else { 3 },
            workers: 3 + usize::try_from(seed % 3).unwrap_or(0),
            duration: 40_000 * MS,
            faults: true,
            membership: seed % 5 == 2,
            bug: None,
        }
    }
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub seed: u64,
    /// A hash over everything that happened.
    pub trace: u64,
    /// Calls of `Machine::step`.
    pub steps: u64,
    /// The first check that failed.
    pub failure: Option<String>,
    pub counters: Counters,
}

/// Runs one world to its end.
pub fn run(options: Options) -> Outcome {
    world::World::new(options).run()
}
