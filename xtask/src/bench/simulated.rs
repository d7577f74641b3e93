//! Placements a second over 5,000 simulated nodes, through the machine that managers run.
//!
//! The simulator measures itself; this hands its figure on.

use super::report::{Better, Figure, Report};
use crate::command::cargo;
use anyhow::{Context, Result, bail};

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let mut command = cargo([
        "run",
        "--release",
        "--package",
        "shoal-manager",
        "--features",
        "sim",
    ]);
    command.args(["--bin", "shoal-sim", "--", "--placements"]);
    let output = command.output().context("cannot run the simulator")?;
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
