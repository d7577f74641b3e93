//! A node's tables: a thousand services put in force at once, and one endpoint's change among them.
//!
//! Run by the network library's own measuring program, in a namespace of its own.

use super::report::{Better, Figure, Report};
use crate::command::cargo;
use anyhow::{Context, Result, bail};
use std::path::Path;

pub(crate) fn measure(dist: &Path, report: &mut Report) -> Result<()> {
    let mut command = cargo([
        "run",
        "--release",
        "--package",
        "shoal-overlay-net",
        "--example",
        "tables",
        "--",
    ]);
    let output = command
        .arg(dist.join("shoal-net"))
        .output()
        .context("cannot run the measuring program")?;
    if !output.status.success() {
        bail!("tables: {}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8(output.stdout)?;
    let samples = |what: &str| -> Vec<f64> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(what));
        lines.filter_map(|number| number.trim().parse().ok()).collect()
    };
    report.add(Figure {
        name: "1,000 services of 10 endpoints programmed",
        unit: "ms",
        goal: 300.0,
        better: Better::Less,
        samples: samples("whole"),
        remark: "VIPs, names and isolation, IPv4 and IPv6, from empty tables until the kernel has them and names are \
                 answered"
            .to_owned(),
    })?;
    report.add(Figure {
        name: "one endpoint's change among 1,000 services of 10",
        unit: "ms",
        goal: 2.0,
        better: Better::Less,
        samples: samples("one"),
        remark: "from the tables in hand until the kernel has it and names are answered".to_owned(),
    })
}
