//! What the kernel has: tables of ours in full, and of other tools what may stop our packets.
//!
//! Called by the engine's looks. Rules are not understood, only known again by their comments.

use std::collections::BTreeMap;

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

/// A chain of another tool's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignChain {
    /// `ip`, `ip6` or `inet`, as the kernel numbers them.
    pub family: u8,
    /// The table.
    pub table: String,
    /// The chain.
    pub chain: String,
    /// The hook, for base chains that filter.
    pub hook: Option<Hook>,
    /// Whether what reaches the end is dropped.
    pub drops: bool,
    /// In their order.
    pub rules: Vec<ForeignRule>,
}

/// A rule of another tool's, or of ours in its chain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForeignRule {
    /// Comment and number.
    pub rule: RuleState,
    /// Whether it drops or refuses every packet, with no condition.
    pub stops_all: bool,
    /// The way by which it accepts every packet.
    pub accepts: Option<Way>,
}

/// A way of packets by a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// They come in by it.
    In(String),
    /// They go out by it.
    Out(String),
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

    /// The chains of all tables whose names do not begin with `ours`, with their rules.
    pub fn foreign(&mut self, ours: &str) -> Result<Vec<ForeignChain>, NetlinkError> {
        let header = wire::header(0, 0);
        let mut chains = self.0.dump(
            nft(wire::NFT_MSG_GETCHAIN),
            &header,
            |_| {},
            Vec::new,
            |chains: &mut Vec<ForeignChain>, _, body| chains.extend(read_foreign(body, ours)),
        )?;
        let rules: Vec<(u8, String, String, ForeignRule)> = self.0.dump(
            nft(wire::NFT_MSG_GETRULE),
            &header,
            |_| {},
            Vec::new,
            |rules, _, body| {
                let Some((header, list)) = body.split_first_chunk::<4>() else {
                    return;
                };
                let list = attributes(list);
                if let Some(named) = Named::of_rule(&list).filter(|named| !named.table.starts_with(ours)) {
                    let (table, chain) = (named.table.to_owned(), named.chain.to_owned());
                    let rule = ForeignRule {
                        rule: read_rule(&list),
                        stops_all: stops_all(&list),
                        accepts: accepts(&list),
                    };
                    rules.push((header[0], table, chain, rule));
                }
            },
        )?;
        for (family, table, chain, rule) in rules {
            let home = chains
                .iter_mut()
                .find(|c| (c.family, &c.table, &c.chain) == (family, &table, &chain));
            if let Some(home) = home {
                home.rules.push(rule);
            }
        }
        Ok(chains)
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

fn read_foreign(body: &[u8], ours: &str) -> Option<ForeignChain> {
    let (header, list) = body.split_first_chunk::<4>()?;
    let list = attributes(list);
    let table = list.clone().text(wire::NFTA_CHAIN_TABLE)?;
    if table.starts_with(ours) {
        return None;
    }
    let base = read_base(&list).filter(|base| base.kind == ChainType::Filter);
    let policy = list.clone().get(wire::NFTA_CHAIN_POLICY).and_then(u32_be);
    Some(ForeignChain {
        family: header[0],
        table: table.to_owned(),
        chain: list.text(wire::NFTA_CHAIN_NAME)?.to_owned(),
        hook: base.map(|base| base.hook),
        drops: base.is_some() && policy == Some(wire::NF_DROP.unsigned_abs()),
        rules: Vec::new(),
    })
}

/// A rule whose every expression only counts or logs before it drops or refuses.
fn stops_all(list: &Attributes<'_>) -> bool {
    let expressions = list.clone().get(wire::NFTA_RULE_EXPRESSIONS).unwrap_or_default();
    for (_, expression) in attributes(expressions) {
        let fields = attributes(expression);
        let data = attributes(fields.clone().get(wire::NFTA_EXPR_DATA).unwrap_or_default());
        match fields.text(wire::NFTA_EXPR_NAME) {
            Some("counter" | "log") => {}
            // The `iptables` program writes some of its rules with its own old parts.
            Some("match") if data.clone().text(1) == Some("comment") => {}
            Some("target") => return data.text(1) == Some("REJECT"),
            Some("reject") => return true,
            Some("immediate") => {
                let verdict = attributes(data.get(2).unwrap_or_default()).get(wire::NFTA_DATA_VERDICT);
                return verdict.and_then(read_verdict) == Some(Verdict::Drop);
            }
            _ => return false,
        }
    }
    false
}

/// A rule whose only condition is a link, and that does nothing but count, log and accept.
fn accepts(list: &Attributes<'_>) -> Option<Way> {
    let expressions = list.clone().get(wire::NFTA_RULE_EXPRESSIONS)?;
    let (mut kind, mut link) = (None, None);
    for (_, expression) in attributes(expressions) {
        let fields = attributes(expression);
        let data = attributes(fields.clone().get(wire::NFTA_EXPR_DATA)?);
        match fields.text(wire::NFTA_EXPR_NAME)? {
            "counter" | "log" => {}
            "meta" if kind.is_none() => kind = Some(data.get(2).and_then(u32_be)?),
            "cmp" if kind.is_some() && link.is_none() => {
                data.clone().get(2).and_then(u32_be).filter(|how| *how == 0)?;
                let name = attributes(data.get(3)?).get(wire::NFTA_DATA_VALUE)?;
                // Without the zero behind it, it is the beginning of many names.
                let (name, _) = name.split_at_checked(name.iter().position(|byte| *byte == 0)?)?;
                link = Some(String::from_utf8_lossy(name).into_owned());
            }
            "immediate" => {
                let verdict = attributes(data.get(2)?).get(wire::NFTA_DATA_VERDICT)?;
                read_verdict(verdict).filter(|verdict| *verdict == Verdict::Accept)?;
                return match kind? {
                    wire::NFT_META_IIFNAME => Some(Way::In(link?)),
                    wire::NFT_META_OIFNAME => Some(Way::Out(link?)),
                    _ => None,
                };
            }
            _ => return None,
        }
    }
    None
}
