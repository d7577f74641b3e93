//! Transactions: operations encoded into one batch, which the kernel carries out whole or not at all.
//!
//! Called by the engine with what a plan says. Checks nothing beforehand: the kernel does, and says which step it
//! refuses.

use super::expression::{Expression, Register, write_verdict};
use super::operation::{Base, Operation, Rule, SetDefinition, SetValue, TableName};
use super::value::{Data, Key};
use super::wire::{self, nft};
use crate::netlink::{Batch, Message, NetlinkError, Protocol, Socket};

/// Elements in one message: an attribute's length has 16 bits, and an element takes 60 bytes at most with a chain's
/// name.
const ELEMENTS: usize = 500;

/// A socket for transactions and dumps, in one namespace.
#[derive(Debug)]
pub struct NftSocket(pub(super) Socket);

impl NftSocket {
    /// Opens one in the calling thread's namespace.
    pub fn open() -> Result<Self, NetlinkError> {
        Socket::open(Protocol::Netfilter).map(Self)
    }

    /// The number by which notifications name what this socket did.
    pub fn port_id(&self) -> Result<u32, NetlinkError> {
        self.0.port_id()
    }

    /// Carries out operations in one transaction.
    pub fn commit<'a>(
        &mut self,
        operations: impl IntoIterator<Item = (&'a TableName, &'a Operation)>,
    ) -> Result<(), NetlinkError> {
        self.0.send_all(&encode(operations))
    }

    /// Makes tables that belong to this socket, each with one chain that translates addresses and has no rules. Nobody
    /// else can remove them, not even by removing everything; they go when the socket closes.
    ///
    /// For as long as a family has a chain of that kind, the kernel goes on translating the connections that it knows,
    /// whatever becomes of the tables by whose rules they were translated first.
    pub fn guard(&mut self, name: &str) -> Result<(), NetlinkError> {
        let mut batch = Batch::new();
        around(&mut batch, |batch| {
            for family in super::Family::ALL {
                let header = wire::header(family.number(), 0);
                batch.message(nft(wire::NFT_MSG_NEWTABLE), wire::CREATE, &header, |m| {
                    m.text(wire::NFTA_TABLE_NAME, name);
                    m.u32_be(wire::NFTA_TABLE_FLAGS, wire::NFT_TABLE_F_OWNER);
                });
                batch.message(nft(wire::NFT_MSG_NEWCHAIN), wire::CREATE, &header, |m| {
                    m.text(wire::NFTA_CHAIN_TABLE, name)
                        .text(wire::NFTA_CHAIN_NAME, "guard");
                    let base = Base {
                        kind: super::ChainType::Nat,
                        hook: super::Hook::Postrouting,
                        priority: GUARD_PRIORITY,
                    };
                    write_base(m, &base);
                });
                // Changes nothing, but asks for connections to be tracked: nobody else may.
                let tracked = Rule::new("guard", vec![Expression::connection_state(Register(0))]);
                batch.message(nft(wire::NFT_MSG_NEWRULE), wire::CREATE, &header, |m| {
                    write_rule(m, name, "guard", &tracked);
                });
            }
        });
        self.0.send_all(&batch)
    }
}

/// After everybody: it has no rules.
const GUARD_PRIORITY: i32 = 300;

/// The batch for one transaction.
pub fn encode<'a>(operations: impl IntoIterator<Item = (&'a TableName, &'a Operation)>) -> Batch {
    let mut batch = Batch::new();
    let mut sets = 0;
    around(&mut batch, |batch| {
        for (table, operation) in operations {
            write(batch, table, operation, &mut sets);
        }
    });
    batch
}

fn around(batch: &mut Batch, inner: impl FnOnce(&mut Batch)) {
    let header = wire::header(0, wire::NFNL_SUBSYS_NFTABLES);
    batch.message(wire::NFNL_MSG_BATCH_BEGIN, 0, &header, |_| {});
    inner(batch);
    batch.message(wire::NFNL_MSG_BATCH_END, 0, &header, |_| {});
}

fn write(batch: &mut Batch, table: &TableName, operation: &Operation, sets: &mut u32) {
    let header = wire::header(table.family.number(), 0);
    let name = table.name.as_str();
    let mut put = |message: u16, flags: u16, fill: &dyn Fn(&mut Message<'_>)| {
        batch.message(nft(message), flags, &header, fill);
    };
    match operation {
        Operation::AddTable => put(wire::NFT_MSG_NEWTABLE, wire::CREATE, &|m| {
            m.text(wire::NFTA_TABLE_NAME, name)
                .u32_be(wire::NFTA_TABLE_FLAGS, 0);
        }),
        Operation::RemoveTable => put(wire::NFT_MSG_DELTABLE, 0, &|m| {
            m.text(wire::NFTA_TABLE_NAME, name);
        }),
        Operation::AddChain { chain, base } => put(wire::NFT_MSG_NEWCHAIN, wire::CREATE, &|m| {
            m.text(wire::NFTA_CHAIN_TABLE, name)
                .text(wire::NFTA_CHAIN_NAME, chain);
            if let Some(base) = base {
                write_base(m, base);
            }
        }),
        Operation::RemoveChain { chain } => put(wire::NFT_MSG_DELCHAIN, 0, &|m| {
            m.text(wire::NFTA_CHAIN_TABLE, name)
                .text(wire::NFTA_CHAIN_NAME, chain);
        }),
        Operation::FlushChain { chain } => put(wire::NFT_MSG_DELRULE, 0, &|m| {
            m.text(wire::NFTA_RULE_TABLE, name)
                .text(wire::NFTA_RULE_CHAIN, chain);
        }),
        Operation::AppendRule { chain, rule } => {
            put(wire::NFT_MSG_NEWRULE, wire::CREATE | wire::APPEND, &|m| {
                write_rule(m, name, chain, rule);
            });
        }
        Operation::InsertRule { chain, rule } => {
            put(wire::NFT_MSG_NEWRULE, wire::CREATE, &|m| {
                write_rule(m, name, chain, rule);
            });
        }
        Operation::RemoveRule { chain, handle } => put(wire::NFT_MSG_DELRULE, 0, &|m| {
            m.text(wire::NFTA_RULE_TABLE, name)
                .text(wire::NFTA_RULE_CHAIN, chain);
            m.u64_be(wire::NFTA_RULE_HANDLE, *handle);
        }),
        Operation::AddSet { set, definition } => {
            *sets += 1;
            let id = *sets;
            put(wire::NFT_MSG_NEWSET, wire::CREATE, &|m| {
                write_set(m, name, set, definition, id);
            });
        }
        Operation::RemoveSet { set } => put(wire::NFT_MSG_DELSET, 0, &|m| {
            m.text(wire::NFTA_SET_TABLE, name).text(wire::NFTA_SET_NAME, set);
        }),
        Operation::AddElements { set, elements } => {
            for part in elements.chunks(ELEMENTS) {
                put(wire::NFT_MSG_NEWSETELEM, wire::CREATE, &|m| {
                    write_elements(m, name, set, part.iter().map(|(key, data)| (key, data)));
                });
            }
        }
        Operation::RemoveElements { set, keys } => {
            for part in keys.chunks(ELEMENTS) {
                put(wire::NFT_MSG_DELSETELEM, 0, &|m| {
                    write_elements(m, name, set, part.iter().map(|key| (key, &Data::None)));
                });
            }
        }
    }
}

