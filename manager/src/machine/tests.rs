//! One member alone, with a disk that syncs when told to.

mod upgrade;

use super::*;
use crate::sim::PostcardCodec;
use shoal_core::{
    dispatcher::TaskReport,
    model::*,
    request::{Request, Response},
    store::{DropReason, Store},
};

struct Bench {
    machine: Machine,
    now: Now,
    disk: Restored,
    unsynced: Vec<PersistBatch>,
    outputs: Vec<Output>,
    ids: IdGen,
}

fn config() -> MachineConfig {
    MachineConfig {
        snapshot_every_entries: 40,
        digest_every: 4,
        ..MachineConfig::new(7, 1, IdGen::from_number(1))
    }
}

fn machine(restored: Restored) -> Machine {
    machine_with(config(), restored)
}

fn machine_with(config: MachineConfig, restored: Restored) -> Machine {
    Machine::new(
        config,
        Box::new(PostcardCodec),
        Box::new(CorePlanning::new()),
        restored,
    )
    .unwrap()
}

impl Bench {
    fn new() -> Self {
        let mut disk = Restored::default();
        disk.conf_state.voters = vec![7];
        Self {
            machine: machine(disk.clone()),
            now: Now::default(),
            disk,
            unsynced: Vec::new(),
            outputs: Vec::new(),
            ids: IdGen::from_number(3),
        }
    }

    fn step(&mut self, input: Input) {
        self.now.mono_ns += 1_000_000;
        for output in self.machine.step(input, self.now) {
            match output {
                Output::Persist(batch) => self.unsynced.push(*batch),
                Output::SaveSnapshot(job) => {
                    self.disk.snapshot = Some(RestoredSnapshot {
                        index: job.index,
                        term: job.term,
                        store: job.store,
                    });
                    self.outputs.push(Output::Resync);
                }
                other => self.outputs.push(other),
            }
        }
    }

    /// Everything written so far reaches the disk.
    fn sync(&mut self) {
        while !self.unsynced.is_empty() {
            for batch in std::mem::take(&mut self.unsynced) {
                let number = batch.number;
                self.write(batch);
                self.step(Input::Persisted { number });
            }
        }
    }

    fn write(&mut self, batch: PersistBatch) {
        if let Some(first) = batch.entries.first() {
            self.disk.entries.retain(|entry| entry.index < first.index);
        }
        self.disk.entries.extend(batch.entries);
        if let Some(hard_state) = batch.hard_state {
            self.disk.hard_state = hard_state;
        }
        if let Some(to) = batch.compact_to {
            self.disk.entries.retain(|entry| entry.index > to);
        }
    }

    fn settle(&mut self) {
        self.step(Input::Tick);
        self.sync();
    }

    fn propose(&mut self, token: u64, request: Request, id: Option<RequestId>) {
        self.step(Input::Propose {
            token: Token(token),
            request: Box::new(request),
            id,
        });
    }

    fn reply(&mut self, token: u64) -> Option<Result<Response, ProposeError>> {
        let is_it =
            |output: &Output| matches!(output, Output::Reply { token: of, .. } if *of == Token(token));
        let position = self.outputs.iter().position(is_it)?;
        match self.outputs.remove(position) {
            Output::Reply { result, .. } => Some(result),
            _ => None,
        }
    }

    fn bootstrap(&mut self) -> NodeId {
        let node = node(&mut self.ids);
        let id = node.id.clone();
        let mut spec = ClusterSpec::default();
        spec.pools.v6 = Some("fd12:3456:789a::/48".parse().unwrap());
        let cluster = Cluster {
            id: ClusterId::mint(&mut self.ids),
            meta: Meta::default(),
            spec,
            status: ClusterStatus::default(),
        };
        self.settle();
        self.propose(
            1,
            Request::Bootstrap {
                cluster: Box::new(cluster),
                node: Box::new(node),
            },
            None,
        );
        self.sync();
        assert!(matches!(self.reply(1), Some(Ok(_))));
        self.step(Input::SessionOpened {
            node: id.clone(),
            description: Box::default(),
        });
        self.sync();
        id
    }
}

fn node(ids: &mut IdGen) -> Node {
    Node {
        id: NodeId::mint(ids),
        meta: Meta::default(),
        spec: NodeSpec {
            labels: Labels::new(),
            role: Role::Manager,
            availability: Availability::Active,
        },
        description: None,
        status: NodeStatus {
            state: NodeState::Unknown,
            message: String::new(),
            since: WallTime(0),
            at: Timestamp::ZERO,
        },
        manager: None,
    }
}

fn create(name: &str, replicas: u32) -> Request {
    let container = ContainerSpec {
        image: "busybox".to_owned(),
        ..ContainerSpec::default()
    };
    Request::CreateService {
        spec: ServiceSpec {
            name: name.to_owned(),
            labels: Labels::new(),
            mode: Mode::Replicated { replicas },
            task: TaskSpec {
                container,
                ..TaskSpec::default()
            },
            ports: Vec::new(),
            endpoint_mode: EndpointMode::Vip,
            update: UpdateConfig::default(),
        },
    }
}

