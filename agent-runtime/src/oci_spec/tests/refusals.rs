//! Every refusal, by the field that it names.
//! One line a case: a change to a sound spec, the field, and a word of the reason.

use super::*;

#[test]
fn what_cannot_be_had_is_refused_by_field() {
    check_refused(
        |world| world.spec.cap_add = words("WARP"),
        "cap_add, cap_drop",
        "WARP",
    );
    check_refused(
        |world| world.spec.cap_add = words("SYS_RESOURCE"),
        "cap_add, cap_drop",
        "not available",
    );
    check_refused(
        |world| world.spec.workdir = Some("srv".into()),
        "workdir",
        "absolute",
    );
    check_refused(
        |world| world.spec.hostname = Some("a b".into()),
        "hostname",
        "not a host name",
    );
    check_refused(
        |world| world.spec.hostname = Some("x\ny".into()),
        "hostname",
        "not a host name",
    );
    check_refused(
        |world| world.spec.oom_score_adj = Some(1001),
        "oom_score_adj",
        "-1000",
    );
    check_refused(
        |world| world.spec.command = Some(vec!["a\0".into()]),
        "command",
        "NUL",
    );
    check_refused(
        |world| world.spec.env = vec![("A=B".into(), "c".into())],
        "env[0]",
        "'='",
    );
    check_refused(
        |world| world.spec.env = vec![("A".into(), "\0".into())],
        "env[0]",
        "NUL",
    );
    check_refused(
        |world| world.places.cgroup = PathBuf::new(),
        "cgroup",
        "control group",
    );
    check_refused(
        |world| world.places.cgroup = "/".into(),
        "cgroup",
        "control group",
    );
    check_refused(
        |world| world.places.cgroup = "/shoal".into(),
        "cgroup",
        "control group",
    );
}

#[test]
fn unsound_limits_are_refused_by_field() {
    check_refused(
        |world| world.spec.limits.memory = Some(1 << 20),
        "limits.memory",
        "6 MiB",
    );
    check_refused(
        |world| world.spec.limits.memory_swap = Some(1 << 30),
        "limits.memory_swap",
        "limits.memory too",
    );
    let swap = |wanted: i64| {
        move |world: &mut World| {
            world.spec.limits.memory = Some(64 << 20);
            world.spec.limits.memory_swap = Some(wanted);
        }
    };
    check_refused(swap(1 << 20), "limits.memory_swap", "together");
    check_refused(swap(-2), "limits.memory_swap", "-1");
    check_refused(
        |world| {
            swap(1 << 30)(world);
            world.kernel.swap_limit = false;
        },
        "limits.memory_swap",
        "kernel",
    );
    check_refused(
        |world| world.spec.limits.cpu_nanos = Some(1),
        "limits.cpu_nanos",
        "2 cpus",
    );
    check_refused(
        |world| world.spec.limits.cpu_nanos = Some(3_000_000_000),
        "limits.cpu_nanos",
        "2 cpus",
    );
    check_refused(
        |world| world.spec.limits.pids = Some(u64::MAX),
        "limits.pids",
        "too large",
    );
    check_refused(
        |world| {
            world.host.cgroups.hierarchies[0].controllers = words("cpu memory");
            world.spec.limits.pids = Some(5);
        },
        "limits.pids",
        "no pids controller",
    );
    let ulimits = |list: &'static [(&'static str, u64, u64)]| {
        move |world: &mut World| {
            let one = |(name, soft, hard): &(&str, u64, u64)| Ulimit {
                name: (*name).to_owned(),
                soft: *soft,
                hard: *hard,
            };
            world.spec.limits.ulimits = list.iter().map(one).collect();
        }
    };
    check_refused(ulimits(&[("files", 1, 1)]), "limits.ulimits[0]", "nofile");
    check_refused(ulimits(&[("nofile", 2, 1)]), "limits.ulimits[0]", "above");
    check_refused(
        ulimits(&[("core", 0, 0), ("core", 1, 1)]),
        "limits.ulimits[1]",
        "twice",
    );
}

#[test]
fn unsound_mounts_and_settings_are_refused_by_field() {
    let one = |mount: Mount| move |world: &mut World| world.spec.mounts = vec![mount];
    let bind =
        |source: &str, target: &str, options: &str| mount(MountKind::Bind, source, target, false, options);
    check_refused(one(bind("a", "/a", "")), "mounts[0].source", "absolute");
    check_refused(one(bind("/a", "b", "")), "mounts[0].target", "absolute");
    check_refused(one(bind("/a", "/", "")), "mounts[0].target", "root");
    check_refused(one(bind("/a", "/x/../proc", "")), "mounts[0].target", "'..'");
    check_refused(one(bind("/a", "/proc/sys", "")), "mounts[0].target", "/proc");
    check_refused(
        one(bind("/a", "/b", "rshared")),
        "mounts[0].options[0]",
        "rshared",
    );
    check_refused(one(bind("/a", "/b", "size=1m")), "mounts[0].options[0]", "size");
    check_refused(
        one(mount(MountKind::Volume, "nope", "/v", false, "")),
        "mounts[0].source",
        "nope",
    );
    check_refused(
        one(mount(MountKind::Tmpfs, "", "/t", false, "size=1,evil")),
        "mounts[0].options[0]",
        "size",
    );
    check_refused(
        |world| world.spec.mounts = vec![bind("/a", "/m", ""), bind("/b", "/m/", "")],
        "mounts[1].target",
        "twice",
    );
    let setting = |name: &'static str, value: &'static str| {
        move |world: &mut World| world.spec.sysctls = BTreeMap::from([(name.to_owned(), value.to_owned())])
    };
    check_refused(
        setting("net.core.somaxconn", "1"),
        "sysctls[net.core.somaxconn]",
        "host's network",
    );
    check_refused(
        setting("vm.swappiness", "1"),
        "sysctls[vm.swappiness]",
        "whole host",
    );
    check_refused(setting("kernel.sem", "1\n2"), "sysctls[kernel.sem]", "one line");
    check_refused(
        setting("net../../vm", "1"),
        "sysctls[net../../vm]",
        "not the name",
    );
    let private = |name: &'static str| {
        let set = setting(name, "1");
        move |world: &mut World| {
            set(world);
            world.spec.network = Network::Private;
        }
    };
    for (name, field) in [
        (
            "net.ipv4.conf.eth0.forwarding",
            "sysctls[net.ipv4.conf.eth0.forwarding]",
        ),
        ("net.ipv6/neigh/x/delay", "sysctls[net.ipv6/neigh/x/delay]"),
    ] {
        check_refused(private(name), field, "default");
    }
    let mut world = World::with(private("net.ipv4.conf.default.forwarding"));
    assert!(world.build().is_ok());
    private("net.ipv6.conf.lo.disable_ipv6")(&mut world);
    assert!(world.build().is_ok());
    assert!(World::with(one(bind("/a", "/proc/meminfo", ""))).build().is_ok());
    assert!(World::with(setting("kernel.shmmax", "1")).build().is_ok());
}
