//! The nouns of a cluster, one file each.
//!
//! Every object has an id, a `Meta`, a spec that only a user writes and a status that only the system
//! writes. These are plain values: validation lives in `validate`, storage in `store`, decisions beside
//! them. Protobuf forms live in the `api` crate alone.

pub mod bytes;
pub mod cluster;
pub mod container;
pub mod id;
pub mod meta;
pub mod network;
pub mod node;
pub mod resources;
pub mod service;
pub mod stack;
pub mod task;
pub mod time;
pub mod wait;

pub use bytes::Bytes;
pub use cluster::{Cluster, ClusterSpec, ClusterStatus, JoinTokens};
pub use container::{
    AWAITS_CLIENT, ContainerSpec, DnsSpec, HealthCheck, HealthTest, Limits, Mount, MountSource, NetworkMode,
    Ulimit,
};
pub use id::{ClusterId, IdGen, NetworkId, NodeId, ParseIdError, RequestId, ServiceId, StackId, TaskId};
pub use meta::{Labels, Meta, Version};
pub use network::{
    AddressPools, Addresses, Attachment, EndpointMode, INGRESS, Network, NetworkDriver, NetworkSpec,
    NetworkStatus, NetworkUse, ResolvedUse, Rest, ServiceEndpoint,
};
pub use node::{
    Availability, ManagerStatus, Node, NodeDescription, NodeProblem, NodeSpec, NodeState, NodeStatus,
    Platform, Role,
};
pub use resources::{CpuNanos, Resources};
pub use service::{
    FailureAction, Mode, Placement, PortMode, Preference, Protocol, PublishedPort, REMOVE_AT_END,
    RestartCondition, RestartPolicy, Revision, RevisionKey, Service, ServiceSpec, TaskSpec, UpdateConfig,
    UpdateOrder, UpdateState, UpdateStatus,
};
pub use stack::{Stack, StackNetwork, StackSpec};
pub use task::{DesiredState, Restarts, Slot, Task, TaskState, TaskStatus};
pub use time::{Timestamp, WallTime};
pub use wait::{Wait, WaitCode, WaitOwner};
