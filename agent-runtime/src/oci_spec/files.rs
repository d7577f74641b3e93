//! The contents of the files that every container gets from outside its image: `/etc/hostname`, `/etc/hosts`,
//! `/etc/resolv.conf`.

use super::{SpecError, command};
use crate::container::spec::{ContainerSpec, Network};
use crate::runtime::facts::HostFacts;

/// What Docker writes into `/etc/hosts` of a container that does not see the host's network.
const OWN_HOSTS: &str = "127.0.0.1\tlocalhost\n\
    ::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::0\tip6-localnet\n\
    ff00::0\tip6-mcastprefix\n\
    ff02::1\tip6-allnodes\n\
    ff02::2\tip6-allrouters\n";

/// The host's own files, as read when the container is created; empty where there is none.
#[derive(Debug, Clone, Default)]
pub struct HostFiles {
    pub hosts: String,
    pub resolv_conf: String,
}

/// The contents of the container's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkFiles {
    pub hostname: String,
    pub hosts: String,
    pub resolv_conf: String,
}

/// Writes them from the host's and the spec.
pub fn network_files(
    spec: &ContainerSpec,
    host: &HostFacts,
    files: &HostFiles,
) -> Result<NetworkFiles, SpecError> {
    let hostname = command::hostname(spec, host)?;
    Ok(NetworkFiles {
        hosts: hosts(spec, files)?,
        resolv_conf: resolv_conf(spec, files)?,
        hostname: format!("{hostname}\n"),
    })
}

fn hosts(spec: &ContainerSpec, files: &HostFiles) -> Result<String, SpecError> {
    let mut text = match spec.network {
        Network::Host => with_newline(&files.hosts),
        Network::None => OWN_HOSTS.to_owned(),
    };
    for (index, (name, address)) in spec.dns.extra_hosts.iter().enumerate() {
        let field = format!("dns.extra_hosts[{index}]");
        word(&field, name)?;
        if address.parse::<std::net::IpAddr>().is_err() {
            return Err(SpecError::new(field, format!("{address:?} is not an IP address")));
        }
        text.push_str(&format!("{address}\t{name}\n"));
    }
    Ok(text)
}

/// The host's, with what the spec names in the place of the host's lines of that kind.
fn resolv_conf(spec: &ContainerSpec, files: &HostFiles) -> Result<String, SpecError> {
    let dns = &spec.dns;
    let replaced = |keyword: &str| match keyword {
        "nameserver" => !dns.servers.is_empty(),
        "search" | "domain" => !dns.search.is_empty(),
        "options" => !dns.options.is_empty(),
        _ => false,
    };
    let mut text: String = with_newline(&files.resolv_conf)
        .split_inclusive('\n')
        .filter(|line| !replaced(line.split_whitespace().next().unwrap_or("")))
        .collect();
    for (index, server) in dns.servers.iter().enumerate() {
        if server.parse::<std::net::IpAddr>().is_err() {
            let field = format!("dns.servers[{index}]");
            return Err(SpecError::new(field, format!("{server:?} is not an IP address")));
        }
        text.push_str(&format!("nameserver {server}\n"));
    }
    for (keyword, words) in [("search", &dns.search), ("options", &dns.options)] {
        for (index, one) in words.iter().enumerate() {
            word(&format!("dns.{keyword}[{index}]"), one)?;
        }
        if !words.is_empty() {
            text.push_str(&format!("{keyword} {}\n", words.join(" ")));
        }
    }
    Ok(text)
}

fn word(field: &str, text: &str) -> Result<(), SpecError> {
    let bad = |c: char| c.is_whitespace() || c.is_control() || c == '#';
    if text.is_empty() || text.contains(bad) {
        return Err(SpecError::new(
            field,
            format!("expected one word, found {text:?}"),
        ));
    }
    Ok(())
}

fn with_newline(text: &str) -> String {
    let mut text = text.to_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text
}
