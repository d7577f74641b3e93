//! Published ports: both modes and protocols, ranges, on every address of the host or on one, taken and given back.

use crate::{client, create_hello, load_hello, with_blue};
use anyhow::{Context, Result, ensure};
use shoal_tests::{
    HOST_V4, HOST_V6, Host, Netns, OUTSIDE_V4, OUTSIDE_V6, Outside, PATIENCE, SLEEP, text, until,
};
use std::{collections::BTreeSet, process::Stdio};

/// A host with the network `blue`, a machine outside and the image that answers datagrams.
fn world(name: &str) -> Result<(Host, Outside)> {
    let host = with_blue(name)?;
    let outside = Outside::new(&host)?;
    load_hello(&host)?;
    Ok((host, outside))
}

fn places(port: u16) -> [String; 4] {
    [
        format!("127.0.0.1:{port}"),
        format!("[::1]:{port}"),
        format!("{HOST_V4}:{port}"),
        format!("[{HOST_V6}]:{port}"),
    ]
}

fn soon(from: &Netns, place: &str) -> Result<String> {
    until(&format!("an answer at {place}"), PATIENCE, || from.get(place))
}

fn soon_udp(from: &Netns, place: &str) -> Result<String> {
    until(&format!("a datagram from {place}"), PATIENCE, || {
        from.ask_udp(place)
    })
}

#[test]
fn a_published_port_answers_everywhere_and_spreads_over_replicas() -> Result<()> {
    let (host, outside) = world("published")?;
    create_hello(
        &host,
        "web",
        &[
            "--network",
            "blue",
            "--replicas",
            "2",
            "-p",
            "8080:80",
            "-p",
            "8080:80/udp",
        ],
    )?;
    let here = host.net()?;
    for place in places(8080) {
        soon(&here, &place).context("the host itself")?;
        soon_udp(&here, &place).context("the host itself")?;
    }
    // The server is told who asks, and it is the client itself.
    for (place, client) in [
        (format!("{HOST_V4}:8080"), OUTSIDE_V4),
        (format!("[{HOST_V6}]:8080"), OUTSIDE_V6),
    ] {
        let mut servers = BTreeSet::new();
        for _ in 0..40 {
            for answer in [soon(&outside.net, &place)?, soon_udp(&outside.net, &place)?] {
                let (server, seen) = answer.trim_end().split_once(" to ").context("no greeting")?;
                ensure!(seen == client, "{place}: {answer}");
                servers.insert(server.to_owned());
            }
        }
        ensure!(servers.len() == 2, "{servers:?}");
    }
    // A container that asks for the host's port is served as well.
    let asker = client(&host, "asker", &["blue"])?;
    for place in &places(8080)[2..] {
        soon(&asker, place).context("a container")?;
    }
    ensure!(
        outside.net.get(&format!("{HOST_V4}:8081")).is_err(),
        "a port that nobody published"
    );
    host.finish()
}

#[test]
fn mode_host_ranges_and_named_addresses() -> Result<()> {
    let (host, outside) = world("modes-of-ports")?;
    let here = host.net()?;
    create_hello(&host, "one", &["-p", "published=8081,target=80,mode=host"])?;
    create_hello(
        &host,
        "range",
        &["-p", "8100-8102:80-82", "-p", "8100-8102:80-82/udp"],
    )?;
    create_hello(&host, "uplink", &["-p", &format!("{HOST_V4}:8082:80")])?;
    create_hello(
        &host,
        "local",
        &["-p", "127.0.0.1:8083:80", "-p", "[::1]:8083:80"],
    )?;
    for port in [8081, 8100] {
        for place in places(port) {
            soon(&here, &place)?;
        }
        soon(&outside.net, &format!("{HOST_V4}:{port}"))?;
        soon(&outside.net, &format!("[{HOST_V6}]:{port}"))?;
    }
    soon_udp(&outside.net, &format!("{HOST_V4}:8100"))?;
    // Of the range, only the first has a server behind it.
    ensure!(
        outside.net.get(&format!("{HOST_V4}:8101")).is_err(),
        "8101 answers"
    );
    // Each port of a range leads to the one at its place, and to no other.
    let pages = "for port in 80 81; do mkdir -p /www$port && echo $port > /www$port/index.html && \
                 httpd -p $port -h /www$port; done; exec sleep 100000";
    let flags = ["--network", "blue", "-p", "8110-8111:80-81"];
    host.create("pages", &flags, &["sh", "-c", pages])?;
    for (published, target) in [(8110, "80"), (8111, "81")] {
        for (net, place) in [
            (&outside.net, format!("{HOST_V4}:{published}")),
            (&outside.net, format!("[{HOST_V6}]:{published}")),
            (&here, format!("127.0.0.1:{published}")),
        ] {
            let page = soon(net, &place)?;
            ensure!(page == target, "{place} leads to {page}");
        }
    }
    soon(&outside.net, &format!("{HOST_V4}:8082"))?;
    ensure!(
        here.get("127.0.0.1:8082").is_err(),
        "8082 is on another address too"
    );
    ensure!(
        outside.net.get(&format!("[{HOST_V6}]:8082")).is_err(),
        "8082 is on another address too"
    );
    for place in &places(8083)[..2] {
        soon(&here, place)?;
    }
    for place in &places(8083)[2..] {
        ensure!(outside.net.get(place).is_err(), "a local port answers at {place}");
    }
    host.finish()
}

