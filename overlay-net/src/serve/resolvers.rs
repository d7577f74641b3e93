//! Whom to ask outside: the host's resolvers as its resolv.conf has them now.
//!
//! Looked at again when a question is to be passed on, and not more often than a few times a second: a file that
//! nobody asks for needs no watching.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::Read as _;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The port of DNS.
pub(super) const PORT: u16 = 53;
/// As many as libc asks.
const MOST: usize = 3;
/// No such file is longer; what is beyond is not read.
const FILE_MOST: u64 = 64 << 10;
/// How old what is known may be.
const AGE: Duration = Duration::from_millis(250);

/// The host's resolvers.
#[derive(Debug)]
pub(super) struct HostResolvers {
    path: PathBuf,
    known: RefCell<Known>,
}

#[derive(Debug, Default)]
struct Known {
    looked: Option<Instant>,
    /// What the file was like when it was read.
    mark: Option<Mark>,
    servers: Rc<[SocketAddr]>,
}

#[derive(Debug, PartialEq, Eq)]
struct Mark {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl HostResolvers {
    pub(super) fn of(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            known: RefCell::default(),
        }
    }

    /// Those that there are now; none if the host has none.
    pub(super) fn now(&self, now: Instant) -> Rc<[SocketAddr]> {
        let mut known = self.known.borrow_mut();
        if known
            .looked
            .is_none_or(|then| now.saturating_duration_since(then) >= AGE)
        {
            known.looked = Some(now);
            let mark = mark(&self.path);
            if mark.is_none() || mark != known.mark {
                known.servers = read(&self.path).into();
                known.mark = mark;
            }
        }
        Rc::clone(&known.servers)
    }
}

fn mark(path: &Path) -> Option<Mark> {
    let metadata = fs::metadata(path).ok()?;
    Some(Mark {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        changed: (metadata.mtime(), metadata.mtime_nsec()),
    })
}

fn read(path: &Path) -> Vec<SocketAddr> {
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_MOST).read_to_end(&mut text));
    if let Err(error) = read {
        tracing::warn!(%error, path = %path.display(), "the host's resolvers cannot be read");
    }
    parse(&String::from_utf8_lossy(&text))
}

/// The servers that a resolv.conf names.
fn parse(text: &str) -> Vec<SocketAddr> {
    let mut servers = Vec::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        if words.next() != Some("nameserver") {
            continue;
        }
        if let Some(server) = words.next().and_then(server)
            && servers.len() < MOST
        {
            servers.push(server);
        }
    }
    servers
}

/// An address, of IPv6 with the link that it is on, if it is only on one.
fn server(text: &str) -> Option<SocketAddr> {
    let Some((address, link)) = text.split_once('%') else {
        return Some(SocketAddr::new(text.parse::<IpAddr>().ok()?, PORT));
    };
    let address: Ipv6Addr = address.parse().ok()?;
    let by_name = || {
        let plain = !link.contains('/') && !link.starts_with('.');
        let index = fs::read_to_string(format!("/sys/class/net/{link}/ifindex")).ok();
        index.filter(|_| plain)?.trim().parse().ok()
    };
    let link = link.parse().ok().or_else(by_name)?;
    Some(SocketAddrV6::new(address, PORT, 0, link).into())
}

#[cfg(test)]
mod tests {
    use super::{AGE, HostResolvers, parse};
    use proptest::prelude::*;
    use std::time::Instant;

    #[test]
    fn servers_are_found_among_the_rest() {
        for (text, expect) in [
            ("", ""),
            ("# nameserver 192.0.2.1\nsearch a b\noptions ndots:5\n", ""),
            ("nameserver 127.0.0.53\n", "127.0.0.53:53"),
            (
                " nameserver\t192.0.2.1 # first\nnameserver ::1",
                "192.0.2.1:53 [::1]:53",
            ),
            (
                "nameserver one\nnameserver\nnameserver fe80::1%7",
                "[fe80::1%7]:53",
            ),
            ("nameserver fe80::1%no/../such", ""),
            (
                "nameserver 1.0.0.1\nnameserver 1.0.0.2\nnameserver 1.0.0.3\nnameserver 1.0.0.4",
                "1.0.0.1:53 1.0.0.2:53 1.0.0.3:53",
            ),
        ] {
            let found: Vec<_> = parse(text).iter().map(ToString::to_string).collect();
            assert_eq!(found.join(" "), expect, "{text}");
        }
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resolv.conf");
        let resolvers = HostResolvers::of(&path);
        let start = Instant::now();
        assert!(resolvers.now(start).is_empty());
        std::fs::write(&path, "nameserver 192.0.2.1\n").unwrap();
        assert!(resolvers.now(start).is_empty(), "not looked at again so soon");
        assert_eq!(resolvers.now(start + AGE).len(), 1);
        std::fs::write(&path, "nameserver 192.0.2.1\nnameserver 192.0.2.2\n").unwrap();
        assert_eq!(resolvers.now(start + AGE * 2).len(), 2);
        std::fs::remove_file(&path).unwrap();
        assert!(resolvers.now(start + AGE * 3).is_empty());
    }

    proptest! {
        #[test]
        fn any_text_has_few_servers(text in "\\PC*") {
            prop_assert!(parse(&text).len() <= 3);
        }
    }
}
