//! The simulator's own promises.

use super::*;

#[test]
fn the_same_seed_runs_the_same_way() {
    for seed in [1, 4] {
        let first = run(Options::of_seed(seed));
        let again = run(Options::of_seed(seed));
        assert_eq!(first, again);
    }
}

/// A fault that never strikes proves nothing, nor does a wait code that nobody ever saw.
#[test]
fn every_fault_strikes_and_every_wait_is_seen() {
    let mut counters = Counters::default();
    for seed in 1..=40 {
        let outcome = run(Options::of_seed(seed));
        assert_eq!(outcome.failure, None, "seed {seed}");
        counters.add(&outcome.counters);
    }
    assert!(counters.tables > 1000, "{} tables were compared", counters.tables);
    assert!(
        counters.missing_faults().is_empty(),
        "{:?}",
        counters.missing_faults()
    );
    assert!(
        counters.missing_waits().is_empty(),
        "{:?}",
        counters.missing_waits()
    );
}

/// Every planted bug is found within 500 seeds. Slow unless optimised: `cargo xtask sim` does the same
/// on all cores.
#[cfg(feature = "planted-bugs")]
#[test]
fn every_planted_bug_is_found() {
    for bug in PlantedBug::ALL {
        let found = (1..=500).any(|seed| {
            let options = Options {
                bug: Some(*bug),
                ..Options::of_seed(seed)
            };
            run(options).failure.is_some()
        });
        assert!(found, "{} was not found", bug.name());
    }
}
