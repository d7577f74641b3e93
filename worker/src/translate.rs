//! From the cluster's nouns to the runtime's: what a task's container shall be.
//!
//! Pure. Nothing else in the tree knows both sides. What a service may ask for was validated when it was
//! created; what only this node can refuse (a signal's name, a missing digest) is a failure with its field.

use crate::assignment::AssignedTask;
use crate::network::has_links;
use crate::task::{Failure, ImageFacts};
use shoal_agent_runtime::image::{ImageConfig, ImageHealthcheck};
use shoal_agent_runtime::{
    ContainerId, ContainerSpec, Dns, Limits, Mount, MountKind, Network, PinnedImage, Signal, Ulimit,
};
use shoal_core::model::{self, HealthCheck, HealthTest, MountSource, NetworkMode, Slot};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

/// The name in `extra_hosts` that stands for the host's address, as Docker's.
const HOST_GATEWAY: &str = "host-gateway";

/// The runtime's spec for one attempt of a task. `host`: the host's address towards containers.
pub fn container_spec(
    id: &ContainerId,
    task: &AssignedTask,
    attempt: u32,
    host: IpAddr,
) -> Result<ContainerSpec, Failure> {
    let wanted = &task.spec.container;
    let mut spec = ContainerSpec::new(id.clone(), pinned(task)?, network(wanted.network));
    spec.labels = labels(task, attempt);
    spec.hostname.clone_from(&wanted.hostname);
    spec.entrypoint.clone_from(&wanted.command);
    spec.command.clone_from(&wanted.args);
    spec.env = wanted.env.clone().into_iter().collect();
    spec.workdir.clone_from(&wanted.workdir);
    spec.user.clone_from(&wanted.user);
    spec.groups.clone_from(&wanted.groups);
    spec.mounts = mounts(id, task);
    spec.limits = limits(wanted);
    spec.cap_add.clone_from(&wanted.cap_add);
    spec.cap_drop.clone_from(&wanted.cap_drop);
    spec.read_only_root = wanted.read_only;
    spec.init = wanted.init;
    spec.tty = wanted.tty;
    spec.stdin_open = wanted.stdin_open;
    spec.stop_signal = stop_signal(wanted.stop_signal.as_deref())?;
    spec.stop_grace = wanted.stop_grace;
    spec.sysctls.clone_from(&wanted.sysctls);
    spec.dns = dns(wanted, host);
    if has_links(task) {
        let attachments = task.attachments.iter();
        spec.addresses = attachments
            .flat_map(|attachment| attachment.addresses.iter())
            .collect();
    }
    spec.oom_score_adj = Some(wanted.oom_score_adj).filter(|adjust| *adjust != 0);
    spec.no_new_privileges = wanted.no_new_privileges;
    Ok(spec)
}

/// The image a task is pinned to.
pub fn pinned(task: &AssignedTask) -> Result<PinnedImage, Failure> {
    let container = &task.spec.container;
    let Some(digest) = container.image_digest.clone() else {
        return Err(Failure::new(format!(
            "image {} has no digest: the service was stored by a version that did not pin it; update the service",
            container.image
        )));
    };
    Ok(PinnedImage {
        reference: container.image.clone(),
        digest,
    })
}

/// The volumes that go with the container, by name.
pub fn anonymous_volumes(id: &ContainerId, task: &AssignedTask) -> Vec<String> {
    let anonymous = |mount: &model::Mount| matches!(mount.source, MountSource::Volume { name: None, .. });
    let mounts = task.spec.container.mounts.iter().enumerate();
    mounts
        .filter(|(_, mount)| anonymous(mount))
        .map(|(place, _)| anonymous_name(id, place))
        .collect()
}

/// Is a volume one that goes with the container, whatever its task was?
pub fn is_anonymous_of(id: &ContainerId, volume: &str) -> bool {
    let place = volume
        .strip_prefix(id.as_str())
        .and_then(|rest| rest.strip_prefix('-'));
    place.is_some_and(|place| place.parse::<usize>().is_ok())
}

