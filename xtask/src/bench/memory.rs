//! Memory that the product itself takes: the daemons idle, and each container's shim.
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

/// Clusters that are begun anew: what a daemon keeps differs a little from one to the next.
const ROUNDS: usize = 5;

/// How many containers, and the goal in MB for each one's shim.
const STEPS: [(usize, f64); 2] = [(1, 1.0), (50, 0.5)];

pub(crate) fn measure(dist: &Path, report: &mut Report) -> Result<()> {
    let mut shims = vec![Vec::new(); STEPS.len()];
    let mut daemons = vec![Vec::new(); STEPS.len()];
    for _ in 0..ROUNDS {
        let cluster = Cluster::with_image(dist)?;
        cluster.run(&["network", "create", "bench"])?;
        for (step, (count, _)) in STEPS.into_iter().enumerate() {
            let (shim, both) = idle(&cluster, count)?;
            shims[step].push(shim);
            daemons[step].push(both);
        }
    }
    for (((count, goal), shims), daemons) in STEPS.into_iter().zip(shims).zip(daemons) {
        report.add(Figure {
            name: &format!("a shim with {count} container(s), shared memory included"),
            unit: "MB",
            goal,
            better: Better::Less,
            samples: shims,
            remark: "PSS of all shims over their number".to_owned(),
        })?;
        report.add(Figure {
            name: &format!("the idle daemons, with {count} container(s) on a network"),
            unit: "MB",
            goal: 40.0,
            better: Better::Less,
            samples: daemons,
            remark: "PSS of `shoald` and `shoal-net`".to_owned(),
        })?;
    }
    Ok(())
}

/// A service of so many containers, up and left alone: megabytes of a shim and of the daemons.
fn idle(cluster: &Cluster, count: usize) -> Result<(f64, f64)> {
    let name = format!("idle{count}");
    let replicas = count.to_string();
    cluster.run(&[
        "service",
        "create",
        "-q",
        "--name",
        &name,
        "--network",
        "bench",
        "--stop-signal",
        "SIGKILL",
        "--replicas",
        &replicas,
        "hello:1",
        "stamp",
    ])?;
    let shims = wait_for_shims(cluster, count)?;
    let total: f64 = shims.iter().map(|pid| pss_mb(*pid)).sum::<Result<f64>>()?;
    let mut daemons = pss_mb(cluster.daemon_pid()?)?;
    let net = processes_with("shoal-net", &cluster.path("run"))?;
    if net.len() != 1 {
        bail!("found {} processes shoal-net", net.len());
    }
    for pid in net {
        daemons += pss_mb(pid)?;
    }
    cluster.run(&["service", "rm", &name])?;
    wait_for_shims(cluster, 0)?;
    Ok((total / f64::from(u32::try_from(count)?), daemons))
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

/// Processes of this name that work in this path or have it among their arguments.
fn processes_with(name: &str, mark: &str) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        // A shim works in its container's run directory; its command line names only tag and container.
        let place = fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
        let words = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if comm.trim() == name && (place.starts_with(mark) || words.contains(mark)) {
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
