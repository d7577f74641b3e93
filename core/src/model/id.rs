//! Ids: 25 characters of base 36, shaped as Docker's users know them.
//!
//! An id is minted by an `IdGen` that its caller seeds, never from a random source in here, so that the
//! simulator replays a run exactly. A parsed id is valid by construction.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};
use std::{fmt, str::FromStr};

/// Length of every id in characters.
pub const ID_LEN: usize = 25;

const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// A text that is no id: `found` is what was read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an id of 25 characters 0-9 and a-z, found {found:?}")]
pub struct ParseIdError {
    pub found: String,
}

fn parse(text: &str) -> Result<[u8; ID_LEN], ParseIdError> {
    match <[u8; ID_LEN]>::try_from(text.as_bytes()) {
        Ok(bytes) if bytes.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'z')) => Ok(bytes),
        Ok(_) | Err(_) => Err(ParseIdError {
            found: text.to_owned(),
        }),
    }
}

/// Takes an id out of whatever text it is read from. There are several in every object, so that none of them is
/// copied to the heap on its way.
struct IdVisitor;

impl de::Visitor<'_> for IdVisitor {
    type Value = [u8; ID_LEN];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an id of 25 characters 0-9 and a-z")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        parse(text).map_err(E::custom)
    }
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; ID_LEN]);

        impl $name {
            /// Mints the next id of the generator.
            pub fn mint(ids: &mut IdGen) -> Self {
                Self(ids.next_text())
            }

            /// The least id of all: where a range over sorted ids begins.
            pub const LOWEST: Self = Self([b'0'; ID_LEN]);

            pub fn as_str(&self) -> &str {
                // Valid by construction: only characters of the alphabet are ever stored.
                std::str::from_utf8(&self.0).unwrap_or_default()
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                parse(text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(IdVisitor).map(Self)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.as_str().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.as_str())
            }
        }
    };
}

id_type!(/// The whole cluster.
    ClusterId);
id_type!(/// One machine of the cluster.
    NodeId);
id_type!(/// A service.
    ServiceId);
id_type!(/// One placement of a service on one node.
    TaskId);
id_type!(/// A stack.
    StackId);
id_type!(/// A network.
    NetworkId);
id_type!(/// A client's name for one write, so that its retry is safe.
    RequestId);

/// Mints ids from a seed: the same seed and number of calls give the same ids.
///
/// Unguessable and unique only as far as the seed is, so a shell seeds it from the operating system.
#[derive(Clone, Debug)]
pub struct IdGen {
    seed: [u8; 32],
    minted: u64,
}

impl IdGen {
    pub fn new(seed: [u8; 32]) -> Self {
        Self { seed, minted: 0 }
    }

    /// A generator for tests and simulations.
    pub fn from_number(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self::new(bytes)
    }

    /// Forty bits that are no other generator's, for what is no id and must be unique as well.
    pub(crate) fn next_bits(&mut self) -> [u8; 5] {
        let [a, b, c, d, e, ..] = self.next_digest();
        [a, b, c, d, e]
    }

    fn next_digest(&mut self) -> [u8; 32] {
        let digest = Sha256::new()
            .chain_update(self.seed)
            .chain_update(self.minted.to_le_bytes())
            .finalize();
        self.minted += 1;
        digest.into()
    }

    fn next_text(&mut self) -> [u8; ID_LEN] {
        let digest = self.next_digest();
        // 25 base-36 digits need 129.2 bits: two halves of the digest, 13 and 12 digits.
        let (left, right) = digest.split_at(16);
        let mut text = [b'0'; ID_LEN];
        let (head, tail) = text.split_at_mut(13);
        write_digits(head, left);
        write_digits(tail, right);
        text
    }
}

fn write_digits(text: &mut [u8], bytes: &[u8]) {
    let mut value = bytes
        .iter()
        .fold(0_u128, |value, byte| (value << 8) | u128::from(*byte));
    for place in text {
        let digit = usize::try_from(value % 36).unwrap_or(0);
        *place = ALPHABET[digit];
        value /= 36;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_same_ids_and_all_parse() {
        let (mut a, mut b) = (IdGen::from_number(7), IdGen::from_number(7));
        let ids: Vec<_> = (0..1000).map(|_| TaskId::mint(&mut a)).collect();
        assert!(ids.iter().all(|id| *id == TaskId::mint(&mut b)));
        assert!(ids.iter().all(|id| id.as_str().parse::<TaskId>().is_ok()));
        let unique: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(unique.len(), ids.len());
    }

    #[test]
    fn refuses_what_is_no_id() {
        for text in [
            "",
            "short",
            "ABCDEFGHIJKLMNOPQRSTUVWXY",
            "0123456789012345678901234/",
        ] {
            assert!(text.parse::<NodeId>().is_err(), "{text:?}");
        }
    }
}
