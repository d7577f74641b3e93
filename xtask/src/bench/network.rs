//! The network of containers: a container with one beside the peer's, a service until its port answers, VIPs, names.
//!
//! Sockets are made in the containers' namespaces by this program itself, so that no other one is measured. The peer is
//! whatever `SHOAL_BENCH_DOCKER` runs as `docker` (words, the last of them `docker`), with the image that
//! `SHOAL_BENCH_DOCKER_IMAGE` names; without it the figures that compare stand alone.

use super::{
    cluster::{Cluster, millis},
    report::{Better, Figure, Report},
};
use crate::command::root;
use anyhow::{Context, Result, bail, ensure};
use shoal_tests::{Netns, json_lines, text};
use std::{
    env,
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

pub(super) mod names;
pub(super) mod vips;

const RUNS: usize = 20;

const SERVICES: usize = 15;

/// No answer takes this long; a run in which one does has failed.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn measure(dist: &Path, report: &mut Report) -> Result<()> {
    let cluster = Cluster::with_image(dist)?;
    let archive = root().join("target/dist/web.tar");
    cluster.run(&["image", "load", "--input", &archive.display().to_string()])?;
    cluster.run(&["network", "create", "bench"])?;
    run_and_remove(&cluster, report).context("run --rm")?;
    until_the_port_answers(&cluster, report).context("a service's port")?;
    let pair = Pair::new(&cluster)?;
    vips::measure(&pair, report).context("VIPs")?;
    names::measure(&pair, report).context("names")
}

fn run_and_remove(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let peer = Peer::find()?;
    let (mut ours, mut ratios, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let mut command =
            cluster.shoal(&["run", "--rm", "--network", "bench", "shoal-example/web:1", "true"]);
        let time = timed(&mut command)?;
        ours.push(time);
        if let Some(peer) = &peer {
            let reference = peer.run_and_remove()?;
            theirs.push(reference);
            ratios.push(time / reference);
        }
    }
    report.add(Figure {
        name: "`run --rm IMAGE true` with a network",
        unit: "ms",
        goal: 40.0,
        better: Better::Less,
        samples: ours,
        remark: "the client's own start included; the container has a link, two addresses and names"
            .to_owned(),
    })?;
    let Some(reference) = theirs.get(theirs.len() / 2) else {
        return report.absent("`run --rm IMAGE true` with a network, as a part of Docker's time");
    };
    report.add(Figure {
        name: "`run --rm IMAGE true` with a network, as a part of Docker's time",
        unit: "",
        goal: 0.2,
        better: Better::Less,
        samples: ratios,
        remark: format!(
            "each run against the `docker run --rm IMAGE true` after it, on a bridge; one of Docker's took {reference:.0} ms"
        ),
    })
}

/// Docker, as far as this run has it.
struct Peer {
    words: Vec<String>,
    image: String,
    /// What reaching it costs: taken off, because nobody else needs it.
    reach: f64,
}

impl Peer {
    fn find() -> Result<Option<Self>> {
        let Ok(words) = env::var("SHOAL_BENCH_DOCKER") else {
            return Ok(None);
        };
        let image = env::var("SHOAL_BENCH_DOCKER_IMAGE").unwrap_or_else(|_| "busybox".to_owned());
        let words: Vec<_> = words.split_whitespace().map(str::to_owned).collect();
        let (docker, way) = words.split_last().context("SHOAL_BENCH_DOCKER is empty")?;
        ensure!(
            docker == "docker",
            "SHOAL_BENCH_DOCKER ends with {docker:?}, expected \"docker\""
        );
        let reach = match way.split_first() {
            None => 0.0,
            Some((program, rest)) => {
                let mut reaches = (0..RUNS)
                    .map(|_| timed(Command::new(program).args(rest).arg("true")))
                    .collect::<Result<Vec<_>>>()?;
                reaches.sort_by(f64::total_cmp);
                reaches[RUNS / 2]
            }
        };
        Ok(Some(Self { words, image, reach }))
    }

    fn run_and_remove(&self) -> Result<f64> {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]);
        let time = timed(command.args(["run", "--rm", &self.image, "true"]))?;
        Ok(time - self.reach)
    }
}

/// Milliseconds of a command that must succeed.
fn timed(command: &mut Command) -> Result<f64> {
    let begun = Instant::now();
    let output = command.stdin(Stdio::null()).output()?;
    let time = millis(begun.elapsed());
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(time)
}

fn until_the_port_answers(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let host = Netns::of("self")?;
    let samples = (0..SERVICES)
        .map(|_| {
            let port = free_port()?;
            let publish = format!("{port}:80");
            let begun = Instant::now();
            cluster.run(&[
                "service",
                "create",
                "-d",
                "-q",
                "--name",
                "port",
                "--network",
                "bench",
                "--publish",
                &publish,
                "--stop-signal",
                "SIGKILL",
                "hello:1",
                "serve",
                "[::]:80",
            ])?;
            let answered = wait_for_page(&host, port)?;
            cluster.run(&["service", "rm", "port"])?;
            cluster.wait_empty()?;
            Ok(millis(answered.duration_since(begun)))
        })
        .collect::<Result<Vec<_>>>()?;
    report.add(Figure {
        name: "`service create`, one replica on a network, until its port answers",
        unit: "ms",
        goal: 80.0,
        better: Better::Less,
        samples,
        remark: "until a page came from 127.0.0.1; the client's own start included".to_owned(),
    })
}

fn wait_for_page(host: &Netns, port: u16) -> Result<Instant> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match host.get(&format!("127.0.0.1:{port}")) {
            Ok(_) => return Ok(Instant::now()),
            Err(error) if Instant::now() > deadline => return Err(error),
            // A refusal comes at once: leave the processor to whoever shall answer.
            Err(_) => std::thread::park_timeout(Duration::from_millis(1)),
        }
    }
}

/// A port that nothing listens on.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Two containers on one network: one that asks, and one behind a VIP.
pub(super) struct Pair {
    asker: Netns,
    target: Netns,
}

impl Pair {
    fn new(cluster: &Cluster) -> Result<Self> {
        for name in ["asker", "target"] {
            cluster.run(&[
                "service",
                "create",
                "-q",
                "--name",
                name,
                "--network",
                "bench",
                "--stop-signal",
                "SIGKILL",
                "hello:1",
                "stamp",
            ])?;
        }
        let rows = json_lines(&cluster.run(&["ps", "--no-trunc", "--format", "json"])?)?;
        let net = |service: &str| {
            let row = rows.iter().find(|row| text(row, "Service") == service);
            Netns::of(&text(row.with_context(|| format!("{rows:#?}"))?, "Pid"))
        };
        Ok(Self {
            asker: net("asker")?,
            target: net("target")?,
        })
    }

    /// The IPv4 address behind a name of the pair's network.
    fn address(&self, name: &str) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.asker.lookup(name)?;
            match found.iter().find(|address| address.is_ipv4()) {
                Some(address) => return Ok(address.to_string()),
                None if Instant::now() > deadline => bail!("{name} has no address: {found:?}"),
                None => std::thread::park_timeout(Duration::from_millis(10)),
            }
        }
    }
}
