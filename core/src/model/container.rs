//! What a task's container shall be: image, program, confinement, mounts, limits, health.
//!
//! The worker translates this for the runtime. A field at its default means "what the image says" or
//! "what Docker does"; nothing here is resolved but the image's digest.

use super::{Bytes, CpuNanos, Labels};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::IpAddr, time::Duration};

/// A label of a container whose program is not started before a client is attached to it, as `docker run` does.
pub const AWAITS_CLIENT: &str = "shoal.awaits-client";

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// The reference as the user wrote it.
    pub image: String,
    /// `sha256:…` of the OCI manifest, set when the service was created or updated.
    pub image_digest: Option<String>,
    /// Replaces the image's ENTRYPOINT (and its CMD) when present.
    pub command: Option<Vec<String>>,
    /// Replaces the image's CMD when present.
    pub args: Option<Vec<String>>,
    /// Later entries win over the image's.
    pub env: BTreeMap<String, String>,
    pub workdir: Option<String>,
    /// `name|uid[:group|gid]`.
    pub user: Option<String>,
    /// Supplementary groups, by name or number.
    pub groups: Vec<String>,
    pub hostname: Option<String>,
    /// Labels on the container itself, not on the service.
    pub labels: Labels,
    pub mounts: Vec<Mount>,
    pub network: NetworkMode,
    pub limits: Limits,
    pub ulimits: BTreeMap<String, Ulimit>,
    pub sysctls: BTreeMap<String, String>,
    pub cap_add: Vec<String>,
    pub cap_drop: Vec<String>,
    pub read_only: bool,
    pub init: bool,
    pub tty: bool,
    pub stdin_open: bool,
    pub no_new_privileges: bool,
    /// A name (`SIGQUIT`) or number.
    pub stop_signal: Option<String>,
    /// How long after the stop signal SIGKILL follows; Docker's 10 s when absent.
    pub stop_grace: Option<Duration>,
    pub health: Option<HealthCheck>,
    pub dns: DnsSpec,
    /// Extra lines of /etc/hosts: name to address; `host-gateway` is the host.
    pub extra_hosts: Vec<(String, String)>,
    pub oom_score_adj: i32,
    /// Size of /dev/shm; Docker's 64 MiB when absent.
    pub shm_size: Option<Bytes>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    pub source: MountSource,
    /// An absolute path in the container.
    pub target: String,
    pub read_only: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountSource {
    /// An absolute path on the host; a missing one rejects the task unless it may be created.
    Bind {
        path: String,
        create: bool,
    },
    /// A volume of the node; `None` is an anonymous one that goes with the task.
    Volume {
        name: Option<String>,
        no_copy: bool,
    },
    Tmpfs {
        size: Option<Bytes>,
        mode: Option<u32>,
    },
}

/// How the container resolves names that are not the cluster's; empty fields take the host's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsSpec {
    pub servers: Vec<IpAddr>,
    pub search: Vec<String>,
    /// As in resolv.conf: `ndots:2`.
    pub options: Vec<String>,
}

/// Which network the container has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum NetworkMode {
    /// The cluster's networks that the task's spec names; where it names none, `ingress`.
    #[default]
    Networks,
    /// The host's own.
    Host,
    /// A loopback device and nothing else.
    None,
}

/// Upper bounds, enforced by the node's cgroups. Absent means unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    pub cpu: Option<CpuNanos>,
    pub memory: Option<Bytes>,
    pub pids: Option<u64>,
}

/// A soft and a hard resource limit of the process, in the unit of the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    pub soft: u64,
    pub hard: u64,
}

/// A health check; absent fields take the image's value, then Docker's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    pub test: Option<HealthTest>,
    /// Default 30 s.
    pub interval: Option<Duration>,
    /// Default 30 s.
    pub timeout: Option<Duration>,
    /// Default 0 s.
    pub start_period: Option<Duration>,
    /// Default 5 s.
    pub start_interval: Option<Duration>,
    /// Default 3.
    pub retries: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HealthTest {
    /// Switches the image's check off.
    None,
    /// Run as it is.
    Cmd(Vec<String>),
    /// Run by the container's `/bin/sh -c`.
    CmdShell(String),
}
