//! This node's part in the cluster's networks: tables translated, tasks attached, and what the network says of itself.
//!
//! The only place that knows both the cluster's tables and the overlay's. Called by the supervisor with what the
//! managers say and by keepers with what happens to their tasks; never decides which address anybody has.

mod hub;
mod node_side;
mod overlay;
mod status;
mod translation;

pub(crate) use hub::{NetworkHub, Opening};
pub use node_side::NodeSide;
pub use overlay::Overlay;
pub(crate) use status::{PortsTaken, host_problems, keep_described, notes, watch_host};
#[cfg(test)]
pub(crate) use translation::{difference, whole};

use crate::assignment::AssignedTask;
use shoal_core::model::NetworkMode;

/// Does the task have links of its own?
pub(crate) fn has_links(task: &AssignedTask) -> bool {
    task.spec.container.network == NetworkMode::Networks
}
