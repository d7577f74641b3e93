//! Services, revisions, and what tasks are made from.
//!
//! Both directions; whether a spec makes sense is core's to say.

use super::{
    Malformed, enumerated, nanos, optional, parsed, parsed_optional, repeated, required, same_variants,
};
use crate::v1;
use shoal_core::model::{
    EndpointMode, FailureAction, Mode, Placement, PortMode, Preference, Protocol, PublishedPort,
    RestartCondition, RestartPolicy, Revision, RevisionKey, Service, ServiceSpec, TaskSpec, Timestamp,
    UpdateConfig, UpdateOrder, UpdateState, UpdateStatus, WallTime,
};
use std::time::Duration;

same_variants!(RestartCondition, v1::RestartCondition, None, OnFailure, Any);
same_variants!(FailureAction, v1::FailureAction, Pause, Continue, Rollback);
same_variants!(UpdateOrder, v1::UpdateOrder, StopFirst, StartFirst);
same_variants!(UpdateState, v1::UpdateState, Updating, Paused, Completed);
same_variants!(Protocol, v1::Protocol, Tcp, Udp);
same_variants!(PortMode, v1::PortMode, Host, Ingress);
same_variants!(EndpointMode, v1::EndpointMode, Vip, DnsRoundRobin);

impl From<Service> for v1::Service {
    fn from(service: Service) -> Self {
        Self {
            id: service.id.to_string(),
            meta: Some(service.meta.into()),
            spec: Some(service.spec.into()),
            revision: service.revision,
            stack: service.stack.map(|id| id.to_string()),
            endpoint: Some(service.endpoint.into()),
            update: service.update.map(Into::into),
        }
    }
}

impl TryFrom<v1::Service> for Service {
    type Error = Malformed;

    fn try_from(service: v1::Service) -> Result<Self, Malformed> {
        Ok(Self {
            id: parsed(&service.id, "id")?,
            meta: service.meta.unwrap_or_default().into(),
            spec: required(service.spec, "spec")?,
            revision: service.revision,
            stack: parsed_optional(service.stack.as_deref(), "stack")?,
            endpoint: optional(service.endpoint, "endpoint")?.unwrap_or_default(),
            update: optional(service.update, "update")?,
        })
    }
}

impl From<ServiceSpec> for v1::ServiceSpec {
    fn from(spec: ServiceSpec) -> Self {
        let mode = match spec.mode {
            Mode::Replicated { replicas } => {
                v1::service_spec::Mode::Replicated(v1::ReplicatedMode { replicas })
            }
            Mode::Global => v1::service_spec::Mode::Global(v1::GlobalMode {}),
        };
        Self {
            name: spec.name,
            labels: spec.labels,
            mode: Some(mode),
            task: Some(spec.task.into()),
            ports: spec.ports.into_iter().map(Into::into).collect(),
            endpoint_mode: v1::EndpointMode::from(spec.endpoint_mode).into(),
            update: Some(spec.update.into()),
        }
    }
}

impl TryFrom<v1::ServiceSpec> for ServiceSpec {
    type Error = Malformed;

    fn try_from(spec: v1::ServiceSpec) -> Result<Self, Malformed> {
        let mode = match spec.mode {
            Some(v1::service_spec::Mode::Replicated(mode)) => Mode::Replicated {
                replicas: mode.replicas,
            },
            Some(v1::service_spec::Mode::Global(_)) => Mode::Global,
            None => return Err(Malformed::new("mode", "is missing, or the sender is newer")),
        };
        Ok(Self {
            name: spec.name,
            labels: spec.labels,
            mode,
            task: required(spec.task, "task")?,
            ports: repeated(spec.ports, "ports")?,
            endpoint_mode: endpoint_mode(spec.endpoint_mode)?,
            update: required(spec.update, "update")?,
        })
    }
}

/// Not given is what services had before they could choose.
fn endpoint_mode(number: i32) -> Result<EndpointMode, Malformed> {
    if number == i32::from(v1::EndpointMode::Unspecified) {
        return Ok(EndpointMode::default());
    }
    enumerated::<v1::EndpointMode, _>(number, "endpoint_mode")
}

impl From<TaskSpec> for v1::TaskSpec {
    fn from(spec: TaskSpec) -> Self {
        Self {
            container: Some(spec.container.into()),
            networks: spec.networks.into_iter().map(Into::into).collect(),
            reservations: Some(spec.reservations.into()),
            placement: Some(spec.placement.into()),
            restart: Some(spec.restart.into()),
            force_update: spec.force_update,
        }
    }
}

impl TryFrom<v1::TaskSpec> for TaskSpec {
    type Error = Malformed;

    fn try_from(spec: v1::TaskSpec) -> Result<Self, Malformed> {
        Ok(Self {
            container: required(spec.container, "container")?,
            networks: spec.networks.into_iter().map(Into::into).collect(),
            reservations: spec.reservations.unwrap_or_default().into(),
            placement: required(spec.placement, "placement")?,
            restart: required(spec.restart, "restart")?,
            force_update: spec.force_update,
        })
    }
}

