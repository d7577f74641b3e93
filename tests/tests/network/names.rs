//! Names: of services, tasks, slots and aliases; those of others through the host's resolvers.

use crate::{addresses, at, client, flooding, v4, with_blue};
use anyhow::{Context, Result, ensure};
use shoal_tests::{Host, HostOptions, OUTSIDE_V4, Outside, PATIENCE, SLEEP, until};
use std::{
    collections::BTreeSet,
    net::IpAddr,
    time::{Duration, Instant},
};

/// What a resolver says that could not find out (RFC 1035, section 4.1.1).
const SERVER_FAILURE: u8 = 2;

/// How long questions are asked in a flood.
const FLOOD_TIME: Duration = Duration::from_secs(3);

/// So many questions of one for each of another's are a flood, however fast the machine is.
const FLOOD: u32 = 10;

#[test]
fn services_are_found_by_every_form_of_their_names() -> Result<()> {
    let host = with_blue("names")?;
    host.create_web(
        "web",
        &["--network", "name=blue,alias=site,alias=www", "--replicas", "3"],
    )?;
    let asker = client(&host, "asker", &["blue"])?;
    let vip = addresses(&asker, "web", 2)?;
    for name in ["site", "www", "WEB"] {
        ensure!(asker.lookup(name)? == vip, "{name}: {:?}", asker.lookup(name)?);
    }
    let tasks: BTreeSet<IpAddr> = addresses(&asker, "tasks.web", 6)?.into_iter().collect();
    ensure!(
        vip.iter().all(|address| !tasks.contains(address)),
        "{vip:?} {tasks:?}"
    );
    let mut pages = BTreeSet::new();
    for (slot, task) in (1..).zip(host.running("web", 3)?) {
        let page = host.page_of(&task)?;
        for name in [format!("{slot}.web"), format!("web-{slot}.web")] {
            let found = asker.lookup(&name)?;
            ensure!(found.len() == 2, "{name}: {found:?}");
            for address in found {
                ensure!(tasks.contains(&address), "{name}: {address} is no task's");
                let answer = asker.get(&at(address, 80))?;
                ensure!(answer == page, "{name}: {answer}, expected {page}");
            }
        }
        pages.insert(page);
    }
    for address in &vip {
        let answers = Host::pages(&asker, &at(*address, 80), 60)?;
        ensure!(answers == pages, "{address}: {answers:?}, expected {pages:?}");
    }
    ensure!(
        asker.lookup_code("4.web")? != 0,
        "a slot that is not there has a name"
    );

    // As a program in the container does it.
    let task = host.running("asker", 1)?.remove(0);
    let page = host.shoal(&["exec", &task, "wget", "-q", "-O-", "http://www/"])?;
    ensure!(pages.contains(page.trim_end()), "{page}");
    host.finish()
}

#[test]
fn round_robin_answers_with_the_tasks() -> Result<()> {
    let host = with_blue("dnsrr")?;
    host.create_web(
        "web",
        &["--network", "blue", "--endpoint-mode", "dnsrr", "--replicas", "2"],
    )?;
    let asker = client(&host, "asker", &["blue"])?;
    let found = addresses(&asker, "web", 4)?;
    ensure!(found == asker.lookup("tasks.web")?, "{found:?}");
    for address in found {
        asker.get(&at(address, 80))?;
    }
    host.finish()
}

#[test]
fn other_names_are_asked_of_the_hosts_resolvers_whatever_they_become() -> Result<()> {
    let mut host = Host::new("forward", HostOptions::default())?;
    let outside = Outside::new(&host)?;
    host.own_etc()?;
    host.set_resolvers(&format!("nameserver {OUTSIDE_V4}\n"))?;
    outside
        .net
        .serve_names(&format!("{OUTSIDE_V4}:53"), &[("shop.example", "203.0.113.1")])?;
    outside.run("ip", "addr add 192.0.2.10/24 dev uplink")?;
    outside
        .net
        .serve_names("192.0.2.10:53", &[("shop.example", "203.0.113.2")])?;
    host.net()?
        .serve_names("127.0.0.53:53", &[("shop.example", "203.0.113.3")])?;
    host.start_daemon()?;
    host.import_busybox("busybox:1")?;
    host.shoal(&["network", "create", "blue"])?;
    let asker = client(&host, "asker", &["blue"])?;
    let told = |address: &str| -> Result<()> {
        let expected: IpAddr = address.parse()?;
        until(&format!("the answer {address}"), PATIENCE, || {
            let found = asker.lookup("shop.example")?;
            ensure!(found == [expected], "{found:?}");
            Ok(())
        })
    };
    told("203.0.113.1")?;
    ensure!(
        asker.lookup_code("nothing.example")? == 3,
        "not said to be missing"
    );
    host.set_resolvers("nameserver 192.0.2.10\n")?;
    told("203.0.113.2")?;
    // A resolver of the host's own, which no container could reach.
    host.set_resolvers("nameserver 127.0.0.53\noptions edns0 trust-ad\n")?;
    told("203.0.113.3")?;
    // One that is asked for one service alone.
    host.create("own", &["--network", "blue", "--dns", OUTSIDE_V4], &SLEEP)?;
    let own = host.task_net(&host.running("own", 1)?[0])?;
    let found = own.lookup("shop.example")?;
    ensure!(found == ["203.0.113.1".parse::<IpAddr>()?], "{found:?}");

    // One that never answers is said to, and delays nobody else.
    host.set_resolvers("nameserver 192.0.2.77\n")?;
    until("a failure", PATIENCE, || {
        let code = asker.lookup_code("shop.example")?;
        ensure!(code == SERVER_FAILURE, "{code}");
        Ok(())
    })?;
    let slow = asker.again()?;
    let waiting = std::thread::spawn(move || {
        for _ in 0..20 {
            drop(slow.lookup_code("other.example"));
        }
    });
    for _ in 0..50 {
        let begun = Instant::now();
        let found = asker.lookup("own")?;
        ensure!(found.len() == 2, "{found:?}");
        ensure!(
            begun.elapsed() < Duration::from_millis(500),
            "{:?}",
            begun.elapsed()
        );
    }
    drop(waiting);
    host.finish()
}