fn write_base(message: &mut Message<'_>, base: &Base) {
    message.nest(wire::NFTA_CHAIN_HOOK, |hook| {
        hook.u32_be(wire::NFTA_HOOK_HOOKNUM, base.hook.number());
        hook.bytes(wire::NFTA_HOOK_PRIORITY, &base.priority.to_be_bytes());
    });
    message.u32_be(wire::NFTA_CHAIN_POLICY, wire::NF_ACCEPT.unsigned_abs());
    message.text(wire::NFTA_CHAIN_TYPE, base.kind.name());
}

fn write_rule(message: &mut Message<'_>, table: &str, chain: &str, rule: &Rule) {
    message
        .text(wire::NFTA_RULE_TABLE, table)
        .text(wire::NFTA_RULE_CHAIN, chain);
    message.nest(wire::NFTA_RULE_EXPRESSIONS, |list| {
        for expression in &rule.expressions {
            list.nest(wire::NFTA_LIST_ELEM, |element| {
                element.text(wire::NFTA_EXPR_NAME, expression.name);
                element.nest(wire::NFTA_EXPR_DATA, |data| {
                    data.raw(&expression.data);
                });
            });
        }
    });
    let text = rule.comment.as_bytes();
    let length = u8::try_from(text.len() + 1).unwrap_or_default();
    let mut comment = vec![wire::NFTNL_UDATA_RULE_COMMENT, length];
    comment.extend_from_slice(text);
    comment.push(0);
    message.bytes(wire::NFTA_RULE_USERDATA, &comment);
}

fn write_set(message: &mut Message<'_>, table: &str, set: &str, definition: &SetDefinition, id: u32) {
    message
        .text(wire::NFTA_SET_TABLE, table)
        .text(wire::NFTA_SET_NAME, set);
    message.u32_be(wire::NFTA_SET_FLAGS, definition.flags());
    message.u32_be(wire::NFTA_SET_KEY_TYPE, definition.key_type);
    message.u32_be(wire::NFTA_SET_KEY_LEN, definition.key_length);
    match definition.value {
        SetValue::None => {}
        SetValue::Verdict => {
            message.u32_be(wire::NFTA_SET_DATA_TYPE, wire::NFT_DATA_VERDICT);
            message.u32_be(wire::NFTA_SET_DATA_LEN, 16);
        }
        SetValue::Word { kind, length } => {
            message.u32_be(wire::NFTA_SET_DATA_TYPE, kind);
            message.u32_be(wire::NFTA_SET_DATA_LEN, length);
        }
    }
    // Names it within the transaction; the kernel asks for one even where nothing does.
    message.u32_be(wire::NFTA_SET_ID, id);
}

fn write_elements<'a>(
    message: &mut Message<'_>,
    table: &str,
    set: &str,
    elements: impl Iterator<Item = (&'a Key, &'a Data)>,
) {
    message
        .text(wire::NFTA_SET_ELEM_LIST_TABLE, table)
        .text(wire::NFTA_SET_ELEM_LIST_SET, set);
    message.nest(wire::NFTA_SET_ELEM_LIST_ELEMENTS, |list| {
        for (key, data) in elements {
            list.nest(wire::NFTA_LIST_ELEM, |element| write_element(element, key, data));
        }
    });
}

fn write_element(element: &mut Message<'_>, key: &Key, data: &Data) {
    if key.end {
        element.u32_be(wire::NFTA_SET_ELEM_FLAGS, wire::NFT_SET_ELEM_INTERVAL_END);
    }
    element.nest(wire::NFTA_SET_ELEM_KEY, |value| {
        value.bytes(wire::NFTA_DATA_VALUE, key.word.as_bytes());
    });
    match data {
        Data::None => {}
        Data::Word(word) => {
            element.nest(wire::NFTA_SET_ELEM_DATA, |value| {
                value.bytes(wire::NFTA_DATA_VALUE, word.as_bytes());
            });
        }
        Data::Verdict(verdict) => {
            element.nest(wire::NFTA_SET_ELEM_DATA, |value| write_verdict(value, verdict));
        }
    }
}
