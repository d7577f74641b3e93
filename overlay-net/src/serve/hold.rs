//! Sockets that hold a published port in the host's namespace, and who has it when it cannot be held.
//!
//! Called by `ports`. Nothing is sent or received here.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::io::Errno;
use rustix::net::sockopt::{set_ipv6_v6only, set_socket_reuseaddr};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::desired::{PortKey, Protocol};
use crate::engine::line;

/// Connections that wait to be accepted: the kernel's own most.
const BACKLOG: i32 = 4096;
/// Of a machine with more processes than this, not all are looked through for the owner of a port.
const PROCESSES_MOST: usize = 10_000;
/// The kernel keeps fifteen bytes of a process's name; what is no text takes three times as much.
const NAME_MOST: usize = 45;
/// `TCP_LISTEN`, as the kernel's tables show it.
const LISTENS: &str = "0A";

/// The sockets of a port: on its address, or one for each family on all of them.
pub(super) fn hold(key: &PortKey) -> io::Result<Vec<OwnedFd>> {
    let addresses = match key.address {
        Some(address) => vec![address],
        None => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
    };
    let mut held = Vec::new();
    for address in addresses {
        match bind(key.protocol, SocketAddr::new(address, key.port)) {
            Ok(socket) => held.push(socket),
            // The host has no IPv6.
            Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL)
                if address.is_unspecified() && address.is_ipv6() => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(held)
}

fn bind(protocol: Protocol, address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, kind, flags, None)?;
    if family == AddressFamily::INET6 {
        set_ipv6_v6only(&socket, true)?;
    }
    if protocol == Protocol::Tcp {
        // Connections of before that are not quite over are no reason to wait.
        set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    if protocol == Protocol::Tcp {
        rustix::net::listen(&socket, BACKLOG)?;
    }
    Ok(socket)
}

/// Why a port could not be had, for a user.
pub(super) fn reason(key: &PortKey, error: &io::Error) -> String {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    match (errno, key.address) {
        (Some(Errno::ADDRINUSE), _) => match owner(key) {
            Some(owner) => format!("{key} is taken by {owner}"),
            None => format!("{key} is taken by another process"),
        },
        (Some(Errno::ADDRNOTAVAIL), Some(address)) => {
            format!("{key}: this host does not have the address {address}")
        }
        _ => format!("{key} cannot be listened on: {error}"),
    }
}

/// The process that has a port, by its number and name.
fn owner(key: &PortKey) -> Option<String> {
    let table = match key.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    let text = |name: &str| fs::read_to_string(format!("/proc/self/net/{name}")).unwrap_or_default();
    let lines = [text(table), text(&format!("{table}6"))];
    let sockets = lines.iter().flat_map(|text| text.lines());
    let sockets: Vec<String> = sockets
        .filter_map(|line| inode_of(line, key))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let numbered = processes.filter(|process| process.file_name().as_encoded_bytes()[0].is_ascii_digit());
    let mut owners = numbered
        .take(PROCESSES_MOST)
        .filter(|process| has_one_of(&process.path(), &sockets));
    let process = owners.next()?;
    let name = fs::read(process.path().join("comm")).ok()?;
    let name = String::from_utf8_lossy(&name);
    Some(format!(
        "process {} ({})",
        process.file_name().to_string_lossy(),
        // A process may call itself anything.
        line(name.trim(), NAME_MOST)
    ))
}

/// The inode of the socket in a line of the kernel's table, if it has the port.
fn inode_of<'a>(line: &'a str, key: &PortKey) -> Option<&'a str> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let (_, port) = words.next()?.rsplit_once(':')?;
    let state = words.nth(1)?;
    let fits = u16::from_str_radix(port, 16) == Ok(key.port);
    let listens = key.protocol == Protocol::Udp || state == LISTENS;
    (fits && listens).then(|| words.nth(5)).flatten()
}

fn has_one_of(process: &Path, sockets: &[String]) -> bool {
    let files = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    let mut links = files.filter_map(|file| fs::read_link(file.path()).ok());
    links.any(|link| sockets.iter().any(|socket| link.as_os_str() == socket.as_str()))
}

/// An address to send from to another one of the same family.
pub(super) fn any_for(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::{hold, inode_of, reason};
    use crate::desired::{PortKey, Protocol};
    use std::net::{Ipv4Addr, TcpListener};

    #[test]
    fn lines_of_the_kernel_are_understood() {
        let key = |protocol| PortKey {
            protocol,
            address: None,
            port: 8080,
        };
        let line = |state: &str| {
            format!(
                "  0: 00000000:1F90 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  0 0 4711 1 x"
            )
        };
        for (protocol, state, expect) in [
            (Protocol::Tcp, "0A", Some("4711")),
            (Protocol::Tcp, "01", None),
            (Protocol::Udp, "07", Some("4711")),
        ] {
            assert_eq!(
                inode_of(&line(state), &key(protocol)),
                expect,
                "{protocol:?} {state}"
            );
        }
        let other = PortKey {
            port: 8081,
            ..key(Protocol::Tcp)
        };
        assert_eq!(inode_of(&line("0A"), &other), None);
        assert_eq!(inode_of("sl local_address", &other), None);
    }

    #[test]
    fn who_has_a_port_is_said() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut key = PortKey {
            protocol: Protocol::Tcp,
            address: Some(Ipv4Addr::LOCALHOST.into()),
            port: taken.local_addr().unwrap().port(),
        };
        let error = hold(&key).unwrap_err();
        let expect = format!("{key} is taken by process {} (", std::process::id());
        assert!(
            reason(&key, &error).starts_with(&expect),
            "{}",
            reason(&key, &error)
        );
        key.address = Some("192.0.2.77".parse().unwrap());
        let error = hold(&key).unwrap_err();
        assert!(reason(&key, &error).contains("does not have the address"));
        drop(taken);
        key.address = Some(Ipv4Addr::LOCALHOST.into());
        assert_eq!(hold(&key).unwrap().len(), 1);
    }
}
