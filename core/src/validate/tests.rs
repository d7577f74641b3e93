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
        update: UpdateConfig::default(),
    }
}

fn port(target: u16, published: u16, mode: PortMode) -> PublishedPort {
    PublishedPort {
        target,
        published,
        protocol: Protocol::Tcp,
        mode,
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
    unsupported(
        &|s| s.ports = vec![port(80, 80, PortMode::Ingress)],
        "ports[0].mode",
    );
    unsupported(
        &|s| s.ports = vec![port(80, 0, PortMode::Host)],
        "ports[0].published",
    );
    unsupported(
        &|s| s.ports = vec![port(80, 8080, PortMode::Host)],
        "ports[0].published",
    );
}

#[test]
fn a_stack_names_the_service_and_the_field() {
    let mut bad = spec();
    bad.name = "api".to_owned();
    bad.update.parallelism = 0;
    let stack_spec = StackSpec {
        name: "app".to_owned(),
        services: [("web".to_owned(), spec()), ("api".to_owned(), bad)].into(),
    };
    let fields: Vec<_> = stack(&stack_spec).into_iter().map(|fault| fault.field).collect();
    assert_eq!(fields, ["services.api.update.parallelism"]);
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
