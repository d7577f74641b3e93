//! Placements a second over 5,000 simulated nodes, through the machine that managers run.
//!
//! The simulator measures itself; this hands its figure on.

use super::report::{Better, Figure, Report};
use crate::sim;
use anyhow::{Context, Result, bail};
use std::process::Command;

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let mut command = Command::new(sim::build("sim")?);
    let output = command.arg("--placements").output();
    let output = output.context("cannot run the simulator")?;
    if !output.status.success() {
        bail!("shoal-sim: {}", String::from_utf8_lossy(&output.stderr));
    }
    // One line a run: placements a second.
    let samples: Vec<f64> = String::from_utf8(output.stdout)?
        .lines()
        .filter_map(|line| line.trim().parse().ok())
        .collect();
    report.add(Figure {
        name: "simulated placements a second, 5,000 nodes, three members",
        unit: "/s",
        goal: 10_000.0,
        better: Better::More,
        samples,
        remark: "no network and no disk: what the machine itself allows".to_owned(),
    })
}
