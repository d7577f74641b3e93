//! Keys, data and verdicts of sets and maps, and the words that tables, chains and rules are described in.
//!
//! Shared by plans, which compute with them, and by transactions and dumps, which write and read them.

use std::cmp::Ordering;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::wire;

/// The longest key there is: two IPv6 addresses.
const LONGEST: usize = 32;

/// Bytes of a key or of a map's value. Fields of a concatenation are filled up to four bytes each.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Word {
    bytes: [u8; LONGEST],
    length: u8,
}

/// A key of a set; in one of intervals, the first address of an interval or the first after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    /// Its bytes.
    pub word: Word,
    /// Whether an interval ends before it.
    pub end: bool,
}

/// What a set has for a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Data {
    /// Only the key.
    None,
    /// A value.
    Word(Word),
    /// What becomes of the packet.
    Verdict(Verdict),
}

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Out of this base chain; others still see it.
    Accept,
    /// Gone.
    Drop,
    /// Back to the calling chain.
    Return,
    /// Into a chain, and back when it ends.
    Jump(String),
    /// Into a chain for good.
    Goto(String),
}

/// Which addresses a table sees. One table per family: nothing has to ask which a packet has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Where a base chain hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// Every packet that comes in.
    Prerouting,
    /// What is for this machine (or namespace) itself.
    Input,
    /// What passes through.
    Forward,
    /// What its own processes send.
    Output,
    /// Every packet that goes out.
    Postrouting,
}

impl Word {
    /// These bytes; longer than any key there is, they are cut, which no caller of this crate's does.
    pub fn new(bytes: &[u8]) -> Self {
        Self::default().then(bytes)
    }

    /// With a further field, filled up to four bytes.
    #[must_use]
    pub fn then(mut self, field: &[u8]) -> Self {
        let start = usize::from(self.length);
        let end = (start + field.len()).min(LONGEST);
        self.bytes[start..end].copy_from_slice(&field[..end - start]);
        self.length = u8::try_from(end.next_multiple_of(4)).unwrap_or_default();
        self
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// The address that starts here.
    pub fn address(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self
                .as_bytes()
                .first_chunk::<4>()
                .map(|b| Ipv4Addr::from(*b).into()),
            Family::V6 => self
                .as_bytes()
                .first_chunk::<16>()
                .map(|b| Ipv6Addr::from(*b).into()),
        }
    }

    /// What follows the first `length` bytes.
    pub fn after(&self, length: usize) -> &[u8] {
        self.as_bytes().get(length..).unwrap_or_default()
    }
}

impl Default for Word {
    fn default() -> Self {
        Self {
            bytes: [0; LONGEST],
            length: 0,
        }
    }
}

impl From<IpAddr> for Word {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::new(&v4.octets()),
            IpAddr::V6(v6) => Self::new(&v6.octets()),
        }
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, byte) in self.as_bytes().iter().enumerate() {
            if place > 0 && place % 4 == 0 {
                f.write_str(".")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl Key {
    /// A key as it is.
    pub fn plain(word: Word) -> Self {
        Self { word, end: false }
    }
}

/// Where one interval ends and the next begins, the kernel wants to be told of the end first.
impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.word.cmp(&other.word).then_with(|| other.end.cmp(&self.end))
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Verdict {
    /// The kernel's number, and the chain.
    pub(crate) fn code(&self) -> (i32, Option<&str>) {
        match self {
            Self::Accept => (wire::NF_ACCEPT, None),
            Self::Drop => (wire::NF_DROP, None),
            Self::Return => (wire::NFT_RETURN, None),
            Self::Jump(chain) => (wire::NFT_JUMP, Some(chain)),
            Self::Goto(chain) => (wire::NFT_GOTO, Some(chain)),
        }
    }

    pub(crate) fn from_code(code: i32, chain: Option<&str>) -> Option<Self> {
        match (code, chain) {
            (wire::NF_ACCEPT, _) => Some(Self::Accept),
            (wire::NF_DROP, _) => Some(Self::Drop),
            (wire::NFT_RETURN, _) => Some(Self::Return),
            (wire::NFT_JUMP, Some(chain)) => Some(Self::Jump(chain.to_owned())),
            (wire::NFT_GOTO, Some(chain)) => Some(Self::Goto(chain.to_owned())),
            _ => None,
        }
    }
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// `NFPROTO_IPV4`, `NFPROTO_IPV6`: also `AF_INET`, `AF_INET6`.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::V4 => 2,
            Self::V6 => 10,
        }
    }

    /// The length of an address.
    pub const fn length(self) -> u32 {
        match self {
            Self::V4 => 4,
            Self::V6 => 16,
        }
    }
}

impl Hook {
    /// `enum nf_inet_hooks`.
    pub(crate) const fn number(self) -> u32 {
        match self {
            Self::Prerouting => 0,
            Self::Input => 1,
            Self::Forward => 2,
            Self::Output => 3,
            Self::Postrouting => 4,
        }
    }

    pub(crate) fn from_number(number: u32) -> Option<Self> {
        [
            Self::Prerouting,
            Self::Input,
            Self::Forward,
            Self::Output,
            Self::Postrouting,
        ]
        .into_iter()
        .find(|hook| hook.number() == number)
    }
}
