//! The checks of a network's spec, of the cluster's pools, of names in networks and of how a container resolves others.
//!
//! Whether a subnet is free is a question to the store, and asked by `request`.

use super::{Faults, labels, names};
use crate::{
    model::{AddressPools, DnsSpec, INGRESS, NetworkMode, NetworkSpec, TaskSpec},
    refusal::FieldFault,
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Names that mean something else in a service's networks, or in Docker's files.
const RESERVED_NAMES: [&str; 5] = [INGRESS, "host", "none", "bridge", "default"];

/// Networks of one service: each is a link of every container.
const MAX_NETWORKS: usize = 32;
/// Further names of a service in one network.
const MAX_ALIASES: usize = 64;
/// As resolv.conf, whose own bounds are three and six, with room.
const MAX_DNS_ENTRIES: usize = 32;
/// Lines of /etc/hosts.
const MAX_HOSTS: usize = 1024;
/// Options of a driver, which are only kept.
const MAX_OPTIONS: usize = 64;
const MAX_POOLS: usize = 16;

/// The checks of one network's spec.
pub fn network(spec: &NetworkSpec) -> Vec<FieldFault> {
    let mut faults = Faults::default();
    names::check_looked_up(&mut faults, "name", &spec.name);
    body(&mut faults, spec);
    faults.found
}

/// The same without the name where a stack gives it one.
pub(super) fn body(faults: &mut Faults, spec: &NetworkSpec) {
    if RESERVED_NAMES.contains(&spec.name.as_str()) {
        faults.invalid(
            "name",
            format!("{:?} is not the name of a network of one's own", spec.name),
        );
    }
    labels(faults, "labels", &spec.labels);
    if spec.ingress {
        faults.invalid(
            "ingress",
            format!("the cluster has its network {INGRESS:?} already"),
        );
    }
    if spec.options.len() > MAX_OPTIONS {
        faults.expected("options", "at most 64", spec.options.len());
    }
    labels(faults, "options", &spec.options);
    for (n, subnet) in spec.subnets.iter().enumerate() {
        let field = format!("subnets[{n}]");
        self::subnet(faults, &field, *subnet);
        let same = |other: &IpNet| other.addr().is_ipv4() == subnet.addr().is_ipv4();
        if spec.subnets[..n].iter().any(same) {
            faults.invalid(field.as_str(), "a network has one subnet of each family at most");
        }
        if matches!(subnet, IpNet::V6(_)) && !spec.ipv6 {
            faults.invalid(
                field,
                format!("{subnet} is of a network without IPv6: ask for it"),
            );
        }
    }
}

fn subnet(faults: &mut Faults, field: &str, subnet: IpNet) {
    // Five tasks and a service fit into the smallest; beyond the largest nobody has that many.
    let (lengths, expected) = match subnet {
        IpNet::V4(_) => (8..=29, "a length of /8 to /29"),
        IpNet::V6(_) => (48..=112, "a length of /48 to /112"),
    };
    if !lengths.contains(&subnet.prefix_len()) {
        faults.expected(field, expected, subnet);
    }
    if subnet.addr() != subnet.network() {
        faults.expected(field, &format!("{}", subnet.trunc()), subnet);
    }
    if let Some(what) = reserved(subnet) {
        faults.invalid(field, format!("{subnet} is {what}"));
    }
}

/// What is in the range that is nobody's to give, if anything.
fn reserved(subnet: IpNet) -> Option<&'static str> {
    let v4 = |a, b, c, d, length| IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length));
    let v6 = |first, length| {
        IpNet::V6(Ipv6Net::new_assert(
            Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0),
            length,
        ))
    };
    let all = [
        (v4(0, 0, 0, 0, 8), "of \"this network\" (0.0.0.0/8)"),
        (v4(127, 0, 0, 0, 8), "for loopback"),
        (v4(169, 254, 0, 0, 16), "link-local"),
        (v4(224, 0, 0, 0, 4), "for multicast"),
        (v4(240, 0, 0, 0, 4), "reserved"),
        (v6(0, 8), "reserved"),
        (v6(0xfe80, 10), "link-local"),
        (v6(0xff00, 8), "for multicast"),
    ];
    all.into_iter()
        .find(|(range, _)| range.contains(&subnet) || subnet.contains(range))
        .map(|(_, what)| what)
}

