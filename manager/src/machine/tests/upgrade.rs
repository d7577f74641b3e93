//! A member whose disk was written before there were networks.
//!
//! Its leader adds what is missing, once; what it had goes on as it was.

use super::*;
use raft::eraftpb::Entry as RaftEntry;
use shoal_core::store::{Change, Entry};

/// The first index of a log: the one before stands for the first members.
const FIRST: u64 = 2;

/// A log of one entry, as the first version of the format had it: a cluster with a node and a service, no network.
fn log_without_networks(ids: &mut IdGen) -> Restored {
    let cluster = Cluster {
        id: ClusterId::mint(ids),
        meta: Meta::default(),
        spec: ClusterSpec::default(),
        status: ClusterStatus::default(),
    };
    let Request::CreateService { mut spec } = create("old", 1) else {
        panic!("no service")
    };
    spec.task.container.network = NetworkMode::Host;
    let service = ServiceId::mint(ids);
    let revision = Revision {
        key: RevisionKey {
            service: service.clone(),
            number: 1,
        },
        meta: Meta::default(),
        task: spec.task.clone(),
        ports: Vec::new(),
        networks: Vec::new(),
    };
    let service = Service {
        id: service,
        meta: Meta::default(),
        spec,
        revision: 1,
        stack: None,
        endpoint: ServiceEndpoint::default(),
        update: None,
    };
    let entry = Entry {
        min_version: 1,
        term: 1,
        changes: vec![
            Change::from(cluster),
            node(ids).into(),
            revision.into(),
            service.into(),
        ],
        ..Entry::default()
    };
    let mut disk = Restored::default();
    disk.conf_state.voters = vec![7];
    disk.hard_state.term = 1;
    disk.hard_state.commit = FIRST;
    disk.entries = vec![RaftEntry {
        index: FIRST,
        term: 1,
        data: PostcardCodec.encode_entry(&entry),
        ..RaftEntry::default()
    }];
    disk
}

#[test]
fn a_leader_adds_the_network_that_an_older_version_did_not_have() {
    let mut bench = Bench::new();
    bench.disk = log_without_networks(&mut bench.ids);
    bench.machine = machine(bench.disk.clone());
    assert!(bench.machine.view().networks().next().is_none());
    bench.settle();
    let view = bench.machine.view();
    let ingress = view.network_by_name("ingress").expect("it was added").clone();
    assert!(ingress.spec.ingress && ingress.status.v4.is_some());
    let old = view.service_by_name("old").unwrap();
    assert_eq!(view.tasks_of_service(&old.id).count(), 1, "planned as before");
    let tasks = view.tasks_of_service(&old.id);
    assert!(tasks.into_iter().all(|task| task.attachments.is_empty()));

    bench.propose(5, create("new", 1), None);
    bench.sync();
    let view = bench.machine.view();
    let new = view.service_by_name("new").unwrap();
    let mut tasks = view.tasks_of_service(&new.id);
    assert_eq!(tasks.next().unwrap().attachments[0].network, ingress.id);

    let pools = bench.machine.view().cluster().unwrap().spec.pools.clone();
    bench.machine = machine(bench.disk.clone());
    bench.settle();
    let view = bench.machine.view();
    assert_eq!(view.networks().count(), 1, "it is added once");
    assert_eq!(view.cluster().unwrap().spec.pools, pools, "and so are the pools");
}

#[test]
fn a_leader_gives_an_older_cluster_a_range_for_ipv6() {
    let mut bench = Bench::new();
    bench.disk = log_without_networks(&mut bench.ids);
    bench.machine = machine(bench.disk.clone());
    bench.settle();
    let view = bench.machine.view();
    let spec = &view.cluster().unwrap().spec;
    assert_eq!(shoal_core::validate::cluster(spec), []);
    let pool = spec.pools.v6.expect("it was drawn");
    let request = Request::CreateNetwork {
        spec: NetworkSpec {
            name: "front".to_owned(),
            ipv6: true,
            ..NetworkSpec::default()
        },
    };
    bench.propose(5, request, None);
    bench.sync();
    let view = bench.machine.view();
    for name in [INGRESS, "front"] {
        let range = view.network_by_name(name).expect(name).status.v6;
        assert!(
            range.is_some_and(|range| pool.contains(&range)),
            "{name}: {range:?}"
        );
    }
}

#[test]
fn nothing_is_added_before_there_is_a_cluster_and_nothing_twice() {
    let mut bench = Bench::new();
    bench.settle();
    assert_eq!(bench.machine.view().networks().count(), 0);
    bench.bootstrap();
    assert_eq!(bench.machine.view().networks().count(), 1);
    bench.machine = machine(bench.disk.clone());
    bench.settle();
    assert_eq!(bench.machine.view().networks().count(), 1);
}
