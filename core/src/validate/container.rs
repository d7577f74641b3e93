//! The checks of a task's container: image, texts that reach exec, mounts, limits, health.
//!
//! Lower bounds are Swarm's. Whether a user, a path or a program exists is known on the node alone.

use super::{Faults, MAX_TEXT_BYTES, labels, names, network};
use crate::model::{Bytes, ContainerSpec, CpuNanos, HealthCheck, HealthTest, MountSource, TaskSpec};
use std::{collections::BTreeSet, time::Duration};

/// Swarm's least: a thousandth of a core.
const MIN_CPU: CpuNanos = CpuNanos(1_000_000);
/// Swarm's least, 4 MiB.
const MIN_MEMORY: Bytes = Bytes(4 << 20);
/// Swarm's least of every health timing.
const MIN_HEALTH: Duration = Duration::from_millis(1);
/// What Linux allows, without a character for programs that count the NUL.
const MAX_HOSTNAME: usize = 63;
/// Ten minutes is Kubernetes' custom for databases; an hour leaves room and still ends.
const MAX_GRACE: Duration = Duration::from_secs(3600);

pub(super) fn check(faults: &mut Faults, task: &TaskSpec) {
    let spec = &task.container;
    image(faults, spec);
    program(faults, spec);
    labels(faults, "task.container.labels", &spec.labels);
    mounts(faults, spec);
    amounts(faults, task);
    limits(faults, spec);
    network::uses(faults, task);
    network::dns(faults, &spec.dns);
    network::hosts(faults, &spec.extra_hosts);
    if let Some(health) = &spec.health {
        self::health(faults, health);
    }
}

fn image(faults: &mut Faults, spec: &ContainerSpec) {
    let field = "task.container.image";
    let bad = |c: char| c.is_whitespace() || c.is_control();
    if spec.image.is_empty() || spec.image.len() > 512 || spec.image.contains(bad) {
        faults.expected(
            field,
            "an image reference such as nginx:1.27",
            format!("{:?}", spec.image),
        );
    }
    if let Some(digest) = &spec.image_digest {
        let hex = digest.strip_prefix("sha256:").unwrap_or("");
        if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            faults.expected(
                "task.container.image_digest",
                "sha256: and 64 hex digits",
                format!("{digest:?}"),
            );
        }
    }
}

fn program(faults: &mut Faults, spec: &ContainerSpec) {
    for (field, words) in [("command", &spec.command), ("args", &spec.args)] {
        for (n, word) in words.iter().flatten().enumerate() {
            names::check_no_nul(faults, &format!("task.container.{field}[{n}]"), word);
        }
    }
    for (name, value) in &spec.env {
        if name.is_empty() || name.contains(['=', '\0']) {
            faults.expected(
                "task.container.env",
                "names without '=' and NUL",
                format!("{name:?}"),
            );
        }
        names::check_no_nul(faults, &format!("task.container.env.{name}"), value);
    }
    let bytes: usize = spec
        .env
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if bytes > MAX_TEXT_BYTES {
        faults.expected(
            "task.container.env",
            "at most 64 KiB in all",
            format!("{bytes} bytes"),
        );
    }
    if let Some(workdir) = &spec.workdir {
        names::check_absolute(faults, "task.container.workdir", workdir);
    }
    if let Some(user) = &spec.user {
        names::check_user(faults, "task.container.user", user);
    }
    if let Some(signal) = &spec.stop_signal {
        names::check_signal(faults, "task.container.stop_signal", signal);
    }
    if spec.stop_grace.is_some_and(|grace| grace > MAX_GRACE) {
        faults.expected(
            "task.container.stop_grace",
            "at most 1h",
            format!("{:?}", spec.stop_grace),
        );
    }
    // It stands in /etc/hosts, and a host name of Linux has 64 characters at most.
    if let Some(hostname) = &spec.hostname {
        if hostname.len() > MAX_HOSTNAME {
            faults.expected("task.container.hostname", "at most 63 characters", hostname.len());
        }
        names::check_dns(faults, "task.container.hostname", hostname);
    }
}

