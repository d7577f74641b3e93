//! Tests of the spec builder: Docker's answers, every refusal, and that nothing of the library's defaults leaks in.
//! Docker's side was read from the configuration of its running containers.

mod exec;
mod refusals;

use std::collections::BTreeMap;
use std::path::PathBuf;

use proptest::prelude::*;
use shoal_run_dir::process::Rlimit;

use super::*;
use crate::container::limits::Ulimit;
use crate::container::mount::{Mount, MountKind};
use crate::container::spec::{Network, PinnedImage};
use crate::runtime::facts::{CgroupHierarchy, CgroupLayout, CgroupVersion};

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

struct World {
    spec: ContainerSpec,
    image: ImageConfig,
    user: ResolvedUser,
    host: HostFacts,
    kernel: KernelFacts,
    places: Places,
}

impl World {
    fn new() -> Self {
        let image = PinnedImage {
            reference: "app:1".to_owned(),
            digest: format!("sha256:{ID}"),
        };
        let mut spec = ContainerSpec::new(ID.parse().unwrap(), image, Network::Host);
        spec.command = Some(words("sleep 600"));
        Self {
            spec,
            image: ImageConfig::default(),
            user: ResolvedUser {
                uid: 0,
                gid: 0,
                groups: vec![0],
                home: "/root".to_owned(),
            },
            host: HostFacts {
                cpus: 2,
                memory: 8 << 30,
                os: "linux".to_owned(),
                architecture: "amd64".to_owned(),
                kernel: "6.1.0".to_owned(),
                hostname: "box".to_owned(),
                cgroups: CgroupLayout {
                    version: CgroupVersion::V2,
                    hierarchies: vec![CgroupHierarchy {
                        mount_point: "/sys/fs/cgroup".into(),
                        controllers: words("cpu memory pids"),
                    }],
                },
                apparmor: false,
            },
            kernel: KernelFacts {
                capabilities: CapabilitySet::from_bits(0x1ff_feff_ffff),
                swap_limit: true,
            },
            places: Places {
                root: "/run/c/rootfs".into(),
                cgroup: format!("/shoal-01234567/{ID}").into(),
                hostname: "/run/c/hostname".into(),
                hosts: "/run/c/hosts".into(),
                resolv_conf: "/run/c/resolv.conf".into(),
                cgroup_stage: "/run/c/cgroup".into(),
                volumes: BTreeMap::from([("data".to_owned(), PathBuf::from("/v/data/_data"))]),
            },
        }
    }

    fn with(change: impl FnOnce(&mut Self)) -> Self {
        let mut world = Self::new();
        change(&mut world);
        world
    }

    fn build(&self) -> Result<Built, SpecError> {
        build(&Inputs {
            spec: &self.spec,
            image: &self.image,
            user: &self.user,
            host: &self.host,
            kernel: self.kernel,
            places: &self.places,
        })
    }

