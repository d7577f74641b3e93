//! A service's spec in the shape of Docker's API, for `inspect`.
//!
//! Keys that say nothing are left out, as Docker's `omitempty` does.

use super::pruned;
use crate::spec::{mode_name, protocol_name};
use serde_json::{Map, Value, json};
use shoal_core::model::{
    ContainerSpec, EndpointMode, FailureAction, HealthCheck, HealthTest, Mode, Mount, MountSource, PortMode,
    Preference, PublishedPort, RestartCondition, ServiceSpec, TaskSpec, Ulimit, UpdateConfig, UpdateOrder,
};
use std::time::Duration;

pub(crate) fn spec_json(spec: &ServiceSpec) -> Value {
    let mode = match spec.mode {
        Mode::Replicated { replicas } => json!({"Replicated": {"Replicas": replicas}}),
        Mode::Global => json!({"Global": {}}),
    };
    json!({
        "Name": spec.name,
        "Labels": spec.labels,
        "TaskTemplate": task_json(&spec.task),
        "Mode": mode,
        "UpdateConfig": update_json(&spec.update),
        "EndpointSpec": endpoint_spec_json(spec),
    })
}

pub(crate) fn endpoint_spec_json(spec: &ServiceSpec) -> Value {
    let ports: Vec<_> = spec.ports.iter().map(port_json).collect();
    json!({"Mode": endpoint_mode_name(spec.endpoint_mode), "Ports": ports})
}

pub(crate) fn endpoint_mode_name(mode: EndpointMode) -> &'static str {
    match mode {
        EndpointMode::Vip => "vip",
        EndpointMode::DnsRoundRobin => "dnsrr",
    }
}

/// `HostIP` is not in Swarm's services; the key is that of Docker's containers.
pub(crate) fn port_json(port: &PublishedPort) -> Value {
    let mut object = json!({
        "Protocol": protocol_name(port.protocol),
        "TargetPort": port.target,
        "PublishedPort": port.published,
        "PublishMode": match port.mode { PortMode::Host => "host", PortMode::Ingress => "ingress" },
    });
    if let Some(address) = port.host_ip {
        object["HostIP"] = json!(address.to_string());
    }
    object
}

fn networks_json(task: &TaskSpec) -> Vec<Value> {
    match mode_name(task.container.network) {
        Some(mode) => vec![json!({"Target": mode})],
        None => {
            let places = task.networks.iter();
            places
                .map(|place| pruned(json!({"Target": place.network, "Aliases": place.aliases})))
                .collect()
        }
    }
}

pub(crate) fn task_json(task: &TaskSpec) -> Value {
    let limits = &task.container.limits;
    let preferences: Vec<_> = task
        .placement
        .preferences
        .iter()
        .map(|Preference::Spread(label)| json!({"Spread": {"SpreadDescriptor": label}}))
        .collect();
    let reserved = |amount: u64| (amount > 0).then_some(amount);
    let mut object = match pruned(json!({
        "Resources": {
            "Limits": {
                "NanoCPUs": limits.cpu.map(|cpu| cpu.0),
                "MemoryBytes": limits.memory.map(|memory| memory.0),
                "Pids": limits.pids,
            },
            "Reservations": {
                "NanoCPUs": reserved(task.reservations.cpu.0),
                "MemoryBytes": reserved(task.reservations.memory.0),
            },
        },
        "RestartPolicy": {
            "Condition": match task.restart.condition {
                RestartCondition::None => "none",
                RestartCondition::OnFailure => "on-failure",
                RestartCondition::Any => "any",
            },
            "Delay": task.restart.delay.map(nanos),
            "MaxAttempts": task.restart.max_attempts,
            "Window": task.restart.window.map(nanos),
        },
        "Placement": {
            "Constraints": task.placement.constraints,
            "Preferences": preferences,
            "MaxReplicas": reserved(u64::from(task.placement.max_replicas_per_node)),
        },
        "Networks": networks_json(task),
    })) {
        Value::Object(object) => object,
        _ => Map::new(),
    };
    object.insert("ContainerSpec".to_owned(), container_json(&task.container));
    object.insert("ForceUpdate".to_owned(), json!(task.force_update));
    Value::Object(object)
}

