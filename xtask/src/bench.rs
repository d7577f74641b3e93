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
use std::{fs, path::PathBuf};

mod cluster;
mod containers;
mod memory;
mod network;
mod report;
mod services;
mod simulated;
mod tables;

use report::Report;

pub(crate) fn run() -> Result<()> {
    containers::need_peer()?;
    let dist = build::run(&BuildArgs::default())?;
    image::run()?;
    let mut report = Report::new()?;
    containers::measure(&dist, &mut report).context("containers")?;
    services::measure(&dist, &mut report).context("services")?;
    network::measure(&dist, &mut report).context("network")?;
    tables::measure(&dist, &mut report).context("tables")?;
    memory::measure(&dist, &mut report).context("memory")?;
    cluster::measure_start(&dist, &mut report).context("start")?;
    simulated::measure(&mut report).context("placements")?;
    let text = report.text();
    print!("{text}");
    fs::write(document(), text).with_context(|| format!("cannot write {}", document().display()))
}

fn document() -> PathBuf {
    root().join("docs/benchmarks.md")
}
