//! Join tokens: `SHOAL-1-<root digest>-<secret>`.
//!
//! The digest pins the root, so that a machine that joins talks to no other cluster; the secret says
//! which role it gets. Secrets are compared in constant time.

use super::{IdentityError, root_digest};
use sha2::{Digest, Sha256};
use shoal_core::model::IdGen;
use std::{fmt, str::FromStr};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

const PREFIX: &str = "SHOAL-1-";

/// A parsed join token.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    root_digest: [u8; 32],
    secret: String,
}

/// A text that is no join token. It is not repeated: it may be nearly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a join token (SHOAL-1-<64 hex digits>-<25 characters>): copy the whole of it")]
pub struct ParseTokenError;

impl JoinToken {
    pub fn new(root_pem: &str, secret: &str) -> Result<Self, IdentityError> {
        Ok(Self {
            root_digest: root_digest(root_pem)?,
            secret: secret.to_owned(),
        })
    }

    /// The digest of the only root to be believed.
    pub fn root_digest(&self) -> [u8; 32] {
        self.root_digest
    }

    pub fn secret(&self) -> &str {
        &self.secret
    }
}

impl Drop for JoinToken {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}-{}", hex::encode(self.root_digest), self.secret)
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken({PREFIX}{}-…)", hex::encode(self.root_digest))
    }
}

impl FromStr for JoinToken {
    type Err = ParseTokenError;

    fn from_str(text: &str) -> Result<Self, ParseTokenError> {
        let rest = text.trim().strip_prefix(PREFIX).ok_or(ParseTokenError)?;
        let (digest, secret) = rest.split_once('-').ok_or(ParseTokenError)?;
        let mut root_digest = [0; 32];
        hex::decode_to_slice(digest, &mut root_digest).or(Err(ParseTokenError))?;
        let valid = secret.len() == 25
            && secret
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if !valid {
            return Err(ParseTokenError);
        }
        Ok(Self {
            root_digest,
            secret: secret.to_owned(),
        })
    }
}

/// A secret for a join token: 25 characters of base 36, 129 bits, from the caller's generator.
pub fn new_secret(ids: &mut IdGen) -> String {
    shoal_core::model::RequestId::mint(ids).to_string()
}

/// Are the two the same? Takes as long whatever they have in common. An empty secret equals none.
pub fn same_secret(known: &str, shown: &str) -> bool {
    let (a, b) = (Sha256::digest(known), Sha256::digest(shown));
    let equal: bool = a.ct_eq(&b).into();
    equal & !known.is_empty()
}
