//! What someone deletes of a node's network is back within five seconds, and connections live on.

use crate::{addresses, at, client, v4, with_blue};
use anyhow::{Context, Result, ensure};
use shoal_tests::{ECHO, HOST_V4, Host, Netns, OUTSIDE_V4, OUTSIDE_V6, Outside, PATIENCE, echo_over, until};
use std::{
    net::TcpStream,
    time::{Duration, Instant},
};

const SOON: Duration = Duration::from_secs(5);

/// A service that is used in every way, by connections that live on.
struct Used {
    host: Host,
    outside: Outside,
    asker: Netns,
    vip: Vec<String>,
    live: Vec<(&'static str, TcpStream)>,
}

impl Used {
    fn new(name: &str) -> Result<Self> {
        let host = with_blue(name)?;
        let outside = Outside::new(&host)?;
        outside.serve(8000)?;
        host.create("echo", &["--network", "blue", "-p", "7007:7"], &ECHO)?;
        let asker = client(&host, "asker", &["blue"])?;
        let found = addresses(&asker, "echo", 2)?;
        addresses(&asker, "tasks.echo", 2)?;
        let vip: Vec<_> = found.into_iter().map(|address| at(address, 7)).collect();
        let mut used = Self {
            host,
            outside,
            asker,
            vip,
            live: Vec::new(),
        };
        until("everything to work", PATIENCE, || used.works())?;
        used.live.push(("a container", used.asker.connect(&used.vip[0])?));
        used.live
            .push(("a container, IPv6", used.asker.connect(&used.vip[1])?));
        let port = used.outside.net.connect(&format!("{HOST_V4}:7007"))?;
        used.live.push(("outside", port));
        used.live_on()?;
        Ok(used)
    }

    fn works(&self) -> Result<()> {
        for vip in &self.vip {
            echo_over(&mut self.asker.connect(vip)?, "VIP").with_context(|| vip.clone())?;
        }
        let ports = [
            (&self.outside.net, format!("{HOST_V4}:7007")),
            (&self.host.net()?, "127.0.0.1:7007".to_owned()),
            (&self.host.net()?, format!("{HOST_V4}:7007")),
        ];
        for (net, place) in ports {
            echo_over(&mut net.connect(&place)?, "port").with_context(|| place.clone())?;
        }
        ensure!(self.asker.lookup("echo")?.len() == 2, "its name");
        for place in [format!("{OUTSIDE_V4}:8000"), format!("[{OUTSIDE_V6}]:8000")] {
            self.asker.get(&place).context("the way out")?;
        }
        Ok(())
    }

    fn live_on(&mut self) -> Result<()> {
        for (who, stream) in &mut self.live {
            stream.set_read_timeout(Some(SOON))?;
            echo_over(stream, "still here?").with_context(|| format!("the connection of {who}"))?;
        }
        Ok(())
    }

