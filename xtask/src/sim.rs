//! `cargo xtask sim`: builds the simulator optimised and hands it the seeds.
//!
//! The simulator itself is part of the manager's crate, where the machine is; a failing seed is its
//! own reproduction.

use crate::{
    build::PRODUCT,
    command::{cargo, root, run as run_command},
};
use anyhow::Result;
use clap::Args;
use std::{path::PathBuf, process::Command};

#[derive(Args)]
pub(crate) struct SimArgs {
    /// How many seeds to run.
    #[arg(long, default_value_t = 200)]
    pub(crate) seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    pub(crate) start: u64,
    /// Look for every planted bug instead.
    #[arg(long)]
    pub(crate) planted: bool,
    /// Handed to the simulator as they are.
    #[arg(last = true)]
    pub(crate) rest: Vec<String>,
}

pub(crate) fn run(args: &SimArgs) -> Result<()> {
    // One build for both: no bug is there until one is named.
    let mut command = Command::new(build("planted-bugs")?);
    if args.planted {
        command.arg("--planted");
    }
    command
        .arg("--seeds")
        .arg(args.seeds.to_string())
        .arg("--start")
        .arg(args.start.to_string());
    command.args(&args.rest).current_dir(root());
    run_command(command)
}

/// Builds it with a feature of the manager's; gives the program. Named together with the packages of the product, so that
/// the crates below it have the same features as there, and are compiled once for both.
pub(crate) fn build(feature: &str) -> Result<PathBuf> {
    let mut command = cargo(["build", "--release", "--bin", "shoal-sim"]);
    command.args(["--package", "shoal-manager", "--features"]);
    command.arg(format!("shoal-manager/{feature}"));
    command.args(PRODUCT);
    run_command(command)?;
    Ok(root().join("target/release/shoal-sim"))
}
