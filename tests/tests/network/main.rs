//! The network of a node's containers, as their users meet it: names, VIPs, published ports, and what becomes of them.
//!
//! Each test has a host of its own. What is asked is asked from where a user would: a container, the host, outside.

mod absence;
mod bad;
mod firewall;
mod heal;
mod lifecycle;
mod names;
mod ports;
mod reach;
mod stacks;

use anyhow::{Context, Result, ensure};
use shoal_tests::{Host, Netns, PATIENCE, until};
use std::{
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Held by a test that takes what the machine has to give: what it asks for in a time is not to be had beside another.
static FLOOD: Mutex<()> = Mutex::new(());

/// A host with a cluster, `busybox:1` and the network `blue`.
fn with_blue(name: &str) -> Result<Host> {
    let host = Host::with_busybox(name)?;
    host.shoal(&["network", "create", "blue"])?;
    Ok(host)
}

/// Loads the image of the server that answers datagrams as well.
fn load_hello(host: &Host) -> Result<()> {
    let archive = shoal_tests::hello_image(&shoal_tests::dist())?;
    host.shoal(&["image", "load", "--input", &archive.display().to_string()])
        .map(drop)
}

/// Creates a service of that server, on TCP and UDP port 80.
fn create_hello(host: &Host, name: &str, flags: &[&str]) -> Result<()> {
    let mut words = vec!["service", "create", "-q", "--name", name, "--stop-signal", "KILL"];
    words.extend(flags);
    words.extend(["hello:1", "serve", "[::]:80"]);
    host.shoal(&words).map(drop)
}

/// The namespace of the one container of a service that only waits.
fn client(host: &Host, name: &str, networks: &[&str]) -> Result<Netns> {
    let mut flags = Vec::new();
    for network in networks {
        flags.extend(["--network", network]);
    }
    host.create(name, &flags, &shoal_tests::SLEEP)?;
    host.task_net(&host.running(name, 1)?[0])
}

/// The addresses of a name, once there are so many.
fn addresses(from: &Netns, name: &str, count: usize) -> Result<Vec<IpAddr>> {
    until(&format!("{count} addresses of {name}"), PATIENCE, || {
        let found = from.lookup(name)?;
        ensure!(found.len() == count, "{found:?}");
        Ok(found)
    })
}

/// The only flood at a time.
fn flooding() -> MutexGuard<'static, ()> {
    FLOOD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Address and port as they are connected to.
fn at(address: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(address, port).to_string()
}

/// The first of some addresses that is of IPv4, with this port.
fn v4(found: &[IpAddr], port: u16) -> Result<String> {
    let first = found.iter().find(|address| address.is_ipv4());
    Ok(at(*first.with_context(|| format!("{found:?}"))?, port))
}
