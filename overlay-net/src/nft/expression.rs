//! The expressions that rules are made of: each loads a register, compares one, or acts.
//!
//! Registers are the kernel's sixteen of four bytes; an address of IPv6 takes four of them in a row.

use super::value::{Family, Verdict, Word};
use super::wire::{
    NFT_META_IIFNAME, NFT_META_OIFNAME, NFTA_DATA_VALUE, NFTA_DATA_VERDICT, NFTA_VERDICT_CHAIN,
    NFTA_VERDICT_CODE,
};
use crate::netlink::{Batch, Message};

/// One of the sixteen four-byte registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Register(pub u8);

/// Part of a rule, encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expression {
    /// The kernel's name of its kind.
    pub(crate) name: &'static str,
    /// Its attributes.
    pub(crate) data: Vec<u8>,
}

/// What a packet has besides its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meta {
    /// Name of the link it came in by.
    InputName,
    /// Name of the link it goes out by.
    OutputName,
    /// TCP, UDP, …
    Protocol,
}

/// How a register compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// The same.
    Equal,
    /// Another.
    NotEqual,
}

/// What routing says of a packet's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fib {
    /// Whether the way back to its source is the link it came in by (number of the link, or 0).
    SourceByInput,
    /// The kind of its destination's address (`RTN_LOCAL` is 2).
    DestinationKind,
}

/// `RTN_LOCAL`.
pub const KIND_LOCAL: u32 = 2;

impl Register {
    /// `NFT_REG32_00` and on.
    fn number(self) -> u32 {
        8 + u32::from(self.0)
    }
}

