//! A service: what a user wants run, and the immutable revisions that its tasks name.
//!
//! A change of replicas or labels keeps the revision; a change of anything a task is made from makes a
//! new one, and the updater replaces the tasks of older ones. Values at their default are Swarm's.

use super::{
    ContainerSpec, EndpointMode, Labels, Meta, NetworkUse, Platform, ResolvedUse, Resources, ServiceEndpoint,
    ServiceId, StackId, Timestamp, WallTime,
};
use serde::{Deserialize, Serialize};
use std::{net::IpAddr, time::Duration};

/// A label of a service of one task that is never restarted: the service is removed once that task has ended, as
/// `docker run --rm` does. It means nothing on any other service.
pub const REMOVE_AT_END: &str = "shoal.remove-at-end";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    pub id: ServiceId,
    pub meta: Meta,
    pub spec: ServiceSpec,
    /// The number of the revision that `spec.task` and `spec.ports` were stored as.
    pub revision: u64,
    /// The stack that owns it.
    pub stack: Option<StackId>,
    /// The addresses and ports it was given.
    pub endpoint: ServiceEndpoint,
    pub update: Option<UpdateStatus>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSpec {
    /// Unique among services.
    pub name: String,
    pub labels: Labels,
    pub mode: Mode,
    pub task: TaskSpec,
    pub ports: Vec<PublishedPort>,
    pub endpoint_mode: EndpointMode,
    pub update: UpdateConfig,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    Replicated {
        replicas: u32,
    },
    /// One task on every node that fits.
    Global,
}

/// Everything one task is made from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSpec {
    pub container: ContainerSpec,
    /// With the container's network mode `Networks`; the first has the way out.
    pub networks: Vec<NetworkUse>,
    pub reservations: Resources,
    pub placement: Placement,
    pub restart: RestartPolicy,
    /// Raised by `service update --force`, so that equal specs still roll.
    pub force_update: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// `node.labels.zone==a`, all of which must hold.
    pub constraints: Vec<String>,
    pub preferences: Vec<Preference>,
    /// 0 is no limit.
    pub max_replicas_per_node: u32,
    /// What the image was built for, from its index; empty when that is not known.
    pub platforms: Vec<Platform>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Preference {
    /// Spread over the values of a node or engine label (`node.labels.zone`).
    Spread(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartPolicy {
    pub condition: RestartCondition,
    /// The delay before each restart. Absent: it doubles from the first to a cap, both stated in `restart`.
    pub delay: Option<Duration>,
    /// Absent: no bound.
    pub max_attempts: Option<u32>,
    /// Attempts older than this are forgotten; absent: none are.
    pub window: Option<Duration>,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            condition: RestartCondition::Any,
            delay: None,
            max_attempts: None,
            window: None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RestartCondition {
    None,
    OnFailure,
    Any,
}

/// How a new revision replaces the old. Only the default is carried out so far; `validate` refuses others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateConfig {
    /// Slots replaced at a time; 0 is all.
    pub parallelism: u32,
    pub delay: Duration,
    /// How long a new task is watched for failure.
    pub monitor: Duration,
    pub failure_action: FailureAction,
    /// Between 0 and 1, in thousandths.
    pub max_failure_ratio_permille: u32,
    pub order: UpdateOrder,
}

impl Default for UpdateConfig {
    fn default() -> Self {
        Self {
            parallelism: 1,
            delay: Duration::ZERO,
            monitor: Duration::from_secs(5),
            failure_action: FailureAction::Pause,
            max_failure_ratio_permille: 0,
            order: UpdateOrder::StopFirst,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FailureAction {
    Pause,
    Continue,
    Rollback,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum UpdateOrder {
    StopFirst,
    StartFirst,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateStatus {
    pub state: UpdateState,
    /// What happened last, for the user.
    pub message: String,
    /// The revision being rolled out.
    pub revision: u64,
    /// When it began; failures before are not its own.
    pub since: Timestamp,
    pub started_at: WallTime,
    pub finished_at: Option<WallTime>,
    /// When the window that watches the last replaced task ends.
    pub monitor_until: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum UpdateState {
    Updating,
    Paused,
    Completed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PublishedPort {
    /// The port in the container.
    pub target: u16,
    /// The port on the host; 0 in a spec: one is chosen.
    pub published: u16,
    pub protocol: Protocol,
    pub mode: PortMode,
    /// The one address of the host that it is published on; all of them if there is none.
    pub host_ip: Option<IpAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    /// The word behind a port's number: `53/udp`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PortMode {
    /// On the task's own node only.
    Host,
    /// On every node.
    Ingress,
}

/// Names one revision of one service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RevisionKey {
    pub service: ServiceId,
    /// Counts from 1.
    pub number: u64,
}

/// What tasks of one revision are made from; never changed once stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    pub key: RevisionKey,
    pub meta: Meta,
    pub task: TaskSpec,
    /// With every number chosen.
    pub ports: Vec<PublishedPort>,
    /// The networks of `task`, found; `ingress` where it names none, and nothing in other network modes.
    pub networks: Vec<ResolvedUse>,
}
