//! Who reaches whom: VIPs from everywhere, several networks, isolation, the way out, `host` and `none`.

use crate::{addresses, at, client, v4, with_blue};
use anyhow::{Context, Result, ensure};
use shoal_tests::{
    HOST_V4, HOST_V6, Host, Netns, OUTSIDE_V4, OUTSIDE_V6, Outside, PATIENCE, SLEEP, WEB, until,
};
use std::net::IpAddr;

/// The namespace of a service that names no network.
fn plain(host: &Host, name: &str, command: &[&str]) -> Result<Netns> {
    let mut words = vec![
        "service",
        "create",
        "-q",
        "--name",
        name,
        "--stop-signal",
        "KILL",
        "busybox:1",
    ];
    words.extend(command);
    host.shoal(&words)?;
    host.task_net(&host.running(name, 1)?[0])
}

#[test]
fn a_vip_answers_containers_its_own_service_and_the_host() -> Result<()> {
    let host = with_blue("vip")?;
    host.create_web("web", &["--network", "blue", "--replicas", "2"])?;
    let asker = client(&host, "asker", &["blue"])?;
    let vip = addresses(&asker, "web", 2)?;
    addresses(&asker, "tasks.web", 4)?;
    let own = host.task_net(&host.running("web", 2)?[0])?;
    for address in vip {
        for (who, net) in [
            ("a container", &asker),
            ("its own service", &own),
            ("the host", &host.net()?),
        ] {
            let pages = Host::pages(net, &at(address, 80), 40)?;
            ensure!(pages.len() == 2, "{who} at {address}: {pages:?}");
        }
        // Nobody listens on another port.
        ensure!(
            asker.get(&at(address, 81)).is_err(),
            "{address} answers on port 81"
        );
    }
    host.finish()
}

#[test]
fn networks_are_apart_and_a_service_may_be_in_several() -> Result<()> {
    let host = with_blue("apart")?;
    host.shoal(&["network", "create", "red"])?;
    host.create_web("web", &["--network", "blue"])?;
    host.create_web("both", &["--network", "blue", "--network", "red"])?;
    let (blue, red) = (client(&host, "b", &["blue"])?, client(&host, "r", &["red"])?);
    let web: Vec<IpAddr> = [addresses(&blue, "web", 2)?, addresses(&blue, "tasks.web", 2)?].concat();
    for address in &web {
        blue.get(&at(*address, 80))?;
        ensure!(
            red.get(&at(*address, 80)).is_err(),
            "{address} answers in another network"
        );
    }
    ensure!(red.lookup_code("web")? != 0, "a name is known in another network");
    let (in_blue, in_red) = (addresses(&blue, "both", 2)?, addresses(&red, "both", 2)?);
    for (net, there, elsewhere) in [(&blue, &in_blue, &in_red), (&red, &in_red, &in_blue)] {
        for address in there {
            net.get(&at(*address, 80))?;
        }
        for address in elsewhere {
            ensure!(
                net.get(&at(*address, 80)).is_err(),
                "{address} answers in another network"
            );
        }
    }
    // It finds what is in either.
    let both = host.task_net(&host.running("both", 1)?[0])?;
    both.get(&v4(&addresses(&both, "web", 2)?, 80)?)?;
    host.finish()
}

#[test]
fn the_way_out_is_the_hosts_and_internal_networks_have_none() -> Result<()> {
    let host = with_blue("out")?;
    let outside = Outside::new(&host)?;
    outside.serve(8000)?;
    host.shoal(&["network", "create", "--internal", "vault"])?;
    let open = client(&host, "open", &["blue"])?;
    let vault = client(&host, "vault", &["vault"])?;
    let no_network = plain(&host, "plain", &SLEEP)?;
    for (there, address) in [
        (format!("{OUTSIDE_V4}:8000"), HOST_V4),
        (format!("[{OUTSIDE_V6}]:8000"), HOST_V6),
    ] {
        for (who, net) in [("blue", &open), ("ingress", &no_network)] {
            let seen = until(&format!("{who} to reach {there}"), PATIENCE, || net.get(&there))?;
            ensure!(seen == address, "{who} was seen as {seen}");
        }
        ensure!(vault.get(&there).is_err(), "an internal network reaches {there}");
    }
    // Members of an internal network reach each other.
    host.create_web("web", &["--network", "vault"])?;
    vault.get(&v4(&addresses(&vault, "web", 2)?, 80)?)?;
    host.finish()
}

