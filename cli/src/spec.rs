//! From flags to specs: what `service create` makes and `service update` changes.
//!
//! Pure. Values are parsed by clap (a wrong one is a usage error); what they mean for a cluster is judged
//! by the managers.

mod lists;
mod names;
mod networks;
mod ports;
mod task_flags;
mod values;

pub(crate) use lists::{CreateLists, UpdateLists};
pub(crate) use names::{invented_name, run_name};
pub(crate) use networks::{joined_text, mode_name};
pub(crate) use ports::{ports_text, protocol_name};
pub(crate) use task_flags::{TaskFlags, Words, words};
pub(crate) use values::{Pair, not_built, pair, volume};
