//! create + start + exit + remove of one container, beside runc through the same steps.
//!
//! The product's side is the runtime library's own measuring program, the peer's is `runc create`,
//! `start`, waiting for the exit and `delete`, on the same root file system with an equal confinement.

use super::report::{Better, Figure, Report};
use crate::{
    build::build_hello,
    command::{cargo, root},
};
use anyhow::{Context, Result, bail};
use std::path::Path;

pub(crate) fn measure(dist: &Path, report: &mut Report) -> Result<()> {
    let mut command = cargo([
        "run",
        "--release",
        "--package",
        "shoal-agent-runtime",
        "--example",
        "run_and_remove",
        "--",
    ]);
    command
        .arg("--programs")
        .arg(dist)
        .arg("--image")
        .arg(root().join("target/dist/hello.tar"));
    command.arg("--program").arg(build_hello()?);
    let output = command.output().context("cannot run the measuring program")?;
    if !output.status.success() {
        bail!("run_and_remove: {}", String::from_utf8_lossy(&output.stderr));
    }
    // One line a run: milliseconds of ours, milliseconds of runc.
    let text = String::from_utf8(output.stdout)?;
    let runs: Vec<(f64, f64)> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(ours, peer)| Some((ours.parse().ok()?, peer.parse().ok()?)))
        .collect();
    let mut ours: Vec<f64> = runs.iter().map(|run| run.0).collect();
    let mut peer: Vec<f64> = runs.iter().map(|run| run.1).collect();
    let ratios = vec![middle(&mut ours)? / middle(&mut peer)?];
    report.add(Figure {
        name: "a container created, started, exited and removed, as a part of runc's time",
        unit: "",
        goal: 0.34,
        better: Better::Less,
        samples: ratios,
        remark: format!(
            "medians of {} interleaved runs: {:.1} ms, runc {:.1} ms",
            runs.len(),
            middle(&mut ours)?,
            middle(&mut peer)?
        ),
    })
}

fn middle(samples: &mut [f64]) -> Result<f64> {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().context("no runs")
}
