//! The tree's own tool: `cargo xtask ci | tidy | build | image | sim | hosts | vm | bench`.
//!
//! `make` and `.ci/run` call it; it calls cargo. It decides nothing about the product and is not
//! shipped. Each verb is a file of its own.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a tool for people at a terminal"
)]

use clap::{Parser, Subcommand};

mod bench;
mod build;
mod ci;
mod command;
mod hosts;
mod image;
mod sim;
mod tidy;
mod vm;

#[derive(Parser)]
#[command(
    name = "xtask",
    about = "Checks, builds, simulates and measures Shoal's tree."
)]
struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Everything that must hold before a change lands, in the order that fails soonest.
    Ci,
    /// The rules of the house that no lint can check.
    Tidy,
    /// All five programs, side by side in target/dist/<kind>.
    Build(build::BuildArgs),
    /// The images of the examples as `docker save` archives in target/dist.
    Image,
    /// Simulated clusters, one per seed.
    Sim(sim::SimArgs),
    /// The tests that need root and a real kernel, with a look at what they left behind.
    Hosts,
    /// The demo and a smoke test on a second kernel, in an emulated machine.
    Vm,
    /// The figures of docs/benchmarks.md.
    Bench(bench::BenchArgs),
}

fn main() -> anyhow::Result<()> {
    match Args::parse().verb {
        Verb::Ci => ci::run(),
        Verb::Tidy => tidy::run(),
        Verb::Build(args) => build::run(&args).map(|_| ()),
        Verb::Image => image::run(),
        Verb::Sim(args) => sim::run(&args),
        Verb::Hosts => hosts::run(),
        Verb::Vm => vm::run(),
        Verb::Bench(args) => bench::run(&args),
    }
}
