//! The flags with one value that `service create` and `service update` share.
//!
//! Each is absent or changes one field; so the same flags make a spec from the defaults and change one
//! that is there.

use super::values::{not_built, permille, split_words};
use crate::units::{parse_cpus, parse_duration};
use clap::{Args, ValueEnum};
use shoal_core::model::{
    Bytes, CpuNanos, EndpointMode, FailureAction, HealthCheck, HealthTest, Mode, RestartCondition,
    ServiceSpec, UpdateOrder,
};
use std::time::Duration;

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct TaskFlags {
    /// Number of tasks
    #[arg(long)]
    pub(crate) replicas: Option<u32>,
    /// Most tasks on one node (0 is no limit)
    #[arg(long, value_name = "NUMBER")]
    replicas_max_per_node: Option<u32>,
    /// Replaces the image's entrypoint
    #[arg(long, value_name = "COMMAND", value_parser = words)]
    entrypoint: Option<Words>,
    /// User name or id, and perhaps a group: <name|uid>[:<group|gid>]
    #[arg(short, long)]
    user: Option<String>,
    /// Working directory in the container
    #[arg(short, long, value_name = "DIRECTORY")]
    workdir: Option<String>,
    /// Host name in the container
    #[arg(long)]
    hostname: Option<String>,
    /// How the service's name is answered: with one virtual address, or with those of its tasks (default vip)
    #[arg(long, value_name = "MODE")]
    endpoint_mode: Option<Endpoint>,
    /// An init as the container's first process
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    init: Option<bool>,
    /// Mount the root file system read-only
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    read_only: Option<bool>,
    /// Give the container a terminal
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    tty: Option<bool>,
    /// Signal that asks the container to stop
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,
    /// Time between the stop signal and SIGKILL (default 10s)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    stop_grace_period: Option<Duration>,
    /// The kernel's liking to kill it when memory is short (-1000 to 1000)
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-1000..=1000))]
    oom_score_adj: Option<i32>,
    #[command(flatten)]
    amounts: AmountFlags,
    #[command(flatten)]
    restart: RestartFlags,
    #[command(flatten)]
    update: UpdateFlags,
    #[command(flatten)]
    health: HealthFlags,
    #[command(flatten)]
    not_built: NotBuilt,
}

#[derive(Clone, Debug, Default, Args)]
struct AmountFlags {
    /// Limit of cpus (0 is none)
    #[arg(long, value_name = "CPUS", value_parser = parse_cpus)]
    limit_cpu: Option<CpuNanos>,
    /// Limit of memory (0 is none)
    #[arg(long, value_name = "BYTES")]
    limit_memory: Option<Bytes>,
    /// Limit of processes (0 is none)
    #[arg(long, value_name = "NUMBER")]
    limit_pids: Option<u64>,
    /// Cpus reserved on the node
    #[arg(long, value_name = "CPUS", value_parser = parse_cpus)]
    reserve_cpu: Option<CpuNanos>,
    /// Memory reserved on the node
    #[arg(long, value_name = "BYTES")]
    reserve_memory: Option<Bytes>,
}

#[derive(Clone, Debug, Default, Args)]
struct RestartFlags {
    /// When to restart a task that ended (default any)
    #[arg(long, value_name = "CONDITION")]
    restart_condition: Option<Condition>,
    /// Delay before a restart (default: doubling)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    restart_delay: Option<Duration>,
    /// Most restarts (0 is no limit)
    #[arg(long, value_name = "NUMBER")]
    restart_max_attempts: Option<u32>,
    /// Restarts older than this are not counted (0 counts all)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    restart_window: Option<Duration>,
}