#[test]
fn a_subnet_outside_the_pools_has_the_same_ways_in_and_out() -> Result<()> {
    let host = with_blue("far")?;
    let outside = Outside::new(&host)?;
    outside.serve(8000)?;
    let ranges = ["--subnet", "172.31.77.0/24", "--subnet", "fd77:1::/64"];
    host.shoal(&[&["network", "create"], &ranges[..], &["far"]].concat())?;
    host.create_web("web", &["--network", "far", "-p", "8080:80"])?;
    let member = client(&host, "member", &["far"])?;
    let own = member.addresses()?;
    for range in ["172.31.77.", "fd77:1:"] {
        let inside = own.iter().any(|address| address.to_string().starts_with(range));
        ensure!(inside, "nothing of {range} in {own:?}");
    }
    for (there, address) in [
        (format!("{OUTSIDE_V4}:8000"), HOST_V4),
        (format!("[{OUTSIDE_V6}]:8000"), HOST_V6),
    ] {
        let seen = until(&format!("a member to reach {there}"), PATIENCE, || {
            member.get(&there)
        })?;
        ensure!(seen == address, "it was seen as {seen}");
    }
    for address in [addresses(&member, "web", 2)?, addresses(&member, "tasks.web", 2)?].concat() {
        for (who, net) in [("a member", &member), ("the host", &host.net()?)] {
            net.get(&at(address, 80))
                .with_context(|| format!("{who} at {address}"))?;
        }
    }
    for place in [format!("{HOST_V4}:8080"), format!("[{HOST_V6}]:8080")] {
        until(&format!("an answer at {place}"), PATIENCE, || {
            outside.net.get(&place)
        })?;
    }
    // It stays apart from the others.
    let blue = client(&host, "blue", &["blue"])?;
    for address in addresses(&member, "web", 2)? {
        ensure!(
            blue.get(&at(address, 80)).is_err(),
            "{address} answers in another network"
        );
    }
    host.finish()
}

#[test]
fn a_service_goes_out_by_the_network_that_has_a_way_and_is_itself_in_each() -> Result<()> {
    let host = with_blue("mixed")?;
    let outside = Outside::new(&host)?;
    outside.serve(8000)?;
    host.shoal(&["network", "create", "--internal", "vault"])?;
    let flags = ["--network", "vault", "--network", "blue", "-p", "8080:80"];
    host.create_web("web", &flags)?;
    let web = host.task_net(&host.running("web", 1)?[0])?;
    for (there, address) in [
        (format!("{OUTSIDE_V4}:8000"), HOST_V4),
        (format!("[{OUTSIDE_V6}]:8000"), HOST_V6),
    ] {
        let seen = until(&format!("web to reach {there}"), PATIENCE, || web.get(&there))?;
        ensure!(seen == address, "it was seen as {seen}");
    }
    for place in [format!("{HOST_V4}:8080"), format!("[{HOST_V6}]:8080")] {
        until(&format!("an answer at {place}"), PATIENCE, || {
            outside.net.get(&place)
        })?;
    }
    for network in ["vault", "blue"] {
        let member = client(&host, network, &[network])?;
        for address in [addresses(&member, "web", 2)?, addresses(&member, "tasks.web", 2)?].concat() {
            member.get(&at(address, 80)).with_context(|| network.to_owned())?;
        }
        // What it asks there it asks with its address there.
        member.tell_who_asks(8001)?;
        let own = addresses(&member, "tasks.web", 2)?;
        for address in addresses(&web, &format!("tasks.{network}"), 2)? {
            let seen: IpAddr = web.get(&at(address, 8001))?.parse()?;
            ensure!(own.contains(&seen), "in {network} it was seen as {seen}");
        }
    }
    host.finish()
}

#[test]
fn what_listens_on_the_host_alone_is_not_for_containers() -> Result<()> {
    let host = with_blue("closed")?;
    let outside = Outside::new(&host)?;
    host.net()?.listen("[::]:9999", drop)?;
    outside.net.connect(&format!("{HOST_V4}:9999"))?;
    let open = client(&host, "open", &["blue"])?;
    for address in [format!("{HOST_V4}:9999"), format!("[{HOST_V6}]:9999")] {
        ensure!(open.connect(&address).is_err(), "a container reaches {address}");
    }
    host.finish()
}

#[test]
fn members_of_ingress_do_not_meet() -> Result<()> {
    let host = Host::with_busybox("ingress")?;
    let own = plain(&host, "web", &WEB)?;
    let asker = plain(&host, "asker", &SLEEP)?;
    ensure!(asker.lookup_code("web")? != 0, "found by name");
    let mine = own.addresses()?;
    ensure!(!mine.is_empty(), "it has no address");
    for address in mine {
        ensure!(asker.get(&at(address, 80)).is_err(), "{address} is reached");
    }
    host.finish()
}

#[test]
fn host_and_none_are_what_they_say() -> Result<()> {
    let host = Host::with_busybox("modes")?;
    let shared = client(&host, "shared", &["host"])?;
    host.net()?.listen("127.0.0.1:9999", drop)?;
    shared.connect("127.0.0.1:9999")?;
    let alone = host.task_net(&{
        host.create("alone", &["--network", "none"], &SLEEP)?;
        host.running("alone", 1)?.remove(0)
    })?;
    ensure!(alone.addresses()?.is_empty(), "it has an address");
    ensure!(alone.connect("127.0.0.1:9999").is_err(), "it reaches the host");
    host.finish()
}
