//! `cargo xtask bench`: the figures of docs/benchmarks.md, measured on this machine in one run.
//!
//! Optimised programs, a cluster of their own in a temporary folder, many runs, median and worst. A
//! peer is measured in the same run, interleaved, because a machine's mood changes. Nothing here decides
//! what is good: the goals stand beside the figures and a miss is written as a miss.

use crate::{
    build::{self, BuildArgs},
    command::root,
    image,
};
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use std::{
    fs,
    path::{Path, PathBuf},
};

mod cluster;
mod containers;
mod memory;
mod network;
mod report;
mod services;
mod simulated;
mod tables;

use report::Report;

#[derive(Args, Default)]
pub(crate) struct BenchArgs {
    /// Measures only this (may be given more than once) and leaves docs/benchmarks.md as it is.
    #[arg(long, value_enum)]
    only: Vec<Part>,
}

/// What is measured together.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Containers,
    Services,
    Network,
    Tables,
    Memory,
    Start,
    Placements,
}

pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    let parts = match args.only.as_slice() {
        [] => Part::value_variants(),
        only => only,
    };
    if parts.contains(&Part::Containers) {
        containers::need_peer()?;
    }
    let dist = build::run(&BuildArgs::default())?;
    image::run()?;
    let mut report = Report::new()?;
    for part in parts {
        part.measure(&dist, &mut report)?;
    }
    let text = report.text();
    print!("{text}");
    if args.only.is_empty() {
        fs::write(document(), text).with_context(|| format!("cannot write {}", document().display()))?;
    }
    Ok(())
}

impl Part {
    fn measure(self, dist: &Path, report: &mut Report) -> Result<()> {
        match self {
            Self::Containers => containers::measure(dist, report).context("containers"),
            Self::Services => services::measure(dist, report).context("services"),
            Self::Network => network::measure(dist, report).context("network"),
            Self::Tables => tables::measure(dist, report).context("tables"),
            Self::Memory => memory::measure(dist, report).context("memory"),
            Self::Start => cluster::measure_start(dist, report).context("start"),
            Self::Placements => simulated::measure(report).context("placements"),
        }
    }
}

fn document() -> PathBuf {
    root().join("docs/benchmarks.md")
}