    fn built(&self) -> Built {
        self.build().unwrap()
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn mount(kind: MountKind, source: &str, target: &str, read_only: bool, options: &str) -> Mount {
    Mount {
        kind,
        source: source.to_owned(),
        target: target.into(),
        read_only,
        options: words(options),
    }
}

/// (target, type, options) of every mount.
fn mounts(built: &Built) -> Vec<(String, String, String)> {
    let all = built.config.mounts().as_ref().unwrap();
    all.iter()
        .map(|mount| {
            (
                mount.destination().display().to_string(),
                mount.typ().clone().unwrap(),
                mount.options().clone().unwrap().join(","),
            )
        })
        .collect()
}

fn check_refused(change: impl FnOnce(&mut World), field: &str, reason: &str) {
    let error = World::with(change).build().unwrap_err();
    assert_eq!(error.field, field, "{error}");
    assert!(error.message.contains(reason), "{error}");
}

#[test]
fn a_plain_container_is_dockers() {
    let built = World::new().built();
    let linux = built.config.linux().as_ref().unwrap();
    let namespaces: Vec<_> = linux
        .namespaces()
        .as_ref()
        .unwrap()
        .iter()
        .map(|one| one.typ().to_string())
        .collect();
    assert_eq!(namespaces, ["mnt", "uts", "pid", "ipc", "cgroup"]);
    assert_eq!(linux.seccomp(), &None);
    assert_eq!(linux.devices(), &None);
    assert_eq!(linux.rootfs_propagation().as_deref(), Some("private"));
    assert_eq!(linux.sysctl().as_ref().unwrap().len(), 0);
    assert_eq!(linux.masked_paths().as_ref().unwrap().len(), 11);
    assert_eq!(linux.readonly_paths().as_ref().unwrap().len(), 5);
    assert_eq!(built.config.hostname().as_deref(), Some("box"));
    let resources = linux.resources().as_ref().unwrap();
    assert_eq!(
        (resources.memory(), resources.cpu(), resources.pids()),
        (&None, &None, &None)
    );
    let process = &built.process;
    assert_eq!(process.args, words("sleep 600"));
    assert_eq!(
        process.env,
        [
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOSTNAME=box",
            "HOME=/root"
        ]
    );
    assert_eq!((process.cwd.as_str(), process.umask), ("/", 0o022));
    assert_eq!(process.capabilities.effective, 0xa804_25fb);
    assert_eq!(process.capabilities.inheritable, 0);
    assert!(process.seccomp && !process.no_new_privileges && process.rlimits.is_empty());
    assert_eq!(process.oom_score_adj, 0);
}

#[test]
fn what_libcontainer_starts_carries_none_of_the_librarys_defaults() {
    let built = World::new().built();
    let json = serde_json::to_value(built.config.process()).unwrap();
    let mut keys: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
    keys.sort();
    assert_eq!(keys, ["args", "capabilities", "cwd", "env", "terminal", "user"]);
    assert_eq!(json["capabilities"]["bounding"].as_array().unwrap().len(), 40);
    let top = serde_json::to_value(&built.config).unwrap();
    let mut keys: Vec<_> = top.as_object().unwrap().keys().cloned().collect();
    keys.sort();
    assert_eq!(
        keys,
        ["hostname", "linux", "mounts", "ociVersion", "process", "root"]
    );
}

#[test]
fn default_mounts_are_dockers_in_its_order() {
    let expect = |cgroup: (&str, &str)| {
        [
            ("/proc", "proc", "nosuid,noexec,nodev"),
            ("/dev", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
            (
                "/dev/pts",
                "devpts",
                "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5",
            ),
            ("/sys", "sysfs", "nosuid,noexec,nodev,ro"),
            ("/sys/fs/cgroup", cgroup.0, cgroup.1),
            ("/dev/mqueue", "mqueue", "nosuid,noexec,nodev"),
            ("/dev/shm", "tmpfs", "nosuid,noexec,nodev,mode=1777,size=67108864"),
            ("/etc/resolv.conf", "bind", "rbind"),
            ("/etc/hostname", "bind", "rbind"),
            ("/etc/hosts", "bind", "rbind"),
        ]
        .map(|(target, kind, options)| (target.to_owned(), kind.to_owned(), options.to_owned()))
        .to_vec()
    };
    assert_eq!(
        mounts(&World::new().built()),
        expect(("cgroup2", "ro,nosuid,noexec,nodev"))
    );
    let old = World::with(|world| world.host.cgroups.version = CgroupVersion::V1).built();
    assert_eq!(mounts(&old), expect(("bind", "rbind,rro,nosuid,noexec,nodev")));
    let namespaces = old
        .config
        .linux()
        .as_ref()
        .unwrap()
        .namespaces()
        .as_ref()
        .unwrap();
    assert_eq!(namespaces.len(), 4);
}

#[test]
fn the_users_mounts_come_by_depth_and_replace_defaults() {
    let built = World::with(|world| {
        world.spec.read_only_root = true;
        world.spec.mounts = vec![
            mount(MountKind::Bind, "/srv/www/", "/a/b/c", true, "z rprivate"),
            mount(MountKind::Tmpfs, "", "/t", false, "size=1m mode=1777 exec"),
            mount(MountKind::Volume, "data", "/var//lib/", false, "nosuid"),
            mount(MountKind::Bind, "/h", "/etc/hosts", false, "ro"),
            mount(MountKind::Tmpfs, "", "/dev/shm", true, ""),
        ];
    })
    .built();
    let all = mounts(&built);
    let own: Vec<_> = all[6..]
        .iter()
        .map(|(target, kind, options)| (target.as_str(), kind.as_str(), options.as_str()))
        .collect();
    assert_eq!(
        own,
        [
            ("/t", "tmpfs", "nosuid,nodev,size=1m,mode=1777,exec"),
            ("/var/lib", "bind", "rbind,nosuid"),
            ("/etc/hosts", "bind", "rbind,rro"),
            ("/dev/shm", "tmpfs", "noexec,nosuid,nodev,ro"),
            ("/a/b/c", "bind", "rbind,rro"),
            ("/etc/resolv.conf", "bind", "rbind,rro"),
            ("/etc/hostname", "bind", "rbind,rro"),
        ]
    );
    let sources: Vec<_> = built
        .config
        .mounts()
        .as_ref()
        .unwrap()
        .iter()
        .filter_map(|mount| mount.source().clone())
        .collect();
    assert!(
        sources.contains(&PathBuf::from("/srv/www")) && sources.contains(&PathBuf::from("/v/data/_data"))
    );
    let dev =
        World::with(|world| world.spec.mounts = vec![mount(MountKind::Bind, "/dev", "/dev", false, "")]);
    assert!(
        !mounts(&dev.built())
            .iter()
            .any(|(target, ..)| target.starts_with("/dev/"))
    );
}

#[test]
fn entrypoint_and_command_combine_as_under_docker() {
    let check =
        |image: (&[&str], &[&str]), entrypoint: Option<&[&str]>, command: Option<&[&str]>, expect: &str| {
            let list = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
            let world = World::with(|world| {
                world.image.entrypoint = Some(list(image.0)).filter(|list| !list.is_empty());
                world.image.cmd = Some(list(image.1)).filter(|list| !list.is_empty());
                world.spec.entrypoint = entrypoint.map(list);
                world.spec.command = command.map(list);
            });
            match world.build() {
                Ok(built) => assert_eq!(built.process.args.join(" "), expect),
                Err(error) => assert_eq!(error.field, expect),
            }
        };
    let image: (&[&str], &[&str]) = (&["/entry"], &["serve"]);
    check(image, None, None, "/entry serve");
    check(image, None, Some(&["x", "y"]), "/entry x y");
    check(image, Some(&["/other"]), None, "/other");
    check(image, Some(&["/other"]), Some(&["z"]), "/other z");
    check(image, Some(&[]), None, "serve");
    check(image, Some(&[""]), Some(&["sh"]), "sh");
    check(image, Some(&[""]), None, "command");
    check(image, None, Some(&[]), "/entry serve");
    check((&[], &[]), None, None, "command");
    check((&[], &["sh"]), None, None, "sh");
}

#[test]
fn the_environment_merges_and_home_is_derived_last() {
    let built = World::with(|world| {
        world.spec.tty = true;
        world.image.env = words("PATH=/bin A=1 B=2 NOVALUE HOME=");
        world.spec.env = vec![("B".into(), "two=2".into()), ("C".into(), String::new())];
    })
    .built();
    assert_eq!(
        built.process.env,
        words("PATH=/bin HOSTNAME=box TERM=xterm A=1 B=two=2 HOME=/root C=")
    );
    let said = World::with(|world| world.spec.env = vec![("HOME".into(), "/here".into())]).built();
    assert!(said.process.env.contains(&"HOME=/here".to_owned()));
}

#[test]
fn users_other_than_root_hold_no_capabilities() {
    let built = World::with(|world| {
        world.user = ResolvedUser {
            uid: 1000,
            gid: 7,
            groups: vec![7, 8],
            home: "/home/app".into(),
        };
        world.spec.cap_add = words("NET_ADMIN");
        world.spec.no_new_privileges = true;
    })
    .built();
    let process = built.process;
    assert_eq!(
        (process.uid, process.gid, process.groups.as_slice()),
        (1000, 7, [7, 8].as_slice())
    );
    assert_eq!(process.capabilities.bounding, 0xa804_35fb);
    assert_eq!(
        (process.capabilities.effective, process.capabilities.permitted),
        (0, 0)
    );
    assert!(process.no_new_privileges);
}

#[test]
fn host_names_and_networks() {
    let name = |change: fn(&mut World)| World::with(change).built().config.hostname().clone().unwrap();
    assert_eq!(name(|_| ()), "box");
    assert_eq!(name(|world| world.spec.network = Network::None), "0123456789ab");
    assert_eq!(name(|world| world.spec.hostname = Some("me".into())), "me");
    assert_eq!(
        name(|world| world.spec.network = Network::Private),
        "0123456789ab"
    );
    for network in [Network::None, Network::Private] {
        check_own_network(network);
    }
}

fn check_own_network(network: Network) {
    let none = World::with(|world| {
        world.spec.network = network;
        world.spec.sysctls = BTreeMap::from([("net.ipv4.ping_group_range".to_owned(), "1 0".to_owned())]);
    })
    .built();
    let linux = none.config.linux().as_ref().unwrap();
    let sysctls = linux.sysctl().as_ref().unwrap();
    assert_eq!(sysctls["net.ipv4.ip_unprivileged_port_start"], "0");
    assert_eq!(sysctls["net.ipv4.ping_group_range"], "1 0");
    assert!(
        linux
            .namespaces()
            .as_ref()
            .unwrap()
            .iter()
            .any(|one| one.typ().to_string() == "net")
    );
}

#[test]
fn limits_become_resources() {
    let built = World::with(|world| {
        world.spec.limits.memory = Some(64 << 20);
        world.spec.limits.cpu_nanos = Some(500_000_000);
        world.spec.limits.pids = Some(50);
        world.spec.limits.ulimits = vec![Ulimit {
            name: "nofile".into(),
            soft: 1000,
            hard: 2000,
        }];
        world.spec.oom_score_adj = Some(-5);
    })
    .built();
    let resources = built
        .config
        .linux()
        .as_ref()
        .unwrap()
        .resources()
        .clone()
        .unwrap();
    let memory = resources.memory().unwrap();
    assert_eq!((memory.limit(), memory.swap()), (Some(64 << 20), Some(128 << 20)));
    let cpu = resources.cpu().clone().unwrap();
    assert_eq!(
        (cpu.quota(), cpu.period(), cpu.shares()),
        (Some(50_000), Some(100_000), None)
    );
    assert_eq!(resources.pids().unwrap().limit(), 50);
    assert_eq!(
        built.process.rlimits,
        [Rlimit {
            resource: 7,
            soft: 1000,
            hard: 2000
        }]
    );
    assert_eq!(built.process.oom_score_adj, -5);
    let swap = |wanted: Option<i64>, can: bool| {
        let built = World::with(|world| {
            world.spec.limits.memory = Some(64 << 20);
            world.spec.limits.memory_swap = wanted;
            world.kernel.swap_limit = can;
        })
        .built();
        let resources = built
            .config
            .linux()
            .as_ref()
            .unwrap()
            .resources()
            .clone()
            .unwrap();
        resources.memory().unwrap().swap()
    };
    assert_eq!(swap(Some(-1), true), Some(-1));
    assert_eq!(swap(Some(-1), false), None);
    assert_eq!(swap(None, false), None);
    assert_eq!(swap(Some(64 << 20), true), Some(64 << 20));
}

#[test]
fn bind_sources_must_exist() {
    let world = World::with(|world| {
        world.spec.mounts = vec![
            mount(MountKind::Bind, "/", "/host", true, ""),
            mount(MountKind::Bind, "/no/such/place", "/x", true, ""),
        ];
    });
    let error = check_bind_sources(&world.spec).unwrap_err();
    assert_eq!(error.field, "mounts[1].source");
    assert!(error.message.contains("/no/such/place"), "{error}");
}

#[test]
fn files_follow_the_network_and_the_spec() {
    let files = HostFiles {
        hosts: "10.0.0.1 box".to_owned(),
        resolv_conf: "nameserver 1.1.1.1\nsearch a\noptions ndots:1\n".to_owned(),
    };
    let of = |change: fn(&mut World)| {
        let world = World::with(change);
        network_files(&world.spec, &world.host, &files)
    };
    let plain = of(|_| ()).unwrap();
    assert_eq!(
        (plain.hostname.as_str(), plain.hosts.as_str()),
        ("box\n", "10.0.0.1 box\n")
    );
    assert_eq!(plain.resolv_conf, files.resolv_conf);
    let own = of(|world| {
        world.spec.network = Network::None;
        world.spec.dns.servers = words("9.9.9.9 ::1");
        world.spec.dns.search = words("x y");
        world.spec.dns.extra_hosts = vec![("db".into(), "10.1.2.3".into())];
    })
    .unwrap();
    assert!(own.hosts.starts_with("127.0.0.1\tlocalhost\n") && own.hosts.ends_with("10.1.2.3\tdb\n"));
    assert_eq!(
        own.resolv_conf,
        "options ndots:1\nnameserver 9.9.9.9\nnameserver ::1\nsearch x y\n"
    );
    let private = of(|world| {
        world.spec.network = Network::Private;
        world.spec.hostname = Some("web".into());
        world.spec.addresses = vec![[10, 7, 0, 3].into(), "fd00::3".parse().unwrap()];
        world.spec.dns.servers = words("9.9.9.9");
        world.spec.dns.extra_hosts = vec![("db".into(), "10.1.2.3".into())];
    })
    .unwrap();
    assert!(private.hosts.starts_with("127.0.0.1\tlocalhost\n::1\tlocalhost"));
    assert!(
        private
            .hosts
            .ends_with("10.1.2.3\tdb\n10.7.0.3\tweb\nfd00::3\tweb\n")
    );
    assert_eq!(
        private.resolv_conf,
        "search a\nnameserver 127.0.0.11\noptions ndots:1\n"
    );
    let refused = |change: fn(&mut World), field: &str| assert_eq!(of(change).unwrap_err().field, field);
    refused(
        |world| world.spec.addresses = vec![[10, 7, 0, 3].into()],
        "addresses",
    );
    refused(
        |world| world.spec.dns.servers = words("dns.example"),
        "dns.servers[0]",
    );
    refused(
        |world| world.spec.dns.search = vec!["a\nnameserver 6.6.6.6".into()],
        "dns.search[0]",
    );
    refused(
        |world| world.spec.dns.extra_hosts = vec![("a b".into(), "1.2.3.4".into())],
        "dns.extra_hosts[0]",
    );
    refused(
        |world| world.spec.dns.extra_hosts = vec![("a".into(), "here".into())],
        "dns.extra_hosts[0]",
    );
}

#[test]
fn a_private_network_asks_one_resolver_whatever_the_host_says() {
    let check = |host: &str, search: &str, options: &str, expect: &str| {
        let files = HostFiles {
            hosts: String::new(),
            resolv_conf: host.to_owned(),
        };
        let world = World::with(|world| {
            world.spec.network = Network::Private;
            world.spec.dns.search = words(search);
            world.spec.dns.options = words(options);
        });
        let found = network_files(&world.spec, &world.host, &files).unwrap();
        assert_eq!(found.resolv_conf, expect, "{host:?} {search:?} {options:?}");
    };
    let resolver = "nameserver 127.0.0.11\n";
    let ndots = format!("{resolver}options ndots:0\n");
    check("", "", "", &ndots);
    check("# stub\nnameserver 127.0.0.53", "", "", &ndots);
    check(
        "options edns0\n options trust-ad\nnameserver ::1\n",
        "",
        "",
        &format!("{resolver}options edns0 trust-ad ndots:0\n"),
    );
    check(
        "options ndots:3\n",
        "",
        "",
        &format!("{resolver}options ndots:3\n"),
    );
    check(
        "options ndots:3\ndomain d\n",
        "x y",
        "timeout:1",
        &format!("{resolver}search x y\noptions timeout:1 ndots:0\n"),
    );
    check(
        "search d\n",
        ".",
        "ndots:2",
        &format!("{resolver}options ndots:2\n"),
    );
}

proptest! {
    #[test]
    fn any_text_anywhere_is_built_or_refused(
        text in ".{0,24}",
        path in "[/a-z.]{0,16}",
        option in "[a-z=0-9,%]{0,10}",
        number in any::<u64>(),
        kind in prop::sample::select(vec![MountKind::Bind, MountKind::Tmpfs]),
    ) {
        let world = World::with(|world| {
            world.spec.mounts = vec![mount(kind, &path, &path, false, &option)];
            world.spec.env = vec![(text.clone(), text.clone())];
            world.spec.workdir = Some(path.clone());
            world.spec.limits.memory = Some(number);
            world.spec.sysctls = BTreeMap::from([(format!("fs.mqueue.{path}"), text.clone())]);
        });
        if let Ok(built) = world.build() {
            for (target, _, options) in mounts(&built) {
                prop_assert!(target.starts_with('/') && !target.contains("..") && target != "/");
                prop_assert!(!options.contains('\0'));
            }
            prop_assert!(built.process.cwd.starts_with('/'));
            prop_assert!(built.process.env.iter().all(|entry| !entry.contains('\0')));
        }
        let files = HostFiles { hosts: text.clone(), resolv_conf: text };
        prop_assert!(network_files(&world.spec, &world.host, &files).is_ok());
    }
}