impl From<Placement> for v1::Placement {
    fn from(placement: Placement) -> Self {
        let wire = |preference| match preference {
            Preference::Spread(label) => v1::Preference {
                preference: Some(v1::preference::Preference::Spread(label)),
            },
        };
        Self {
            constraints: placement.constraints,
            preferences: placement.preferences.into_iter().map(wire).collect(),
            max_replicas_per_node: placement.max_replicas_per_node,
            platforms: placement.platforms.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::Placement> for Placement {
    type Error = Malformed;

    fn try_from(placement: v1::Placement) -> Result<Self, Malformed> {
        let core = |preference: v1::Preference| match preference.preference {
            Some(v1::preference::Preference::Spread(label)) => Ok(Preference::Spread(label)),
            None => Err(Malformed::new("preferences", "one is of a kind not known here")),
        };
        Ok(Self {
            constraints: placement.constraints,
            preferences: placement
                .preferences
                .into_iter()
                .map(core)
                .collect::<Result<_, _>>()?,
            max_replicas_per_node: placement.max_replicas_per_node,
            platforms: placement.platforms.into_iter().map(Into::into).collect(),
        })
    }
}

impl From<RestartPolicy> for v1::RestartPolicy {
    fn from(policy: RestartPolicy) -> Self {
        Self {
            condition: v1::RestartCondition::from(policy.condition).into(),
            delay_ns: policy.delay.map(nanos),
            max_attempts: policy.max_attempts,
            window_ns: policy.window.map(nanos),
        }
    }
}

impl TryFrom<v1::RestartPolicy> for RestartPolicy {
    type Error = Malformed;

    fn try_from(policy: v1::RestartPolicy) -> Result<Self, Malformed> {
        Ok(Self {
            condition: enumerated::<v1::RestartCondition, _>(policy.condition, "condition")?,
            delay: policy.delay_ns.map(Duration::from_nanos),
            max_attempts: policy.max_attempts,
            window: policy.window_ns.map(Duration::from_nanos),
        })
    }
}

impl From<UpdateConfig> for v1::UpdateConfig {
    fn from(config: UpdateConfig) -> Self {
        Self {
            parallelism: config.parallelism,
            delay_ns: nanos(config.delay),
            monitor_ns: nanos(config.monitor),
            failure_action: v1::FailureAction::from(config.failure_action).into(),
            max_failure_ratio_permille: config.max_failure_ratio_permille,
            order: v1::UpdateOrder::from(config.order).into(),
        }
    }
}

impl TryFrom<v1::UpdateConfig> for UpdateConfig {
    type Error = Malformed;

    fn try_from(config: v1::UpdateConfig) -> Result<Self, Malformed> {
        Ok(Self {
            parallelism: config.parallelism,
            delay: Duration::from_nanos(config.delay_ns),
            monitor: Duration::from_nanos(config.monitor_ns),
            failure_action: enumerated::<v1::FailureAction, _>(config.failure_action, "failure_action")?,
            max_failure_ratio_permille: config.max_failure_ratio_permille,
            order: enumerated::<v1::UpdateOrder, _>(config.order, "order")?,
        })
    }
}

impl From<UpdateStatus> for v1::UpdateStatus {
    fn from(status: UpdateStatus) -> Self {
        Self {
            state: v1::UpdateState::from(status.state).into(),
            message: status.message,
            revision: status.revision,
            since: status.since.0,
            started_at: status.started_at.0,
            finished_at: status.finished_at.map(|at| at.0),
            monitor_until: status.monitor_until.map(|at| at.0),
        }
    }
}

impl TryFrom<v1::UpdateStatus> for UpdateStatus {
    type Error = Malformed;

    fn try_from(status: v1::UpdateStatus) -> Result<Self, Malformed> {
        Ok(Self {
            state: enumerated::<v1::UpdateState, _>(status.state, "state")?,
            message: status.message,
            revision: status.revision,
            since: Timestamp(status.since),
            started_at: WallTime(status.started_at),
            finished_at: status.finished_at.map(WallTime),
            monitor_until: status.monitor_until.map(Timestamp),
        })
    }
}

impl From<PublishedPort> for v1::PublishedPort {
    fn from(port: PublishedPort) -> Self {
        Self {
            target: port.target.into(),
            published: port.published.into(),
            protocol: v1::Protocol::from(port.protocol).into(),
            mode: v1::PortMode::from(port.mode).into(),
            host_ip: port.host_ip.map(|address| address.to_string()),
        }
    }
}

impl TryFrom<v1::PublishedPort> for PublishedPort {
    type Error = Malformed;

    fn try_from(port: v1::PublishedPort) -> Result<Self, Malformed> {
        let number = |number: u32, field| {
            if let Ok(port) = u16::try_from(number) {
                return Ok(port);
            }
            Err(Malformed::new(
                field,
                format!("{number} is no port: at most 65535"),
            ))
        };
        Ok(Self {
            target: number(port.target, "target")?,
            published: number(port.published, "published")?,
            protocol: enumerated::<v1::Protocol, _>(port.protocol, "protocol")?,
            mode: enumerated::<v1::PortMode, _>(port.mode, "mode")?,
            host_ip: parsed_optional(port.host_ip.as_deref(), "host_ip")?,
        })
    }
}

impl From<RevisionKey> for v1::RevisionKey {
    fn from(key: RevisionKey) -> Self {
        Self {
            service: key.service.to_string(),
            number: key.number,
        }
    }
}

impl TryFrom<v1::RevisionKey> for RevisionKey {
    type Error = Malformed;

    fn try_from(key: v1::RevisionKey) -> Result<Self, Malformed> {
        Ok(Self {
            service: parsed(&key.service, "service")?,
            number: key.number,
        })
    }
}

impl From<Revision> for v1::Revision {
    fn from(revision: Revision) -> Self {
        Self {
            key: Some(revision.key.into()),
            meta: Some(revision.meta.into()),
            task: Some(revision.task.into()),
            ports: revision.ports.into_iter().map(Into::into).collect(),
            networks: revision.networks.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::Revision> for Revision {
    type Error = Malformed;

    fn try_from(revision: v1::Revision) -> Result<Self, Malformed> {
        Ok(Self {
            key: required(revision.key, "key")?,
            meta: revision.meta.unwrap_or_default().into(),
            task: required(revision.task, "task")?,
            ports: repeated(revision.ports, "ports")?,
            networks: repeated(revision.networks, "networks")?,
        })
    }
}