#[test]
fn a_sole_voter_leads_at_once_and_answers_only_what_is_synced() {
    let mut bench = Bench::new();
    bench.step(Input::Tick);
    assert!(bench.machine.is_leader() && !bench.machine.is_established());
    bench.sync();
    assert!(bench.machine.is_established());
    bench.propose(5, create("web", 2), None);
    assert!(bench.reply(5).is_none() && bench.machine.view().service_count() == 0);
    bench.sync();
    assert!(matches!(bench.reply(5), Some(Ok(Response::Service { .. }))));
    assert!(bench.machine.view().service_by_name("web").is_some());
}

#[test]
fn whoever_is_answered_finds_what_was_done() {
    let mut bench = Bench::new();
    bench.bootstrap();
    bench.outputs.clear();
    bench.propose(5, create("web", 2), None);
    bench.propose(6, create("db", 2), None);
    bench.sync();
    // What a reader sees is what was published before.
    let mut published = Vec::new();
    for output in &bench.outputs {
        match output {
            Output::Events(events) => published.extend(events.iter().map(|event| event.object.key())),
            Output::Reply { result, .. } => {
                let Ok(Response::Service { id, .. }) = result else {
                    panic!("{result:?}");
                };
                let key = shoal_core::store::ObjectKey::Service(id.clone());
                assert!(published.contains(&key), "answered before it was to be seen");
            }
            _ => {}
        }
    }
    assert!(bench.reply(5).is_some() && bench.reply(6).is_some());
}

#[test]
fn a_request_its_tasks_and_their_assignment_share_one_sync() {
    let mut bench = Bench::new();
    let node = bench.bootstrap();
    bench.outputs.clear();
    bench.propose(5, create("web", 3), None);
    let last = bench
        .unsynced
        .iter()
        .map(|batch| batch.entries.len())
        .sum::<usize>();
    assert!(last >= 2, "request and plan are written together");
    bench.sync();
    assert_eq!(bench.machine.view().tasks_on_node(&node).count(), 3);
    let assigned = bench.outputs.iter().find_map(|output| match output {
        Output::Assignments { assignments, .. } => Some(assignments.tasks.len()),
        _ => None,
    });
    assert_eq!(assigned, Some(3));
}

#[test]
fn reports_are_taken_once_durable_and_only_the_latest_counts() {
    let mut bench = Bench::new();
    let node = bench.bootstrap();
    bench.propose(5, create("web", 1), None);
    bench.sync();
    let task = Task::clone(bench.machine.view().tasks().next().unwrap());
    let report = |state| TaskReport {
        task: task.id.clone(),
        status: TaskStatus {
            state,
            ..task.status.clone()
        },
        wait: None,
    };
    bench.outputs.clear();
    let reports = vec![report(TaskState::Accepted), report(TaskState::Running)];
    bench.step(Input::Reports {
        node,
        sequence: 9,
        reports,
    });
    let taken = |bench: &Bench| {
        bench
            .outputs
            .iter()
            .any(|output| matches!(output, Output::ReportsTaken { sequence: 9, .. }))
    };
    assert!(!taken(&bench));
    bench.sync();
    assert!(taken(&bench));
    assert_eq!(
        bench.machine.view().task(&task.id).unwrap().status.state,
        TaskState::Running
    );
}

#[test]
fn a_request_id_takes_effect_once() {
    let mut bench = Bench::new();
    bench.bootstrap();
    let id = RequestId::mint(&mut bench.ids);
    bench.propose(5, create("web", 1), Some(id.clone()));
    bench.propose(6, create("web", 1), Some(id.clone()));
    bench.sync();
    bench.propose(7, create("web", 1), Some(id));
    bench.sync();
    let mut created = |token| match bench.reply(token) {
        Some(Ok(Response::Service { id, .. })) => id,
        other => panic!("{other:?}"),
    };
    let first = created(5);
    assert_eq!([created(6), created(7)], [first.clone(), first]);
    assert_eq!(bench.machine.view().service_count(), 1);
}

#[test]
fn refusals_made_from_what_is_in_flight_wait_for_it() {
    let mut bench = Bench::new();
    bench.bootstrap();
    bench.propose(5, create("web", 1), None);
    bench.propose(6, create("web", 1), None);
    assert!(bench.reply(6).is_none());
    bench.sync();
    assert!(matches!(bench.reply(5), Some(Ok(_))));
    assert!(matches!(bench.reply(6), Some(Err(ProposeError::Refused(_)))));
}