#[test]
fn a_port_that_was_not_named_is_chosen_and_shown() -> Result<()> {
    let (host, outside) = world("chosen")?;
    create_hello(&host, "web", &["-p", "80"])?;
    let shown = host.inspect("service", "web")?;
    let port = shown["Endpoint"]["Ports"][0]["PublishedPort"].as_u64();
    let port = port.with_context(|| format!("{shown:#}"))?;
    ensure!((30000..=32767).contains(&port), "{port}");
    soon(&outside.net, &format!("{HOST_V4}:{port}"))?;
    let listed = host.shoal(&["service", "ls"])?;
    ensure!(listed.contains(&format!("{port}->80/tcp")), "{listed}");
    host.finish()
}

#[test]
fn a_port_that_others_hold_is_said_and_had_when_it_is_free() -> Result<()> {
    let (host, outside) = world("taken")?;
    let mut other = host.command("busybox");
    other
        .args(["nc", "-ll", "-p", "8090", "-e", "cat"])
        .stdin(Stdio::null());
    let mut other = other.spawn()?;
    let taken = (|| -> Result<()> {
        until("the other program to listen", PATIENCE, || {
            host.net()?.connect("127.0.0.1:8090").map(drop)
        })?;
        create_hello(&host, "web", &["-d", "-p", "8090:80"])?;
        until("the reason", PATIENCE, || {
            let why = host.shoal(&["service", "why", "web"])?;
            let tasks = host.tasks("web")?;
            ensure!(
                why.contains("8090") || tasks.iter().any(|task| text(task, "Error").contains("8090")),
                "{why} {tasks:#?}"
            );
            Ok(())
        })
    })();
    other.kill()?;
    other.wait()?;
    taken?;
    let answer = soon(&outside.net, &format!("{HOST_V4}:8090"))?;
    ensure!(answer.starts_with("hello"), "{answer}");
    soon(&host.net()?, "127.0.0.1:8090")?;
    // While it is published nobody else can take it by mistake.
    let stolen = host
        .net()?
        .inside(|| std::net::TcpListener::bind("0.0.0.0:8090"))?;
    ensure!(stolen.is_err(), "another program was given the port");
    host.finish()
}

#[test]
fn a_port_of_another_service_is_refused_by_name() -> Result<()> {
    let host = with_blue("twice")?;
    host.create("first", &["--network", "blue", "-p", "8080:80"], &SLEEP)?;
    let output = host.try_create("second", &["--network", "blue", "-p", "8080:81"], &SLEEP)?;
    let said = String::from_utf8(output.stderr)?;
    ensure!(!output.status.success(), "it was accepted");
    ensure!(said.contains("8080") && said.contains("first"), "{said}");
    // Another protocol is another port.
    host.create("third", &["--network", "blue", "-p", "8080:80/udp"], &SLEEP)?;
    host.shoal(&["service", "rm", "first"])?;
    host.create("second", &["--network", "blue", "-p", "8080:81"], &SLEEP)?;
    host.finish()
}
