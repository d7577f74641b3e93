//! What the kernel has: tables of ours in full, and of other tools what may stop our packets.
//!
//! Called by the engine's looks. Rules are not understood, only known again by their comments.

mod foreign;

use std::collections::BTreeMap;

pub use self::foreign::{ForeignChain, ForeignRule, Way};
use super::operation::{Base, ChainType, SetDefinition, SetValue, TableName};
use super::transaction::NftSocket;
use super::value::{Data, Family, Hook, Key, Verdict, Word};
use super::wire::{self, nft};
use crate::netlink::{Attributes, NetlinkError, attributes, u32_be};

/// A table as the kernel has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableState {
    /// By name.
    pub chains: BTreeMap<String, ChainState>,
    /// By name.
    pub sets: BTreeMap<String, SetState>,
}

/// A chain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChainState {
    /// Where it hangs, if anywhere.
    pub base: Option<Base>,
    /// In their order.
    pub rules: Vec<RuleState>,
}

/// A rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleState {
    /// Empty if it has none.
    pub comment: String,
    /// The kernel's number of it.
    pub handle: u64,
}

/// A set or map.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SetState {
    /// The kernel's flags.
    pub flags: u32,
    /// Length of a key.
    pub key_length: u32,
    /// Length of a value; 0 without one.
    pub data_length: u32,
    /// What is in it.
    pub elements: BTreeMap<Key, Data>,
}

impl SetState {
    /// An empty set of this definition.
    pub(crate) fn new(definition: &SetDefinition) -> Self {
        Self {
            flags: definition.flags(),
            key_length: definition.key_length,
            data_length: match definition.value {
                SetValue::None | SetValue::Verdict => 0,
                SetValue::Word { length, .. } => length,
            },
            elements: BTreeMap::new(),
        }
    }

    /// Whether both are sets of the same kind, whatever is in them.
    pub(crate) fn is(&self, other: &Self) -> bool {
        (self.flags, self.key_length, self.data_length) == (other.flags, other.key_length, other.data_length)
    }
}

struct Named<'a> {
    table: &'a str,
    chain: &'a str,
}

impl NftSocket {
    /// A table with everything in it; none if there is none.
    pub fn table(&mut self, table: &TableName) -> Result<Option<TableState>, NetlinkError> {
        let header = wire::header(table.family.number(), 0);
        let found = self.0.get(nft(wire::NFT_MSG_GETTABLE), &header, |m| {
            m.text(wire::NFTA_TABLE_NAME, &table.name);
        })?;
        if found.is_none() {
            return Ok(None);
        }
        let mut state = TableState {
            chains: self.chains(table)?,
            sets: self.sets(table)?,
        };
        self.rules(table, &mut state.chains)?;
        for (name, set) in &mut state.sets {
            set.elements = self.elements(table, name)?;
        }
        Ok(Some(state))
    }

    /// The names of all tables of a family.
    pub fn tables(&mut self, family: Family) -> Result<Vec<String>, NetlinkError> {
        let header = wire::header(family.number(), 0);
        self.0.dump(
            nft(wire::NFT_MSG_GETTABLE),
            &header,
            |_| {},
            Vec::new,
            |names, _, body| {
                let name = body
                    .get(4..)
                    .and_then(|body| attributes(body).text(wire::NFTA_TABLE_NAME));
                names.extend(name.map(str::to_owned));
            },
        )
    }

    fn chains(&mut self, table: &TableName) -> Result<BTreeMap<String, ChainState>, NetlinkError> {
        let header = wire::header(table.family.number(), 0);
        self.0.dump(
            nft(wire::NFT_MSG_GETCHAIN),
            &header,
            |_| {},
            BTreeMap::new,
            |chains, _, body| {
                let Some(list) = body.get(4..).map(attributes) else {
                    return;
                };
                if list.clone().text(wire::NFTA_CHAIN_TABLE) != Some(&table.name) {
                    return;
                }
                let Some(name) = list.clone().text(wire::NFTA_CHAIN_NAME) else {
                    return;
                };
                let base = read_base(&list);
                chains.insert(
                    name.to_owned(),
                    ChainState {
                        base,
                        rules: Vec::new(),
                    },
                );
            },
        )
    }

    fn rules(
        &mut self,
        table: &TableName,
        chains: &mut BTreeMap<String, ChainState>,
    ) -> Result<(), NetlinkError> {
        let header = wire::header(table.family.number(), 0);
        let rules: Vec<(String, RuleState)> = self.0.dump(
            nft(wire::NFT_MSG_GETRULE),
            &header,
            |m| {
                m.text(wire::NFTA_RULE_TABLE, &table.name);
            },
            Vec::new,
            |rules, _, body| {
                let Some(list) = body.get(4..).map(attributes) else {
                    return;
                };
                if let Some(named) = Named::of_rule(&list).filter(|named| named.table == table.name) {
                    rules.push((named.chain.to_owned(), read_rule(&list)));
                }
            },
        )?;
        for (chain, rule) in rules {
            if let Some(chain) = chains.get_mut(&chain) {
                chain.rules.push(rule);
            }
        }
        Ok(())
    }

