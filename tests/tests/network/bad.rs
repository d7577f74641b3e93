//! Bad input: subnets that cannot be, names that are none, networks that are full, and floods.

use crate::{addresses, client, flooding, v4, with_blue};
use anyhow::{Result, ensure};
use shoal_tests::{HOST_V4, Hammer, Host, Outside, PATIENCE, SLEEP, is_running, until};
use std::{
    fs,
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Duration,
};

/// An address rests for ten seconds before somebody else gets it.
const RESTED: Duration = Duration::from_secs(15);

#[test]
fn subnets_that_cannot_be_are_refused_with_the_reason() -> Result<()> {
    let host = Host::with_busybox("subnets")?;
    let _outside = Outside::new(&host)?;
    host.shoal(&["network", "create", "--subnet", "10.50.0.0/24", "a"])?;
    // The node tells the managers its routes; then one of them is refused by name.
    until("the host's own route to be known", PATIENCE, || {
        let said = host.shoal_fails(1, &["network", "create", "--subnet", "192.0.2.0/25", "x"]);
        if said.is_err() {
            // It came before the node's word.
            host.shoal(&["network", "rm", "x"])?;
        }
        let said = said?;
        ensure!(said.contains("192.0.2.0/24"), "{said}");
        Ok(())
    })?;
    for (subnet, word) in [
        ("10.50.0.128/25", "a"),
        ("10.0.0.0/8", "a"),
        ("10.60.0.0/32", "/29"),
        ("10.60.0.0/31", "/29"),
        ("127.0.0.0/16", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("224.0.0.0/8", "multicast"),
        ("fe80::/64", "link-local"),
        ("10.60.0.1/24", "10.60.0.0/24"),
    ] {
        let said = host.shoal_fails(1, &["network", "create", "--subnet", subnet, "bad"])?;
        ensure!(said.contains(word) && said.contains(subnet), "{subnet}: {said}");
    }
    ensure!(
        !host.shoal(&["network", "ls"])?.contains("bad"),
        "a refused network is listed"
    );
    host.shoal_fails(2, &["network", "create", "--subnet", "10.60.0.0/33", "bad"])?;
    for name in ["host", "none", "", "a b", "a"] {
        host.shoal_fails(1, &["network", "create", name])?;
    }
    host.finish()
}

/// A /29 has six, and one of them is the service's own.
const ADDRESSES: usize = 5;

/// How many tasks of `a` run.
fn running(host: &Host) -> Result<usize> {
    Ok(host.tasks("a")?.iter().filter(|task| is_running(task)).count())
}

/// So many run, and nothing waits.
fn content(host: &Host, count: usize, patience: Duration) -> Result<()> {
    until(&format!("{count} to run and none to wait"), patience, || {
        let (there, why) = (running(host)?, host.shoal(&["service", "why", "a"])?);
        ensure!(
            there == count && !why.contains("no-address"),
            "{there} run: {why}"
        );
        Ok(())
    })
}

#[test]
fn a_full_network_says_so_and_takes_more_when_there_is_room() -> Result<()> {
    let host = Host::with_busybox("exhausted")?;
    host.shoal(&["network", "create", "--subnet", "10.50.0.0/29", "tiny"])?;
    host.create("a", &["-d", "--network", "tiny", "--replicas", "8"], &SLEEP)?;
    until("the reason", PATIENCE, || {
        let why = host.shoal(&["service", "why", "a"])?;
        ensure!(why.contains("no-address") && why.contains("tiny"), "{why}");
        Ok(())
    })?;
    let refused = host.shoal_fails(1, &["network", "rm", "tiny"])?;
    ensure!(refused.contains("used by service \"a\""), "{refused}");

    // Room is made: as many as have an address, but one, are content.
    let all = ADDRESSES;
    until("those that have an address to run", PATIENCE, || {
        ensure!(running(&host)? == all);
        Ok(())
    })?;
    host.shoal(&["service", "scale", "-d", &format!("a={}", all - 1)])?;
    content(&host, all - 1, PATIENCE)?;
    // Another one waits for the address that was given back to have rested, says so, and has it then.
    host.shoal(&["service", "scale", "-d", &format!("a={all}")])?;
    until("the rest to be named", RESTED, || {
        let why = host.shoal(&["service", "why", "a"])?;
        ensure!(why.contains("is free again in"), "{why}");
        Ok(())
    })?;
    content(&host, all, RESTED)?;
    host.shoal(&["service", "rm", "a"])?;
    host.finish()
}

#[test]
fn names_that_are_none_are_refused() -> Result<()> {
    let host = with_blue("labels")?;
    for alias in ["-x", "a..b", "a b", &"x".repeat(64)] {
        let network = format!("name=blue,alias={alias}");
        let output = host.try_create("web", &["-d", "--network", &network], &SLEEP)?;
        let said = String::from_utf8(output.stderr)?;
        ensure!(
            !output.status.success() && said.contains(alias),
            "{alias:?}: {said}"
        );
    }
    let output = host.try_create("web", &["-d", "--network", "nosuch"], &SLEEP)?;
    let said = String::from_utf8(output.stderr)?;
    ensure!(!output.status.success() && said.contains("nosuch"), "{said}");
    host.finish()
}

/// Ports that a flood asks from one of its own.
const PORTS: u16 = 4_000;

/// Datagrams to ever another port, each a connection of its own: half as many again as the kernel keeps.
fn flood(target: IpAddr) -> Result<()> {
    let most: usize = fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max")?
        .trim()
        .parse()?;
    for _ in 0..(most * 3 / 2).div_ceil(PORTS.into()) {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        for port in 1..=PORTS {
            // What has no place is refused by the kernel on the way out.
            drop(socket.send_to(b"flood", (target, port)));
        }
    }
    Ok(())
}

#[test]
fn a_flood_of_connections_is_the_floods_own_affair() -> Result<()> {
    let host = with_blue("connections")?;
    let outside = Outside::new(&host)?;
    host.create_web("web", &["--network", "blue", "--replicas", "2", "-p", "8080:80"])?;
    let (flooder, asker) = (
        client(&host, "flooder", &["blue"])?,
        client(&host, "asker", &["blue"])?,
    );
    let vip = v4(&addresses(&asker, "web", 2)?, 80)?;
    addresses(&asker, "tasks.web", 4)?;
    let hammers = [
        Hammer::start(&asker, &vip)?,
        Hammer::start(&outside.net, &format!("{HOST_V4}:8080"))?,
    ];
    let target: SocketAddr = vip.parse()?;
    let _alone = flooding();
    flooder.inside(|| flood(target.ip()))??;
    for hammer in hammers {
        hammer.finish()?;
    }
    host.finish()
}
