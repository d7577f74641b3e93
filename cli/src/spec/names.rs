//! A name for a service that was given none: an adjective and a fish.
//!
//! Used by `service create` and `run`; whether it is free is the managers' business.

use std::{collections::hash_map::RandomState, hash::BuildHasher};

const ADJECTIVES: [&str; 24] = [
    "agile", "amber", "brave", "bright", "calm", "clever", "coral", "deep", "eager", "gentle", "happy",
    "keen", "lively", "lucid", "merry", "nimble", "quick", "quiet", "silver", "steady", "swift", "tidal",
    "vivid", "wise",
];
const FISH: [&str; 24] = [
    "anchovy", "barbel", "bass", "bream", "carp", "char", "cod", "dace", "eel", "goby", "grayling",
    "haddock", "hake", "herring", "mackerel", "minnow", "perch", "pike", "roach", "salmon", "smelt", "sprat",
    "tench", "trout",
];

/// Different each time; the managers refuse it if it is taken.
pub(crate) fn invented_name() -> String {
    // The standard library seeds this from the operating system.
    let draw = |salt: u64| RandomState::new().hash_one(salt);
    name_of(draw(1), draw(2), draw(3))
}

/// The name of what `run` makes.
pub(crate) fn run_name() -> String {
    format!("run-{:06x}", RandomState::new().hash_one(0_u64) & 0xff_ffff)
}

fn name_of(adjective: u64, fish: u64, number: u64) -> String {
    let pick = |words: &[&'static str; 24], draw: u64| words[usize::try_from(draw % 24).unwrap_or(0)];
    format!(
        "{}_{}{}",
        pick(&ADJECTIVES, adjective),
        pick(&FISH, fish),
        number % 100
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shape() {
        assert_eq!(name_of(0, 1, 207), "agile_barbel7");
        assert_eq!(name_of(u64::MAX, 0, 0), format!("{}_anchovy0", ADJECTIVES[15]));
        assert!(invented_name().contains('_'));
    }
}
