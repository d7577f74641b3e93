//! Published ports: the short form `[[address:]published:]target[/protocol]`, the long one, and how they are shown.
//!
//! As in Swarm a port is published on every node unless its mode is host, and one without a published number is
//! given one.

use shoal_core::model::{PortMode, Protocol, PublishedPort};
use std::{net::IpAddr, ops::RangeInclusive};

/// What one value of `--publish` asks for: several ports where it names ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ports(pub(crate) Vec<PublishedPort>);

/// What one value of `--publish-rm` names. As in Docker the target counts, and what else is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PortPattern {
    ports: Vec<PublishedPort>,
    any_protocol: bool,
}

impl PortPattern {
    pub(crate) fn matches(&self, port: &PublishedPort) -> bool {
        self.ports.iter().any(|named| {
            named.target == port.target
                && (self.any_protocol || named.protocol == port.protocol)
                && (named.published == 0 || named.published == port.published)
        })
    }
}

pub(crate) fn port_pattern(text: &str) -> Result<PortPattern, String> {
    Ok(PortPattern {
        ports: ports(text)?.0,
        any_protocol: !text.contains('/') && !text.contains("protocol="),
    })
}

/// A value as it was written, ranges and all.
struct Written<'a> {
    address: &'a str,
    published: &'a str,
    target: &'a str,
    protocol: &'a str,
    mode: PortMode,
}

pub(crate) fn ports(text: &str) -> Result<Ports, String> {
    let written = if text.contains('=') {
        long(text)?
    } else {
        short(text)
    };
    let fail = || format!("expected a port such as 8080:80, 80 or 53:53/udp, found {text:?}");
    let target = range(written.target).ok_or_else(fail)?;
    let published: Vec<u16> = match written.published {
        "" | "0" => vec![0; target.len()],
        numbers => range(numbers).ok_or_else(fail)?.collect(),
    };
    if published.len() != target.len() {
        return Err(format!(
            "the ranges {} and {} differ in length",
            written.published, written.target
        ));
    }
    let protocol = match written.protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        other => return Err(format!("expected the protocol tcp or udp, found {other:?}")),
    };
    let host_ip = host_address(written.address)?;
    let pairs = published.into_iter().zip(target);
    let ports = pairs.map(|(published, target)| PublishedPort {
        target,
        published,
        protocol,
        mode: written.mode,
        host_ip,
    });
    Ok(Ports(ports.collect()))
}

fn short(text: &str) -> Written<'_> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (rest, target) = ports.rsplit_once(':').unwrap_or(("", ports));
    let (address, published) = rest.rsplit_once(':').unwrap_or(("", rest));
    Written {
        address,
        published,
        target,
        protocol,
        mode: PortMode::Ingress,
    }
}

fn long(text: &str) -> Result<Written<'_>, String> {
    let mut written = Written {
        address: "",
        published: "",
        target: "",
        protocol: "tcp",
        mode: PortMode::Ingress,
    };
    for part in text.split(',') {
        match part.split_once('=') {
            Some(("target", value)) => written.target = value,
            Some(("published", value)) => written.published = value,
            Some(("protocol", value)) => written.protocol = value,
            Some(("host_ip" | "host-ip", value)) => written.address = value,
            Some(("mode", "host")) => written.mode = PortMode::Host,
            Some(("mode", "ingress")) => written.mode = PortMode::Ingress,
            Some(("mode", other)) => {
                return Err(format!("expected mode=ingress or mode=host, found {other:?}"));
            }
            _ => {
                return Err(format!(
                    "expected published=, target=, protocol=, mode= or host_ip=, found {part:?}"
                ));
            }
        }
    }
    Ok(written)
}

/// The address to publish on; none, or one that stands for all, is all.
fn host_address(text: &str) -> Result<Option<IpAddr>, String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let bare = bare.unwrap_or(text);
    if bare.is_empty() {
        return Ok(None);
    }
    let fail = |_error| format!("expected an address of the host such as 127.0.0.1 or [::1], found {text:?}");
    let address: IpAddr = bare.parse().map_err(fail)?;
    Ok((!address.is_unspecified()).then_some(address))
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    (first > 0 && first <= last).then_some(first..=last)
}