#[derive(Clone, Debug, Default, Args)]
struct UpdateFlags {
    /// Tasks replaced at a time (0 is all; default 1)
    #[arg(long, value_name = "NUMBER")]
    update_parallelism: Option<u32>,
    /// Delay between replaced tasks (default 0s)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    update_delay: Option<Duration>,
    /// How long a new task is watched for failure (default 5s)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    update_monitor: Option<Duration>,
    /// What happens when an update fails (default pause)
    #[arg(long, value_name = "ACTION")]
    update_failure_action: Option<Action>,
    /// Share of failed tasks that an update bears (default 0)
    #[arg(long, value_name = "SHARE", value_parser = permille)]
    update_max_failure_ratio: Option<u32>,
    /// Which of the old and the new task comes first (default stop-first)
    #[arg(long, value_name = "ORDER")]
    update_order: Option<Order>,
}

#[derive(Clone, Debug, Default, Args)]
struct HealthFlags {
    /// Command that checks health, run by the container's shell
    #[arg(long, value_name = "COMMAND", conflicts_with = "no_healthcheck")]
    health_cmd: Option<String>,
    /// Time between checks (default 30s)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    health_interval: Option<Duration>,
    /// Longest time for one check (default 30s)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    health_timeout: Option<Duration>,
    /// Failures in a row that mean unhealthy (default 3)
    #[arg(long, value_name = "NUMBER")]
    health_retries: Option<u32>,
    /// Time at the start in which failures do not count (default 0s)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    health_start_period: Option<Duration>,
    /// Time between checks in that period (default 5s)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    health_start_interval: Option<Duration>,
    /// Switch the image's check off
    #[arg(long)]
    no_healthcheck: bool,
}

