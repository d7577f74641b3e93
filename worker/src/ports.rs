//! Who listens on a port of this host, so that a task that publishes it is refused with a name.
//!
//! Reads `/proc/net` and, only where the port is taken, the open files of processes. The parsing is pure.

use crate::name::task_of_text;
use shoal_core::model::{PortMode, Protocol, PublishedPort};
use std::path::Path;

/// Processes looked at when the holder of a port is sought: the kernel's default `pid_max`.
const MOST_PROCESSES: usize = 32_768;
/// A listening TCP socket's state in `/proc/net/tcp`; an unconnected UDP socket's in `/proc/net/udp`.
const TCP_LISTEN: &str = "0A";
const UDP_UNCONNECTED: &str = "07";

/// The sentence about the first published host port that something listens on already.
pub fn taken(ports: &[PublishedPort]) -> Option<String> {
    ports
        .iter()
        .filter(|port| port.mode == PortMode::Host)
        .find_map(|port| {
            let socket = listener(port.protocol, port.published)?;
            let holder = holder(&socket).unwrap_or_else(|| "a process that could not be named".to_owned());
            let protocol = name(port.protocol);
            Some(format!(
                "port {}/{protocol} is in use on this node by {holder}",
                port.published
            ))
        })
}

fn name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

fn listener(protocol: Protocol, port: u16) -> Option<String> {
    let state = match protocol {
        Protocol::Tcp => TCP_LISTEN,
        Protocol::Udp => UDP_UNCONNECTED,
    };
    ["", "6"].iter().find_map(|family| {
        let path = format!("/proc/net/{}{family}", name(protocol));
        let table = std::fs::read_to_string(path).ok()?;
        find_listener(&table, state, port)
    })
}

/// The inode of the socket that has the port, from a table of `/proc/net`.
fn find_listener(table: &str, state: &str, port: u16) -> Option<String> {
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, local_port) = fields.get(1)?.rsplit_once(':')?;
        let same = u16::from_str_radix(local_port, 16) == Ok(port) && fields.get(3) == Some(&state);
        same.then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
    })
}

/// The process that has the socket open: a task of this cluster, or a program and its pid.
fn holder(inode: &str) -> Option<String> {
    let wanted = format!("socket:[{inode}]");
    std::fs::read_dir("/proc")
        .ok()?
        .flatten()
        .filter(|entry| {
            entry
                .file_name()
                .as_encoded_bytes()
                .iter()
                .all(u8::is_ascii_digit)
        })
        .take(MOST_PROCESSES)
        .find(|entry| has_open(&entry.path(), &wanted))
        .map(|entry| describe(&entry.path()))
}

fn has_open(process: &Path, wanted: &str) -> bool {
    std::fs::read_dir(process.join("fd")).is_ok_and(|files| {
        files
            .flatten()
            .any(|file| std::fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == wanted))
    })
}

fn describe(process: &Path) -> String {
    let pid = process
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let command = std::fs::read_to_string(process.join("comm")).unwrap_or_default();
    let groups = std::fs::read_to_string(process.join("cgroup")).unwrap_or_default();
    let program = format!("{} (pid {pid})", command.trim());
    match task_in_groups(&groups) {
        Some(task) => format!("{program} of task {task}"),
        None => program,
    }
}

fn task_in_groups(groups: &str) -> Option<String> {
    groups
        .lines()
        .flat_map(|line| line.split('/'))
        .find_map(|part| task_of_text(part.trim()))
        .map(|(task, _)| task.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{name::container_of, testing::assigned};

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0\n   1: 0100007F:0050 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0\n";

    #[test]
    fn only_listening_sockets_hold_a_port() {
        assert_eq!(find_listener(TABLE, TCP_LISTEN, 8080).as_deref(), Some("4711"));
        assert_eq!(find_listener(TABLE, TCP_LISTEN, 80), None);
        assert_eq!(find_listener("", TCP_LISTEN, 80), None);
    }

    #[test]
    fn a_port_in_use_is_named_with_its_holder() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let published = socket.local_addr().unwrap().port();
        let port = |mode| PublishedPort {
            target: published,
            published,
            protocol: Protocol::Tcp,
            mode,
            host_ip: None,
        };
        let text = taken(&[port(PortMode::Host)]).unwrap();
        assert!(text.contains(&format!("pid {}", std::process::id())), "{text}");
        assert!(
            text.starts_with(&format!("port {published}/tcp is in use")),
            "{text}"
        );
        assert_eq!(taken(&[port(PortMode::Ingress)]), None);
        drop(socket);
        assert_eq!(taken(&[port(PortMode::Host)]), None);
    }

    #[test]
    fn a_task_of_ours_is_recognised_by_its_cgroup() {
        let container = container_of(&assigned(1).id, 0).unwrap();
        let groups = format!("3:memory:/shoal-abcd/{container}\n0::/\n");
        assert_eq!(task_in_groups(&groups), Some(assigned(1).id.to_string()));
        assert_eq!(task_in_groups("0::/user.slice\n"), None);
    }
}
