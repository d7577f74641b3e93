//! Who is who in a cluster: its root, the certificates of nodes and administrators, join tokens, TLS.
//!
//! Called by the manager's CA, by joining nodes, and by both ends of every connection. A certificate
//! proves who somebody is; what they may do now is the store's word, asked elsewhere. Time is an
//! argument. Nothing here touches a file or a socket.

mod leaf;
mod peer;
mod root;
#[cfg(test)]
mod tests;
mod tls;
mod token;

pub use leaf::{Credentials, NewKey, renewal_time};
pub use peer::{Identity, Party, Validity};
pub use root::{Root, root_digest};
pub use tls::{LiveCredentials, client_config, joining_config, server_config, server_name_of};
pub use token::{JoinToken, ParseTokenError, new_secret, same_secret};

use std::time::Duration;

/// Life of a root certificate: 20 years; it is rotated by cross-signing long before.
pub const ROOT_LIFE: Duration = Duration::from_secs(20 * 365 * 24 * 3600);

/// Life of a leaf unless the cluster's spec says otherwise: 90 days, as in Swarm.
pub const LEAF_LIFE: Duration = Duration::from_secs(90 * 24 * 3600);

/// Certificates begin this long before they are made, for members whose clocks are behind.
const BACKDATED: Duration = Duration::from_secs(3600);

/// The name that every manager's certificate has beside its cluster's own, for a machine that joins and
/// does not know the cluster yet.
const ANY_MANAGER: &str = "manager.shoal";

/// What can go wrong with keys and certificates.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("a key or certificate could not be made")]
    Make(#[source] rcgen::Error),
    #[error("expected {what} in PEM, found something else")]
    NotPem { what: &'static str },
    #[error("the {what} cannot be read: {reason}")]
    Unreadable { what: &'static str, reason: String },
    #[error("the certificate does not say {what}: it was not made by a Shoal cluster")]
    Foreign { what: &'static str },
    #[error("TLS cannot be set up with this key and certificate")]
    Tls(#[source] rustls::Error),
    #[error("TLS cannot be set up with this root certificate")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
}

fn one_certificate(
    pem: &str,
    what: &'static str,
) -> Result<rustls::pki_types::CertificateDer<'static>, IdentityError> {
    use rustls::pki_types::pem::PemObject;
    rustls::pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).or(Err(IdentityError::NotPem { what }))
}
