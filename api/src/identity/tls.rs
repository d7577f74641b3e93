//! TLS 1.3 for both ends, by rustls with ring; nothing older is spoken.
//!
//! A server asks for a client certificate and takes a connection without one too, since a machine that
//! joins has none: what such a caller may do is in the access table. A foreign or expired certificate
//! ends the connection here. Credentials are live: a renewed certificate serves the next handshake.

use super::{ANY_MANAGER, Credentials, IdentityError, one_certificate};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig,
    SignatureScheme,
    client::{
        ResolvesClientCert, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
    version::TLS13,
};
use sha2::{Digest, Sha256};
use shoal_core::model::ClusterId;
use std::sync::{Arc, PoisonError, RwLock};
use subtle::ConstantTimeEq;

/// HTTP/2, which gRPC needs.
const ALPN: &[u8] = b"h2";

/// A member's key and certificate as TLS uses them, replaced in place when they are renewed.
#[derive(Debug)]
pub struct LiveCredentials {
    current: RwLock<Arc<CertifiedKey>>,
    root: CertificateDer<'static>,
}

impl LiveCredentials {
    pub fn new(credentials: &Credentials) -> Result<Arc<Self>, IdentityError> {
        Ok(Arc::new(Self {
            current: RwLock::new(Arc::new(certified(credentials)?)),
            root: one_certificate(&credentials.root_pem, "a root certificate")?,
        }))
    }

    /// From the next handshake on these are shown. The root stays.
    pub fn replace(&self, credentials: &Credentials) -> Result<(), IdentityError> {
        let renewed = Arc::new(certified(credentials)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = renewed;
        Ok(())
    }

    fn current(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn roots(&self) -> Result<Arc<RootCertStore>, IdentityError> {
        roots(self.root.clone())
    }
}

impl ResolvesServerCert for LiveCredentials {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

impl ResolvesClientCert for LiveCredentials {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The key with its certificate and the root behind it: a machine that joins finds the root it has
/// pinned in the chain.
fn certified(credentials: &Credentials) -> Result<CertifiedKey, IdentityError> {
    let chain = vec![
        one_certificate(&credentials.certificate_pem, "a certificate")?,
        one_certificate(&credentials.root_pem, "a root certificate")?,
    ];
    let key =
        PrivateKeyDer::from_pem_slice(credentials.key_pem.as_bytes()).or(Err(IdentityError::NotPem {
            what: "a private key",
        }))?;
    CertifiedKey::from_der(chain, key, &provider()).map_err(IdentityError::Tls)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn roots(root: CertificateDer<'static>) -> Result<Arc<RootCertStore>, IdentityError> {
    let mut roots = RootCertStore::empty();
    roots.add(root).map_err(IdentityError::Tls)?;
    Ok(Arc::new(roots))
}

/// The manager's side of every connection.
pub fn server_config(credentials: &Arc<LiveCredentials>) -> Result<Arc<ServerConfig>, IdentityError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(credentials.roots()?, provider())
        .allow_unauthenticated()
        .build()
        .map_err(IdentityError::Verifier)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(IdentityError::Tls)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::clone(credentials) as Arc<dyn ResolvesServerCert>);
    config.alpn_protocols = vec![ALPN.to_vec()];
    // A resumed session would keep the identity of a certificate that has since expired.
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// A node's or an administrator's side: shows its certificate, takes only managers of its cluster.
/// Connect with `server_name_of` that cluster.
pub fn client_config(credentials: &Arc<LiveCredentials>) -> Result<Arc<ClientConfig>, IdentityError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(IdentityError::Tls)?
        .with_root_certificates(credentials.roots()?)
        .with_client_cert_resolver(Arc::clone(credentials) as Arc<dyn ResolvesClientCert>);
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

/// The name that a manager of this cluster proves to have.
pub fn server_name_of(cluster: &ClusterId) -> ServerName<'static> {
    // An id is lower-case letters and digits: always a valid label.
    ServerName::try_from(format!("manager.{cluster}.shoal"))
        .unwrap_or(ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into()))
}

/// The side of a machine that joins: no certificate yet, and it believes only the root of its token.
pub fn joining_config(
    root_digest: [u8; 32],
) -> Result<(Arc<ClientConfig>, ServerName<'static>), IdentityError> {
    let verifier = PinnedRoot {
        digest: root_digest,
        provider: provider(),
    };
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(IdentityError::Tls)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    let name = ServerName::try_from(ANY_MANAGER).or(Err(IdentityError::NotPem { what: "a name" }))?;
    Ok((Arc::new(config), name))
}

/// Looks for the pinned root in the chain shown, then checks the chain against it alone.
#[derive(Debug)]
struct PinnedRoot {
    digest: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedRoot {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let pinned = |der: &&CertificateDer<'_>| -> bool {
            let digest: [u8; 32] = Sha256::digest(der.as_ref()).into();
            digest.ct_eq(&self.digest).into()
        };
        let unknown = || rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let root = intermediates.iter().find(pinned).ok_or_else(unknown)?;
        let mut roots = RootCertStore::empty();
        roots.add(root.clone().into_owned())?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
                .build()
                .map_err(|reason| rustls::Error::General(reason.to_string()))?;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        None
    }
}