    /// Does harm, and sees everything work again soon.
    fn survives(&mut self, net: &Netns, harm: &str) -> Result<()> {
        let (program, words) = harm.split_once(' ').context("a program and its words")?;
        match net.run(program, words) {
            // What an earlier harm took may have come back under another name.
            Err(error) if error.to_string().contains("No such file or directory") => return Ok(()),
            done => done.map(drop)?,
        }
        let harmed = Instant::now();
        until(&format!("all to work after `{harm}`"), SOON, || self.works())
            .with_context(|| self.host.daemon_log())?;
        // An attempt that begins just in time may end too late.
        let took = harmed.elapsed();
        ensure!(took < SOON, "all works {took:?} after `{harm}`");
        self.live_on().with_context(|| format!("after `{harm}`"))
    }
}

/// The names of a namespace's links that are of a type.
fn links(net: &Netns, kind: &str) -> Result<Vec<String>> {
    let listed = net.run("ip", &format!("-o link show type {kind}"))?;
    let names = listed.lines().filter_map(|line| line.split(": ").nth(1));
    Ok(names
        .map(|name| name.split('@').next().unwrap_or(name).to_owned())
        .collect())
}

#[test]
fn what_is_deleted_on_the_host_comes_back() -> Result<()> {
    let mut used = Used::new("heal-host")?;
    let net = used.host.net()?;
    let link = links(&net, "veth")?
        .into_iter()
        .find(|name| name.starts_with("shoal"));
    let link = link.context("no link of ours")?;
    for harm in [
        "nft flush ruleset".to_owned(),
        format!("ip addr flush dev {link}"),
        format!("ip -4 route flush dev {link}"),
        format!("ip -6 route flush dev {link}"),
        format!("ip link set {link} down"),
        format!("ip link del {link}"),
    ] {
        used.survives(&net, &harm)?;
    }
    used.live.clear();
    used.host.finish()
}

#[test]
fn what_is_deleted_in_the_router_comes_back() -> Result<()> {
    let mut used = Used::new("heal-router")?;
    let net = used.host.router()?;
    let tables = net.run("nft", "list tables")?;
    let mut harms = vec!["nft flush ruleset".to_owned()];
    // One that belongs to a living socket is nobody else's to delete.
    for table in tables.lines().filter(|table| !table.ends_with("-guard")) {
        harms.push(format!("nft delete {table}"));
    }
    // Every map and every chain of every table loses what it has.
    for table in tables.lines().filter(|table| !table.ends_with("-guard")) {
        let listed = net.run("nft", &format!("list {table}"))?;
        let name = table.trim_start_matches("table ");
        for line in listed.lines() {
            let words: Vec<_> = line.split_whitespace().collect();
            if let [kind @ ("map" | "set" | "chain"), thing, "{"] = words.as_slice() {
                harms.push(format!("nft flush {kind} {name} {thing}"));
            }
        }
    }
    for link in links(&net, "veth")? {
        harms.push(format!("ip link set {link} down"));
        harms.push(format!("ip addr flush dev {link}"));
        harms.push(format!("ip link del {link}"));
    }
    harms.push("ip -4 route flush table main".to_owned());
    harms.push("ip -6 route flush table main".to_owned());
    ensure!(harms.len() > 12, "{harms:?}");
    for harm in harms {
        used.survives(&net, &harm)?;
    }
    used.live.clear();
    used.host.finish()
}

#[test]
fn what_is_deleted_in_a_container_comes_back() -> Result<()> {
    let mut used = Used::new("heal-container")?;
    let net = used.asker.again()?;
    for harm in [
        "nft flush ruleset",
        "ip -4 route flush dev eth0",
        "ip addr flush dev eth0",
        "ip link del eth0",
    ] {
        used.survives(&net, harm)?;
    }
    used.live.clear();
    used.host.finish()
}

#[test]
fn links_that_come_and_go_and_another_way_out_disturb_nothing() -> Result<()> {
    let mut used = Used::new("roaming")?;
    let (host, outside) = (used.host.net()?, used.outside.net.again()?);
    // As a VPN does: a link of its own, the default route over it, and all of it gone again.
    host.run("ip", "link add vpn0 type veth peer name vpn1")?;
    host.run("ip", "link set vpn1 up")?;
    host.run("ip", "addr add 10.77.0.2/24 dev vpn0")?;
    host.run("ip", "link set vpn0 up")?;
    host.run("ip", "route add 0.0.0.0/1 dev vpn0")?;
    host.run("ip", "route add 128.0.0.0/1 dev vpn0")?;
    used.works().context("while it is there")?;
    used.live_on().context("while it is there")?;
    // One that takes a network's own addresses for its own: either it is in nobody's way, or it is named.
    let subnet = used.host.inspect("network", "blue")?["IPAM"]["Config"][0]["Subnet"].clone();
    let subnet = subnet.as_str().context("no subnet")?.to_owned();
    host.run("ip", &format!("route add {subnet} dev vpn0"))?;
    let node = used.host.shoal(&["node", "ls", "-q"])?;
    until("a way around it, or a word on it", SOON, || {
        let said = used.host.shoal(&["node", "inspect", node.trim()])?;
        if !(said.contains(&subnet) && said.contains("vpn0")) {
            used.works()
                .with_context(|| format!("{subnet} by vpn0 is not in {said}"))?;
        }
        Ok(())
    })?;
    used.survives(&host, "ip link del vpn0")?;
    // Another gateway at another address.
    outside.run("ip", "addr add 198.51.100.9/24 dev uplink")?;
    host.run("ip", "addr add 198.51.100.2/24 dev uplink")?;
    used.survives(&host, "ip route replace default via 198.51.100.9")?;
    used.survives(&host, "ip link set uplink mtu 1400")?;
    ensure!(used.asker.lookup("echo")?.len() == 2, "its name");
    let v4 = v4(&used.asker.lookup("tasks.echo")?, 7)?;
    echo_over(&mut used.asker.connect(&v4)?, "directly")?;
    used.live.clear();
    used.host.finish()
}
