//! A node's part of the overlay network: router, endpoints, balanced addresses, published ports, names.
//!
//! The worker says what shall be; this crate compares it with what the kernel has and carries out the difference, at
//! once and again whenever somebody changes what is Shoal's. It knows networks, endpoints, groups of backends and
//! names, not services or tasks. What needs a living process is in one, `shoal-net` ([`serve`]): [`Net`] starts it and
//! tells it the tables that the kernel has.
//!
//! Not built yet: links between hosts.

pub mod address;
mod changed;
mod conntrack;
pub mod desired;
mod engine;
mod keeper;
pub mod message;
pub mod namespace;
mod net;
pub mod netlink;
pub mod nft;
pub mod observed;
pub mod plan;
mod process;
pub mod rtnl;
pub mod serve;
mod sockets;
mod sys;
mod xtables;

pub use engine::{ApplyError, AttachError, HostRoute, KernelError, NamesState, NetStatus, Problem};
pub use net::{Net, NetConfig, OpenError, purge};
