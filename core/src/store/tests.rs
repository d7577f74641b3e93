//! Properties of the store over random histories: apply is deterministic, indexes and digest equal a
//! full recompute, snapshots stay as they were, fences hold, exports come back whole.

use super::{digest::Sum, *};
use crate::model::*;
use proptest::prelude::*;

const POOL: usize = 6;

fn id<T: std::str::FromStr>(n: usize) -> T
where
    T::Err: std::fmt::Debug,
{
    format!("{n:025}").parse().unwrap()
}

/// Places that others have too: the index must bear what no planner gives.
fn places(flavour: usize) -> Vec<Attachment> {
    let number = |flavour: usize| u32::try_from(flavour % 5).unwrap();
    let place = |network: usize, number| Attachment {
        network: id(network % 2),
        number,
        addresses: Addresses::default(),
    };
    match flavour % 3 {
        0 => Vec::new(),
        1 => vec![place(flavour, number(flavour))],
        _ => vec![place(0, number(flavour)), place(1, number(flavour + 1))],
    }
}

fn network(n: usize, flavour: usize) -> Network {
    Network {
        id: id(n),
        meta: Meta::default(),
        spec: NetworkSpec {
            name: format!("network-{}", flavour % POOL),
            ..NetworkSpec::default()
        },
        stack: None,
        status: NetworkStatus {
            removed: flavour.is_multiple_of(4),
            ..NetworkStatus::default()
        },
    }
}

fn port(flavour: usize) -> PublishedPort {
    PublishedPort {
        target: 80,
        published: u16::try_from(flavour % 4).unwrap(),
        protocol: Protocol::Tcp,
        mode: PortMode::Ingress,
        host_ip: None,
    }
}

fn service(n: usize, flavour: usize) -> Service {
    Service {
        id: id(n),
        meta: Meta::default(),
        spec: ServiceSpec {
            name: format!("service-{}", (n + flavour) % POOL),
            labels: Labels::new(),
            mode: Mode::Replicated {
                replicas: u32::try_from(flavour).unwrap(),
            },
            task: TaskSpec::default(),
            ports: Vec::new(),
            endpoint_mode: EndpointMode::Vip,
            update: UpdateConfig::default(),
        },
        revision: 1,
        stack: flavour.is_multiple_of(2).then(|| id(flavour % POOL)),
        endpoint: ServiceEndpoint {
            networks: places(flavour)
                .into_iter()
                .map(|place| ResolvedUse {
                    network: place.network,
                    aliases: Vec::new(),
                })
                .collect(),
            vips: places(flavour + 1),
            ports: vec![port(flavour); flavour % 3],
        },
        update: None,
    }
}

fn task(n: usize, flavour: usize) -> Task {
    Task {
        id: id(n),
        meta: Meta::default(),
        service: id(flavour % POOL),
        revision: 1,
        slot: if flavour.is_multiple_of(5) {
            Slot::Node(id(flavour % POOL))
        } else {
            Slot::Replica(u32::try_from(flavour % 3).unwrap())
        },
        node: (!flavour.is_multiple_of(3)).then(|| id(flavour % POOL)),
        attachments: places(flavour),
        desired: DesiredState::Running,
        status: TaskStatus {
            state: if flavour.is_multiple_of(4) {
                TaskState::Shutdown
            } else {
                TaskState::New
            },
            attempt: 0,
            message: String::new(),
            error: None,
            exit_code: None,
            container: None,
            pid: None,
            at: Timestamp::ZERO,
            wall: WallTime(0),
            started: None,
        },
        not_before: None,
        sequence: 1,
        restarts: Restarts::default(),
        wait: None,
    }
}

fn node(n: usize, flavour: usize) -> Node {
    Node {
        id: id(n),
        meta: Meta::default(),
        spec: NodeSpec {
            labels: Labels::new(),
            role: Role::Worker,
            availability: Availability::Active,
        },
        description: None,
        status: NodeStatus {
            state: NodeState::Unknown,
            message: flavour.to_string(),
            since: WallTime(0),
            at: Timestamp::ZERO,
        },
        manager: None,
    }
}

