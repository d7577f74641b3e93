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
    unmeasured: Vec<String>,
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
            unmeasured: Vec::new(),
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
            "| {name} | | | | | **not measured** | the peer was not there |"
        )?;
        self.unmeasured.push(name.to_owned());
        Ok(())
    }

    pub(crate) fn text(&self) -> String {
        let closing = self.closing();
        format!(
            "# Benchmarks\n\nThe last run of `cargo xtask bench`, with optimised programs. Medians of the runs \
             counted in each row; the worst beside them. Absolute times differ from machine to machine and from \
             hour to hour: where a peer is named it ran in the same minutes, interleaved.\n\n{}\n\n\
             | figure | goal | median | worst | runs | | remark |\n|---|---|---|---|---|---|---|\n{}\n{closing}\n",
            self.machine, self.rows
        )
    }

    /// What is said at the end. A goal whose figure is not known is not reached.
    fn closing(&self) -> String {
        let lists = [("Not reached", &self.missed), ("Not measured", &self.unmeasured)];
        let lists: Vec<String> = lists
            .into_iter()
            .filter(|(_, lines)| !lines.is_empty())
            .map(|(title, lines)| {
                let lines: String = lines.iter().map(|line| format!("- {line}\n")).collect();
                format!("{title}:\n\n{lines}")
            })
            .collect();
        if lists.is_empty() {
            "Every goal was reached.".to_owned()
        } else {
            lists.join("\n")
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(name: &str, sample: f64) -> Figure<'_> {
        Figure {
            name,
            unit: "ms",
            goal: 2.0,
            better: Better::Less,
            samples: vec![sample],
            remark: String::new(),
        }
    }

    #[test]
    fn every_goal_was_reached_only_if_all_were_measured_and_met() {
        let all = "Every goal was reached.";
        let mut report = Report::new().unwrap();
        report.add(figure("quick", 1.0)).unwrap();
        assert!(report.text().ends_with(&format!("{all}\n")));
        report.absent("beside the peer").unwrap();
        let text = report.text();
        assert!(!text.contains(all), "{text}");
        assert!(text.ends_with("Not measured:\n\n- beside the peer\n\n"), "{text}");
        report.add(figure("slow", 3.0)).unwrap();
        let text = report.text();
        assert!(
            text.contains("Not reached:\n\n- slow: median 3.00 ms, goal 2.00 ms\n\nNot measured:"),
            "{text}"
        );
    }
}
