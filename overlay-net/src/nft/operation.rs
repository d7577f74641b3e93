//! What a transaction is made of, as values.
//!
//! Plans are made of them; `transaction` writes them, and `observed` knows what each does.

use super::expression::Expression;
use super::value::{Data, Family, Hook, Key};
use super::wire;

/// A table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    /// The packets that it sees.
    pub family: Family,
    /// Its name among those of its family.
    pub name: String,
}

/// One step of a transaction, in one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Makes the table; there may be one.
    AddTable,
    /// Removes the table with all that is in it.
    RemoveTable,
    /// Makes a chain.
    AddChain {
        /// Its name.
        chain: String,
        /// Where it hangs, if anywhere.
        base: Option<Base>,
    },
    /// Removes a chain that nothing refers to.
    RemoveChain {
        /// Its name.
        chain: String,
    },
    /// Removes all rules of a chain.
    FlushChain {
        /// Its name.
        chain: String,
    },
    /// Adds a rule at a chain's end.
    AppendRule {
        /// The chain.
        chain: String,
        /// The rule.
        rule: Rule,
    },
    /// Adds a rule at a chain's beginning.
    InsertRule {
        /// The chain.
        chain: String,
        /// The rule.
        rule: Rule,
    },
    /// Removes one rule.
    RemoveRule {
        /// The chain.
        chain: String,
        /// The kernel's number of it.
        handle: u64,
    },
    /// Makes a set or map.
    AddSet {
        /// Its name.
        set: String,
        /// What it is.
        definition: SetDefinition,
    },
    /// Removes a set that nothing refers to.
    RemoveSet {
        /// Its name.
        set: String,
    },
    /// Adds elements; the same ones may be there.
    AddElements {
        /// The set.
        set: String,
        /// Keys and what they have.
        elements: Vec<(Key, Data)>,
    },
    /// Removes elements, which must be there.
    RemoveElements {
        /// The set.
        set: String,
        /// Their keys, and what they have where they are the ends of intervals.
        keys: Vec<Key>,
    },
}

/// How a base chain hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base {
    /// What it may do.
    pub kind: ChainType,
    /// Where.
    pub hook: Hook,
    /// Lower comes first.
    pub priority: i32,
}

/// What a base chain may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainType {
    /// Accept or drop.
    Filter,
    /// Change addresses: sees the first packet of a connection only.
    Nat,
}

/// What a set is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetDefinition {
    /// Types of the key's fields, for listings.
    pub key_type: u32,
    /// Its length.
    pub key_length: u32,
    /// Whether keys are the ends of intervals.
    pub intervals: bool,
    /// What keys have.
    pub value: SetValue,
}

/// What the keys of a set have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetValue {
    /// Nothing: a set.
    None,
    /// Verdicts.
    Verdict,
    /// Values.
    Word {
        /// Types of the fields, for listings.
        kind: u32,
        /// The length.
        length: u32,
    },
}

/// A rule: its expressions, and the comment by which it is known again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What it does, in this order.
    pub expressions: Vec<Expression>,
    /// Shown by `nft list`; holds the hash of the expressions.
    pub comment: String,
}

impl Rule {
    /// A rule whose comment is the tag and a hash of what it does.
    pub fn new(tag: &str, expressions: Vec<Expression>) -> Self {
        let mut hash = Fnv::default();
        for expression in &expressions {
            hash.write(expression.name.as_bytes());
            hash.write(&[0]);
            hash.write(&expression.data);
        }
        let comment = format!("{tag} {:016x}", hash.0);
        Self { expressions, comment }
    }
}

/// FNV-1a: tells rules of ours apart, against nobody's will.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl ChainType {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Nat => "nat",
        }
    }
}

impl SetDefinition {
    /// A set or map with this key.
    pub fn new(key_type: u32, key_length: u32, value: SetValue) -> Self {
        Self {
            key_type,
            key_length,
            intervals: false,
            value,
        }
    }

    /// The kernel's flags.
    pub(super) fn flags(&self) -> u32 {
        let map = match self.value {
            SetValue::None => 0,
            SetValue::Verdict | SetValue::Word { .. } => wire::NFT_SET_MAP,
        };
        let intervals = if self.intervals { wire::NFT_SET_INTERVAL } else { 0 };
        map | intervals
    }
}

/// The type of a concatenation: six bits a field, the first one highest.
pub(crate) const fn concatenated(fields: &[u32]) -> u32 {
    let mut kind = 0;
    let mut place = 0;
    while place < fields.len() {
        kind = kind << 6 | fields[place];
        place += 1;
    }
    kind
}