fn mounts(faults: &mut Faults, spec: &ContainerSpec) {
    let mut targets = BTreeSet::new();
    for (n, mount) in spec.mounts.iter().enumerate() {
        let field = |name: &str| format!("task.container.mounts[{n}].{name}");
        names::check_absolute(faults, &field("target"), &mount.target);
        let target = mount.target.trim_end_matches('/');
        if target.is_empty() && mount.target.starts_with('/') {
            faults.invalid(
                field("target"),
                "the root of the container cannot be mounted over",
            );
        }
        if !targets.insert(target) {
            faults.invalid(field("target"), format!("{target:?} is mounted twice"));
        }
        match &mount.source {
            MountSource::Bind { path, .. } => names::check_absolute(faults, &field("source"), path),
            MountSource::Volume { name: Some(name), .. } => {
                names::check_volume(faults, &field("source"), name);
            }
            MountSource::Volume { name: None, .. } => {}
            MountSource::Tmpfs { mode, .. } => {
                if mode.is_some_and(|mode| mode > 0o7777) {
                    faults.expected(
                        field("mode"),
                        "at most 7777 (octal)",
                        format!("{:o}", mode.unwrap_or(0)),
                    );
                }
            }
        }
    }
}

fn amounts(faults: &mut Faults, task: &TaskSpec) {
    let (reserved, limits) = (&task.reservations, &task.container.limits);
    for (field, cpu) in [
        ("reservations", Some(reserved.cpu)),
        ("container.limits", limits.cpu),
    ] {
        let asked = cpu.unwrap_or_default();
        if asked.0 != 0 && asked < MIN_CPU {
            faults.expected(
                format!("task.{field}.cpu"),
                "at least 0.001",
                format!("{} nanos", asked.0),
            );
        }
    }
    for (field, memory) in [
        ("reservations", Some(reserved.memory)),
        ("container.limits", limits.memory),
    ] {
        let asked = memory.unwrap_or_default();
        if asked.0 != 0 && asked < MIN_MEMORY {
            faults.expected(format!("task.{field}.memory"), "at least 4MiB", asked);
        }
    }
    if limits
        .cpu
        .is_some_and(|limit| limit.0 != 0 && limit < reserved.cpu)
    {
        faults.invalid("task.reservations.cpu", "more is reserved than the limit allows");
    }
    if limits
        .memory
        .is_some_and(|limit| limit.0 != 0 && limit < reserved.memory)
    {
        faults.invalid(
            "task.reservations.memory",
            "more is reserved than the limit allows",
        );
    }
}

fn limits(faults: &mut Faults, spec: &ContainerSpec) {
    for (name, limit) in &spec.ulimits {
        if limit.soft > limit.hard {
            faults.expected(
                format!("task.container.ulimits.{name}"),
                "a soft limit not above the hard one",
                format!("{} above {}", limit.soft, limit.hard),
            );
        }
    }
    if !(-1000..=1000).contains(&spec.oom_score_adj) {
        faults.expected(
            "task.container.oom_score_adj",
            "-1000 to 1000",
            spec.oom_score_adj,
        );
    }
}

fn health(faults: &mut Faults, health: &HealthCheck) {
    let timings = [
        ("interval", health.interval),
        ("timeout", health.timeout),
        ("start_period", health.start_period),
        ("start_interval", health.start_interval),
    ];
    for (name, value) in timings {
        let field = format!("task.container.health.{name}");
        if value.is_some_and(|value| value != Duration::ZERO && value < MIN_HEALTH) {
            faults.expected(field, "at least 1ms", format!("{value:?}"));
        }
    }
    let empty = match &health.test {
        Some(HealthTest::Cmd(words)) => words.is_empty(),
        Some(HealthTest::CmdShell(line)) => line.is_empty(),
        Some(HealthTest::None) | None => false,
    };
    if empty {
        faults.invalid("task.container.health.test", "expected a command, found none");
    }
}
