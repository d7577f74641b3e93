//! The cluster object: its settings, its root certificate and its join tokens.
//!
//! There is exactly one. The root's private key is stored sealed by the shell; this crate carries its
//! bytes and never looks inside.

use super::{AddressPools, ClusterId, Labels, Meta};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The one cluster object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    pub id: ClusterId,
    pub meta: Meta,
    pub spec: ClusterSpec,
    pub status: ClusterStatus,
}

/// What an operator may change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterSpec {
    pub name: String,
    pub labels: Labels,
    /// Ended tasks kept per slot; Swarm keeps 5.
    pub task_history_limit: u32,
    /// Shortest heartbeat period asked of workers; the dispatcher lengthens it with the number of nodes.
    pub heartbeat_period: Duration,
    /// Life of a node's certificate; 90 days as in Swarm.
    pub certificate_life: Duration,
    /// Fixed when the cluster is made.
    pub pools: AddressPools,
}

impl Default for ClusterSpec {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            labels: Labels::new(),
            task_history_limit: 5,
            heartbeat_period: Duration::from_secs(1),
            certificate_life: Duration::from_secs(90 * 24 * 3600),
            pools: AddressPools::default(),
        }
    }
}

/// What the system keeps about the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// The root certificate, PEM.
    pub root_certificate: String,
    /// The root's private key as the shell sealed it.
    pub sealed_root_key: Vec<u8>,
    pub join_tokens: JoinTokens,
    /// Raised by `recover` and `restore`; with the Raft index it orders everything workers are told.
    pub epoch: u64,
}

/// The secrets in the join tokens in force, one per role.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinTokens {
    pub worker: String,
    pub manager: String,
}
