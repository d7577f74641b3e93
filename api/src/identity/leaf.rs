//! Certificates of nodes and administrators, and the keys that they are for.
//!
//! Used by joining nodes and by the CA. A key never leaves the machine that made it.

use super::{
    ANY_MANAGER, IdentityError,
    peer::{Identity, Party, Validity},
    root,
};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SanType, SerialNumber, date_time_ymd,
};
use shoal_core::model::{Role, WallTime};
use std::{fmt, time::Duration};
use zeroize::Zeroizing;

/// A fresh key and the request to have it certified. The key never travels.
pub struct NewKey {
    pub key_pem: Zeroizing<String>,
    pub csr_pem: String,
}

impl NewKey {
    pub fn generate() -> Result<Self, IdentityError> {
        Self::request(&KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(IdentityError::Make)?)
    }

    /// A request for a key that is there already: its certificate is renewed, and what it wraps stays readable.
    pub fn again(key_pem: &str) -> Result<Self, IdentityError> {
        Self::request(&KeyPair::from_pem(key_pem).map_err(IdentityError::Make)?)
    }

    fn request(key: &KeyPair) -> Result<Self, IdentityError> {
        let mut params = CertificateParams::default();
        // The signer decides what the certificate says; a request's own words would be ignored.
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(key).map_err(IdentityError::Make)?;
        Ok(Self {
            key_pem: Zeroizing::new(key.serialize_pem()),
            csr_pem: request.pem().map_err(IdentityError::Make)?,
        })
    }

    /// The key with the certificate that was issued for it.
    pub fn certified(self, certificate_pem: String, root_pem: String) -> Credentials {
        Credentials {
            certificate_pem,
            key_pem: self.key_pem,
            root_pem,
        }
    }
}

/// What a member shows and trusts: its certificate, its key, and the root.
#[derive(Clone)]
pub struct Credentials {
    pub certificate_pem: String,
    pub key_pem: Zeroizing<String>,
    pub root_pem: String,
}

impl Credentials {
    /// Who these say their holder is.
    pub fn identity(&self) -> Result<Identity, IdentityError> {
        Identity::from_pem(&self.certificate_pem)
    }

    pub fn validity(&self) -> Result<Validity, IdentityError> {
        Validity::from_pem(&self.certificate_pem)
    }
}

impl fmt::Debug for NewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewKey").finish_non_exhaustive()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("identity", &self.identity().ok())
            .finish_non_exhaustive()
    }
}

/// When to renew: between half and four fifths of the certificate's life, where `random` says, so that
/// members that joined together do not renew together.
pub fn renewal_time(validity: Validity, random: u64) -> WallTime {
    let life = u128::from(validity.not_after.0.abs_diff(validity.not_before.0));
    let earliest = life / 2;
    let spread = life * 4 / 5 - earliest;
    let after = earliest + spread * u128::from(random) / u128::from(u64::MAX);
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    WallTime(validity.not_before.0.saturating_add(after))
}

pub(super) fn set_validity(params: &mut CertificateParams, now: WallTime, life: Duration) {
    let begins = root::begins(now);
    let epoch = date_time_ymd(1970, 1, 1);
    // Before 1970 nothing was certified; a clock that says so gets the epoch.
    let begins = epoch + Duration::from_secs(u64::try_from(begins).unwrap_or(0));
    params.not_before = begins;
    params.not_after = begins + life;
}

/// What a leaf says. The SAN's URIs name cluster, holder and role; a manager's DNS names are what its
/// clients check, so that nobody but a manager of this cluster passes for one.
pub(super) fn params(
    identity: &Identity,
    now: WallTime,
    life: Duration,
) -> Result<CertificateParams, IdentityError> {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, identity.common_name());
    params.distinguished_name = name;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    // A renewal is for the same key: without a number of its own it would repeat the old one's.
    params.serial_number = Some(SerialNumber::from(rand::random::<u64>() >> 1));
    let mut names: Vec<SanType> = Vec::new();
    for uri in identity.uris() {
        names.push(SanType::URI(uri.try_into().map_err(IdentityError::Make)?));
    }
    if let Party::Node {
        role: Role::Manager, ..
    } = identity.party
    {
        params
            .extended_key_usages
            .push(ExtendedKeyUsagePurpose::ServerAuth);
        for dns in [identity.manager_name(), ANY_MANAGER.to_owned()] {
            names.push(SanType::DnsName(dns.try_into().map_err(IdentityError::Make)?));
        }
    }
    params.subject_alt_names = names;
    set_validity(&mut params, now, life);
    Ok(params)
}