#[test]
fn a_transaction_beyond_the_limit_is_refused_with_its_size() {
    let mut bench = Bench::new();
    bench.bootstrap();
    let Request::CreateService { mut spec } = create("web", 1) else {
        unreachable!()
    };
    spec.task
        .container
        .env
        .insert("A".to_owned(), "x".repeat(60 << 10));
    let services = (0..80)
        .map(|number| {
            let name = format!("large_web-{number}");
            (format!("web-{number}"), ServiceSpec { name, ..spec.clone() })
        })
        .collect();
    let spec = StackSpec {
        name: "large".to_owned(),
        services,
        networks: std::collections::BTreeMap::new(),
    };
    bench.propose(5, Request::DeployStack { spec, prune: false }, None);
    bench.sync();
    let Some(Err(ProposeError::Refused(refusal))) = bench.reply(5) else {
        panic!("taken")
    };
    assert!(
        refusal.to_string().contains(&MAX_USER_ENTRY_BYTES.to_string()),
        "{refusal}"
    );
}

#[test]
fn an_unfenced_entry_is_dropped_and_planning_goes_on() {
    let mut bench = Bench::new();
    bench.bootstrap();
    let stale = bench
        .disk
        .entries
        .iter()
        .rfind(|entry| !entry.data.is_empty())
        .unwrap()
        .data
        .clone();
    bench.machine.propose_raw(stale).unwrap();
    bench.propose(5, create("web", 2), None);
    bench.sync();
    let dropped = |output: &Output| {
        matches!(
            output,
            Output::Dropped {
                reason: DropReason::PlannedAfterDiffers,
                ..
            }
        )
    };
    assert!(bench.outputs.iter().any(dropped));
    assert!(matches!(bench.reply(5), Some(Ok(_))));
    bench.settle();
    assert_eq!(bench.machine.view().task_count(), 2);
}

#[test]
fn what_was_answered_survives_a_restart_and_the_log_stays_short() {
    let mut bench = Bench::new();
    bench.bootstrap();
    for number in 0..100 {
        bench.propose(number, create(&format!("web-{number}"), 1), None);
        bench.sync();
        if let Some(snapshot) = &bench.disk.snapshot {
            let index = snapshot.index;
            bench.step(Input::SnapshotSaved { index });
            bench.sync();
        }
    }
    assert!(bench.disk.entries.len() < 200, "{}", bench.disk.entries.len());
    let digest = bench.machine.digest();
    let before = bench.machine.view();
    bench.machine = machine(bench.disk.clone());
    bench.settle();
    assert_eq!(bench.machine.view().service_count(), 100);
    assert_eq!(
        bench.machine.view().last_effective_index(),
        before.last_effective_index()
    );
    assert_eq!(bench.machine.digest(), digest);
    assert_eq!(
        Store::import(bench.disk.snapshot.unwrap().store.export())
            .unwrap()
            .view()
            .cluster(),
        before.cluster()
    );
}

#[test]
fn a_few_large_entries_are_not_kept_in_memory() {
    let mut bench = Bench::new();
    let config = MachineConfig {
        snapshot_every_entries: 10_000,
        snapshot_every_bytes: 64 << 10,
        ..config()
    };
    bench.machine = machine_with(config, bench.disk.clone());
    bench.bootstrap();
    let mut most = 0;
    for number in 0..100 {
        let Request::CreateService { mut spec } = create(&format!("web-{number}"), 1) else {
            panic!("no service");
        };
        spec.labels.insert("large".to_owned(), "x".repeat(8 << 10));
        bench.propose(number, Request::CreateService { spec }, None);
        bench.sync();
        if let Some(snapshot) = &bench.disk.snapshot {
            let index = snapshot.index;
            bench.step(Input::SnapshotSaved { index });
            bench.sync();
            let kept: usize = bench.disk.entries.iter().map(|entry| entry.data.len()).sum();
            most = most.max(kept);
        }
    }
    assert!((32 << 10..80 << 10).contains(&most), "{most}");
    assert!(
        bench
            .disk
            .entries
            .iter()
            .any(|entry| entry.index <= bench.disk.snapshot.as_ref().unwrap().index)
    );
    bench.machine = machine(bench.disk.clone());
    bench.settle();
    assert_eq!(bench.machine.view().service_count(), 100);
}

#[test]
fn a_full_disk_refuses_writes_and_heals() {
    let mut bench = Bench::new();
    bench.bootstrap();
    bench.step(Input::Disk { full: true });
    bench.propose(5, create("web", 1), None);
    assert_eq!(bench.reply(5), Some(Err(ProposeError::DiskFull)));
    bench.step(Input::Disk { full: false });
    bench.propose(6, create("web", 1), None);
    bench.sync();
    assert!(matches!(bench.reply(6), Some(Ok(_))));
}

#[test]
fn an_entry_of_a_newer_version_stops_the_member() {
    let mut bench = Bench::new();
    bench.bootstrap();
    let entry = shoal_core::store::Entry {
        min_version: 99,
        ..Default::default()
    };
    let data = PostcardCodec.encode_entry(&entry);
    bench.machine.propose_raw(data).unwrap();
    bench.settle();
    let stopped = |output: &Output| {
        matches!(
            output,
            Output::Stopped(StopReason::TooOld { min_version: 99, .. })
        )
    };
    assert!(bench.outputs.iter().any(stopped));
    assert!(bench.machine.step(Input::Tick, bench.now).is_empty());
}
