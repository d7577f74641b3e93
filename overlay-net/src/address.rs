//! Addresses as this crate's callers and the kernel both use them: prefixes, pairs of both families, link addresses.
//!
//! No address is allocated here: who has which is the cluster's to say.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A range of addresses: `10.192.4.0/22`. Host bits are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

/// Not a prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// Not of this form.
    #[error("`{0}` is no subnet; expected an address, a slash and a length, as in 10.0.4.0/22")]
    Form(String),
    /// The length is longer than an address.
    #[error("{0} has 32 bits at most with IPv4, 128 with IPv6")]
    Length(String),
    /// Bits beyond the length are set.
    #[error("{given} has bits set beyond its length; did you mean {meant}?")]
    HostBits {
        /// What was given.
        given: String,
        /// The subnet that it is in.
        meant: Prefix,
    },
}

/// An address of either family, or one of each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Addresses {
    /// IPv4.
    pub v4: Option<Ipv4Addr>,
    /// IPv6.
    pub v6: Option<Ipv6Addr>,
}

/// A link's own address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Prefix {
    /// A range; bits beyond the length are cleared, and a length beyond the address is the whole address.
    pub fn containing(address: IpAddr, length: u8) -> Self {
        match address {
            IpAddr::V4(v4) => {
                let length = length.min(32);
                let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
                Self {
                    address: Ipv4Addr::from_bits(v4.to_bits() & mask).into(),
                    length,
                }
            }
            IpAddr::V6(v6) => {
                let length = length.min(128);
                let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
                Self {
                    address: Ipv6Addr::from_bits(v6.to_bits() & mask).into(),
                    length,
                }
            }
        }
    }

    /// One address.
    pub fn host(address: IpAddr) -> Self {
        Self::containing(address, 128)
    }

    /// Its first address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// How many bits its addresses have in common.
    pub fn length(&self) -> u8 {
        self.length
    }

    /// Whether an address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4() && Self::containing(address, self.length) == *self
    }

    /// Whether they have an address in common.
    pub fn meets(&self, other: &Self) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }

    /// The first address after it; none after the last one there is.
    pub fn next_address(&self) -> Option<IpAddr> {
        match self.address {
            IpAddr::V4(v4) => {
                let size = 1_u32.checked_shl(32 - u32::from(self.length))?;
                Some(Ipv4Addr::from_bits(v4.to_bits().checked_add(size)?).into())
            }
            IpAddr::V6(v6) => {
                let size = 1_u128.checked_shl(128 - u32::from(self.length))?;
                Some(Ipv6Addr::from_bits(v6.to_bits().checked_add(size)?).into())
            }
        }
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let form = || PrefixError::Form(text.chars().take(60).collect());
        let (address, length) = text.split_once('/').ok_or_else(form)?;
        let address: IpAddr = address.parse().map_err(|_not_one| form())?;
        let length: u8 = length.parse().map_err(|_not_one| form())?;
        if length > if address.is_ipv4() { 32 } else { 128 } {
            return Err(PrefixError::Length(text.to_owned()));
        }
        let meant = Self::containing(address, length);
        if meant.address == address {
            Ok(meant)
        } else {
            Err(PrefixError::HostBits {
                given: text.to_owned(),
                meant,
            })
        }
    }
}

impl TryFrom<String> for Prefix {
    type Error = PrefixError;

    fn try_from(text: String) -> Result<Self, PrefixError> {
        text.parse()
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> Self {
        prefix.to_string()
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl Addresses {
    /// Those that there are.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let v4 = self.v4.map(IpAddr::V4);
        v4.into_iter().chain(self.v6.map(IpAddr::V6))
    }
}

impl FromIterator<IpAddr> for Addresses {
    fn from_iter<T: IntoIterator<Item = IpAddr>>(addresses: T) -> Self {
        let mut both = Self::default();
        for address in addresses {
            match address {
                IpAddr::V4(v4) => both.v4 = Some(v4),
                IpAddr::V6(v6) => both.v6 = Some(v6),
            }
        }
        both
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, last] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{last:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::Prefix;

    #[test]
    fn prefixes_say_what_is_wrong_with_them() {
        for (text, expect) in [
            ("10.0.4.0/22", Ok("10.0.8.0")),
            ("0.0.0.0/0", Ok("")),
            ("255.255.255.255/32", Ok("")),
            ("fd00::/48", Ok("fd00:0:1::")),
            ("::/0", Ok("")),
            ("10.0.4.1/22", Err("did you mean 10.0.4.0/22?")),
            ("10.0.4.0/33", Err("32 bits at most")),
            ("10.0.4.0", Err("expected an address")),
            ("ten/8", Err("expected an address")),
        ] {
            match (text.parse::<Prefix>(), expect) {
                (Ok(prefix), Ok(next)) => {
                    assert_eq!(prefix.to_string(), text);
                    assert_eq!(
                        prefix.next_address().map(|a| a.to_string()).unwrap_or_default(),
                        next
                    );
                }
                (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{error}"),
                (found, _) => panic!("{text}: {found:?}"),
            }
        }
    }

    #[test]
    fn prefixes_meet() {
        let prefix = |text: &str| text.parse::<Prefix>().unwrap();
        for (one, other, expect) in [
            ("10.0.0.0/8", "10.3.0.0/16", true),
            ("10.3.0.0/16", "10.0.0.0/8", true),
            ("10.3.0.0/16", "10.4.0.0/16", false),
            ("0.0.0.0/0", "::/0", false),
        ] {
            assert_eq!(prefix(one).meets(&prefix(other)), expect, "{one} {other}");
        }
    }
}
