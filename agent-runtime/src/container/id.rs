//! The id of a container: 64 lowercase hexadecimal characters, as Docker's.
//!
//! It is the name of the run directory, the cgroup and the snapshot, so it is checked where it enters and can
//! never be a path.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The id of a container: 64 lowercase hexadecimal characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(String);

/// What was given is not a container id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not a container id: expected 64 lowercase hexadecimal characters")]
pub struct ContainerIdError {
    /// What was given.
    pub given: String,
}

const LENGTH: usize = 64;

impl ContainerId {
    /// The whole id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve characters: what Docker shows, and the default host name.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl FromStr for ContainerId {
    type Err = ContainerIdError;

    fn from_str(text: &str) -> Result<Self, ContainerIdError> {
        Self::try_from(text.to_owned())
    }
}

impl TryFrom<String> for ContainerId {
    type Error = ContainerIdError;

    fn try_from(given: String) -> Result<Self, ContainerIdError> {
        let hex = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if given.len() == LENGTH && given.as_bytes().iter().all(hex) {
            Ok(Self(given))
        } else {
            Err(ContainerIdError { given })
        }
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> Self {
        id.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContainerId({})", self.short())
    }
}

#[cfg(test)]
mod tests {
    use super::ContainerId;

    #[test]
    fn only_full_lowercase_hex_is_an_id() {
        let good = "0123456789abcdef".repeat(4);
        assert_eq!(good.parse::<ContainerId>().unwrap().short(), "0123456789ab");
        for bad in [
            "",
            "abc",
            &good.to_uppercase(),
            &format!("{good}0"),
            &format!("../{}", &good[3..]),
        ] {
            assert!(bad.parse::<ContainerId>().is_err(), "{bad}");
        }
    }
}
