//! `cargo xtask sim`: builds the simulator optimised and hands it the seeds.
//!
//! The simulator itself is part of the manager's crate, where the machine is; a failing seed is its
//! own reproduction.

use crate::command::{cargo, run as run_command};
use anyhow::Result;
use clap::Args;

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
    let mut command = cargo(["run", "--release", "--package", "shoal-manager"]);
    // One build for both: no bug is there until one is named.
    command.args(["--features", "planted-bugs", "--bin", "shoal-sim", "--"]);
    if args.planted {
        command.arg("--planted");
    }
    command
        .arg("--seeds")
        .arg(args.seeds.to_string())
        .arg("--start")
        .arg(args.start.to_string());
    command.args(&args.rest);
    run_command(command)
}
