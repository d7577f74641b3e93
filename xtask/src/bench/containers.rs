//! create + start + exit + remove of one container, beside runc through the same steps.
//!
//! Both sides are run by the runtime library's own measuring program, interleaved: the product's calls, and `runc
//! create`, `start`, waiting for the exit and `delete` on an overlay of the same layers with the same confinement.

use super::report::{Better, Figure, Report};
use crate::command::{cargo, root};
use anyhow::{Context, Result, bail};
use std::{
    path::Path,
    process::{Command, Stdio},
};

/// One round: milliseconds of each.
struct Run {
    ours: f64,
    steps: f64,
    once: f64,
}

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
    let output = command.output().context("cannot run the measuring program")?;
    if !output.status.success() {
        bail!("run_and_remove: {}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8(output.stdout)?;
    let runs: Vec<Run> = text.lines().filter_map(parse).collect();
    let middle = |of: fn(&Run) -> f64| middle(runs.iter().map(of).collect());
    report.add(Figure {
        name: "a container created, started, exited and removed, as a part of runc's time",
        unit: "",
        goal: 0.34,
        better: Better::Less,
        samples: runs.iter().map(|run| run.ours / run.steps).collect(),
        remark: format!(
            "each run against the runc run after it; medians {:.1} ms, runc {:.1} ms. Both: a new overlay over the \
             image's layers mounted and unmounted, pid, mount, ipc and uts namespaces, the host's network, memory \
             and pids limits, Docker's mounts, masked paths, devices, capabilities and seccomp profile. runc by \
             `create`, `start`, waiting for the exit, `delete`; ours also starts a shim, writes a log, and records \
             the exit. Against a single `runc run` ({:.1} ms) the median is {:.2}",
            middle(|run| run.ours)?,
            middle(|run| run.steps)?,
            middle(|run| run.once)?,
            middle(|run| run.ours / run.once)?,
        ),
    })
}

/// Said before anything is built: `make bench` installs it, a bare `cargo xtask bench` does not.
pub(crate) fn need_peer() -> Result<()> {
    let mut command = Command::new("runc");
    command.arg("--version").stdout(Stdio::null());
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        _ => bail!(
            "the measurements compare with runc, which does not run here: `scripts/setup runc` installs it"
        ),
    }
}

/// One line a round: milliseconds of ours, of runc step by step, of one `runc run`.
fn parse(line: &str) -> Option<Run> {
    let mut numbers = line.split(' ').map(str::parse);
    let (ours, steps, once) = (
        numbers.next()?.ok()?,
        numbers.next()?.ok()?,
        numbers.next()?.ok()?,
    );
    Some(Run { ours, steps, once })
}

fn middle(mut samples: Vec<f64>) -> Result<f64> {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().context("no runs")
}
