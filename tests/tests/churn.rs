//! Services come, go and scale, containers die, for as long as `SHOAL_CHURN_SECONDS` says, and nobody else notices.
//!
//! Clients ask a healthy service all the while and every request is answered. Afterwards addresses, names, VIPs, rules and
//! routes are what the store says, and links, namespaces, memory and open files are what they were.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use shoal_tests::{HOST_V4, Hammer, Host, Netns, Outside, PATIENCE, SLEEP, text, until};
use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

/// In `make test`; ten minutes by hand.
const SECONDS: u64 = 40;

/// How many services come and go.
const SERVICES: usize = 6;

/// What a process may gain in the second half: caches fill up in the first.
const MEMORY_MB: u64 = 20;
const FILES: usize = 8;

/// What must not grow.
#[derive(Clone, Debug)]
struct Extent {
    links: usize,
    router_links: usize,
    namespaces: usize,
    /// In the sets and maps of the router's tables: its chains are made on demand and stay.
    elements: usize,
    routes: usize,
    /// Of `shoald` and `shoal-net`.
    files: [usize; 2],
    memory_mb: [u64; 2],
}

impl Extent {
    fn of(host: &Host) -> Result<Self> {
        let router = host.router()?;
        let count = |words: &str| -> Result<usize> {
            let (program, words) = words.split_once(' ').context("no words")?;
            Ok(router.run(program, words)?.lines().count())
        };
        let processes = [host.daemon_pid()?, host.only_process("shoal-net")?];
        let files = |pid| -> Result<usize> { Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count()) };
        Ok(Self {
            links: host.links()?.len(),
            router_links: count("ip -o link")?,
            namespaces: namespaces(&processes)?,
            elements: elements(&router.run("nft", "-j list ruleset")?)?,
            routes: count("ip -4 route show table all")? + count("ip -6 route show table all")?,
            files: [files(processes[0])?, files(processes[1])?],
            memory_mb: memories(host)?,
        })
    }

    /// Nothing is more than it was; memory and files may have grown a little.
    fn is_within(&self, before: &Self) -> Result<()> {
        let counts = |extent: &Self| {
            [
                extent.links,
                extent.router_links,
                extent.namespaces,
                extent.elements,
                extent.routes,
            ]
        };
        let grown = counts(self)
            .into_iter()
            .zip(counts(before))
            .any(|(now, then)| now > then);
        ensure!(!grown, "{before:?} became {self:?}");
        for process in 0..2 {
            ensure!(
                self.files[process] <= before.files[process] + FILES
                    && self.memory_mb[process] <= before.memory_mb[process] + MEMORY_MB,
                "{before:?} became {self:?}"
            );
        }
        Ok(())
    }
}

/// The network namespaces that these processes keep open.
fn namespaces(processes: &[u32]) -> Result<usize> {
    let mut found = BTreeSet::new();
    for pid in processes {
        // Files come and go while they are looked at.
        let files = fs::read_dir(format!("/proc/{pid}/fd"))?.flatten();
        let held = files.filter_map(|file| fs::read_link(file.path()).ok());
        let spaces = held.map(|link| link.display().to_string());
        found.extend(spaces.filter(|link| link.starts_with("net:")));
    }
    Ok(found.len())
}

/// How many elements the sets and maps of a listing have.
fn elements(listing: &str) -> Result<usize> {
    let listing: Value = serde_json::from_str(listing).with_context(|| format!("rules: {listing:?}"))?;
    let things = listing["nftables"].as_array().context("no list")?;
    let sets = things
        .iter()
        .filter_map(|thing| thing.get("map").or(thing.get("set")));
    Ok(sets.filter_map(|set| set["elem"].as_array()).map(Vec::len).sum())
}

/// Of `shoald` and `shoal-net`.
fn memories(host: &Host) -> Result<[u64; 2]> {
    Ok([
        memory_mb(host.daemon_pid()?)?,
        memory_mb(host.only_process("shoal-net")?)?,
    ])
}

