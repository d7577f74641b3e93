//! Every noun goes over the wire and to the disk and comes back equal; what is malformed is named.
//!
//! Values are drawn from seeds; bytes that are torn or foreign must never panic.

mod draw;

use super::{AssignmentsJoiner, Malformed, assignments_parts, details_of, refusal_details, status};
use crate::{limits, storage, v1};
use draw::Draw;
use proptest::prelude::*;
use prost::Message;
use shoal_core::{
    dispatcher::{Assignments, Position, TablesDiff, TaskAssignment, TaskReport},
    model::{AddressPools, EndpointMode, NetworkMode, ServiceEndpoint},
    refusal::{Refusal, RefusalCode},
    store::{Change, ENTRY_VERSION, Object, ObjectKey},
};

/// Core to bytes and back, through the message.
fn round_trip<Core, Wire>(core: Core)
where
    Core: Clone + PartialEq + std::fmt::Debug + TryFrom<Wire, Error = Malformed>,
    Wire: From<Core> + Message + Default,
{
    let bytes = Wire::from(core.clone()).encode_to_vec();
    let back = Core::try_from(Wire::decode(bytes.as_slice()).unwrap()).unwrap();
    assert_eq!(back, core);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn objects_and_keys(seed: u64) {
        let mut draw = Draw::new(seed);
        for object in draw.objects() {
            round_trip::<ObjectKey, v1::ObjectKey>(object.key());
            round_trip::<Object, v1::Object>(object);
        }
    }

    #[test]
    fn assignments_and_reports(seed: u64) {
        let mut draw = Draw::new(seed);
        round_trip::<TaskAssignment, v1::TaskAssignment>(draw.assignment());
        round_trip::<TaskReport, v1::TaskReport>(draw.report());
        round_trip::<TablesDiff, v1::TablesDiff>(draw.tables());
    }

    #[test]
    fn entries(seed: u64) {
        let entry = Draw::new(seed).entry();
        let bytes = storage::encode_entry(&entry);
        prop_assert_eq!(&bytes, &storage::encode_entry(&entry), "same entry, same bytes");
        prop_assert_eq!(storage::decode_entry(&bytes).unwrap(), entry);
    }

    #[test]
    fn snapshots(seed: u64) {
        let export = Draw::new(seed).export();
        let bytes = storage::encode_snapshot(&export);
        prop_assert_eq!(storage::decode_snapshot(&bytes).unwrap(), export);
    }

    #[test]
    fn torn_or_foreign_bytes_never_panic(bytes: Vec<u8>, seed: u64, cut: prop::sample::Index) {
        let entry = storage::encode_entry(&Draw::new(seed).entry());
        drop(storage::decode_entry(&entry[..cut.index(entry.len().max(1))]));
        drop(storage::decode_entry(&bytes));
        drop(storage::decode_snapshot(&bytes));
    }

    #[test]
    fn refusals(seed: u64) {
        let mut draw = Draw::new(seed);
        let mut refusal = Refusal::new(RefusalCode::Stale, draw.text()).with_hint(draw.text());
        if draw.flag() {
            refusal = refusal.with_field(draw.text());
        }
        let details = refusal_details(refusal);
        prop_assert_eq!(details_of(&status(details.clone())), details);
    }
}

#[test]
fn a_large_assignment_travels_in_bounded_parts() {
    let mut draw = Draw::new(3);
    let one = draw.assignment();
    let whole = Assignments {
        prev: None,
        position: Position { epoch: 1, index: 9 },
        tasks: vec![one; 4000],
        removed: (0..50_000).map(|_| draw.task_id()).collect(),
        tables: draw.large_tables(),
    };
    let parts = assignments_parts(whole.clone());
    assert!(parts.len() > 3, "{} parts", parts.len());
    let mut joiner = AssignmentsJoiner::default();
    let mut joined = None;
    for part in parts {
        assert!(part.encoded_len() < limits::MAX_MESSAGE_BYTES / 2);
        assert!(joined.is_none(), "nothing after the last part");
        joined = joiner.take(part).unwrap();
    }
    assert_eq!(joined, Some(whole));
}

