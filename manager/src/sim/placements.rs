//! How many tasks a second three machines place on thousands of nodes: no network, no disk, one thread.
//!
//! The machines are the product's, with the product's planner; messages are handed over at once and a
//! write counts as synced when it was asked for. Time is measured by the caller.

use super::{client::node, codec::PostcardCodec, network::MS};
use crate::machine::{
    CorePlanning, Input, Machine, MachineConfig, Now, Output, ProposeError, RestoreError, Restored, Token,
};
use shoal_core::{
    model::{
        Bytes, Cluster, ClusterId, ClusterSpec, ClusterStatus, ContainerSpec, CpuNanos, EndpointMode, IdGen,
        Labels, Meta, Mode, NodeDescription, NodeId, Resources, Role, ServiceSpec, TaskSpec, TaskState,
        UpdateConfig, WallTime,
    },
    request::Request,
};
use std::collections::VecDeque;

/// Three machines that answer each other at once.
#[derive(Debug)]
pub struct Placements {
    machines: Vec<Machine>,
    inputs: VecDeque<(usize, Input)>,
    now: u64,
    asked: u64,
    ids: IdGen,
    /// Why the last write that failed did.
    pub refused: Option<ProposeError>,
}

impl Placements {
    /// A cluster of three members that lead, follow, and know so many ready nodes.
    pub fn prepare(nodes: usize) -> Result<Self, RestoreError> {
        let machines = (1..=3)
            .map(|id| {
                let mut restored = Restored::default();
                restored.conf_state.voters = vec![1, 2, 3];
                let config = MachineConfig::new(id, id, IdGen::from_number(id));
                Machine::new(
                    config,
                    Box::new(PostcardCodec),
                    Box::new(CorePlanning::new()),
                    restored,
                )
            })
            .collect::<Result<Vec<_>, _>>()?;
        let mut cluster = Self {
            machines,
            inputs: VecDeque::new(),
            now: 0,
            asked: 0,
            ids: IdGen::from_number(99),
            refused: None,
        };
        while cluster.leader().is_none() {
            cluster.tick();
        }
        cluster.found(nodes);
        Ok(cluster)
    }

    /// Creates a service of so many replicas; gives back how many of its tasks every member has placed.
    pub fn place(&mut self, name: &str, replicas: u32) -> usize {
        let container = ContainerSpec {
            image: "busybox:1".to_owned(),
            ..ContainerSpec::default()
        };
        let reservations = Resources {
            cpu: CpuNanos(1_000_000),
            memory: Bytes(4 << 20),
        };
        let spec = ServiceSpec {
            name: name.to_owned(),
            labels: Labels::new(),
            mode: Mode::Replicated { replicas },
            task: TaskSpec {
                container,
                reservations,
                ..TaskSpec::default()
            },
            ports: Vec::new(),
            endpoint_mode: EndpointMode::Vip,
            update: UpdateConfig::default(),
        };
        self.ask(Request::CreateService { spec });
        self.settle();
        let placed = |machine: &Machine| {
            let view = machine.view();
            let Some(service) = view.service_by_name(name) else {
                return 0;
            };
            view.tasks_of_service(&service.id)
                .filter(|task| task.status.state == TaskState::Assigned)
                .count()
        };
        self.machines.iter().map(placed).min().unwrap_or(0)
    }

    fn found(&mut self, nodes: usize) {
        let cluster = Cluster {
            id: ClusterId::mint(&mut self.ids),
            meta: Meta::default(),
            spec: ClusterSpec::default(),
            status: ClusterStatus::default(),
        };
        let first = node(NodeId::mint(&mut self.ids), Role::Manager);
        self.ask(Request::Bootstrap {
            cluster: Box::new(cluster),
            node: Box::new(first),
        });
        let workers: Vec<NodeId> = (0..nodes).map(|_| NodeId::mint(&mut self.ids)).collect();
        for id in &workers {
            self.ask(Request::AddNode {
                node: Box::new(node(id.clone(), Role::Worker)),
            });
            self.settle();
        }
        let description = NodeDescription {
            resources: Resources {
                cpu: CpuNanos(64_000_000_000),
                memory: Bytes(1 << 40),
            },
            ..NodeDescription::default()
        };
        for node in workers {
            let description = Box::new(description.clone());
            self.inputs.push_back((
                self.leader().unwrap_or(0),
                Input::SessionOpened { node, description },
            ));
        }
        self.settle();
    }

    fn leader(&self) -> Option<usize> {
        self.machines.iter().position(Machine::is_established)
    }

    fn ask(&mut self, request: Request) {
        self.asked += 1;
        let input = Input::Propose {
            token: Token(self.asked),
            request: Box::new(request),
            id: None,
        };
        self.inputs.push_back((self.leader().unwrap_or(0), input));
    }

    fn tick(&mut self) {
        self.now += 50 * MS;
        self.inputs
            .extend((0..self.machines.len()).map(|index| (index, Input::Tick)));
        self.drain();
    }

    /// Until nobody has anything left to do, and with a heartbeat everyone knows what is committed.
    fn settle(&mut self) {
        self.drain();
        while let Some(index) = self
            .leader()
            .filter(|index| self.machines[*index].next_deadline() == Some(0))
        {
            self.inputs.push_back((index, Input::Wake));
            self.drain();
        }
        self.tick();
        self.tick();
    }

    fn drain(&mut self) {
        while let Some((index, input)) = self.inputs.pop_front() {
            let now = Now {
                mono_ns: self.now,
                wall: WallTime(0),
            };
            for output in self.machines[index].step(input, now) {
                self.perform(index, output);
            }
        }
    }

    fn perform(&mut self, index: usize, output: Output) {
        match output {
            Output::Persist(batch) => {
                self.inputs
                    .push_back((index, Input::Persisted { number: batch.number }));
            }
            Output::SaveSnapshot(job) => {
                self.inputs
                    .push_back((index, Input::SnapshotSaved { index: job.index }));
            }
            Output::Send(messages) => self.inputs.extend(messages.into_iter().map(|message| {
                let to = usize::try_from(message.to).unwrap_or(1) - 1;
                (to, Input::Raft(Box::new(message)))
            })),
            Output::Reply {
                result: Err(error), ..
            } => self.refused = Some(error),
            _ => {}
        }
    }
}
