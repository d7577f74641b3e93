//! `cargo xtask ci`: everything that must hold before a change lands, cheapest first.
//!
//! `make test` is this verb. Its parts are separate functions so that a failure's heading says which
//! part it was.

use crate::{
    build::{self, BuildArgs},
    command::{cargo, run as run_command},
    hosts, image, sim, tidy, vm,
};
use anyhow::{Context, Result};

/// Seeds run on every change; a longer run is `cargo xtask sim --seeds N`.
const CI_SEEDS: u64 = 2_000;

/// The runtime's own tests go through its crash points, which only this feature compiles in.
const CRASH_POINTS: [&str; 2] = ["--features", "shoal-node/crash-points"];

pub(crate) fn run() -> Result<()> {
    tidy::run().context("tidy")?;
    run_command(cargo(["fmt", "--all", "--check"])).context("format")?;
    run_command(cargo([
        "clippy",
        "--workspace",
        "--all-targets",
        CRASH_POINTS[0],
        CRASH_POINTS[1],
        "--",
        "-D",
        "warnings",
    ]))
    .context("lints")?;
    let mut unit_tests = cargo(["test", "--workspace", "--exclude", "shoal-tests"]);
    // This tool asks more of a library than the product does: tested together, all that stands on it would have to be
    // compiled once more for the builds below.
    unit_tests.args(["--exclude", "xtask"]).args(CRASH_POINTS);
    run_command(unit_tests).context("unit tests")?;
    run_command(cargo(["test", "--package", "xtask"])).context("unit tests of the tool")?;
    for planted in [false, true] {
        sim::run(&sim::SimArgs {
            seeds: CI_SEEDS,
            start: 1,
            planted,
            rest: Vec::new(),
        })
        .context("simulation")?;
    }
    for crash_points in [false, true] {
        build::run(&BuildArgs {
            dev: true,
            crash_points,
        })
        .context("build")?;
    }
    image::run().context("demo image")?;
    hosts::run().context("host tests")?;
    vm::run().context("second kernel")
}