/// Docker's flags that are known and not built: refused with the reason, not as unknown.
#[derive(Clone, Debug, Default, Args)]
struct NotBuilt {
    #[arg(long, hide = true, value_parser = not_built("secrets are not built yet"))]
    secret: Vec<String>,
    #[arg(long, hide = true, value_parser = not_built("secrets are not built yet"))]
    secret_add: Vec<String>,
    #[arg(long, hide = true, value_parser = not_built("configs are not built yet"))]
    config: Vec<String>,
    #[arg(long, hide = true, value_parser = not_built("configs are not built yet"))]
    config_add: Vec<String>,
    #[arg(long, hide = true, value_parser = not_built("generic resources are not built yet"))]
    generic_resource: Vec<String>,
    #[arg(long, hide = true, value_parser = not_built("logs are always kept by the node; shoal service logs shows them"))]
    log_driver: Option<String>,
    #[arg(long, hide = true, value_parser = not_built("logs are always kept by the node; shoal service logs shows them"))]
    log_opt: Vec<String>,
    #[arg(long, hide = true, value_parser = not_built("jobs are not built yet"))]
    max_concurrent: Option<String>,
    #[arg(long, hide = true, value_parser = not_built("automatic rollback is not built yet"))]
    rollback_order: Option<String>,
    #[arg(long, hide = true, value_parser = not_built("automatic rollback is not built yet"))]
    rollback_parallelism: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Endpoint {
    Vip,
    Dnsrr,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Condition {
    None,
    OnFailure,
    Any,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Action {
    Pause,
    Continue,
    Rollback,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Order {
    StopFirst,
    StartFirst,
}

/// A command split into words; a type of its own, so that clap takes it as one value.
#[derive(Clone, Debug)]
pub(crate) struct Words(pub(crate) Vec<String>);

pub(crate) fn words(text: &str) -> Result<Words, String> {
    split_words(text).map(Words)
}

impl TaskFlags {
    /// Changes what was given; the error is a usage error.
    pub(crate) fn apply(&self, spec: &mut ServiceSpec) -> Result<(), String> {
        if let Some(wanted) = self.replicas {
            match &mut spec.mode {
                Mode::Replicated { replicas } => *replicas = wanted,
                Mode::Global => {
                    return Err("--replicas: a global service has one task on every node".to_owned());
                }
            }
        }
        let task = &mut spec.task;
        set(
            &mut task.placement.max_replicas_per_node,
            self.replicas_max_per_node,
        );
        let container = &mut task.container;
        if let Some(Words(words)) = &self.entrypoint {
            container.command = (!words.is_empty()).then(|| words.clone());
        }
        set_text(&mut container.user, self.user.as_ref());
        set_text(&mut container.workdir, self.workdir.as_ref());
        set_text(&mut container.hostname, self.hostname.as_ref());
        set_text(&mut container.stop_signal, self.stop_signal.as_ref());
        set(&mut container.init, self.init);
        set(&mut container.read_only, self.read_only);
        set(&mut container.tty, self.tty);
        set(&mut container.oom_score_adj, self.oom_score_adj);
        container.stop_grace = self.stop_grace_period.or(container.stop_grace);
        if let Some(mode) = self.endpoint_mode {
            spec.endpoint_mode = match mode {
                Endpoint::Vip => EndpointMode::Vip,
                Endpoint::Dnsrr => EndpointMode::DnsRoundRobin,
            };
        }
        self.amounts.apply(spec);
        self.restart.apply(spec);
        self.update.apply(spec);
        self.health.apply(spec);
        Ok(())
    }
}

impl AmountFlags {
    fn apply(&self, spec: &mut ServiceSpec) {
        let limits = &mut spec.task.container.limits;
        if let Some(cpu) = self.limit_cpu {
            limits.cpu = (cpu.0 > 0).then_some(cpu);
        }
        if let Some(memory) = self.limit_memory {
            limits.memory = (memory.0 > 0).then_some(memory);
        }
        if let Some(pids) = self.limit_pids {
            limits.pids = (pids > 0).then_some(pids);
        }
        set(&mut spec.task.reservations.cpu, self.reserve_cpu);
        set(&mut spec.task.reservations.memory, self.reserve_memory);
    }
}

impl RestartFlags {
    fn apply(&self, spec: &mut ServiceSpec) {
        let restart = &mut spec.task.restart;
        if let Some(condition) = self.restart_condition {
            restart.condition = match condition {
                Condition::None => RestartCondition::None,
                Condition::OnFailure => RestartCondition::OnFailure,
                Condition::Any => RestartCondition::Any,
            };
        }
        restart.delay = self.restart_delay.or(restart.delay);
        if let Some(most) = self.restart_max_attempts {
            restart.max_attempts = (most > 0).then_some(most);
        }
        if let Some(window) = self.restart_window {
            restart.window = (!window.is_zero()).then_some(window);
        }
    }
}

impl UpdateFlags {
    fn apply(&self, spec: &mut ServiceSpec) {
        let update = &mut spec.update;
        set(&mut update.parallelism, self.update_parallelism);
        set(&mut update.delay, self.update_delay);
        set(&mut update.monitor, self.update_monitor);
        set(
            &mut update.max_failure_ratio_permille,
            self.update_max_failure_ratio,
        );
        if let Some(action) = self.update_failure_action {
            update.failure_action = match action {
                Action::Pause => FailureAction::Pause,
                Action::Continue => FailureAction::Continue,
                Action::Rollback => FailureAction::Rollback,
            };
        }
        if let Some(order) = self.update_order {
            update.order = match order {
                Order::StopFirst => UpdateOrder::StopFirst,
                Order::StartFirst => UpdateOrder::StartFirst,
            };
        }
    }
}

impl HealthFlags {
    fn apply(&self, spec: &mut ServiceSpec) {
        let mut health = spec.task.container.health.clone().unwrap_or_default();
        if self.no_healthcheck {
            health.test = Some(HealthTest::None);
        }
        if let Some(command) = &self.health_cmd {
            health.test = Some(HealthTest::CmdShell(command.clone()));
        }
        health.interval = self.health_interval.or(health.interval);
        health.timeout = self.health_timeout.or(health.timeout);
        health.retries = self.health_retries.or(health.retries);
        health.start_period = self.health_start_period.or(health.start_period);
        health.start_interval = self.health_start_interval.or(health.start_interval);
        spec.task.container.health = (health != HealthCheck::default()).then_some(health);
    }
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

/// An empty text takes the setting away.
fn set_text(field: &mut Option<String>, value: Option<&String>) {
    if let Some(value) = value {
        *field = (!value.is_empty()).then(|| value.clone());
    }
}
