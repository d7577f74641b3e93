//! Faults and the fields they are found in, spec by spec. How refusals are worded for users is in the
//! scenario scripts.

use super::*;
use crate::model::*;

fn spec() -> ServiceSpec {
    let mut task = TaskSpec::default();
    task.container.image = "nginx:1.27".to_owned();
    ServiceSpec {
        name: "web".to_owned(),
        labels: Labels::new(),
        mode: Mode::Replicated { replicas: 1 },
        task,
        ports: Vec::new(),
        endpoint_mode: EndpointMode::Vip,
        update: UpdateConfig::default(),
    }
}

fn port(target: u16, published: u16, mode: PortMode) -> PublishedPort {
    PublishedPort {
        target,
        published,
        protocol: Protocol::Tcp,
        mode,
        host_ip: None,
    }
}

fn named(name: &str) -> NetworkSpec {
    NetworkSpec {
        name: name.to_owned(),
        ..NetworkSpec::default()
    }
}

fn joined(network: &str, aliases: &[&str]) -> NetworkUse {
    NetworkUse {
        network: network.to_owned(),
        aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
    }
}

fn check(change: impl FnOnce(&mut ServiceSpec), fields: &[&str]) {
    let mut spec = spec();
    change(&mut spec);
    let found: Vec<_> = service(&spec).into_iter().map(|fault| fault.field).collect();
    assert_eq!(found, fields, "{spec:?}");
}

#[test]
fn a_plain_service_is_accepted() {
    check(|_| {}, &[]);
}

#[test]
fn every_fault_names_its_field() {
    check(|s| s.name = "a b".to_owned(), &["name"]);
    check(|s| s.task.container.image.clear(), &["task.container.image"]);
    check(
        |s| s.task.container.image_digest = Some("sha256:12".to_owned()),
        &["task.container.image_digest"],
    );
    check(
        |s| {
            s.task.container.env.insert("A=B".to_owned(), "x".to_owned());
        },
        &["task.container.env"],
    );
    check(
        |s| s.task.container.args = Some(vec!["ok".to_owned(), "a\0b".to_owned()]),
        &["task.container.args[1]"],
    );
    check(
        |s| s.task.container.workdir = Some("srv".to_owned()),
        &["task.container.workdir"],
    );
    check(
        |s| s.task.container.user = Some("a:b:c".to_owned()),
        &["task.container.user"],
    );
    check(
        |s| s.task.container.stop_signal = Some("SIGNOTHING".to_owned()),
        &["task.container.stop_signal"],
    );
    check(
        |s| s.task.container.oom_score_adj = 1001,
        &["task.container.oom_score_adj"],
    );
    check(
        |s| {
            s.task
                .container
                .extra_hosts
                .push(("db".to_owned(), "here".to_owned()));
        },
        &["task.container.extra_hosts[0]"],
    );
    check(
        |s| {
            s.task.container.limits.memory = Some(Bytes(1 << 20));
            s.task.reservations.cpu = CpuNanos(999_999);
        },
        &["task.reservations.cpu", "task.container.limits.memory"],
    );
    check(
        |s| {
            s.task.container.limits.cpu = Some(CpuNanos(500_000_000));
            s.task.reservations.cpu = CpuNanos(600_000_000);
        },
        &["task.reservations.cpu"],
    );
    check(
        |s| s.task.placement.constraints = vec!["node.role==manager".to_owned(), "zone==a".to_owned()],
        &["task.placement.constraints[1]"],
    );
    check(
        |s| {
            s.task.container.health = Some(HealthCheck {
                test: Some(HealthTest::Cmd(Vec::new())),
                timeout: Some(Duration::from_nanos(1)),
                ..HealthCheck::default()
            });
        },
        &["task.container.health.timeout", "task.container.health.test"],
    );
}

#[test]
fn mounts_are_absolute_and_do_not_collide() {
    let mount = |source, target: &str| Mount {
        source,
        target: target.to_owned(),
        read_only: false,
    };
    let volume = |name: &str| MountSource::Volume {
        name: Some(name.to_owned()),
        no_copy: false,
    };
    let bind = |path: &str| MountSource::Bind {
        path: path.to_owned(),
        create: false,
    };
    check(
        |s| {
            s.task.container.mounts = vec![
                mount(volume("data"), "/data"),
                mount(volume("../data"), "/data/"),
                mount(bind("data"), "srv"),
                mount(bind("/a/../b"), "/"),
            ];
        },
        &[
            "task.container.mounts[1].target",
            "task.container.mounts[1].source",
            "task.container.mounts[2].target",
            "task.container.mounts[2].source",
            "task.container.mounts[3].target",
            "task.container.mounts[3].source",
        ],
    );
}

