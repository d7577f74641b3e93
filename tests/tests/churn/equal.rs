//! Is the network what the store says? Asked of addresses, of names, and of those who answer at a VIP or a port.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use shoal_tests::{HOST_V4, Host, Netns, Outside, PATIENCE, text, until};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

/// So many requests at most until every task of a service has answered one.
const TURNS: usize = 80;

/// Where the services that come and go are published.
pub(crate) fn port_of(number: usize) -> usize {
    9000 + number
}

/// Those who see what there is: a container in every network, the host, a machine outside.
pub(crate) struct Store<'a> {
    host: &'a Host,
    asker: &'a Netns,
    outside: &'a Outside,
}

/// Who is where at one moment: each address has one holder.
#[derive(Default)]
struct Seen {
    holders: BTreeMap<IpAddr, String>,
    /// A service's containers: their tasks and their addresses.
    by_service: BTreeMap<String, (Vec<String>, BTreeSet<IpAddr>)>,
}

impl Seen {
    fn hold(&mut self, address: IpAddr, holder: &str) -> Result<()> {
        match self.holders.insert(address, holder.to_owned()) {
            None => Ok(()),
            Some(other) => bail!("{address} is {holder}'s and {other}'s"),
        }
    }
}

impl<'a> Store<'a> {
    pub(crate) fn new(host: &'a Host, asker: &'a Netns, outside: &'a Outside) -> Self {
        Self { host, asker, outside }
    }

    /// Addresses of containers, names and VIPs are what services and tasks are said to have, no two have the same, and
    /// who answers at a service's VIPs and port are its tasks, all of them and nobody else.
    pub(crate) fn equals(&self) -> Result<()> {
        until("all to be as the store has it", PATIENCE, || {
            let mut seen = self.containers()?;
            let names = self.host.shoal(&["service", "ls", "--format", "{{.Name}}"])?;
            for name in names.lines() {
                self.service(name, &mut seen)?;
            }
            let left = seen.by_service.keys();
            ensure!(left.len() == 0, "containers of no service: {left:?}");
            Ok(())
        })
        .with_context(|| last_words(self.host))
    }

    fn containers(&self) -> Result<Seen> {
        let mut seen = Seen::default();
        for row in self.host.containers()? {
            ensure!(text(&row, "State") == "running", "on its way: {row:#}");
            let addresses = Netns::of(&text(&row, "Pid"))?.addresses()?;
            ensure!(!addresses.is_empty(), "{row:#}");
            let task = text(&row, "Task");
            for address in &addresses {
                seen.hold(*address, &task)?;
            }
            let there = seen.by_service.entry(text(&row, "Service")).or_default();
            there.0.push(task);
            there.1.extend(addresses);
        }
        Ok(seen)
    }

    fn service(&self, name: &str, seen: &mut Seen) -> Result<()> {
        let mut vips = vips(&self.host.inspect("service", name)?)?;
        for (vip, _) in &vips {
            seen.hold(*vip, name)?;
        }
        // What leads to a service's port from outside, nobody is told.
        let ingress = text(&self.host.inspect("network", "ingress")?, "Id");
        vips.retain(|(_, network)| *network != ingress);
        let vips: BTreeSet<_> = vips.into_iter().map(|(vip, _)| vip).collect();
        let (tasks, there) = seen.by_service.remove(name).unwrap_or_default();
        let lookup =
            |name: &str| -> Result<BTreeSet<_>> { Ok(self.asker.lookup(name)?.into_iter().collect()) };
        let found = lookup(&format!("tasks.{name}"))?;
        ensure!(found == there, "{name}: found {found:?}, there are {there:?}");
        let found = lookup(name)?;
        ensure!(found == vips, "{name}: found {found:?}, has {vips:?}");
        let Some(port) = published(name)? else {
            return Ok(());
        };
        let pages = tasks.iter().map(|task| self.host.page_of(task));
        let pages: BTreeSet<_> = pages.collect::<Result<_>>()?;
        ensure!(pages.len() == tasks.len(), "{name}: {tasks:?} have {pages:?}");
        for vip in vips {
            answers(self.asker, &SocketAddr::new(vip, 80).to_string(), &pages)
                .with_context(|| format!("the VIP of {name}"))?;
        }
        for (net, address) in [(&self.host.net()?, "127.0.0.1"), (&self.outside.net, HOST_V4)] {
            answers(net, &format!("{address}:{port}"), &pages)
                .with_context(|| format!("the port of {name}"))?;
        }
        Ok(())
    }
}

/// The port that a service was created with; the one that asks has none.
fn published(name: &str) -> Result<Option<usize>> {
    match name {
        "web" => Ok(Some(8080)),
        "asker" => Ok(None),
        _ => {
            let number = name.strip_prefix('s').with_context(|| name.to_owned())?;
            Ok(Some(port_of(number.parse()?)))
        }
    }
}

/// Who answers at a place are all of these and nobody else; if there is none, nobody does.
fn answers(from: &Netns, place: &str, pages: &BTreeSet<String>) -> Result<()> {
    let mut heard = BTreeSet::new();
    for _ in 0..TURNS {
        if pages.is_empty() {
            let answer = from.get(place);
            ensure!(
                answer.is_err(),
                "nobody is left, and {answer:?} comes from {place}"
            );
            return Ok(());
        }
        let page = from.get(place)?;
        ensure!(
            pages.contains(&page),
            "{page} answers at {place}, expected {pages:?}"
        );
        heard.insert(page);
        if heard == *pages {
            return Ok(());
        }
    }
    bail!("{heard:?} answer at {place}, expected {pages:?}")
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

/// The addresses that `service inspect` shows, and of which network they are.
fn vips(service: &Value) -> Result<Vec<(IpAddr, String)>> {
    let listed = service["Endpoint"]["VirtualIPs"].as_array();
    let listed = listed.with_context(|| format!("{service:#}"))?;
    let vip = |vip: &Value| Ok((text(vip, "Addr").parse()?, text(vip, "NetworkID")));
    listed.iter().map(vip).collect()
}