#[test]
fn an_assignment_that_changes_its_mind_is_refused() {
    let part = |index| v1::Assignments {
        full: true,
        position: Some(v1::Position { epoch: 0, index }),
        ..v1::Assignments::default()
    };
    let mut joiner = AssignmentsJoiner::default();
    assert_eq!(joiner.take(part(1)).unwrap(), None);
    assert_eq!(joiner.take(part(2)).unwrap_err().field, "position");
}

#[test]
fn faults_are_named_by_their_path() {
    let mut wire = v1::Object::from(Draw::new(1).service_object());
    if let Some(v1::object::Object::Service(service)) = &mut wire.object {
        let spec = service.spec.as_mut().unwrap();
        spec.ports = vec![v1::PublishedPort {
            target: 70_000,
            published: 1,
            protocol: 1,
            mode: 1,
            host_ip: None,
        }];
    }
    let fault = Object::try_from(wire).unwrap_err();
    assert_eq!(
        fault.to_string(),
        "service.spec.ports[0].target: 70000 is no port: at most 65535"
    );
    let wire = v1::TaskStatus {
        state: 99,
        ..v1::TaskStatus::default()
    };
    let fault = shoal_core::model::TaskStatus::try_from(wire).unwrap_err();
    assert_eq!(
        fault.to_string(),
        "state: value 99 is not known: the sender is newer"
    );
}

#[test]
fn an_entry_of_a_newer_format_is_told_from_a_damaged_one() {
    let mut entry = Draw::new(2).entry();
    entry.min_version = ENTRY_VERSION + 1;
    let found = storage::decode_entry(&storage::encode_entry(&entry)).unwrap();
    assert_eq!((found.min_version, found.changes.len()), (ENTRY_VERSION + 1, 0));
}

/// What a version without networks wrote: none of the fields that came with them, and host and none as modes.
#[test]
fn what_was_stored_before_there_were_networks_is_read() {
    let mut draw = Draw::new(5);
    let mut changes = Vec::new();
    for object in draw.objects() {
        let mut wire = v1::Object::from(object);
        match &mut wire.object {
            Some(v1::object::Object::Cluster(cluster)) => cluster.spec.as_mut().unwrap().pools = None,
            Some(v1::object::Object::Service(service)) => {
                service.endpoint = None;
                let spec = service.spec.as_mut().unwrap();
                spec.endpoint_mode = 0;
                before_networks(spec.task.as_mut().unwrap());
                spec.ports.iter_mut().for_each(|port| port.host_ip = None);
            }
            Some(v1::object::Object::Revision(revision)) => {
                revision.networks.clear();
                before_networks(revision.task.as_mut().unwrap());
            }
            Some(v1::object::Object::Task(task)) => task.attachments.clear(),
            Some(v1::object::Object::Node(_)) => {}
            Some(v1::object::Object::Stack(_) | v1::object::Object::Network(_)) | None => continue,
        }
        changes.push(v1::StoredChange {
            change: Some(v1::stored_change::Change::Put(wire)),
        });
    }
    let stored = v1::StoredEntry {
        min_version: 1,
        changes,
        ..v1::StoredEntry::default()
    };
    let entry = storage::decode_entry(&stored.encode_to_vec()).unwrap();
    assert_eq!(entry.changes.len(), 5);
    for change in entry.changes {
        match change {
            Change::Put(Object::Cluster(cluster)) => {
                assert_eq!(cluster.spec.pools, AddressPools::default());
            }
            Change::Put(Object::Service(service)) => {
                assert_eq!(service.endpoint, ServiceEndpoint::default());
                assert_eq!(service.spec.endpoint_mode, EndpointMode::Vip);
                assert_eq!(service.spec.task.container.network, NetworkMode::Host);
            }
            Change::Put(Object::Revision(revision)) => assert!(revision.networks.is_empty()),
            Change::Put(Object::Task(task)) => assert!(task.attachments.is_empty()),
            Change::Put(_) | Change::Delete(_) => {}
        }
    }
}

fn before_networks(task: &mut v1::TaskSpec) {
    task.networks.clear();
    let container = task.container.as_mut().unwrap();
    container.dns = None;
    container.network = 1;
}