#[test]
fn what_is_not_built_is_refused_as_such() {
    let unsupported = |change: &dyn Fn(&mut ServiceSpec), field: &str| {
        let mut spec = spec();
        change(&mut spec);
        let faults = service(&spec);
        assert!(
            faults.iter().any(|f| f.unsupported && f.field == field),
            "{field}: {faults:?}"
        );
    };
    unsupported(&|s| s.update.parallelism = 2, "update.parallelism");
    unsupported(&|s| s.update.delay = Duration::from_secs(1), "update.delay");
    unsupported(
        &|s| s.update.failure_action = FailureAction::Rollback,
        "update.failure_action",
    );
    unsupported(
        &|s| s.update.max_failure_ratio_permille = 1,
        "update.max_failure_ratio",
    );
    unsupported(&|s| s.update.order = UpdateOrder::StartFirst, "update.order");
}

#[test]
fn a_stack_names_the_service_and_the_field() {
    let mut bad = spec();
    bad.name = "api".to_owned();
    bad.update.parallelism = 0;
    bad.task.networks = vec![joined("front", &[]), joined("middle", &[])];
    let stack_spec = StackSpec {
        name: "app".to_owned(),
        services: [("web".to_owned(), spec()), ("api".to_owned(), bad)].into(),
        networks: [
            ("front".to_owned(), StackNetwork::Own(NetworkSpec::default())),
            ("back".to_owned(), StackNetwork::External("host".to_owned())),
            ("bad".to_owned(), StackNetwork::Own(named("a b"))),
        ]
        .into(),
    };
    let fields: Vec<_> = stack(&stack_spec).into_iter().map(|fault| fault.field).collect();
    assert_eq!(
        fields,
        [
            "services.api.update.parallelism",
            "services.api.task.networks[1].network",
            "networks.bad.name"
        ]
    );
}

#[test]
fn cluster_settings_have_bounds() {
    assert_eq!(cluster(&ClusterSpec::default()), Vec::new());
    let wild = ClusterSpec {
        name: "-".to_owned(),
        task_history_limit: 51,
        heartbeat_period: Duration::ZERO,
        certificate_life: Duration::ZERO,
        labels: Labels::from([(String::new(), "x".to_owned())]),
        pools: AddressPools::default(),
    };
    let fields: Vec<_> = cluster(&wild).into_iter().map(|fault| fault.field).collect();
    assert_eq!(
        fields,
        [
            "name",
            "labels",
            "task_history_limit",
            "heartbeat_period",
            "certificate_life"
        ]
    );
}

#[test]
fn what_a_node_says_of_itself_is_short_and_plain() {
    let plain = NodeDescription {
        hostname: "one.example".to_owned(),
        ..NodeDescription::default()
    };
    assert_eq!(description(&plain), []);
    let fields = |described: NodeDescription| -> Vec<String> {
        description(&described)
            .into_iter()
            .map(|fault| fault.field)
            .collect()
    };
    let long = NodeDescription {
        address: "x".repeat(256),
        engine_version: "a\nb".to_owned(),
        ..plain.clone()
    };
    assert_eq!(fields(long), ["engine_version", "address"]);
    let labelled = NodeDescription {
        engine_labels: Labels::from([("k".to_owned(), "v".repeat(MAX_TEXT_BYTES))]),
        ..plain
    };
    assert_eq!(fields(labelled), ["engine_labels"]);
}

#[test]
fn ports_are_published_as_the_container_can_be_reached() {
    let twice = || vec![port(80, 8080, PortMode::Ingress), port(81, 8080, PortMode::Host)];
    check(
        |s| s.ports = vec![port(80, 8080, PortMode::Ingress), port(80, 0, PortMode::Host)],
        &[],
    );
    check(|s| s.ports = vec![port(80, 0, PortMode::Ingress); 2], &[]);
    check(
        |s| s.ports = vec![port(0, 8080, PortMode::Host)],
        &["ports[0].target"],
    );
    check(|s| s.ports = twice(), &["ports[1].published"]);
    let on = |address: &str, port: PublishedPort| PublishedPort {
        host_ip: Some(address.parse().unwrap()),
        ..port
    };
    check(
        |s| s.ports = vec![on("10.0.0.1", twice()[0]), on("10.0.0.2", twice()[1])],
        &[],
    );
    check(
        |s| s.ports = vec![on("10.0.0.1", twice()[0]), on("0.0.0.0", twice()[1])],
        &["ports[1].published"],
    );
    check(
        |s| s.ports = vec![on("224.0.0.1", twice()[0])],
        &["ports[0].host_ip"],
    );
    check(
        |s| s.ports = vec![port(80, 0, PortMode::Ingress); 1025],
        &["ports"],
    );
    let host = |s: &mut ServiceSpec| s.task.container.network = NetworkMode::Host;
    check(
        |s| {
            host(s);
            s.ports = vec![
                port(80, 80, PortMode::Host),
                port(81, 8081, PortMode::Host),
                port(82, 82, PortMode::Ingress),
                on("10.0.0.1", port(83, 83, PortMode::Host)),
            ];
        },
        &["ports[1].published", "ports[2].mode", "ports[3].host_ip"],
    );
    check(
        |s| {
            s.task.container.network = NetworkMode::None;
            s.ports = vec![port(80, 80, PortMode::Host)];
        },
        &["ports"],
    );
}

