//! The cluster object.
//!
//! Both directions; what only managers may see is cleared by the services, not here.

use super::{Malformed, nanos, optional, parsed, required};
use crate::v1;
use shoal_core::model::{Cluster, ClusterSpec, ClusterStatus, JoinTokens, Meta, Version, WallTime};
use std::time::Duration;

impl From<Meta> for v1::Meta {
    fn from(meta: Meta) -> Self {
        Self {
            version: meta.version.0,
            created_at: meta.created_at.0,
            updated_at: meta.updated_at.0,
        }
    }
}

impl From<v1::Meta> for Meta {
    fn from(meta: v1::Meta) -> Self {
        Self {
            version: Version(meta.version),
            created_at: WallTime(meta.created_at),
            updated_at: WallTime(meta.updated_at),
        }
    }
}

impl From<Cluster> for v1::Cluster {
    fn from(cluster: Cluster) -> Self {
        Self {
            id: cluster.id.to_string(),
            meta: Some(cluster.meta.into()),
            spec: Some(cluster.spec.into()),
            status: Some(cluster.status.into()),
        }
    }
}

impl TryFrom<v1::Cluster> for Cluster {
    type Error = Malformed;

    fn try_from(cluster: v1::Cluster) -> Result<Self, Malformed> {
        Ok(Self {
            id: parsed(&cluster.id, "id")?,
            meta: cluster.meta.unwrap_or_default().into(),
            spec: required(cluster.spec, "spec")?,
            status: cluster.status.unwrap_or_default().into(),
        })
    }
}

impl From<ClusterSpec> for v1::ClusterSpec {
    fn from(spec: ClusterSpec) -> Self {
        Self {
            name: spec.name,
            labels: spec.labels,
            task_history_limit: spec.task_history_limit,
            heartbeat_period_ns: nanos(spec.heartbeat_period),
            certificate_life_ns: nanos(spec.certificate_life),
            pools: Some(spec.pools.into()),
        }
    }
}

impl TryFrom<v1::ClusterSpec> for ClusterSpec {
    type Error = Malformed;

    fn try_from(spec: v1::ClusterSpec) -> Result<Self, Malformed> {
        Ok(Self {
            name: spec.name,
            labels: spec.labels,
            task_history_limit: spec.task_history_limit,
            heartbeat_period: Duration::from_nanos(spec.heartbeat_period_ns),
            certificate_life: Duration::from_nanos(spec.certificate_life_ns),
            pools: optional(spec.pools, "pools")?.unwrap_or_default(),
        })
    }
}

impl From<ClusterStatus> for v1::ClusterStatus {
    fn from(status: ClusterStatus) -> Self {
        Self {
            root_certificate: status.root_certificate,
            sealed_root_key: status.sealed_root_key,
            worker_join_secret: status.join_tokens.worker,
            manager_join_secret: status.join_tokens.manager,
            epoch: status.epoch,
        }
    }
}

impl From<v1::ClusterStatus> for ClusterStatus {
    fn from(status: v1::ClusterStatus) -> Self {
        Self {
            root_certificate: status.root_certificate,
            sealed_root_key: status.sealed_root_key,
            join_tokens: JoinTokens {
                worker: status.worker_join_secret,
                manager: status.manager_join_secret,
            },
            epoch: status.epoch,
        }
    }
}