#[test]
fn a_service_has_further_hosts_and_search_domains() -> Result<()> {
    let host = with_blue("hosts")?;
    host.create(
        "a",
        &[
            "--network",
            "blue",
            "--host",
            "printer:203.0.113.9",
            "--dns-search",
            "corp.example",
            "--dns-option",
            "ndots:2",
        ],
        &SLEEP,
    )?;
    let task = host.running("a", 1)?.remove(0);
    let hosts = host.shoal(&["exec", &task, "cat", "/etc/hosts"])?;
    let line = hosts
        .lines()
        .find(|line| line.ends_with("printer"))
        .context("no line")?;
    ensure!(line.starts_with("203.0.113.9"), "{hosts}");
    let conf = host.shoal(&["exec", &task, "cat", "/etc/resolv.conf"])?;
    for line in ["nameserver 127.0.0.11", "search corp.example", "options ndots:2"] {
        ensure!(
            conf.lines().any(|there| there == line),
            "{line:?} is not in {conf}"
        );
    }
    // Its own name is its own address.
    let own = host.page_of(&task)?;
    let line = hosts
        .lines()
        .find(|line| line.split_whitespace().any(|word| word == own));
    let address: IpAddr = line
        .and_then(|line| line.split_whitespace().next())
        .context("its own name is missing")?
        .parse()?;
    let net = host.task_net(&task)?;
    ensure!(net.lookup("tasks.a")?.contains(&address), "{hosts}");
    host.finish()
}

#[test]
fn a_container_that_listens_on_port_53_still_finds_names() -> Result<()> {
    let host = with_blue("port53")?;
    host.create_web("web", &["--network", "blue"])?;
    host.create(
        "dns",
        &["--network", "blue"],
        &["nc", "-ll", "-p", "53", "-e", "cat"],
    )?;
    let net = host.task_net(&host.running("dns", 1)?[0])?;
    net.serve_names("0.0.0.0:53", &[("own.example", "203.0.113.7")])?;
    addresses(&net, "web", 2)?;
    // And it is heard on that port itself.
    let asker = client(&host, "asker", &["blue"])?;
    let place = v4(&addresses(&asker, "tasks.dns", 2)?, 53)?;
    shoal_tests::echo_over(&mut asker.connect(&place)?, "its own")?;
    host.finish()
}

#[test]
fn questions_in_a_flood_do_not_keep_others_from_theirs() -> Result<()> {
    let host = with_blue("flood")?;
    host.create_web("web", &["--network", "blue"])?;
    let (flooder, asker) = (
        client(&host, "flooder", &["blue"])?,
        client(&host, "asker", &["blue"])?,
    );
    addresses(&asker, "web", 2)?;
    let _alone = flooding();
    let flood = std::thread::spawn(move || flooder.flood_names("web", FLOOD_TIME));
    let mut slowest = Duration::ZERO;
    let mut asked = 0;
    while !flood.is_finished() {
        let begun = Instant::now();
        let found = asker.lookup("web")?;
        slowest = slowest.max(begun.elapsed());
        // One for each family.
        asked += 2;
        ensure!(found.len() == 2, "{found:?}");
    }
    let flooded = flood
        .join()
        .map_err(|_panic| anyhow::anyhow!("the flood panicked"))??;
    ensure!(flooded > FLOOD * asked, "{flooded} beside {asked} are no flood");
    ensure!(slowest < Duration::from_secs(1), "{slowest:?}");
    host.finish()
}