#[test]
fn networks_and_names_in_them_are_checked() {
    let long = "a".repeat(64);
    check(
        |s| s.task.networks = vec![joined("front", &["db", "a.b_c-1"]), joined("back", &["db"])],
        &[],
    );
    check(
        |s| {
            let aliases = ["", "a..b", &long, "a b", "-a", "b.a-"];
            s.task.networks = vec![joined("front", &aliases), joined("front", &[])];
        },
        &[
            "task.networks[0].aliases[0]",
            "task.networks[0].aliases[1]",
            "task.networks[0].aliases[2]",
            "task.networks[0].aliases[3]",
            "task.networks[0].aliases[4]",
            "task.networks[0].aliases[5]",
            "task.networks[1].network",
        ],
    );
    check(
        |s| s.task.networks = vec![joined("", &["x"; 65])],
        &["task.networks[0].network", "task.networks[0].aliases"],
    );
    for mode in [NetworkMode::Host, NetworkMode::None] {
        check(
            |s| {
                s.task.container.network = mode;
                s.task.networks = vec![joined("front", &[])];
            },
            &["task.networks"],
        );
    }
}

#[test]
fn resolvers_and_hosts_are_checked() {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    check(
        |s| {
            s.task.container.dns = DnsSpec {
                servers: vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()],
                search: words(&["example.org", "corp.", "."]),
                options: words(&["ndots:2", "use-vc"]),
            };
            s.task.container.extra_hosts = vec![
                ("db.local".to_owned(), "10.0.0.1".to_owned()),
                ("host".to_owned(), "host-gateway".to_owned()),
            ];
        },
        &[],
    );
    check(
        |s| {
            s.task.container.dns = DnsSpec {
                servers: vec!["0.0.0.0".parse().unwrap()],
                search: words(&["a b", ""]),
                options: words(&["ndots:", "n\n", "ndots:x"]),
            };
        },
        &[
            "task.container.dns.servers[0]",
            "task.container.dns.search[0]",
            "task.container.dns.search[1]",
            "task.container.dns.options[0]",
            "task.container.dns.options[1]",
            "task.container.dns.options[2]",
        ],
    );
    check(
        |s| s.task.container.dns.options = vec!["rotate".to_owned(); 33],
        &["task.container.dns.options"],
    );
    check(
        |s| s.task.container.extra_hosts = vec![("a b".to_owned(), "10.0.0".to_owned())],
        &["task.container.extra_hosts[0]", "task.container.extra_hosts[0]"],
    );
}

#[test]
fn subnets_are_ones_that_can_be_given() {
    let fields = |subnets: &[&str], ipv6| -> Vec<String> {
        let spec = NetworkSpec {
            subnets: subnets.iter().map(|subnet| subnet.parse().unwrap()).collect(),
            ipv6,
            ..named("front")
        };
        network(&spec).into_iter().map(|fault| fault.field).collect()
    };
    let none: [&str; 0] = [];
    for good in ["10.1.0.0/16", "192.168.7.0/29", "100.64.0.0/10", "8.0.0.0/8"] {
        assert_eq!(fields(&[good], false), none, "{good}");
    }
    assert_eq!(fields(&["10.1.0.0/16", "fd00:1::/64"], true), none);
    assert_eq!(fields(&["2001:db8::/112"], true), none);
    for bad in [
        "10.0.0.0/7",
        "10.1.0.0/30",
        "10.1.0.1/24",
        "127.1.0.0/16",
        "0.1.0.0/16",
        "169.254.4.0/24",
        "224.0.0.0/24",
        "255.255.255.0/24",
    ] {
        assert!(!fields(&[bad], false).is_empty(), "{bad}");
    }
    for bad in [
        "fd00::/32",
        "fd00:1::/120",
        "fe80::/64",
        "ff02::/64",
        "::/64",
        "fd00:1::1/64",
    ] {
        assert!(!fields(&[bad], true).is_empty(), "{bad}");
    }
    assert_eq!(fields(&["10.1.0.0/16", "10.2.0.0/16"], false), ["subnets[1]"]);
    assert_eq!(fields(&["fd00:1::/64"], false), ["subnets[0]"]);
}

