//! The cluster's root: an ECDSA P-256 key that signs every certificate of the cluster.
//!
//! Its private key is kept by managers alone, sealed; here it is only in memory, and wiped when dropped.

use super::{BACKDATED, IdentityError, ROOT_LIFE, leaf, one_certificate, peer::Identity};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256,
};
use sha2::{Digest, Sha256};
use shoal_core::model::{ClusterId, WallTime};
use std::{fmt, time::Duration};
use zeroize::Zeroizing;

/// A root that can sign.
pub struct Root {
    certificate_pem: String,
    key_pem: Zeroizing<String>,
}

impl Root {
    /// A new root for a new cluster.
    pub fn generate(cluster: &ClusterId, now: WallTime) -> Result<Self, IdentityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(IdentityError::Make)?;
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, format!("Shoal cluster {cluster}"));
        let mut params = CertificateParams::default();
        params.distinguished_name = name;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        leaf::set_validity(&mut params, now, ROOT_LIFE);
        let certificate = params.self_signed(&key).map_err(IdentityError::Make)?;
        Ok(Self {
            certificate_pem: certificate.pem(),
            key_pem: Zeroizing::new(key.serialize_pem()),
        })
    }

    /// A root as it was kept.
    pub fn from_pem(certificate_pem: &str, key_pem: &str) -> Result<Self, IdentityError> {
        one_certificate(certificate_pem, "a root certificate")?;
        KeyPair::from_pem(key_pem).map_err(IdentityError::Make)?;
        Ok(Self {
            certificate_pem: certificate_pem.to_owned(),
            key_pem: Zeroizing::new(key_pem.to_owned()),
        })
    }

    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// To be sealed before it is kept anywhere.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// Signs a certificate for the public key of a request; whatever else the request says is ignored.
    pub fn issue(
        &self,
        csr_pem: &str,
        identity: &Identity,
        now: WallTime,
        life: Duration,
    ) -> Result<String, IdentityError> {
        let request = rcgen::CertificateSigningRequestParams::from_pem(csr_pem).map_err(|reason| {
            IdentityError::Unreadable {
                what: "certificate request",
                reason: reason.to_string(),
            }
        })?;
        let key = KeyPair::from_pem(&self.key_pem).map_err(IdentityError::Make)?;
        let issuer = Issuer::from_ca_cert_pem(&self.certificate_pem, key).map_err(IdentityError::Make)?;
        let certificate = leaf::params(identity, now, life)?
            .signed_by(&request.public_key, &issuer)
            .map_err(IdentityError::Make)?;
        Ok(certificate.pem())
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Root").finish_non_exhaustive()
    }
}

/// The digest that a join token pins: SHA-256 of the root certificate.
pub fn root_digest(root_pem: &str) -> Result<[u8; 32], IdentityError> {
    let der = one_certificate(root_pem, "a root certificate")?;
    Ok(Sha256::digest(der.as_ref()).into())
}

/// When a certificate made now begins.
pub(super) fn begins(now: WallTime) -> i64 {
    let seconds = now.0.div_euclid(1_000_000_000);
    seconds.saturating_sub_unsigned(BACKDATED.as_secs())
}