/// The checks of where a cluster's subnets come from.
pub(super) fn pools(faults: &mut Faults, pools: &AddressPools) {
    if pools.v4.is_empty() || pools.v4.len() > MAX_POOLS {
        faults.expected("pools.v4", "1 to 16 ranges", pools.v4.len());
    }
    let length = pools.v4_subnet_length;
    if !(8..=29).contains(&length) {
        faults.expected("pools.v4_subnet_length", "8 to 29", length);
    }
    for (n, pool) in pools.v4.iter().enumerate() {
        let field = format!("pools.v4[{n}]");
        if pool.prefix_len() < 8 || pool.prefix_len() > length {
            faults.expected(field.as_str(), &format!("a length of /8 to /{length}"), pool);
        }
        if pool.addr() != pool.network() {
            faults.expected(field.as_str(), &pool.trunc().to_string(), pool);
        }
        if let Some(what) = reserved(IpNet::V4(*pool)) {
            faults.invalid(field.as_str(), format!("{pool} is {what}"));
        }
        if let Some(other) = pools.v4[..n]
            .iter()
            .find(|other| other.contains(pool) || pool.contains(*other))
        {
            faults.invalid(field, format!("{pool} meets {other}"));
        }
    }
    if let Some(pool) = pools.v6 {
        let local = Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0), 8);
        if pool.prefix_len() != 48 || !local.contains(&pool) || pool.addr() != pool.network() {
            faults.expected("pools.v6", "a unique local /48, of fd00::/8", pool);
        }
    }
}

/// The networks that tasks join, and the names they have there.
pub(super) fn uses(faults: &mut Faults, task: &TaskSpec) {
    let networks = &task.networks;
    match task.container.network {
        NetworkMode::Networks => {}
        NetworkMode::Host | NetworkMode::None if networks.is_empty() => {}
        NetworkMode::Host => faults.invalid(
            "task.networks",
            "a container on the host's network joins no other",
        ),
        NetworkMode::None => faults.invalid("task.networks", "a container without a network joins none"),
    }
    if networks.len() > MAX_NETWORKS {
        faults.expected("task.networks", "at most 32", networks.len());
    }
    let mut named = BTreeSet::new();
    for (n, used) in networks.iter().enumerate() {
        let field = format!("task.networks[{n}]");
        if used.network.is_empty() || used.network.len() > super::MAX_WORD_BYTES {
            faults.expected(
                format!("{field}.network"),
                "a network's name or id",
                format!("{:.64?}", used.network),
            );
        }
        if !named.insert(&used.network) {
            faults.invalid(
                format!("{field}.network"),
                format!("network {:?} is named twice", used.network),
            );
        }
        if used.aliases.len() > MAX_ALIASES {
            faults.expected(format!("{field}.aliases"), "at most 64", used.aliases.len());
        }
        for (m, alias) in used.aliases.iter().enumerate() {
            names::check_dns(faults, &format!("{field}.aliases[{m}]"), alias);
        }
    }
}

/// How a container resolves what is no name of the cluster's.
pub(super) fn dns(faults: &mut Faults, dns: &DnsSpec) {
    let field = |name: &str| format!("task.container.dns.{name}");
    for (name, count) in [
        ("servers", dns.servers.len()),
        ("search", dns.search.len()),
        ("options", dns.options.len()),
    ] {
        if count > MAX_DNS_ENTRIES {
            faults.expected(field(name), "at most 32", count);
        }
    }
    for (n, server) in dns.servers.iter().enumerate() {
        if server.is_unspecified() || server.is_multicast() {
            faults.expected(field(&format!("servers[{n}]")), "the address of one host", server);
        }
    }
    for (n, domain) in dns.search.iter().enumerate() {
        // A single dot switches the search off, as in resolv.conf.
        if domain != "." {
            names::check_dns(
                faults,
                &field(&format!("search[{n}]")),
                domain.trim_end_matches('.'),
            );
        }
    }
    for (n, option) in dns.options.iter().enumerate() {
        let (name, value) = option.split_once(':').unwrap_or((option, "0"));
        let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let number = !value.is_empty() && value.len() <= 5 && value.bytes().all(|b| b.is_ascii_digit());
        if name.is_empty() || name.len() > 32 || !name.chars().all(word) || !number {
            faults.expected(
                field(&format!("options[{n}]")),
                "an option of resolv.conf such as ndots:2",
                format!("{option:.64?}"),
            );
        }
    }
}

/// Extra lines of /etc/hosts.
pub(super) fn hosts(faults: &mut Faults, hosts: &[(String, String)]) {
    if hosts.len() > MAX_HOSTS {
        faults.expected("task.container.extra_hosts", "at most 1024", hosts.len());
    }
    for (n, (name, address)) in hosts.iter().enumerate() {
        let field = format!("task.container.extra_hosts[{n}]");
        names::check_dns(faults, &field, name);
        if address != "host-gateway" && address.parse::<IpAddr>().is_err() {
            faults.expected(field, "an IP address or host-gateway", format!("{address:.64?}"));
        }
    }
}