/// Host directories that are to be made before they are mounted.
pub fn directories_to_make(task: &AssignedTask) -> Vec<PathBuf> {
    let mounts = task.spec.container.mounts.iter();
    mounts
        .filter_map(|mount| match &mount.source {
            MountSource::Bind { path, create: true } => Some(PathBuf::from(path)),
            MountSource::Bind { .. } | MountSource::Volume { .. } | MountSource::Tmpfs { .. } => None,
        })
        .collect()
}

/// What the task's machine needs of an image's configuration.
pub fn image_facts(config: &ImageConfig) -> ImageFacts {
    ImageFacts {
        health: config.healthcheck.as_ref().map(health_check),
        stop_signal: config.stop_signal.parse().ok(),
    }
}

fn health_check(image: &ImageHealthcheck) -> HealthCheck {
    let test = match image.test.split_first() {
        None => None,
        Some((kind, _)) if kind == "NONE" => Some(HealthTest::None),
        Some((kind, rest)) if kind == "CMD-SHELL" => Some(HealthTest::CmdShell(rest.join(" "))),
        Some((kind, rest)) if kind == "CMD" => Some(HealthTest::Cmd(rest.to_vec())),
        // Docker takes an unknown kind for no check.
        Some(_) => Some(HealthTest::None),
    };
    HealthCheck {
        test,
        interval: image.interval,
        timeout: image.timeout,
        start_period: image.start_period,
        start_interval: image.start_interval,
        retries: image.retries,
    }
}

fn network(mode: NetworkMode) -> Network {
    match mode {
        NetworkMode::Networks => Network::Private,
        NetworkMode::Host => Network::Host,
        NetworkMode::None => Network::None,
    }
}

fn dns(wanted: &model::ContainerSpec, host: IpAddr) -> Dns {
    let address = |text: &String| match text.as_str() {
        HOST_GATEWAY => host.to_string(),
        _ => text.clone(),
    };
    let extra_hosts = wanted.extra_hosts.iter();
    Dns {
        servers: wanted.dns.servers.iter().map(IpAddr::to_string).collect(),
        search: wanted.dns.search.clone(),
        options: wanted.dns.options.clone(),
        extra_hosts: extra_hosts
            .map(|(name, text)| (name.clone(), address(text)))
            .collect(),
    }
}

fn stop_signal(name: Option<&str>) -> Result<Option<Signal>, Failure> {
    name.map(str::parse)
        .transpose()
        .map_err(|error: shoal_agent_runtime::SignalError| Failure::new(format!("stop_signal: {error}")))
}

/// The container's own labels, and whose it is, for people who look at the node.
fn labels(task: &AssignedTask, attempt: u32) -> BTreeMap<String, String> {
    let slot = match &task.slot {
        Slot::Replica(number) => number.to_string(),
        Slot::Node(node) => node.to_string(),
    };
    let mut labels = task.spec.container.labels.clone();
    labels.extend([
        ("shoal.task.id".to_owned(), task.id.to_string()),
        ("shoal.task.name".to_owned(), task.name()),
        ("shoal.task.slot".to_owned(), slot),
        ("shoal.task.attempt".to_owned(), attempt.to_string()),
        ("shoal.service.id".to_owned(), task.service.to_string()),
        ("shoal.service.name".to_owned(), task.service_name.clone()),
    ]);
    labels
}

fn limits(wanted: &model::ContainerSpec) -> Limits {
    let ulimit = |(name, limit): (&String, &model::Ulimit)| Ulimit {
        name: name.clone(),
        soft: limit.soft,
        hard: limit.hard,
    };
    Limits {
        memory: wanted.limits.memory.map(|bytes| bytes.0),
        memory_swap: None,
        cpu_nanos: wanted.limits.cpu.map(|cpu| cpu.0),
        pids: wanted.limits.pids,
        ulimits: wanted.ulimits.iter().map(ulimit).collect(),
    }
}