    fn sets(&mut self, table: &TableName) -> Result<BTreeMap<String, SetState>, NetlinkError> {
        let header = wire::header(table.family.number(), 0);
        self.0.dump(
            nft(wire::NFT_MSG_GETSET),
            &header,
            |m| {
                m.text(wire::NFTA_SET_TABLE, &table.name);
            },
            BTreeMap::new,
            |sets, _, body| {
                let Some(list) = body.get(4..).map(attributes) else {
                    return;
                };
                let number = |kind| list.clone().get(kind).and_then(u32_be).unwrap_or_default();
                let Some(name) = list.clone().text(wire::NFTA_SET_NAME) else {
                    return;
                };
                let verdicts = number(wire::NFTA_SET_DATA_TYPE) == wire::NFT_DATA_VERDICT;
                let state = SetState {
                    flags: number(wire::NFTA_SET_FLAGS),
                    key_length: number(wire::NFTA_SET_KEY_LEN),
                    data_length: if verdicts {
                        0
                    } else {
                        number(wire::NFTA_SET_DATA_LEN)
                    },
                    elements: BTreeMap::new(),
                };
                if state.flags & wire::NFT_SET_ANONYMOUS == 0 {
                    sets.insert(name.to_owned(), state);
                }
            },
        )
    }

    fn elements(&mut self, table: &TableName, set: &str) -> Result<BTreeMap<Key, Data>, NetlinkError> {
        let header = wire::header(table.family.number(), 0);
        self.0.dump(
            nft(wire::NFT_MSG_GETSETELEM),
            &header,
            |m| {
                m.text(wire::NFTA_SET_ELEM_LIST_TABLE, &table.name);
                m.text(wire::NFTA_SET_ELEM_LIST_SET, set);
            },
            BTreeMap::new,
            |elements, _, body| {
                let list = body
                    .get(4..)
                    .and_then(|b| attributes(b).get(wire::NFTA_SET_ELEM_LIST_ELEMENTS));
                elements.extend(attributes(list.unwrap_or_default()).filter_map(|(_, e)| read_element(e)));
            },
        )
    }
}

impl<'a> Named<'a> {
    fn of_rule(list: &Attributes<'a>) -> Option<Self> {
        Some(Self {
            table: list.clone().text(wire::NFTA_RULE_TABLE)?,
            chain: list.clone().text(wire::NFTA_RULE_CHAIN)?,
        })
    }
}

fn read_base(list: &Attributes<'_>) -> Option<Base> {
    let hook = attributes(list.clone().get(wire::NFTA_CHAIN_HOOK)?);
    let kind = match list.clone().text(wire::NFTA_CHAIN_TYPE)? {
        "nat" => ChainType::Nat,
        _ => ChainType::Filter,
    };
    let priority = hook
        .clone()
        .get(wire::NFTA_HOOK_PRIORITY)?
        .first_chunk()
        .copied()?;
    Some(Base {
        kind,
        hook: Hook::from_number(hook.get(wire::NFTA_HOOK_HOOKNUM).and_then(u32_be)?)?,
        priority: i32::from_be_bytes(priority),
    })
}

fn read_rule(list: &Attributes<'_>) -> RuleState {
    let handle = list
        .clone()
        .get(wire::NFTA_RULE_HANDLE)
        .and_then(|bytes| bytes.first_chunk().copied());
    let comment = list
        .clone()
        .get(wire::NFTA_RULE_USERDATA)
        .and_then(|data| match data {
            [wire::NFTNL_UDATA_RULE_COMMENT, length, text @ ..] => {
                text.get(..usize::from(*length).saturating_sub(1))
            }
            _ => None,
        });
    RuleState {
        comment: String::from_utf8_lossy(comment.unwrap_or_default()).into_owned(),
        handle: handle.map(u64::from_be_bytes).unwrap_or_default(),
    }
}

fn read_element(element: &[u8]) -> Option<(Key, Data)> {
    let list = attributes(element);
    let flags = list
        .clone()
        .get(wire::NFTA_SET_ELEM_FLAGS)
        .and_then(u32_be)
        .unwrap_or_default();
    let key = attributes(list.clone().get(wire::NFTA_SET_ELEM_KEY)?).get(wire::NFTA_DATA_VALUE)?;
    let key = Key {
        word: Word::new(key),
        end: flags & wire::NFT_SET_ELEM_INTERVAL_END != 0,
    };
    let Some(data) = list.get(wire::NFTA_SET_ELEM_DATA).map(attributes) else {
        return Some((key, Data::None));
    };
    if let Some(value) = data.clone().get(wire::NFTA_DATA_VALUE) {
        return Some((key, Data::Word(Word::new(value))));
    }
    let verdict = read_verdict(data.get(wire::NFTA_DATA_VERDICT)?)?;
    Some((key, Data::Verdict(verdict)))
}

fn read_verdict(bytes: &[u8]) -> Option<Verdict> {
    let list = attributes(bytes);
    let code = list
        .clone()
        .get(wire::NFTA_VERDICT_CODE)?
        .first_chunk()
        .copied()?;
    Verdict::from_code(i32::from_be_bytes(code), list.text(wire::NFTA_VERDICT_CHAIN))
}