/// As `service ls` shows ports: `*:8080->80/tcp`, neighbours together as `*:8080-8081->80-81/tcp`.
pub(crate) fn ports_text(ports: &[PublishedPort]) -> String {
    let mut sorted: Vec<&PublishedPort> = ports.iter().collect();
    sorted.sort_by_key(|port| {
        (
            port.host_ip,
            port.protocol,
            port.mode,
            port.published,
            port.target,
        )
    });
    let mut runs: Vec<(&PublishedPort, u16)> = Vec::new();
    for port in sorted {
        match runs.last_mut() {
            Some((first, more)) if follows(first, *more, port) => *more += 1,
            _ => runs.push((port, 0)),
        }
    }
    let texts: Vec<String> = runs
        .into_iter()
        .map(|(first, more)| run_text(first, more))
        .collect();
    texts.join(", ")
}

/// Is it the port behind a run of `more` ports after the first?
fn follows(first: &PublishedPort, more: u16, port: &PublishedPort) -> bool {
    let expected = PublishedPort {
        target: first.target.saturating_add(more + 1),
        published: first.published.saturating_add(more + 1),
        ..*first
    };
    first.published > 0 && expected == *port
}

fn run_text(first: &PublishedPort, more: u16) -> String {
    let address = match first.host_ip {
        None => "*".to_owned(),
        Some(IpAddr::V4(address)) => address.to_string(),
        Some(IpAddr::V6(address)) => format!("[{address}]"),
    };
    let numbers = |from: u16| match more {
        0 => from.to_string(),
        more => format!("{from}-{}", from.saturating_add(more)),
    };
    let published = match first.published {
        0 => "?".to_owned(),
        from => numbers(from),
    };
    let protocol = protocol_name(first.protocol);
    format!("{address}:{published}->{}/{protocol}", numbers(first.target))
}

pub(crate) fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_shown() {
        for (text, expect) in [
            ("8080:80", "*:8080->80/tcp"),
            ("80", "*:?->80/tcp"),
            ("53:53/udp", "*:53->53/udp"),
            ("127.0.0.1:8080:80/udp", "127.0.0.1:8080->80/udp"),
            ("127.0.0.1::80", "127.0.0.1:?->80/tcp"),
            ("[::1]:8080:80", "[::1]:8080->80/tcp"),
            ("0.0.0.0:8080:80", "*:8080->80/tcp"),
            ("[::]:8080:80", "*:8080->80/tcp"),
            ("9000-9002:7000-7002", "*:9000-9002->7000-7002/tcp"),
            ("7000-7001", "*:?->7000/tcp, *:?->7001/tcp"),
            (
                "mode=host,target=80,published=8080,protocol=udp",
                "*:8080->80/udp",
            ),
            ("target=80,host_ip=127.0.0.1,published=81", "127.0.0.1:81->80/tcp"),
            ("target=80", "*:?->80/tcp"),
        ] {
            assert_eq!(ports_text(&ports(text).unwrap().0), expect, "{text}");
        }
        assert_eq!(ports("80:80").unwrap().0[0].mode, PortMode::Ingress);
        assert_eq!(ports("mode=host,target=80").unwrap().0[0].mode, PortMode::Host);
        let mixed: Vec<_> = ["81:1", "80:80", "82:2"]
            .iter()
            .flat_map(|text| ports(text).unwrap().0)
            .collect();
        assert_eq!(ports_text(&mixed), "*:80->80/tcp, *:81-82->1-2/tcp");
    }

    #[test]
    fn what_is_no_port_is_explained() {
        for (text, expect) in [
            ("", "expected a port such as"),
            ("x:y", "expected a port such as"),
            ("0", "expected a port such as"),
            ("70000:80", "expected a port such as"),
            ("8000-8010:80", "differ in length"),
            ("53:53/sctp", "the protocol tcp or udp"),
            ("localhost:80:80", "expected an address of the host"),
            ("published=80", "expected a port such as"),
            ("target=80,mode=all", "mode=ingress or mode=host"),
            ("target=80,port=9", "host_ip="),
        ] {
            let error = ports(text).unwrap_err();
            assert!(error.contains(expect), "{text}: {error}");
        }
    }

    #[test]
    fn patterns_name_the_target() {
        let udp = ports("5353:53/udp").unwrap().0[0];
        for (text, expect) in [
            ("53", true),
            ("53/udp", true),
            ("53/tcp", false),
            ("5353:53", true),
            ("5354:53", false),
            ("5353", false),
            ("target=53,protocol=tcp", false),
        ] {
            assert_eq!(port_pattern(text).unwrap().matches(&udp), expect, "{text}");
        }
    }
}