#[test]
fn what_is_looked_up_has_a_name_that_resolvers_take() {
    for (name, valid) in [
        ("web", true),
        ("my_web.v2", true),
        ("a..b", false),
        ("a.-b", false),
        ("web-.x", false),
    ] {
        let expect: &[&str] = if valid { &[] } else { &["name"] };
        check(|service| service.name = name.to_owned(), expect);
        let faults = network(&named(name));
        assert_eq!(faults.is_empty(), valid, "network {name}: {faults:?}");
        let mut inside = spec();
        inside.name = name.to_owned();
        let stack_spec = StackSpec {
            name: "app".to_owned(),
            services: [(name.to_owned(), inside)].into(),
            networks: [(name.to_owned(), StackNetwork::Own(NetworkSpec::default()))].into(),
        };
        let faults = stack(&stack_spec);
        assert_eq!(
            faults.len(),
            if valid { 0 } else { 2 },
            "stack with {name}: {faults:?}"
        );
    }
    // The stack's name before it makes it a name, which the file's own is not.
    let stack_spec = StackSpec {
        name: "app".to_owned(),
        services: [(
            "-web".to_owned(),
            ServiceSpec {
                name: "-web".to_owned(),
                ..spec()
            },
        )]
        .into(),
        ..StackSpec::default()
    };
    let fields: Vec<_> = stack(&stack_spec).into_iter().map(|fault| fault.field).collect();
    assert_eq!(fields, ["services.-web.name"]);
}

#[test]
fn a_networks_name_is_its_own() {
    let fields =
        |spec: NetworkSpec| -> Vec<String> { network(&spec).into_iter().map(|fault| fault.field).collect() };
    for taken in ["host", "none", "bridge", "default", "ingress", ""] {
        assert_eq!(fields(named(taken)), ["name"], "{taken}");
    }
    let ingress = NetworkSpec {
        ingress: true,
        ..named("other")
    };
    assert_eq!(fields(ingress), ["ingress"]);
}

#[test]
fn pools_are_ranges_that_networks_fit_into() {
    let fields = |v4: &[&str], length, v6: Option<&str>| -> Vec<String> {
        let spec = ClusterSpec {
            pools: AddressPools {
                v4: v4.iter().map(|pool| pool.parse().unwrap()).collect(),
                v4_subnet_length: length,
                v6: v6.map(|pool| pool.parse().unwrap()),
            },
            ..ClusterSpec::default()
        };
        cluster(&spec).into_iter().map(|fault| fault.field).collect()
    };
    let none: [&str; 0] = [];
    assert_eq!(
        fields(&["10.0.0.0/8", "172.20.0.0/16"], 24, Some("fd12:3456:789a::/48")),
        none
    );
    assert_eq!(fields(&[], 24, None), ["pools.v4"]);
    assert_eq!(fields(&["10.0.0.0/25"], 24, None), ["pools.v4[0]"]);
    assert_eq!(fields(&["10.0.0.0/16"], 30, None), ["pools.v4_subnet_length"]);
    assert_eq!(fields(&["10.0.0.0/8", "10.1.0.0/16"], 24, None), ["pools.v4[1]"]);
    assert_eq!(fields(&["127.0.0.0/8"], 24, None), ["pools.v4[0]"]);
    for bad in ["2001:db8::/48", "fd12::/64", "fc00::/48"] {
        assert_eq!(fields(&["10.0.0.0/8"], 24, Some(bad)), ["pools.v6"], "{bad}");
    }
}

#[test]
fn routes_and_problems_of_a_node_are_bounded() {
    let fields = |described: NodeDescription| -> Vec<String> {
        description(&described)
            .into_iter()
            .map(|fault| fault.field)
            .collect()
    };
    let problem = |what: &str| NodeProblem {
        what: what.to_owned(),
        remedy: String::new(),
    };
    let fitting = NodeDescription {
        routes: vec!["10.0.0.0/8".parse().unwrap(); MAX_ROUTES],
        problems: vec![problem("a firewall drops what is forwarded"); MAX_PROBLEMS],
        ..NodeDescription::default()
    };
    assert_eq!(fields(fitting.clone()), Vec::<String>::new());
    let wild = NodeDescription {
        routes: vec!["10.0.0.0/8".parse().unwrap(); MAX_ROUTES + 1],
        problems: vec![problem("two\nlines"), problem(&"x".repeat(1025))],
        ..fitting
    };
    assert_eq!(fields(wild), ["routes", "problems[0].what", "problems[1].what"]);
}
