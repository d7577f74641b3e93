//! The table that a run of the measurements leaves: figure, goal, median, worst, verdict.
//!
//! Written whole into docs/benchmarks.md; whoever reads it sees the machine it was measured on.

use anyhow::{Context, Result};
use std::{fmt::Write as _, fs, process::Command};

/// How a figure is compared with its goal.
#[derive(Clone, Copy)]
pub(crate) enum Better {
    Less,
    More,
}

pub(crate) struct Report {
    machine: String,
    rows: String,
    missed: Vec<String>,
}

/// One measured figure, in the unit that its name gives.
pub(crate) struct Figure<'a> {
    pub(crate) name: &'a str,
    pub(crate) unit: &'a str,
    pub(crate) goal: f64,
    pub(crate) better: Better,
    pub(crate) samples: Vec<f64>,
    pub(crate) remark: String,
}

impl Report {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            machine: machine()?,
            rows: String::new(),
            missed: Vec::new(),
        })
    }

    pub(crate) fn add(&mut self, mut figure: Figure<'_>) -> Result<()> {
        figure.samples.sort_by(f64::total_cmp);
        let middle = *figure
            .samples
            .get(figure.samples.len() / 2)
            .context("a figure without samples")?;
        let worst = match figure.better {
            Better::Less => figure.samples.last(),
            Better::More => figure.samples.first(),
        };
        let worst = *worst.context("a figure without samples")?;
        let met = match figure.better {
            Better::Less => middle <= figure.goal,
            Better::More => middle >= figure.goal,
        };
        let verdict = if met { "reached" } else { "**not reached**" };
        if !met {
            self.missed.push(format!(
                "{}: median {} {}, goal {} {}",
                figure.name,
                short(middle),
                figure.unit,
                short(figure.goal),
                figure.unit
            ));
        }
        writeln!(
            self.rows,
            "| {} | {} {} | {} | {} | {} | {verdict} | {} |",
            figure.name,
            short(figure.goal),
            figure.unit,
            short(middle),
            short(worst),
            figure.samples.len(),
            figure.remark
        )?;
        Ok(())
    }

    /// A figure that this run cannot have, because its peer is not there.
    pub(crate) fn absent(&mut self, name: &str) -> Result<()> {
        writeln!(
            self.rows,
            "| {name} | | | | | not measured | the peer was not there |"
        )?;
        Ok(())
    }

    pub(crate) fn text(&self) -> String {
        let missed = if self.missed.is_empty() {
            "Every goal was reached.".to_owned()
        } else {
            format!(
                "Not reached:\n\n{}",
                self.missed
                    .iter()
                    .map(|line| format!("- {line}\n"))
                    .collect::<String>()
            )
        };
        format!(
            "# Benchmarks\n\nThe last run of `cargo xtask bench`, with optimised programs. Medians of the runs \
             counted in each row; the worst beside them. Absolute times differ from machine to machine and from \
             hour to hour: where a peer is named it ran in the same minutes, interleaved.\n\n{}\n\n\
             | figure | goal | median | worst | runs | | remark |\n|---|---|---|---|---|---|---|\n{}\n{missed}\n",
            self.machine, self.rows
        )
    }
}

fn short(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

fn machine() -> Result<String> {
    let kernel = Command::new("uname").arg("-sr").output().context("uname")?;
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name\t: "))
        .unwrap_or("unknown processor");
    let cores = std::thread::available_parallelism()?;
    let memory = fs::read_to_string("/proc/meminfo")?;
    let total_kb: u64 = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
        .context("MemTotal")?;
    Ok(format!(
        "Machine: a virtual machine with {cores} cores ({model}), {} GiB, {}, cgroup v1 beside an empty v2.",
        total_kb / 1024 / 1024,
        String::from_utf8_lossy(&kernel.stdout).trim()
    ))
}
