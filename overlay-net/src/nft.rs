//! nftables without the `nft` program: tables as values, transactions, dumps.
//!
//! [`Operation`]s are encoded into one netlink batch, which the kernel carries out whole or not at all;
//! [`TableState`] is what a dump of a table gives, in the same terms. A rule carries a hash of its own expressions
//! as its comment, so that a dump tells which rules are there without understanding them.

mod dump;
mod expression;
mod operation;
mod transaction;
mod value;
pub(crate) mod wire;

pub use dump::{ChainState, ForeignChain, ForeignRule, RuleState, SetState, TableState, Way};
pub use expression::{Compare, Expression, Fib, KIND_LOCAL, Meta, Register};
pub(crate) use operation::concatenated;
pub use operation::{Base, ChainType, Operation, Rule, SetDefinition, SetValue, TableName};
pub use transaction::{NftSocket, encode};
pub use value::{Data, Family, Hook, Key, Verdict, Word};
