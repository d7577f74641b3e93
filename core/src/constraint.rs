//! Placement constraints: `node.labels.zone==a`, read once and matched against nodes.
//!
//! Swarm's language: `==` and `!=` only, all of them must hold, values compare without case, a label
//! that a node lacks is the empty text, `node.ip` takes an address or a network in CIDR form.

use crate::model::{Node, Role};
use std::{fmt, net::IpAddr, str::FromStr};

/// One constraint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constraint {
    key: Key,
    /// `==` rather than `!=`.
    equal: bool,
    /// As written.
    value: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Key {
    NodeId,
    Hostname,
    Role,
    Os,
    Arch,
    NodeLabel(String),
    EngineLabel(String),
    Ip(Network),
}

/// An address and how many of its leading bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    bits: u8,
}

/// A text that is no constraint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseConstraintError {
    #[error("expected <key>==<value> or <key>!=<value>, found {text:?}")]
    Operator { text: String },
    #[error(
        "expected node.id, node.hostname, node.role, node.platform.os, node.platform.arch, node.ip, node.labels.<name> or engine.labels.<name>, found {key:?}"
    )]
    Key { key: String },
    #[error("expected an address or a network such as 10.0.0.0/8, found {value:?}")]
    Network { value: String },
    #[error("expected letters, digits and the characters '-_./:+' in a value, found {value:?}")]
    Value { value: String },
}

impl FromStr for Constraint {
    type Err = ParseConstraintError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (key, equal, value) = split(text).ok_or_else(|| ParseConstraintError::Operator {
            text: text.to_owned(),
        })?;
        let valid = |c: char| c.is_alphanumeric() || "-_./:+ *()?@%&".contains(c);
        if value.is_empty() || !value.chars().all(valid) {
            return Err(ParseConstraintError::Value {
                value: value.to_owned(),
            });
        }
        let key = match key.to_ascii_lowercase().as_str() {
            "node.id" => Key::NodeId,
            "node.hostname" => Key::Hostname,
            "node.role" => Key::Role,
            "node.platform.os" => Key::Os,
            "node.platform.arch" => Key::Arch,
            "node.ip" => Key::Ip(value.parse()?),
            lower => {
                label_key(key, lower).ok_or_else(|| ParseConstraintError::Key { key: key.to_owned() })?
            }
        };
        Ok(Self {
            key,
            equal,
            value: value.to_owned(),
        })
    }
}

fn split(text: &str) -> Option<(&str, bool, &str)> {
    let (at, equal) = match (text.find("=="), text.find("!=")) {
        (Some(equal), Some(unequal)) if unequal < equal => (unequal, false),
        (Some(equal), _) => (equal, true),
        (None, Some(unequal)) => (unequal, false),
        (None, None) => return None,
    };
    Some((text[..at].trim(), equal, text[at + 2..].trim()))
}

/// Prefixes compare without case, a label's own name with it.
fn label_key(key: &str, lower: &str) -> Option<Key> {
    let name = |prefix: &str| {
        lower
            .strip_prefix(prefix)
            .filter(|name| !name.is_empty())
            .map(|name| key[key.len() - name.len()..].to_owned())
    };
    name("node.labels.")
        .map(Key::NodeLabel)
        .or_else(|| name("engine.labels.").map(Key::EngineLabel))
}

impl Constraint {
    /// Does the node meet it? A node that has not described itself has empty values.
    pub fn matches(&self, node: &Node) -> bool {
        let described = node.description.as_ref();
        let same = |found: Option<&str>| found.unwrap_or("").eq_ignore_ascii_case(&self.value);
        let equal = match &self.key {
            Key::NodeId => same(Some(node.id.as_str())),
            Key::Hostname => same(described.map(|d| d.hostname.as_str())),
            Key::Role => same(Some(role_name(node.spec.role))),
            Key::Os => same(described.map(|d| d.platform.os.as_str())),
            Key::Arch => {
                let found = described.map_or("", |d| d.platform.arch.as_str());
                normal_arch(found).eq_ignore_ascii_case(normal_arch(&self.value))
            }
            Key::NodeLabel(name) => same(node.spec.labels.get(name).map(String::as_str)),
            Key::EngineLabel(name) => same(
                described
                    .and_then(|d| d.engine_labels.get(name))
                    .map(String::as_str),
            ),
            Key::Ip(network) => described.is_some_and(|d| network.contains(&d.address)),
        };
        equal == self.equal
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operator = if self.equal { "==" } else { "!=" };
        let key = match &self.key {
            Key::NodeId => "node.id",
            Key::Hostname => "node.hostname",
            Key::Role => "node.role",
            Key::Os => "node.platform.os",
            Key::Arch => "node.platform.arch",
            Key::Ip(_) => "node.ip",
            Key::NodeLabel(name) => return write!(f, "node.labels.{name}{operator}{}", self.value),
            Key::EngineLabel(name) => return write!(f, "engine.labels.{name}{operator}{}", self.value),
        };
        write!(f, "{key}{operator}{}", self.value)
    }
}

/// Reads stored constraints. They were validated before they were stored, so that one that cannot be
/// read is unheard of; no node meets it, rather than every one.
pub fn parse_all(texts: &[String]) -> Vec<Constraint> {
    let never = || Constraint {
        key: Key::NodeId,
        equal: true,
        value: String::new(),
    };
    texts
        .iter()
        .map(|text| text.parse().unwrap_or_else(|_| never()))
        .collect()
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Worker => "worker",
        Role::Manager => "manager",
    }
}

/// The names that `uname` and image indexes give the same architecture.
pub(crate) fn normal_arch(arch: &str) -> &str {
    match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

impl FromStr for Network {
    type Err = ParseConstraintError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = || ParseConstraintError::Network {
            value: text.to_owned(),
        };
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().or(Err(fail()))?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= most).ok_or_else(fail)?,
            None => most,
        };
        Ok(Self { address, bits })
    }
}

impl Network {
    fn contains(&self, address: &str) -> bool {
        let Ok(address) = address.parse::<IpAddr>() else {
            return false;
        };
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let differing = u32::from(network) ^ u32::from(address);
                differing.leading_zeros() >= u32::from(self.bits)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differing = u128::from(network) ^ u128::from(address);
                differing.leading_zeros() >= u32::from(self.bits)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests;