impl Expression {
    fn new(name: &'static str, fill: impl FnOnce(&mut Message<'_>)) -> Self {
        let mut batch = Batch::new();
        batch.message(0, 0, &[], fill);
        Self {
            name,
            data: batch.as_bytes()[16..].to_vec(),
        }
    }

    /// Bytes of the network header.
    pub fn network(offset: u32, length: u32, into: Register) -> Self {
        Self::payload(1, offset, length, into)
    }

    /// Bytes of the transport header.
    pub fn transport(offset: u32, length: u32, into: Register) -> Self {
        Self::payload(2, offset, length, into)
    }

    fn payload(base: u32, offset: u32, length: u32, into: Register) -> Self {
        Self::new("payload", |m| {
            m.u32_be(1, into.number())
                .u32_be(2, base)
                .u32_be(3, offset)
                .u32_be(4, length);
        })
    }

    /// Writes bytes of the transport header, whose checksum is at this place in it.
    pub fn set_transport(offset: u32, length: u32, checksum: u32, from: Register) -> Self {
        Self::new("payload", |m| {
            m.u32_be(5, from.number())
                .u32_be(2, 2)
                .u32_be(3, offset)
                .u32_be(4, length);
            // NFT_PAYLOAD_CSUM_INET.
            m.u32_be(6, 1).u32_be(7, checksum);
        })
    }

    /// The connection is not remembered.
    pub fn untracked() -> Self {
        Self::new("notrack", |_| {})
    }

    /// The source address.
    pub fn source(family: Family, into: Register) -> Self {
        let offset = match family {
            Family::V4 => 12,
            Family::V6 => 8,
        };
        Self::network(offset, family.length(), into)
    }

    /// The destination address.
    pub fn destination(family: Family, into: Register) -> Self {
        let offset = match family {
            Family::V4 => 16,
            Family::V6 => 24,
        };
        Self::network(offset, family.length(), into)
    }

    /// The destination port of TCP or UDP.
    pub fn destination_port(into: Register) -> Self {
        Self::transport(2, 2, into)
    }

    /// What is known of a packet.
    pub fn meta(key: Meta, into: Register) -> Self {
        let key = match key {
            Meta::InputName => NFT_META_IIFNAME,
            Meta::OutputName => NFT_META_OIFNAME,
            Meta::Protocol => 16,
        };
        Self::new("meta", |m| {
            m.u32_be(2, key).u32_be(1, into.number());
        })
    }

    /// The connection's state bits (`ct state`).
    pub fn connection_state(into: Register) -> Self {
        Self::new("ct", |m| {
            m.u32_be(2, 0).u32_be(1, into.number());
        })
    }

    /// The connection's status bits (`ct status`).
    pub fn connection_status(into: Register) -> Self {
        Self::new("ct", |m| {
            m.u32_be(2, 2).u32_be(1, into.number());
        })
    }

    /// Goes on only if the register compares.
    pub fn compare(register: Register, how: Compare, with: &[u8]) -> Self {
        let operation = match how {
            Compare::Equal => 0,
            Compare::NotEqual => 1,
        };
        Self::new("cmp", |m| {
            m.u32_be(1, register.number())
                .u32_be(2, operation)
                .nest(3, |data| {
                    data.bytes(NFTA_DATA_VALUE, with);
                });
        })
    }

    /// Keeps the bits of a mask.
    pub fn mask(register: Register, mask: &[u8]) -> Self {
        let length = u32::try_from(mask.len()).unwrap_or_default();
        Self::new("bitwise", |m| {
            m.u32_be(1, register.number())
                .u32_be(2, register.number())
                .u32_be(3, length);
            m.nest(4, |data| {
                data.bytes(NFTA_DATA_VALUE, mask);
            });
            m.nest(5, |data| {
                data.bytes(NFTA_DATA_VALUE, &vec![0; mask.len()]);
            });
        })
    }

    /// Goes on only if a set has the key.
    pub fn member(set: &str, key: Register) -> Self {
        Self::new("lookup", |m| {
            m.text(1, set).u32_be(2, key.number());
        })
    }

    /// Goes on only if a set does not have the key.
    pub fn no_member(set: &str, key: Register) -> Self {
        Self::new("lookup", |m| {
            m.text(1, set).u32_be(2, key.number()).u32_be(5, 1);
        })
    }

    /// Goes on with a map's value for the key, if it has one.
    pub fn value_of(map: &str, key: Register, into: Register) -> Self {
        Self::new("lookup", |m| {
            m.text(1, map).u32_be(2, key.number()).u32_be(3, into.number());
        })
    }

    /// Does what a map of verdicts has for the key; goes on with the next rule if it has none.
    pub fn verdict_of(map: &str, key: Register) -> Self {
        // Register 0 is the verdict's own.
        Self::new("lookup", |m| {
            m.text(1, map).u32_be(2, key.number()).u32_be(3, 0);
        })
    }

    /// A random number below `below`, in the machine's byte order.
    pub fn random(below: u32, into: Register) -> Self {
        Self::new("numgen", |m| {
            m.u32_be(1, into.number())
                .u32_be(2, below)
                .u32_be(3, 1)
                .u32_be(4, 0);
        })
    }

    /// A value.
    pub fn load(word: Word, into: Register) -> Self {
        Self::new("immediate", |m| {
            m.u32_be(1, into.number()).nest(2, |data| {
                data.bytes(NFTA_DATA_VALUE, word.as_bytes());
            });
        })
    }

    /// Ends with a verdict.
    pub fn verdict(verdict: &Verdict) -> Self {
        Self::new("immediate", |m| {
            m.u32_be(1, 0).nest(2, |data| {
                write_verdict(data, verdict);
            });
        })
    }

    /// Another destination address, and port if a register has one.
    pub fn destination_nat(family: Family, address: Register, port: Option<Register>) -> Self {
        Self::nat(1, family, address, port)
    }

    /// Another source address.
    pub fn source_nat(family: Family, address: Register) -> Self {
        Self::nat(0, family, address, None)
    }

    fn nat(kind: u32, family: Family, address: Register, port: Option<Register>) -> Self {
        Self::new("nat", |m| {
            m.u32_be(1, kind).u32_be(2, u32::from(family.number()));
            m.u32_be(3, address.number()).u32_be(4, address.number());
            if let Some(port) = port {
                m.u32_be(5, port.number()).u32_be(6, port.number());
            }
        })
    }

    /// The source address of the link that the packet leaves by.
    pub fn masquerade() -> Self {
        Self::new("masq", |_| {})
    }

    /// What routing says.
    pub fn fib(what: Fib, into: Register) -> Self {
        // Results: 1 the link's number, 3 the address's kind. Flags: 1 source, 2 destination, 8 by the input's link.
        let (result, flags) = match what {
            Fib::SourceByInput => (1, 1 | 8),
            Fib::DestinationKind => (3, 2),
        };
        Self::new("fib", |m| {
            m.u32_be(1, into.number()).u32_be(2, result).u32_be(3, flags);
        })
    }

    /// Counts packets.
    pub fn counter() -> Self {
        Self::new("counter", |m| {
            m.u64_be(1, 0).u64_be(2, 0);
        })
    }

    /// Answers a TCP packet with a reset.
    pub fn reset() -> Self {
        Self::new("reject", |m| {
            m.u32_be(1, 1);
        })
    }

    /// Answers with "port unreachable".
    pub fn unreachable(family: Family) -> Self {
        // ICMP_PORT_UNREACH, ICMPV6_PORT_UNREACH.
        let code = match family {
            Family::V4 => 3,
            Family::V6 => 4,
        };
        Self::new("reject", |m| {
            m.u32_be(1, 0).u8(2, code);
        })
    }

    /// Answers with "administratively prohibited".
    pub fn prohibited(family: Family) -> Self {
        // ICMP_PKT_FILTERED, ICMPV6_ADM_PROHIBITED.
        let code = match family {
            Family::V4 => 13,
            Family::V6 => 1,
        };
        Self::new("reject", |m| {
            m.u32_be(1, 0).u8(2, code);
        })
    }
}

pub(super) fn write_verdict(data: &mut Message<'_>, verdict: &Verdict) {
    let (code, chain) = verdict.code();
    data.nest(NFTA_DATA_VERDICT, |v| {
        v.bytes(NFTA_VERDICT_CODE, &code.to_be_bytes());
        if let Some(chain) = chain {
            v.text(NFTA_VERDICT_CHAIN, chain);
        }
    });
}
