//! Gives subnets to networks, addresses to tasks and services, and ports to those that ask for any.
//!
//! Called by `request` for networks and services and by the orchestrators for tasks; both write what it gave in the
//! same transaction. What is held is read from the view; what rests stands in the network's status. It never takes
//! anything from a holder.

mod numbers;
mod ports;
mod subnets;
#[cfg(test)]
mod tests;

pub use numbers::REST;
pub(crate) use numbers::{Lack, Numbers, addresses, seconds};
pub(crate) use ports::{Asked, Going, meet as addresses_meet, ports};
pub(crate) use subnets::{Taken, network_met, route_in, route_met};
