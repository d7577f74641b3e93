//! A node: a machine that belongs to the cluster.
//!
//! The spec is the operator's, the description is what the node last said of itself, the status is the
//! managers' judgement. Liveness itself is not replicated: only its verdict (`NodeState`) is.

use super::{Labels, Meta, NodeId, Resources, Timestamp, WallTime};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub id: NodeId,
    pub meta: Meta,
    pub spec: NodeSpec,
    /// Absent until the node's first session.
    pub description: Option<NodeDescription>,
    pub status: NodeStatus,
    /// Present while the node is a Raft member.
    pub manager: Option<ManagerStatus>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSpec {
    pub labels: Labels,
    pub role: Role,
    pub availability: Availability,
}

/// What a node may do in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    Worker,
    /// A manager is also a worker unless drained.
    Manager,
}

/// May the node take tasks?
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Availability {
    Active,
    /// Keeps what it runs, takes nothing new.
    Pause,
    /// Its tasks move elsewhere.
    Drain,
}

/// What a node says of itself when its session opens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDescription {
    pub hostname: String,
    pub platform: Platform,
    pub resources: Resources,
    /// The version of `shoald`, as `shoal version` shows it.
    pub engine_version: String,
    pub engine_labels: Labels,
    /// The address by which other nodes reach it, without a port; empty on a node that only listens locally.
    pub address: String,
    /// Where the host itself has routes to: ranges that no network may have.
    pub routes: Vec<IpNet>,
    /// What stands in the way of containers' networks, and what would help.
    pub problems: Vec<NodeProblem>,
}

/// Something on a node that a person must look at.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeProblem {
    pub what: String,
    /// The command or setting that would help.
    pub remedy: String,
}

/// Operating system and architecture, in the words of OCI images (`linux`, `amd64`).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    pub os: String,
    pub arch: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    pub state: NodeState,
    /// Why it is not ready; empty when it is.
    pub message: String,
    pub since: WallTime,
    /// The same moment in cluster time.
    pub at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum NodeState {
    /// Never heard of yet, or silent while evictions are paused: keeps its tasks, takes none.
    Unknown,
    Ready,
    /// Three heartbeats missed, or it said goodbye.
    Down,
}

/// A manager's place in Raft.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagerStatus {
    /// Minted once per data directory, never reused.
    pub raft_id: u64,
    /// `host:port` of its manager listener.
    pub address: String,
}
