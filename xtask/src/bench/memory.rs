//! Memory that the product itself takes: the daemon idle, and each container's shim.
//!
//! PSS from smaps_rollup, so that pages shared between shims count once in all.

use super::{
    cluster::Cluster,
    report::{Better, Figure, Report},
};
use anyhow::{Context, Result, bail};
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn measure(dist: &Path, report: &mut Report) -> Result<()> {
    let cluster = Cluster::with_image(dist)?;
    // (containers, goal in MB for each shim)
    for (count, goal) in [(1_usize, 1.0), (50, 0.5)] {
        let text = count.to_string();
        let name = format!("idle{count}");
        cluster.run(&[
            "service",
            "create",
            "-q",
            "--name",
            &name,
            "--network",
            "host",
            "--stop-signal",
            "SIGKILL",
            "--replicas",
            &text,
            "hello:1",
            "stamp",
        ])?;
        let shims = wait_for_shims(&cluster, count)?;
        let total: f64 = shims.iter().map(|pid| pss_mb(*pid)).sum::<Result<f64>>()?;
        report.add(Figure {
            name: &format!("a shim with {count} container(s), shared memory included"),
            unit: "MB",
            goal,
            better: Better::Less,
            samples: vec![total / f64::from(u32::try_from(count)?)],
            remark: "PSS of all shims over their number".to_owned(),
        })?;
        if count == 1 {
            add_daemon(&cluster, "with one container", report)?;
        } else {
            add_daemon(&cluster, "with 50 containers", report)?;
        }
        cluster.run(&["service", "rm", &name])?;
        wait_for_shims(&cluster, 0)?;
    }
    Ok(())
}

fn add_daemon(cluster: &Cluster, when: &str, report: &mut Report) -> Result<()> {
    report.add(Figure {
        name: &format!("the idle daemon, {when}"),
        unit: "MB",
        goal: 40.0,
        better: Better::Less,
        samples: vec![pss_mb(cluster.daemon_pid()?)?],
        remark: "PSS".to_owned(),
    })
}

fn wait_for_shims(cluster: &Cluster, count: usize) -> Result<Vec<u32>> {
    let deadline = Instant::now() + PATIENCE;
    let mark = cluster.path("run");
    loop {
        let shims = processes_with("shoal-shim", &mark)?;
        if shims.len() == count {
            return Ok(shims);
        }
        if Instant::now() > deadline {
            bail!("waited for {count} shims, found {}", shims.len());
        }
    }
}

/// Processes of this name whose arguments mention this path.
fn processes_with(name: &str, mark: &str) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        // A shim works in its container's run directory; its command line names only tag and container.
        let place = fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
        if comm.trim() == name && place.starts_with(mark) {
            found.push(pid);
        }
    }
    Ok(found)
}

fn pss_mb(pid: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Pss:"))
        .context("no Pss line")?;
    let kb: u32 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(f64::from(kb) / 1024.0)
}