fn memory_mb(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kb: u64 = line.context("no Pss")?.trim().trim_end_matches(" kB").parse()?;
    Ok(kb / 1024)
}

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
    // One turn of everything first: what is made once and kept is no leak.
    let mut dice = Dice(42);
    let mut churn = Churn::new(&host);
    for _ in 0..SERVICES * 3 {
        churn.step(&mut dice)?;
    }
    churn.end()?;
    let mut before = Extent::of(&host)?;
    let hammers = [
        Hammer::start(&asker, &SocketAddr::new(vip, 80).to_string())?,
        Hammer::start(&outside.net, &format!("{HOST_V4}:8080"))?,
        Hammer::start(&host.net()?, "127.0.0.1:8080")?,
    ];
    for half in 0..2 {
        let end = Instant::now() + Duration::from_secs(seconds) / 2;
        while Instant::now() < end {
            churn.step(&mut dice)?;
        }
        if half == 0 {
            before.memory_mb = memories(&host)?;
        }
    }
    equals_the_store(&host, &asker)?;
    churn.end()?;
    for hammer in hammers {
        hammer.finish()?;
    }
    equals_the_store(&host, &asker)?;
    until("everything to be as it was", PATIENCE, || {
        Extent::of(&host)?.is_within(&before)
    })?;
    host.finish()
}

/// Services that come, go and change.
struct Churn<'a> {
    host: &'a Host,
    replicas: BTreeMap<usize, usize>,
}

impl<'a> Churn<'a> {
    fn new(host: &'a Host) -> Self {
        Self {
            host,
            replicas: BTreeMap::new(),
        }
    }

    fn step(&mut self, dice: &mut Dice) -> Result<()> {
        let number = dice.roll(SERVICES);
        let name = format!("s{number}");
        if !self.replicas.contains_key(&number) {
            let (port, count) = (format!("{}:80", 9000 + number), 1 + dice.roll(3));
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

/// Addresses of containers, names and VIPs are what services and tasks are said to have, and no two have the same.
fn equals_the_store(host: &Host, asker: &Netns) -> Result<()> {
    until("all to be as the store has it", PATIENCE, || {
        let mut holders: BTreeMap<IpAddr, String> = BTreeMap::new();
        let mut hold = |address: IpAddr, holder: &str| match holders.insert(address, holder.to_owned()) {
            None => Ok(()),
            Some(other) => bail!("{address} is {holder}'s and {other}'s"),
        };
        let mut by_service: BTreeMap<String, BTreeSet<IpAddr>> = BTreeMap::new();
        for row in host.containers()? {
            ensure!(text(&row, "State") == "running", "on its way: {row:#}");
            let addresses = Netns::of(&text(&row, "Pid"))?.addresses()?;
            ensure!(!addresses.is_empty(), "{row:#}");
            for address in addresses {
                hold(address, &text(&row, "Task"))?;
                by_service
                    .entry(text(&row, "Service"))
                    .or_default()
                    .insert(address);
            }
        }
        let seen = asker.addresses()?;
        for name in host.shoal(&["service", "ls", "--format", "{{.Name}}"])?.lines() {
            let service = host.inspect("service", name)?;
            let vips = vips(&service)?;
            for vip in &vips {
                hold(*vip, name)?;
            }
            let found: BTreeSet<_> = asker.lookup(&format!("tasks.{name}"))?.into_iter().collect();
            let there = by_service.remove(name).unwrap_or_default();
            ensure!(found == there, "{name}: found {found:?}, there are {there:?}");
            let found = asker.lookup(name)?;
            ensure!(
                found.iter().all(|address| vips.contains(address)) && !found.is_empty(),
                "{name}: found {found:?}, has {vips:?} ({seen:?})"
            );
        }
        ensure!(by_service.is_empty(), "containers of no service: {by_service:?}");
        Ok(())
    })
    .with_context(|| last_words(host))
}

/// What the services that churn say of their tasks.
fn last_words(host: &Host) -> String {
    let say = |words: &[&str]| host.shoal(words).unwrap_or_else(|error| format!("{error:#}"));
    let services = say(&["service", "ls", "--format", "{{.Name}}"]);
    let said = services.lines().filter(|name| name.starts_with('s')).map(|name| {
        let logs = say(&["service", "logs", "--tail", "2", name]);
        format!("{}{logs}", say(&["service", "ps", "--no-trunc", name]))
    });
    let log = host.daemon_log();
    said.chain([log]).collect::<Vec<_>>().join("\n")
}

/// The addresses that `service inspect` shows.
fn vips(service: &Value) -> Result<BTreeSet<IpAddr>> {
    let listed = service["Endpoint"]["VirtualIPs"].as_array();
    let listed = listed.with_context(|| format!("{service:#}"))?;
    let mut found = BTreeSet::new();
    for vip in listed {
        let text = vip["Addr"].as_str().with_context(|| format!("{vip:#}"))?;
        found.insert(text.parse()?);
    }
    Ok(found)
}