fn anonymous_name(id: &ContainerId, place: usize) -> String {
    format!("{id}-{place}")
}

fn mounts(id: &ContainerId, task: &AssignedTask) -> Vec<Mount> {
    let wanted = &task.spec.container;
    let mut mounts: Vec<Mount> = wanted
        .mounts
        .iter()
        .enumerate()
        .map(|(place, mount)| one_mount(id, place, mount))
        .collect();
    if let Some(size) = wanted.shm_size {
        mounts.push(Mount {
            kind: MountKind::Tmpfs,
            source: String::new(),
            target: PathBuf::from("/dev/shm"),
            read_only: false,
            options: vec!["mode=1777".to_owned(), format!("size={}", size.0)],
        });
    }
    mounts
}

fn one_mount(id: &ContainerId, place: usize, mount: &model::Mount) -> Mount {
    let (kind, source, options) = match &mount.source {
        MountSource::Bind { path, .. } => (MountKind::Bind, path.clone(), Vec::new()),
        MountSource::Volume { name, no_copy } => {
            let name = name.clone().unwrap_or_else(|| anonymous_name(id, place));
            let no_copy = no_copy.then(|| "nocopy".to_owned());
            (MountKind::Volume, name, no_copy.into_iter().collect())
        }
        MountSource::Tmpfs { size, mode } => {
            let size = size.map(|size| format!("size={}", size.0));
            let mode = mode.map(|mode| format!("mode={mode:o}"));
            (
                MountKind::Tmpfs,
                String::new(),
                size.into_iter().chain(mode).collect(),
            )
        }
    };
    Mount {
        kind,
        source,
        target: PathBuf::from(&mount.target),
        read_only: mount.read_only,
        options,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{name::container_of, testing::assigned};
    use shoal_core::model::{Bytes, CpuNanos};
    use std::net::Ipv4Addr;
    use std::time::Duration;

    const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 7, 2));

    fn task() -> AssignedTask {
        let mut task = assigned(3);
        let container = &mut task.spec.container;
        container.image = "web:1".to_owned();
        container.image_digest = Some("sha256:00".to_owned());
        container.command = Some(vec!["/serve".to_owned()]);
        container.limits.memory = Some(Bytes(1 << 26));
        container.limits.cpu = Some(CpuNanos(500_000_000));
        container.shm_size = Some(Bytes(4096));
        container.stop_grace = Some(Duration::from_secs(90));
        let mount = |source, target: &str| model::Mount {
            source,
            target: target.to_owned(),
            read_only: true,
        };
        container.mounts = vec![
            mount(
                MountSource::Bind {
                    path: "/srv".to_owned(),
                    create: true,
                },
                "/a",
            ),
            mount(
                MountSource::Volume {
                    name: Some("data".to_owned()),
                    no_copy: false,
                },
                "/b",
            ),
            mount(
                MountSource::Volume {
                    name: None,
                    no_copy: true,
                },
                "/c",
            ),
            mount(
                MountSource::Tmpfs {
                    size: Some(Bytes(7)),
                    mode: Some(0o1777),
                },
                "/d",
            ),
        ];
        task
    }

    #[test]
    fn every_part_of_a_task_finds_its_place() {
        let task = task();
        let id = container_of(&task.id, 2).unwrap();
        let spec = container_spec(&id, &task, 2, HOST).unwrap();
        assert_eq!(spec.entrypoint, Some(vec!["/serve".to_owned()]));
        assert_eq!(
            (spec.limits.memory, spec.limits.cpu_nanos),
            (Some(1 << 26), Some(500_000_000))
        );
        assert_eq!(spec.labels["shoal.task.name"], "web.3");
        assert_eq!(spec.stop_grace, Some(Duration::from_secs(90)));
        let mounts: Vec<_> = spec
            .mounts
            .iter()
            .map(|mount| {
                (
                    mount.source.as_str(),
                    mount.target.to_str().unwrap(),
                    mount.options.join(","),
                )
            })
            .collect();
        let anonymous = format!("{id}-2");
        assert_eq!(
            mounts,
            [
                ("/srv", "/a", String::new()),
                ("data", "/b", String::new()),
                (anonymous.as_str(), "/c", "nocopy".to_owned()),
                ("", "/d", "size=7,mode=1777".to_owned()),
                ("", "/dev/shm", "mode=1777,size=4096".to_owned()),
            ]
        );
        assert!(is_anonymous_of(&id, &anonymous));
        let of_another = container_of(&task.id, 3).unwrap();
        for named in ["data".to_owned(), format!("{of_another}-2"), format!("{id}-data")] {
            assert!(!is_anonymous_of(&id, &named), "{named}");
        }
        assert_eq!(anonymous_volumes(&id, &task), [anonymous]);
        assert_eq!(directories_to_make(&task), [PathBuf::from("/srv")]);
    }

    #[test]
    fn links_bring_addresses_and_the_host_has_a_name() {
        let id = container_of(&task().id, 0).unwrap();
        let mut task = task();
        let linked = crate::testing::linked(3);
        task.attachments = linked.attachments;
        task.spec.container.dns.servers = vec!["9.9.9.9".parse().unwrap()];
        task.spec.container.dns.search = vec!["example".to_owned()];
        task.spec.container.extra_hosts = vec![
            ("host.docker.internal".to_owned(), "host-gateway".to_owned()),
            ("db".to_owned(), "10.9.9.9".to_owned()),
        ];
        let mut made = |mode| {
            task.spec.container.network = mode;
            container_spec(&id, &task, 0, HOST).unwrap()
        };
        let linked = made(NetworkMode::Networks);
        assert_eq!(linked.network, Network::Private);
        let addresses: Vec<String> = linked.addresses.iter().map(IpAddr::to_string).collect();
        assert_eq!(addresses, ["10.1.0.3", "fd00::3"]);
        assert_eq!((linked.dns.servers.len(), linked.dns.search.len()), (1, 1));
        let hosts: Vec<&str> = linked
            .dns
            .extra_hosts
            .iter()
            .map(|(_, address)| address.as_str())
            .collect();
        assert_eq!(hosts, ["169.254.7.2", "10.9.9.9"]);
        for (mode, network) in [
            (NetworkMode::Host, Network::Host),
            (NetworkMode::None, Network::None),
        ] {
            let unlinked = made(mode);
            assert_eq!((unlinked.network, unlinked.addresses.len()), (network, 0));
        }
    }

    #[test]
    fn what_only_the_node_can_refuse_is_named() {
        let id = container_of(&task().id, 0).unwrap();
        let mut unpinned = task();
        unpinned.spec.container.image_digest = None;
        assert!(
            container_spec(&id, &unpinned, 0, HOST)
                .unwrap_err()
                .message
                .contains("web:1 has no digest")
        );
        let mut signal = task();
        signal.spec.container.stop_signal = Some("SIGNOPE".to_owned());
        let message = container_spec(&id, &signal, 0, HOST).unwrap_err().message;
        assert!(message.starts_with("stop_signal: \"SIGNOPE\""), "{message}");
    }

    #[test]
    fn an_images_check_is_read_as_docker_writes_it() {
        let facts = |test: &[&str]| {
            let check = ImageHealthcheck {
                test: test.iter().map(|word| (*word).to_owned()).collect(),
                ..ImageHealthcheck::default()
            };
            health_check(&check).test
        };
        assert_eq!(facts(&[]), None);
        assert_eq!(facts(&["NONE"]), Some(HealthTest::None));
        assert_eq!(
            facts(&["CMD", "a", "b"]),
            Some(HealthTest::Cmd(vec!["a".to_owned(), "b".to_owned()]))
        );
        assert_eq!(
            facts(&["CMD-SHELL", "a b"]),
            Some(HealthTest::CmdShell("a b".to_owned()))
        );
    }
}
