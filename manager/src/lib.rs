//! A manager: the replicated control plane's member that `shoald` runs.
//!
//! `machine` decides everything without touching the world; the shell around it owns sockets, disk and
//! clocks; `sim` runs whole clusters of machines in a seeded world.

pub mod access;
pub mod authority;
pub mod codec;
pub mod crash;
pub mod driver;
pub mod found;
pub mod machine;
pub mod manager;
pub mod resolver;
pub mod server;
pub mod services;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
pub mod storage;
pub mod streams;
#[cfg(test)]
mod testing;

pub use found::{FoundConfig, FoundError, Founded, PoolsAsked, PoolsError};
pub use manager::{Manager, ManagerConfig, StartError};
pub use resolver::{ImageResolver, ResolveError, ResolvedImage};
