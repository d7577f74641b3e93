//! Services come, go and scale, containers die, for as long as `SHOAL_CHURN_SECONDS` says, and nobody else notices.
//!
//! Clients ask a healthy service all the while and every request is answered. Afterwards addresses, names, VIPs, rules and
//! routes are what the store says, and links, namespaces, memory and files are what they were.

mod equal;
mod extent;

use anyhow::{Context, Result, ensure};
use equal::Store;
use extent::{Extent, Load};
use shoal_tests::{HOST_V4, Hammer, Host, Outside, PATIENCE, SLEEP, text, until};
use std::{
    collections::BTreeMap,
    env,
    net::SocketAddr,
    time::{Duration, Instant},
};

/// In `make test`; ten minutes by hand.
const SECONDS: u64 = 40;

/// How many services come and go.
const SERVICES: usize = 6;

/// What a process may have open more: connections between the two that just come or go.
const FILES: usize = 8;

/// What `shoald` and `shoal-net` may gain in the second half, of themselves and for each service made in it: caches fill
/// up in the first. The daemon's history and log grow by some 140 kB for each; 200 kB more would be too much.
const MEMORY_KB: [u64; 2] = [3_000, 1_000];
const MEMORY_OF_A_SERVICE_KB: [u64; 2] = [150, 20];

/// The same numbers for the same seed, and no crate for it.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % sides
    }
}

#[test]
fn churn_costs_others_nothing_and_leaves_nothing() -> Result<()> {
    let seconds = env::var("SHOAL_CHURN_SECONDS").map_or(Ok(SECONDS), |text| text.parse())?;
    let host = Host::with_busybox("churn")?;
    let outside = Outside::new(&host)?;
    for network in ["blue", "red"] {
        host.shoal(&["network", "create", network])?;
    }
    host.create_web("web", &["--network", "blue", "--replicas", "2", "-p", "8080:80"])?;
    host.create("asker", &["--network", "blue", "--network", "red"], &SLEEP)?;
    let asker = host.task_net(&host.running("asker", 1)?[0])?;
    let vip = until("the service's address", PATIENCE, || {
        let found = asker.lookup("web")?;
        ensure!(
            asker.lookup("tasks.web")?.len() == 4,
            "its tasks are not there yet"
        );
        found.first().copied().context("no address")
    })?;
    let store = Store::new(&host, &asker, &outside);
    store.equals()?;
    let before = Extent::of(&host)?;
    let settled = |what: &str| {
        until(what, PATIENCE, || Extent::of(&host)?.is(&before)).with_context(|| host.daemon_log())
    };
    // One turn of everything first: what is allocated once and kept is no leak.
    let mut dice = Dice(42);
    let mut churn = Churn::new(&host);
    for _ in 0..SERVICES * 3 {
        churn.step(&mut dice)?;
    }
    churn.end()?;
    settled("the first turn to leave nothing")?;
    let hammers = [
        Hammer::start(&asker, &SocketAddr::new(vip, 80).to_string())?,
        Hammer::start(&outside.net, &format!("{HOST_V4}:8080"))?,
        Hammer::start(&host.net()?, "127.0.0.1:8080")?,
    ];
    let half = Duration::from_secs(seconds) / 2;
    churn.go_on(&mut dice, half, &store)?;
    settled("the first half to leave nothing")?;
    let (load, made) = (Load::of(&host)?, churn.made);
    churn.go_on(&mut dice, half, &store)?;
    settled("the second half to leave nothing")?;
    let made = churn.made - made;
    let allowed = [0, 1].map(|process| MEMORY_KB[process] + MEMORY_OF_A_SERVICE_KB[process] * made);
    until("memory and files to be as they were", PATIENCE, || {
        Load::of(&host)?.is_within(&load, FILES, allowed)
    })?;
    for hammer in hammers {
        hammer.finish()?;
    }
    host.finish()
}

/// Services that come, go and change.
struct Churn<'a> {
    host: &'a Host,
    replicas: BTreeMap<usize, usize>,
    /// How many services there were in all.
    made: u64,
}

impl<'a> Churn<'a> {
    fn new(host: &'a Host) -> Self {
        Self {
            host,
            replicas: BTreeMap::new(),
            made: 0,
        }
    }

    /// For so long; what it made is as it should be, and so is what is left when it is gone.
    fn go_on(&mut self, dice: &mut Dice, time: Duration, store: &Store<'_>) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.step(dice)?;
        }
        store.equals()?;
        self.end()?;
        store.equals()
    }

    fn step(&mut self, dice: &mut Dice) -> Result<()> {
        let number = dice.roll(SERVICES);
        let name = format!("s{number}");
        if !self.replicas.contains_key(&number) {
            let (port, count) = (format!("{}:80", equal::port_of(number)), 1 + dice.roll(3));
            let networks = [&["blue"][..], &["red"], &["blue", "red"]][dice.roll(3)];
            let mut flags = vec![
                "-d",
                "--replicas",
                ["1", "2", "3"][count - 1],
                "--restart-delay",
                "0s",
            ];
            for network in networks {
                flags.extend(["--network", network]);
            }
            flags.extend([
                "-p",
                &port,
                "--update-monitor",
                "10ms",
                "--stop-grace-period",
                "1s",
            ]);
            self.host.create_web(&name, &flags)?;
            self.replicas.insert(number, count);
            self.made += 1;
            return Ok(());
        }
        match dice.roll(4) {
            0 => {
                self.host.shoal(&["service", "rm", &name])?;
                self.replicas.remove(&number);
            }
            1 => {
                let count = dice.roll(4);
                self.host
                    .shoal(&["service", "scale", "-d", &format!("{name}={count}")])?;
                self.replicas.insert(number, count);
            }
            2 => {
                let variable = format!("N={}", dice.roll(1000));
                let words = ["service", "update", "-q", "-d", "--env-add", &variable, &name];
                // Also in the middle of another's progress.
                self.host.shoal(&words)?;
            }
            _ => self.kill_one(&name, dice)?,
        }
        Ok(())
    }

    /// A container dies, if the service has one.
    fn kill_one(&self, name: &str, dice: &mut Dice) -> Result<()> {
        let rows = self.host.containers()?;
        let running: Vec<_> = rows
            .iter()
            .filter(|row| text(row, "Service") == name && text(row, "State") == "running")
            .collect();
        if !running.is_empty() {
            let pid = text(running[dice.roll(running.len())], "Pid");
            // It may have ended by itself meanwhile.
            self.host.command("kill").args(["-9", &pid]).output()?;
        }
        Ok(())
    }

    /// All of them go, and their containers with them.
    fn end(&mut self) -> Result<()> {
        for number in std::mem::take(&mut self.replicas).into_keys() {
            self.host.shoal(&["service", "rm", &format!("s{number}")])?;
        }
        until("their containers to go", PATIENCE, || {
            let rows = self.host.containers()?;
            ensure!(
                rows.iter()
                    .all(|row| ["web", "asker"].contains(&&*text(row, "Service"))),
                "{rows:#?}"
            );
            Ok(())
        })
    }
}
