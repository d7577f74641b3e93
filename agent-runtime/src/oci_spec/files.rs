//! The contents of the files that every container gets from outside its image: `/etc/hostname`, `/etc/hosts`,
//! `/etc/resolv.conf`.

use std::net::IpAddr;

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

/// Where a private network's names are answered, as Docker's are.
const RESOLVER: &str = "nameserver 127.0.0.11\n";

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
        hosts: hosts(spec, files, &hostname)?,
        resolv_conf: resolv_conf(spec, files)?,
        hostname: format!("{hostname}\n"),
    })
}

fn hosts(spec: &ContainerSpec, files: &HostFiles, hostname: &str) -> Result<String, SpecError> {
    let mut text = match spec.network {
        Network::Host => with_newline(&files.hosts),
        Network::None | Network::Private => OWN_HOSTS.to_owned(),
    };
    for (index, (name, address)) in spec.dns.extra_hosts.iter().enumerate() {
        let field = format!("dns.extra_hosts[{index}]");
        word(&field, name)?;
        ip(&field, address)?;
        text.push_str(&format!("{address}\t{name}\n"));
    }
    if spec.network != Network::Private && !spec.addresses.is_empty() {
        return Err(SpecError::new(
            "addresses",
            "only a container on a private network has addresses of its own; leave them out",
        ));
    }
    for address in &spec.addresses {
        text.push_str(&format!("{address}\t{hostname}\n"));
    }
    Ok(text)
}

/// The host's, with what the spec names in the place of the host's lines of that kind.
fn resolv_conf(spec: &ContainerSpec, files: &HostFiles) -> Result<String, SpecError> {
    let dns = &spec.dns;
    let mut servers = String::new();
    for (index, server) in dns.servers.iter().enumerate() {
        ip(&format!("dns.servers[{index}]"), server)?;
        servers.push_str(&format!("nameserver {server}\n"));
    }
    let mut options = dns.options.clone();
    if spec.network == Network::Private {
        RESOLVER.clone_into(&mut servers);
        // A name of a network has no dot, and is to be asked for as it is before anything is added to it.
        let said = |text: &str| text.split_whitespace().any(|word| word.starts_with("ndots:"));
        if options.is_empty() {
            options = lines_of(files, "options").map(str::to_owned).collect();
        }
        if !options.iter().any(|option| said(option)) {
            options.push("ndots:0".to_owned());
        }
    }
    let replaced = |keyword: &str| match keyword {
        "nameserver" => !servers.is_empty(),
        "search" | "domain" => !dns.search.is_empty(),
        "options" => !options.is_empty(),
        // What the host's file says of itself is not true of this one.
        other => spec.network == Network::Private && other.starts_with(['#', ';']),
    };
    let mut text: String = with_newline(&files.resolv_conf)
        .split_inclusive('\n')
        .filter(|line| !replaced(line.split_whitespace().next().unwrap_or("")))
        .collect();
    text.push_str(&servers);
    for (keyword, words, checked) in [
        ("search", &dns.search, &dns.search),
        ("options", &options, &dns.options),
    ] {
        for (index, one) in checked.iter().enumerate() {
            word(&format!("dns.{keyword}[{index}]"), one)?;
        }
        if !words.is_empty() && *words != ["."] {
            text.push_str(&format!("{keyword} {}\n", words.join(" ")));
        }
    }
    Ok(text)
}

/// What the host's file says after a keyword, line by line.
fn lines_of<'a>(files: &'a HostFiles, keyword: &'a str) -> impl Iterator<Item = &'a str> {
    let rest = move |line: &'a str| line.trim().strip_prefix(keyword);
    let words = files.resolv_conf.lines().filter_map(rest);
    words
        .filter(|rest| rest.starts_with(char::is_whitespace))
        .map(str::trim)
}

fn ip(field: &str, text: &str) -> Result<(), SpecError> {
    match text.parse::<IpAddr>() {
        Ok(_address) => Ok(()),
        Err(_not_one) => Err(SpecError::new(field, format!("{text:?} is not an IP address"))),
    }
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
