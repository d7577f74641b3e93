//! From `service create` to the first instruction in the container.
//!
//! The container prints the time at which it began to run; the clock of host and container is the same.

use super::{
    cluster::Cluster,
    report::{Better, Figure, Report},
};
use anyhow::{Context, Result, bail};
use std::{
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

const SINGLES: usize = 30;
const MANY: usize = 60;
const ROUNDS: usize = 5;

/// No start takes this long; a run that does has failed.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn measure(dist: &Path, report: &mut Report) -> Result<()> {
    let cluster = Cluster::with_image(dist)?;
    let singles = (0..SINGLES)
        .map(|_| create(&cluster, 1))
        .collect::<Result<Vec<_>>>()?;
    report.add(Figure {
        name: "`service create`, one replica, until its first instruction",
        unit: "ms",
        goal: 60.0,
        better: Better::Less,
        samples: singles,
        remark: "the client's own start included".to_owned(),
    })?;
    let many = (0..ROUNDS)
        .map(|_| create(&cluster, MANY))
        .collect::<Result<Vec<_>>>()?;
    report.add(Figure {
        name: "`service create`, 60 replicas, until the last one's first instruction",
        unit: "ms",
        goal: 1000.0,
        better: Better::Less,
        samples: many,
        remark: String::new(),
    })
}

/// Creates a service, waits for all stamps, removes it; milliseconds until the last stamp.
fn create(cluster: &Cluster, replicas: usize) -> Result<f64> {
    let begun = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
    let count = replicas.to_string();
    cluster.run(&[
        "service",
        "create",
        "-d",
        "-q",
        "--name",
        "stamp",
        "--network",
        "host",
        "--stop-signal",
        "SIGKILL",
        "--replicas",
        &count,
        "hello:1",
        "stamp",
    ])?;
    let deadline = Instant::now() + PATIENCE;
    let last = loop {
        let logs = cluster
            .run(&["service", "logs", "--raw", "stamp"])
            .unwrap_or_default();
        let stamps: Vec<u128> = logs.lines().filter_map(|line| line.trim().parse().ok()).collect();
        if stamps.len() >= replicas {
            break stamps.into_iter().max().context("no stamp")?;
        }
        if Instant::now() > deadline {
            bail!("{} of {replicas} containers came to run", stamps.len());
        }
    };
    cluster.run(&["service", "rm", "stamp"])?;
    cluster.wait_empty()?;
    Ok(Duration::from_nanos(u64::try_from(last.saturating_sub(begun))?).as_secs_f64() * 1000.0)
}
