//! What a container shall be: `ContainerSpec` and its parts.
//!
//! Both directions; an absent field stays absent, and means what the image or Docker says.

use super::{Malformed, enumerated, nanos, optional, parsed_list, repeated, same_variants, texts};
use crate::v1;
use shoal_core::model::{
    Bytes, ContainerSpec, CpuNanos, DnsSpec, HealthCheck, HealthTest, Limits, Mount, MountSource,
    NetworkMode, Ulimit,
};
use std::time::Duration;

same_variants!(NetworkMode, v1::NetworkMode, Networks, Host, None);

impl From<ContainerSpec> for v1::ContainerSpec {
    fn from(spec: ContainerSpec) -> Self {
        let extra_host = |(name, address)| v1::ExtraHost { name, address };
        Self {
            image: spec.image,
            image_digest: spec.image_digest,
            command: spec.command.map(|values| v1::StringList { values }),
            args: spec.args.map(|values| v1::StringList { values }),
            env: spec.env,
            workdir: spec.workdir,
            user: spec.user,
            groups: spec.groups,
            hostname: spec.hostname,
            labels: spec.labels,
            mounts: spec.mounts.into_iter().map(Into::into).collect(),
            network: v1::NetworkMode::from(spec.network).into(),
            limits: Some(spec.limits.into()),
            ulimits: spec
                .ulimits
                .into_iter()
                .map(|(name, limit)| (name, limit.into()))
                .collect(),
            sysctls: spec.sysctls,
            cap_add: spec.cap_add,
            cap_drop: spec.cap_drop,
            read_only: spec.read_only,
            init: spec.init,
            tty: spec.tty,
            stdin_open: spec.stdin_open,
            no_new_privileges: spec.no_new_privileges,
            stop_signal: spec.stop_signal,
            stop_grace_ns: spec.stop_grace.map(nanos),
            health: spec.health.map(Into::into),
            dns: Some(spec.dns.into()),
            extra_hosts: spec.extra_hosts.into_iter().map(extra_host).collect(),
            oom_score_adj: spec.oom_score_adj,
            shm_size_bytes: spec.shm_size.map(|size| size.0),
        }
    }
}

impl TryFrom<v1::ContainerSpec> for ContainerSpec {
    type Error = Malformed;

    fn try_from(spec: v1::ContainerSpec) -> Result<Self, Malformed> {
        Ok(Self {
            image: spec.image,
            image_digest: spec.image_digest,
            command: spec.command.map(|list| list.values),
            args: spec.args.map(|list| list.values),
            env: spec.env,
            workdir: spec.workdir,
            user: spec.user,
            groups: spec.groups,
            hostname: spec.hostname,
            labels: spec.labels,
            mounts: repeated(spec.mounts, "mounts")?,
            network: enumerated::<v1::NetworkMode, _>(spec.network, "network")?,
            limits: spec.limits.unwrap_or_default().into(),
            ulimits: spec
                .ulimits
                .into_iter()
                .map(|(name, limit)| (name, limit.into()))
                .collect(),
            sysctls: spec.sysctls,
            cap_add: spec.cap_add,
            cap_drop: spec.cap_drop,
            read_only: spec.read_only,
            init: spec.init,
            tty: spec.tty,
            stdin_open: spec.stdin_open,
            no_new_privileges: spec.no_new_privileges,
            stop_signal: spec.stop_signal,
            stop_grace: spec.stop_grace_ns.map(Duration::from_nanos),
            health: optional(spec.health, "health")?,
            dns: optional(spec.dns, "dns")?.unwrap_or_default(),
            extra_hosts: spec
                .extra_hosts
                .into_iter()
                .map(|host| (host.name, host.address))
                .collect(),
            oom_score_adj: spec.oom_score_adj,
            shm_size: spec.shm_size_bytes.map(Bytes),
        })
    }
}

impl From<DnsSpec> for v1::DnsSpec {
    fn from(spec: DnsSpec) -> Self {
        Self {
            servers: texts(&spec.servers),
            search: spec.search,
            options: spec.options,
        }
    }
}

impl TryFrom<v1::DnsSpec> for DnsSpec {
    type Error = Malformed;

    fn try_from(spec: v1::DnsSpec) -> Result<Self, Malformed> {
        Ok(Self {
            servers: parsed_list(&spec.servers, "servers")?,
            search: spec.search,
            options: spec.options,
        })
    }
}