fn container_json(container: &ContainerSpec) -> Value {
    // As Docker writes it: the reference, pinned by its digest.
    let image = match &container.image_digest {
        Some(digest) if !container.image.contains('@') => format!("{}@{digest}", container.image),
        _ => container.image.clone(),
    };
    let env: Vec<_> = container
        .env
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let hosts: Vec<_> = container
        .extra_hosts
        .iter()
        .map(|(name, address)| format!("{address} {name}"))
        .collect();
    let ulimits: Vec<_> = container.ulimits.iter().map(ulimit_json).collect();
    pruned(json!({
        "Image": image,
        "Labels": container.labels,
        "Command": container.command,
        "Args": container.args,
        "Hostname": container.hostname,
        "Env": env,
        "Dir": container.workdir,
        "User": container.user,
        "Groups": container.groups,
        "Privileges": {"NoNewPrivileges": container.no_new_privileges},
        "Init": container.init,
        "TTY": container.tty,
        "OpenStdin": container.stdin_open,
        "ReadOnly": container.read_only,
        "Mounts": container.mounts.iter().map(mount_json).collect::<Vec<_>>(),
        "StopSignal": container.stop_signal,
        "StopGracePeriod": container.stop_grace.map(nanos),
        "Healthcheck": container.health.as_ref().map(health_json),
        "Hosts": hosts,
        "DNSConfig": {
            "Nameservers": container.dns.servers.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "Search": container.dns.search,
            "Options": container.dns.options,
        },
        "Sysctls": container.sysctls,
        "CapabilityAdd": container.cap_add,
        "CapabilityDrop": container.cap_drop,
        "Ulimits": ulimits,
        "OomScoreAdj": (container.oom_score_adj != 0).then_some(container.oom_score_adj),
        "ShmSize": container.shm_size.map(|size| size.0),
    }))
}

fn ulimit_json((name, limit): (&String, &Ulimit)) -> Value {
    let number = |limit: u64| {
        if limit == u64::MAX {
            json!(-1)
        } else {
            json!(limit)
        }
    };
    json!({"Name": name, "Soft": number(limit.soft), "Hard": number(limit.hard)})
}

fn mount_json(mount: &Mount) -> Value {
    pruned(match &mount.source {
        MountSource::Bind { path, create } => json!({
            "Type": "bind", "Source": path, "Target": mount.target, "ReadOnly": mount.read_only,
            "BindOptions": {"CreateMountpoint": create},
        }),
        MountSource::Volume { name, no_copy } => json!({
            "Type": "volume", "Source": name, "Target": mount.target, "ReadOnly": mount.read_only,
            "VolumeOptions": {"NoCopy": no_copy},
        }),
        MountSource::Tmpfs { size, mode } => json!({
            "Type": "tmpfs", "Target": mount.target, "ReadOnly": mount.read_only,
            "TmpfsOptions": {"SizeBytes": size.map(|size| size.0), "Mode": mode},
        }),
    })
}

fn health_json(health: &HealthCheck) -> Value {
    let test = health.test.as_ref().map(|test| match test {
        HealthTest::None => vec!["NONE".to_owned()],
        HealthTest::Cmd(words) => ["CMD".to_owned()]
            .into_iter()
            .chain(words.iter().cloned())
            .collect(),
        HealthTest::CmdShell(command) => vec!["CMD-SHELL".to_owned(), command.clone()],
    });
    json!({
        "Test": test,
        "Interval": health.interval.map(nanos),
        "Timeout": health.timeout.map(nanos),
        "StartPeriod": health.start_period.map(nanos),
        "StartInterval": health.start_interval.map(nanos),
        "Retries": health.retries,
    })
}

fn update_json(update: &UpdateConfig) -> Value {
    json!({
        "Parallelism": update.parallelism,
        "Delay": nanos(update.delay),
        "FailureAction": match update.failure_action {
            FailureAction::Pause => "pause",
            FailureAction::Continue => "continue",
            FailureAction::Rollback => "rollback",
        },
        "Monitor": nanos(update.monitor),
        "MaxFailureRatio": f64::from(update.max_failure_ratio_permille) / 1000.0,
        "Order": match update.order {
            UpdateOrder::StopFirst => "stop-first",
            UpdateOrder::StartFirst => "start-first",
        },
    })
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
