//! A node's tables: a thousand services put in force at once, and one endpoint's change among them.
//!
//! Run by the measuring programs of the network library and of the worker, in namespaces of their own.

use super::report::{Better, Figure, Report};
use crate::command::cargo;
use anyhow::{Context, Result, bail};
use std::path::Path;

pub(crate) fn measure(dist: &Path, report: &mut Report) -> Result<()> {
    let network = Lines::of("shoal-overlay-net", "tables", &dist.join("shoal-net"))?;
    report.add(Figure {
        name: "1,000 services of 10 endpoints programmed",
        unit: "ms",
        goal: 300.0,
        better: Better::Less,
        samples: network.samples("whole "),
        remark: "VIPs, names and isolation, IPv4 and IPv6, from empty tables until the kernel has them and names are \
                 answered"
            .to_owned(),
    })?;
    let worker = Lines::of("shoal-worker", "change", dist)?;
    let way = worker.median("asking ")?;
    report.add(Figure {
        name: "one endpoint's change among 1,000 services of 10, from the worker's having it until the kernel has it",
        unit: "ms",
        goal: 2.0,
        better: Better::Less,
        // Nobody but this measurement tells the worker and asks it whether it is done.
        samples: worker.samples("change ").into_iter().map(|time| time - way).collect(),
        remark: format!(
            "kept on disk, in force in the kernel, names answered, and ready for the next one, in a worker with 100 tasks; \
             alone, its parts take: the disk {:.2} ms, kernel and names {:.2} ms. {way:.2} ms for telling and asking are \
             taken off",
            worker.median("disk ")?,
            network.median("one ")?,
        ),
    })
}

/// What a measuring program printed: words and milliseconds.
struct Lines(String);

impl Lines {
    fn of(package: &str, example: &str, argument: &Path) -> Result<Self> {
        let mut command = cargo([
            "run",
            "--release",
            "--package",
            package,
            "--example",
            example,
            "--",
        ]);
        let output = command.arg(argument).output();
        let output = output.with_context(|| format!("cannot run the measuring program {example}"))?;
        if !output.status.success() {
            bail!("{example}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(Self(String::from_utf8(output.stdout)?))
    }

    fn samples(&self, what: &str) -> Vec<f64> {
        let lines = self.0.lines().filter_map(|line| line.strip_prefix(what));
        lines.filter_map(|number| number.parse().ok()).collect()
    }

    fn median(&self, what: &str) -> Result<f64> {
        let mut samples = self.samples(what);
        samples.sort_by(f64::total_cmp);
        let middle = samples.get(samples.len() / 2).copied();
        middle.with_context(|| format!("no line begins with {what:?}"))
    }
}
