//! What a certificate says of its holder.
//!
//! The chain was checked by TLS before; here its words are read. A certificate that does not say cluster,
//! holder and role is foreign, whoever signed it.

use super::{IdentityError, one_certificate};
use shoal_core::model::{ClusterId, NodeId, Role, WallTime};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer};

const CLUSTER: &str = "shoal:cluster:";
const NODE: &str = "shoal:node:";
const CLIENT: &str = "shoal:client:";
const ROLE: &str = "shoal:role:";

/// Who somebody is, by certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub cluster: ClusterId,
    pub party: Party,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Party {
    Node {
        id: NodeId,
        role: Role,
    },
    /// A client with the administrator's role; the name is for logs.
    Admin {
        name: String,
    },
}

impl Identity {
    pub fn node(cluster: ClusterId, id: NodeId, role: Role) -> Self {
        Self {
            cluster,
            party: Party::Node { id, role },
        }
    }

    /// Characters that a URI or a log line would stumble over are left out of the name.
    pub fn admin(cluster: ClusterId, name: &str) -> Self {
        let name = name
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || "-_.@".contains(*c))
            .take(64)
            .collect();
        Self {
            cluster,
            party: Party::Admin { name },
        }
    }

    pub fn from_pem(pem: &str) -> Result<Self, IdentityError> {
        Self::from_der(one_certificate(pem, "a certificate")?.as_ref())
    }

    pub fn from_der(der: &[u8]) -> Result<Self, IdentityError> {
        let certificate = parse(der)?;
        let uris = uris_of(&certificate)?;
        let after = |prefix: &str| uris.iter().find_map(|uri| uri.strip_prefix(prefix));
        let cluster = after(CLUSTER)
            .and_then(|text| text.parse().ok())
            .ok_or(IdentityError::Foreign { what: "its cluster" })?;
        let node = || {
            after(NODE)
                .and_then(|text| text.parse().ok())
                .ok_or(IdentityError::Foreign { what: "its node" })
        };
        let party = match after(ROLE) {
            Some("worker") => Party::Node {
                id: node()?,
                role: Role::Worker,
            },
            Some("manager") => Party::Node {
                id: node()?,
                role: Role::Manager,
            },
            Some("admin") => Party::Admin {
                name: after(CLIENT).unwrap_or_default().to_owned(),
            },
            Some(_) | None => {
                return Err(IdentityError::Foreign {
                    what: "a role known here",
                });
            }
        };
        Ok(Self { cluster, party })
    }

    pub(super) fn uris(&self) -> [String; 3] {
        let (holder, role) = match &self.party {
            Party::Node {
                id,
                role: Role::Worker,
            } => (format!("{NODE}{id}"), "worker"),
            Party::Node {
                id,
                role: Role::Manager,
            } => (format!("{NODE}{id}"), "manager"),
            Party::Admin { name } => (format!("{CLIENT}{name}"), "admin"),
        };
        [
            format!("{CLUSTER}{}", self.cluster),
            holder,
            format!("{ROLE}{role}"),
        ]
    }

    pub(super) fn common_name(&self) -> String {
        match &self.party {
            Party::Node { id, .. } => id.to_string(),
            Party::Admin { name } => name.clone(),
        }
    }

    /// The DNS name of this cluster's managers.
    pub(super) fn manager_name(&self) -> String {
        format!("manager.{}.shoal", self.cluster)
    }
}

/// From when to when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub not_before: WallTime,
    pub not_after: WallTime,
}

impl Validity {
    pub fn from_pem(pem: &str) -> Result<Self, IdentityError> {
        Self::from_der(one_certificate(pem, "a certificate")?.as_ref())
    }

    pub fn from_der(der: &[u8]) -> Result<Self, IdentityError> {
        let certificate = parse(der)?;
        let wall = |seconds: i64| WallTime(seconds.saturating_mul(1_000_000_000));
        Ok(Self {
            not_before: wall(certificate.validity().not_before.timestamp()),
            not_after: wall(certificate.validity().not_after.timestamp()),
        })
    }
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, IdentityError> {
    match X509Certificate::from_der(der) {
        Ok((_, certificate)) => Ok(certificate),
        Err(reason) => Err(IdentityError::Unreadable {
            what: "certificate",
            reason: reason.to_string(),
        }),
    }
}

fn uris_of<'a>(certificate: &'a X509Certificate<'_>) -> Result<Vec<&'a str>, IdentityError> {
    let names = match certificate.subject_alternative_name() {
        Ok(names) => names,
        Err(reason) => {
            return Err(IdentityError::Unreadable {
                what: "certificate",
                reason: reason.to_string(),
            });
        }
    };
    let general = names.map_or(&[][..], |names| names.value.general_names.as_slice());
    let uri = |name: &'a GeneralName<'_>| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    };
    Ok(general.iter().filter_map(uri).collect())
}