fn put(kind: usize, n: usize, flavour: usize) -> Change {
    match kind {
        0 => node(n, flavour).into(),
        1 => service(n, flavour).into(),
        2 => Revision {
            key: RevisionKey {
                service: id(n),
                number: u64::try_from(flavour % 3).unwrap(),
            },
            meta: Meta::default(),
            task: TaskSpec::default(),
            ports: Vec::new(),
            networks: Vec::new(),
        }
        .into(),
        3 => Stack {
            id: id(n),
            meta: Meta::default(),
            spec: StackSpec {
                name: format!("stack-{}", flavour % POOL),
                ..StackSpec::default()
            },
            revision: 1,
        }
        .into(),
        4 => Cluster {
            id: id(n),
            meta: Meta::default(),
            spec: ClusterSpec::default(),
            status: ClusterStatus::default(),
        }
        .into(),
        5 => network(n, flavour).into(),
        _ => task(n, flavour).into(),
    }
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = (0..9_usize, 0..POOL, 0..60_usize, any::<bool>()).prop_map(|(kind, n, flavour, delete)| {
        let put = put(kind, n, flavour);
        if delete && flavour % 2 == 0 {
            Change::Delete(put.key())
        } else {
            put
        }
    });
    proptest::collection::vec(change, 0..6)
}

/// An entry's changes, its request if any, and which fence it violates (0 is none).
type Step = (Vec<Change>, Option<usize>, u8);

fn history() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec((changes(), proptest::option::of(0..12_usize), 0..6_u8), 0..40)
}

fn entry(store: &Store, index: u64, (changes, request, broken): &Step) -> (u64, Entry) {
    let fresh = Entry {
        epoch: store.view().epoch(),
        min_version: ENTRY_VERSION,
        term: 3,
        planned_after: store.view().last_effective_index(),
        at: Timestamp(index * 10),
        wall: WallTime(i64::try_from(index).unwrap()),
        request: request.map(id),
        check: None,
        changes: changes.clone(),
    };
    match broken {
        1 => (4, fresh),
        2 => (
            3,
            Entry {
                planned_after: fresh.planned_after + 1,
                ..fresh
            },
        ),
        3 => (
            3,
            Entry {
                epoch: fresh.epoch + 1,
                ..fresh
            },
        ),
        4 => (
            3,
            Entry {
                min_version: ENTRY_VERSION + 1,
                ..fresh
            },
        ),
        _ => (3, fresh),
    }
}

fn check_derived(store: &Store) {
    assert!(
        *store.view() == store.view().reindexed(),
        "indexes differ from a full recompute"
    );
    assert_eq!(store.digest(), Sum::of(store.view()).finish(store.view()));
}