impl From<Mount> for v1::Mount {
    fn from(mount: Mount) -> Self {
        use v1::mount::Source;
        let source = match mount.source {
            MountSource::Bind { path, create } => Source::Bind(v1::BindSource { path, create }),
            MountSource::Volume { name, no_copy } => Source::Volume(v1::VolumeSource { name, no_copy }),
            MountSource::Tmpfs { size, mode } => Source::Tmpfs(v1::TmpfsSource {
                size_bytes: size.map(|size| size.0),
                mode,
            }),
        };
        Self {
            source: Some(source),
            target: mount.target,
            read_only: mount.read_only,
        }
    }
}

impl TryFrom<v1::Mount> for Mount {
    type Error = Malformed;

    fn try_from(mount: v1::Mount) -> Result<Self, Malformed> {
        use v1::mount::Source;
        let source = match mount.source {
            Some(Source::Bind(bind)) => MountSource::Bind {
                path: bind.path,
                create: bind.create,
            },
            Some(Source::Volume(volume)) => MountSource::Volume {
                name: volume.name,
                no_copy: volume.no_copy,
            },
            Some(Source::Tmpfs(tmpfs)) => MountSource::Tmpfs {
                size: tmpfs.size_bytes.map(Bytes),
                mode: tmpfs.mode,
            },
            None => {
                return Err(Malformed::new(
                    "source",
                    "is missing, or of a kind not known here",
                ));
            }
        };
        Ok(Self {
            source,
            target: mount.target,
            read_only: mount.read_only,
        })
    }
}

impl From<Limits> for v1::Limits {
    fn from(limits: Limits) -> Self {
        Self {
            cpu_nanos: limits.cpu.map(|cpu| cpu.0),
            memory_bytes: limits.memory.map(|memory| memory.0),
            pids: limits.pids,
        }
    }
}

impl From<v1::Limits> for Limits {
    fn from(limits: v1::Limits) -> Self {
        Self {
            cpu: limits.cpu_nanos.map(CpuNanos),
            memory: limits.memory_bytes.map(Bytes),
            pids: limits.pids,
        }
    }
}

impl From<Ulimit> for v1::Ulimit {
    fn from(limit: Ulimit) -> Self {
        Self {
            soft: limit.soft,
            hard: limit.hard,
        }
    }
}

impl From<v1::Ulimit> for Ulimit {
    fn from(limit: v1::Ulimit) -> Self {
        Self {
            soft: limit.soft,
            hard: limit.hard,
        }
    }
}

impl From<HealthCheck> for v1::HealthCheck {
    fn from(check: HealthCheck) -> Self {
        use v1::health_test::Test;
        let test = |test| match test {
            HealthTest::None => Test::None(v1::HealthTestNone {}),
            HealthTest::Cmd(values) => Test::Cmd(v1::StringList { values }),
            HealthTest::CmdShell(line) => Test::CmdShell(line),
        };
        Self {
            test: check.test.map(|t| v1::HealthTest { test: Some(test(t)) }),
            interval_ns: check.interval.map(nanos),
            timeout_ns: check.timeout.map(nanos),
            start_period_ns: check.start_period.map(nanos),
            start_interval_ns: check.start_interval.map(nanos),
            retries: check.retries,
        }
    }
}

impl TryFrom<v1::HealthCheck> for HealthCheck {
    type Error = Malformed;

    fn try_from(check: v1::HealthCheck) -> Result<Self, Malformed> {
        Ok(Self {
            test: optional(check.test, "test")?,
            interval: check.interval_ns.map(Duration::from_nanos),
            timeout: check.timeout_ns.map(Duration::from_nanos),
            start_period: check.start_period_ns.map(Duration::from_nanos),
            start_interval: check.start_interval_ns.map(Duration::from_nanos),
            retries: check.retries,
        })
    }
}

impl TryFrom<v1::HealthTest> for HealthTest {
    type Error = Malformed;

    fn try_from(test: v1::HealthTest) -> Result<Self, Malformed> {
        use v1::health_test::Test;
        match test.test {
            Some(Test::None(_)) => Ok(Self::None),
            Some(Test::Cmd(list)) => Ok(Self::Cmd(list.values)),
            Some(Test::CmdShell(line)) => Ok(Self::CmdShell(line)),
            None => Err(Malformed::new("", "is of a kind not known here")),
        }
    }
}
