//! What the worker is told of: a thousand services of ten endpoints in one network, and tasks of its own.
//!
//! The tasks have ended and are kept as history: they need no image, and are carried through every update.

use std::collections::BTreeMap;
use std::time::Duration;

use shoal_core::dispatcher::{
    NetworkTables, TableEndpoint, TableNetwork, TableService, TableUse, TablesDiff, TaskAssignment,
};
use shoal_core::model::{
    Addresses, Attachment, DesiredState, IdGen, Labels, Meta, NetworkId, NodeId, Restarts, ServiceId, Slot,
    Task, TaskId, TaskSpec, TaskState, TaskStatus, Timestamp, WallTime,
};

use crate::Outcome;

pub(crate) const SERVICES: u16 = 1_000;
const ENDPOINTS: u16 = 10;

/// Of the worker's own: a hundred containers' worth.
const TASKS: u32 = 100;

pub(crate) fn node() -> NodeId {
    NodeId::mint(&mut IdGen::from_number(1))
}

pub(crate) fn tables() -> Outcome<NetworkTables> {
    let network = TableNetwork {
        name: "bench".to_owned(),
        v4: Some("10.128.0.0/16".parse()?),
        v6: Some("fd00:1:0:1::/64".parse()?),
        internal: false,
        ingress: false,
    };
    let mut tables = NetworkTables {
        pools: vec!["10.128.0.0/12".parse()?, "fd00:1::/48".parse()?],
        networks: BTreeMap::from([(network_id(), network)]),
        ..NetworkTables::default()
    };
    for service in 0..SERVICES {
        let place = TableUse {
            vip: Some(addresses(first(service))?),
            aliases: Vec::new(),
        };
        let described = TableService {
            name: format!("service-{service}"),
            networks: BTreeMap::from([(network_id(), place)]),
            ports: Vec::new(),
        };
        tables.services.insert(service_id(service), described);
        for number in 1..=ENDPOINTS {
            let task = task_id(first(service) + number);
            tables.endpoints.insert(task, endpoint(service, number)?);
        }
    }
    Ok(tables)
}

/// The last endpoint of a service leaves, or comes back.
pub(crate) fn change(service: u16, leaves: bool) -> Outcome<TablesDiff> {
    let there = match leaves {
        true => None,
        false => Some(endpoint(service, ENDPOINTS)?),
    };
    Ok(TablesDiff {
        endpoints: BTreeMap::from([(task_id(first(service) + ENDPOINTS), there)]),
        ..TablesDiff::default()
    })
}

pub(crate) fn ended_tasks() -> Vec<TaskAssignment> {
    (1..=TASKS).map(ended).collect()
}

fn ended(number: u32) -> TaskAssignment {
    let status = TaskStatus {
        state: TaskState::Complete,
        attempt: 0,
        message: "ended".to_owned(),
        error: None,
        exit_code: Some(0),
        container: None,
        pid: None,
        at: Timestamp::ZERO,
        wall: WallTime(0),
        started: None,
    };
    TaskAssignment {
        task: Task {
            id: TaskId::mint(&mut IdGen::from_number(u64::from(number) << 32)),
            meta: Meta::default(),
            service: service_id(0),
            revision: 1,
            slot: Slot::Replica(number),
            node: Some(node()),
            attachments: Vec::new(),
            desired: DesiredState::Shutdown,
            status,
            not_before: None,
            sequence: 1,
            restarts: Restarts::default(),
            wait: None,
        },
        service_name: "service-0".to_owned(),
        stack_name: String::new(),
        spec: TaskSpec::default(),
        ports: Vec::new(),
        networks: Vec::new(),
        service_labels: Labels::new(),
        hold: Duration::ZERO,
    }
}

fn endpoint(service: u16, number: u16) -> Outcome<TableEndpoint> {
    let attachment = Attachment {
        network: network_id(),
        number: u32::from(first(service) + number),
        addresses: addresses(first(service) + number)?,
    };
    Ok(TableEndpoint {
        service: service_id(service),
        slot: Slot::Replica(u32::from(number)),
        node: NodeId::mint(&mut IdGen::from_number(2)),
        attachments: vec![attachment],
        draining: false,
        ports: None,
    })
}

/// A service's VIP has its first number, its endpoints have those that follow.
fn first(service: u16) -> u16 {
    256 + service * (ENDPOINTS + 1)
}

fn addresses(number: u16) -> Outcome<Addresses> {
    let [high, low] = number.to_be_bytes();
    Ok(Addresses {
        v4: Some([10, 128, high, low].into()),
        v6: Some(format!("fd00:1:0:1::{number:x}").parse()?),
    })
}

fn network_id() -> NetworkId {
    NetworkId::mint(&mut IdGen::from_number(3))
}

fn service_id(service: u16) -> ServiceId {
    ServiceId::mint(&mut IdGen::from_number(u64::from(service)))
}

fn task_id(number: u16) -> TaskId {
    TaskId::mint(&mut IdGen::from_number(u64::from(number)))
}