proptest! {
    #[test]
    fn histories_keep_every_property(history in history()) {
        let (mut left, mut right) = (Store::new(), Store::new());
        let mut snapshots = Vec::new();
        for (step, index) in history.iter().zip(1..) {
            let (raft_term, entry) = entry(&left, index, step);
            let before = (left.snapshot(), left.digest());
            snapshots.push((before.0.clone(), before.0.reindexed()));
            let applied = left.apply(index, raft_term, &entry);
            prop_assert_eq!(&applied, &right.apply(index, raft_term, &entry));
            prop_assert_eq!(left.digest(), right.digest());
            check_derived(&left);
            match (step.2, &applied) {
                (1, _) => prop_assert_eq!(&applied, &Applied::Dropped(DropReason::TermDiffers)),
                (2, _) => prop_assert_eq!(&applied, &Applied::Dropped(DropReason::PlannedAfterDiffers)),
                (4, _) => {
                    let stays_as_it_was = *left.view() == before.0;
                    let too_new = matches!(applied, Applied::TooNew { .. });
                    prop_assert!(too_new && stays_as_it_was);
                }
                (_, Applied::Took(events)) => {
                    prop_assert!(events.iter().all(|event| event.index == index));
                    prop_assert_eq!(left.view().last_effective_index(), index);
                }
                (_, Applied::Dropped(reason)) => prop_assert_eq!(*reason, DropReason::RequestSeen),
                (_, Applied::TooNew { .. }) => prop_assert!(false, "an entry of this version is not too new"),
            }
            if matches!(applied, Applied::Dropped(_)) {
                prop_assert_eq!(left.digest(), before.1);
            }
        }
        for (snapshot, recomputed) in snapshots {
            prop_assert!(snapshot == recomputed, "a snapshot changed after it was taken");
        }
        let back = Store::import(left.export()).unwrap();
        prop_assert!(back.view() == left.view());
        prop_assert_eq!(back.digest(), left.digest());
    }

    #[test]
    fn events_carry_old_and_new(history in history()) {
        let mut store = Store::new();
        for (step, index) in history.iter().zip(1..) {
            let (raft_term, entry) = entry(&store, index, step);
            let mut replay = store.snapshot();
            if let Applied::Took(events) = store.apply(index, raft_term, &entry) {
                for event in events {
                    let key = event.object.key();
                    match event.kind {
                        EventKind::Created => prop_assert!(replay.get(&key).is_none()),
                        EventKind::Updated => prop_assert_eq!(replay.get(&key), event.old.clone()),
                        EventKind::Removed => {
                            prop_assert_eq!(replay.get(&key), Some(event.object.clone()));
                        }
                    }
                    let change = match event.kind {
                        EventKind::Removed => Change::Delete(key),
                        EventKind::Created | EventKind::Updated => Change::Put(event.object.clone()),
                    };
                    let replayed = Entry { changes: vec![change], epoch: replay.epoch(), term: 3,
                        planned_after: replay.last_effective_index(), wall: event.wall, ..Entry::default() };
                    replay.apply(index, 3, &replayed);
                }
                let same: Vec<_> = store.view().objects().map(|object| object.key()).collect();
                prop_assert_eq!(replay.objects().map(|object| object.key()).collect::<Vec<_>>(), same);
            }
        }
    }
}

#[test]
fn reads_by_name_slot_node_and_stack() {
    let mut store = Store::new();
    let changes = vec![
        put(1, 1, 2),
        put(1, 2, 3),
        put(6, 1, 1),
        put(6, 2, 1),
        put(6, 3, 7),
        put(6, 4, 2),
    ];
    let entry = Entry {
        term: 1,
        changes,
        ..Entry::default()
    };
    assert!(matches!(store.apply(1, 1, &entry), Applied::Took(events) if events.len() == 6));
    let view = store.snapshot();
    assert_eq!(view.service_by_name("service-3").unwrap().id, id(1));
    assert!(view.service_by_name("service-0").is_none());
    assert_eq!(view.services_of_stack(&id(2)).count(), 1);
    assert_eq!(view.tasks_of_service(&id(1)).count(), 3);
    assert_eq!(view.tasks_of_slot(&id(1), &Slot::Replica(1)).count(), 3);
    assert_eq!(view.tasks_on_node(&id(1)).count(), 3);
    assert_eq!(view.tasks_on_node(&id(2)).count(), 1);
}

#[test]
fn remembers_a_bounded_number_of_requests() {
    let mut store = Store::new();
    let extra = 10;
    for n in 1..=REQUESTS_KEPT + extra {
        let index = u64::try_from(n).unwrap();
        let entry = Entry {
            term: 1,
            planned_after: index - 1,
            request: Some(id(n)),
            ..Entry::default()
        };
        assert!(matches!(store.apply(index, 1, &entry), Applied::Took(_)));
    }
    assert_eq!(store.view().request_outcomes().count(), REQUESTS_KEPT);
    assert!(store.view().request_outcome(&id(extra)).is_none());
    assert!(store.view().request_outcome(&id(extra + 1)).is_some());
    check_derived(&store);
}

#[test]
fn refuses_a_snapshot_that_lost_a_task() {
    let mut store = Store::new();
    store.apply(
        1,
        1,
        &Entry {
            term: 1,
            changes: vec![put(6, 1, 1), put(6, 2, 1)],
            ..Entry::default()
        },
    );
    let mut export = store.export();
    export.objects.pop();
    assert!(matches!(
        Store::import(export),
        Err(ImportError::DigestDiffers { index: 1, .. })
    ));
}
