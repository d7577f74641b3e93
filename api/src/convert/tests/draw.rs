//! Draws values of every noun from a seed: small sizes, every variant, extremes of every number.
//!
//! The same seed draws the same values, so that a failure is a seed. They need not make sense.

mod network;

use rand::{Rng, SeedableRng, rngs::StdRng};
use shoal_core::{
    dispatcher::{TaskAssignment, TaskReport},
    model::{
        AddressPools, Availability, Bytes, Cluster, ClusterId, ClusterSpec, ClusterStatus, ContainerSpec,
        CpuNanos, DesiredState, DnsSpec, EndpointMode, FailureAction, HealthCheck, HealthTest, IdGen,
        JoinTokens, Limits, ManagerStatus, Meta, Mode, Mount, MountSource, NetworkMode, NetworkUse, Node,
        NodeDescription, NodeId, NodeProblem, NodeSpec, NodeState, NodeStatus, Placement, Platform, PortMode,
        Preference, Protocol, PublishedPort, RequestId, Resources, RestartCondition, RestartPolicy, Restarts,
        Revision, RevisionKey, Role, Service, ServiceEndpoint, ServiceId, ServiceSpec, Slot, Stack, StackId,
        StackNetwork, StackSpec, Task, TaskId, TaskSpec, TaskState, TaskStatus, Timestamp, Ulimit,
        UpdateConfig, UpdateOrder, UpdateState, UpdateStatus, Version, Wait, WaitCode, WallTime,
    },
    store::{Change, DigestCheck, Entry, Export, Object, RequestOutcome},
};
use std::{collections::BTreeMap, time::Duration};

pub(super) struct Draw {
    random: StdRng,
    ids: IdGen,
}

impl Draw {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            ids: IdGen::from_number(seed),
        }
    }

    fn number(&mut self) -> u64 {
        match self.random.random_range(0..4) {
            0 => 0,
            1 => u64::MAX,
            _ => self.random.random(),
        }
    }

    fn small(&mut self) -> u32 {
        u32::try_from(self.number() & 0xffff_ffff).unwrap()
    }

    fn signed(&mut self) -> i64 {
        self.number().cast_signed()
    }

    fn int(&mut self) -> i32 {
        self.small().cast_signed()
    }

    pub(super) fn flag(&mut self) -> bool {
        self.random.random()
    }

    pub(super) fn text(&mut self) -> String {
        let letters = ["", "a", "web", "ü-\n", "ports[0]", "\u{1F40B}"];
        letters[self.random.random_range(0..letters.len())].repeat(self.random.random_range(0..3))
    }

    fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.random.random_range(0..all.len())]
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.flag().then(|| make(self))
    }

    fn list<T>(&mut self, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.random.random_range(0..3)).map(|_| make(self)).collect()
    }

    fn map<T>(&mut self, mut make: impl FnMut(&mut Self) -> T) -> BTreeMap<String, T> {
        (0..self.random.random_range(0..3))
            .map(|_| (self.text(), make(self)))
            .collect()
    }

    fn labels(&mut self) -> BTreeMap<String, String> {
        self.map(Self::text)
    }

    fn duration(&mut self) -> Duration {
        Duration::from_nanos(self.number())
    }

    fn at(&mut self) -> Timestamp {
        Timestamp(self.number())
    }

    fn wall(&mut self) -> WallTime {
        WallTime(self.signed())
    }

    fn meta(&mut self) -> Meta {
        Meta {
            version: Version(self.number()),
            created_at: self.wall(),
            updated_at: self.wall(),
        }
    }

    pub(super) fn task_id(&mut self) -> TaskId {
        TaskId::mint(&mut self.ids)
    }

    fn node_id(&mut self) -> NodeId {
        NodeId::mint(&mut self.ids)
    }

    fn service_id(&mut self) -> ServiceId {
        ServiceId::mint(&mut self.ids)
    }

    fn stack_id(&mut self) -> StackId {
        StackId::mint(&mut self.ids)
    }

    fn request_id(&mut self) -> RequestId {
        RequestId::mint(&mut self.ids)
    }

    fn cluster(&mut self) -> Cluster {
        Cluster {
            id: ClusterId::mint(&mut self.ids),
            meta: self.meta(),
            spec: ClusterSpec {
                name: self.text(),
                labels: self.labels(),
                task_history_limit: self.small(),
                heartbeat_period: self.duration(),
                certificate_life: self.duration(),
                pools: AddressPools {
                    v4: self.list(Self::range_v4),
                    v4_subnet_length: self.random.random_range(0..=32),
                    v6: self.maybe(Self::range_v6),
                },
            },
            status: ClusterStatus {
                root_certificate: self.text(),
                sealed_root_key: self.text().into_bytes(),
                join_tokens: JoinTokens {
                    worker: self.text(),
                    manager: self.text(),
                },
                epoch: self.number(),
            },
        }
    }

    fn platform(&mut self) -> Platform {
        Platform {
            os: self.text(),
            arch: self.text(),
        }
    }

    fn resources(&mut self) -> Resources {
        Resources {
            cpu: CpuNanos(self.number()),
            memory: Bytes(self.number()),
        }
    }

    fn node(&mut self) -> Node {
        Node {
            id: self.node_id(),
            meta: self.meta(),
            spec: NodeSpec {
                labels: self.labels(),
                role: self.pick(&[Role::Worker, Role::Manager]),
                availability: self.pick(&[Availability::Active, Availability::Pause, Availability::Drain]),
            },
            description: self.maybe(|d| NodeDescription {
                hostname: d.text(),
                platform: d.platform(),
                resources: d.resources(),
                engine_version: d.text(),
                engine_labels: d.labels(),
                address: d.text(),
                routes: d.list(Self::range),
                problems: d.list(|d| NodeProblem {
                    what: d.text(),
                    remedy: d.text(),
                }),
            }),
            status: NodeStatus {
                state: self.pick(&[NodeState::Unknown, NodeState::Ready, NodeState::Down]),
                message: self.text(),
                since: self.wall(),
                at: self.at(),
            },
            manager: self.maybe(|d| ManagerStatus {
                raft_id: d.number(),
                address: d.text(),
            }),
        }
    }

    fn mount(&mut self) -> Mount {
        let source = match self.random.random_range(0..3) {
            0 => MountSource::Bind {
                path: self.text(),
                create: self.flag(),
            },
            1 => MountSource::Volume {
                name: self.maybe(Self::text),
                no_copy: self.flag(),
            },
            _ => MountSource::Tmpfs {
                size: self.maybe(|d| Bytes(d.number())),
                mode: self.maybe(Self::small),
            },
        };
        Mount {
            source,
            target: self.text(),
            read_only: self.flag(),
        }
    }

    fn health(&mut self) -> HealthCheck {
        HealthCheck {
            test: self.maybe(|d| match d.random.random_range(0..3) {
                0 => HealthTest::None,
                1 => HealthTest::Cmd(d.list(Self::text)),
                _ => HealthTest::CmdShell(d.text()),
            }),
            interval: self.maybe(Self::duration),
            timeout: self.maybe(Self::duration),
            start_period: self.maybe(Self::duration),
            start_interval: self.maybe(Self::duration),
            retries: self.maybe(Self::small),
        }
    }

    fn container(&mut self) -> ContainerSpec {
        ContainerSpec {
            image: self.text(),
            image_digest: self.maybe(Self::text),
            command: self.maybe(|d| d.list(Self::text)),
            args: self.maybe(|d| d.list(Self::text)),
            env: self.labels(),
            workdir: self.maybe(Self::text),
            user: self.maybe(Self::text),
            groups: self.list(Self::text),
            hostname: self.maybe(Self::text),
            labels: self.labels(),
            mounts: self.list(Self::mount),
            network: self.pick(&[NetworkMode::Networks, NetworkMode::Host, NetworkMode::None]),
            limits: Limits {
                cpu: self.maybe(|d| CpuNanos(d.number())),
                memory: self.maybe(|d| Bytes(d.number())),
                pids: self.maybe(Self::number),
            },
            ulimits: self.map(|d| Ulimit {
                soft: d.number(),
                hard: d.number(),
            }),
            sysctls: self.labels(),
            cap_add: self.list(Self::text),
            cap_drop: self.list(Self::text),
            read_only: self.flag(),
            init: self.flag(),
            tty: self.flag(),
            stdin_open: self.flag(),
            no_new_privileges: self.flag(),
            stop_signal: self.maybe(Self::text),
            stop_grace: self.maybe(Self::duration),
            health: self.maybe(Self::health),
            dns: DnsSpec {
                servers: self.list(Self::address),
                search: self.list(Self::text),
                options: self.list(Self::text),
            },
            extra_hosts: self.list(|d| (d.text(), d.text())),
            oom_score_adj: self.int(),
            shm_size: self.maybe(|d| Bytes(d.number())),
        }
    }

    fn task_spec(&mut self) -> TaskSpec {
        TaskSpec {
            container: self.container(),
            networks: self.list(|d| NetworkUse {
                network: d.text(),
                aliases: d.list(Self::text),
            }),
            reservations: self.resources(),
            placement: Placement {
                constraints: self.list(Self::text),
                preferences: self.list(|d| Preference::Spread(d.text())),
                max_replicas_per_node: self.small(),
                platforms: self.list(Self::platform),
            },
            restart: RestartPolicy {
                condition: self.pick(&[
                    RestartCondition::None,
                    RestartCondition::OnFailure,
                    RestartCondition::Any,
                ]),
                delay: self.maybe(Self::duration),
                max_attempts: self.maybe(Self::small),
                window: self.maybe(Self::duration),
            },
            force_update: self.number(),
        }
    }

    fn ports(&mut self) -> Vec<PublishedPort> {
        self.list(|d| PublishedPort {
            target: d.random.random(),
            published: d.random.random(),
            protocol: d.pick(&[Protocol::Tcp, Protocol::Udp]),
            mode: d.pick(&[PortMode::Host, PortMode::Ingress]),
            host_ip: d.maybe(Self::address),
        })
    }

    fn service_spec(&mut self) -> ServiceSpec {
        let replicas = self.small();
        ServiceSpec {
            name: self.text(),
            labels: self.labels(),
            mode: self.pick(&[Mode::Global, Mode::Replicated { replicas }]),
            task: self.task_spec(),
            ports: self.ports(),
            endpoint_mode: self.pick(&[EndpointMode::Vip, EndpointMode::DnsRoundRobin]),
            update: UpdateConfig {
                parallelism: self.small(),
                delay: self.duration(),
                monitor: self.duration(),
                failure_action: self.pick(&[
                    FailureAction::Pause,
                    FailureAction::Continue,
                    FailureAction::Rollback,
                ]),
                max_failure_ratio_permille: self.small(),
                order: self.pick(&[UpdateOrder::StopFirst, UpdateOrder::StartFirst]),
            },
        }
    }

    fn service(&mut self) -> Service {
        Service {
            id: self.service_id(),
            meta: self.meta(),
            spec: self.service_spec(),
            revision: self.number(),
            stack: self.maybe(Self::stack_id),
            endpoint: ServiceEndpoint {
                networks: self.list(Self::resolved_use),
                vips: self.list(Self::attachment),
                ports: self.ports(),
            },
            update: self.maybe(|d| UpdateStatus {
                state: d.pick(&[UpdateState::Updating, UpdateState::Paused, UpdateState::Completed]),
                message: d.text(),
                revision: d.number(),
                since: d.at(),
                started_at: d.wall(),
                finished_at: d.maybe(Self::wall),
                monitor_until: d.maybe(Self::at),
            }),
        }
    }

    pub(super) fn service_object(&mut self) -> Object {
        self.service().into()
    }

    fn revision(&mut self) -> Revision {
        Revision {
            key: RevisionKey {
                service: self.service_id(),
                number: self.number(),
            },
            meta: self.meta(),
            task: self.task_spec(),
            ports: self.ports(),
            networks: self.list(Self::resolved_use),
        }
    }

    fn state(&mut self) -> TaskState {
        use TaskState as S;
        self.pick(&[
            S::New,
            S::Pending,
            S::Assigned,
            S::Accepted,
            S::Preparing,
            S::Ready,
            S::Starting,
            S::Running,
            S::Complete,
            S::Shutdown,
            S::Failed,
            S::Rejected,
            S::Remove,
            S::Orphaned,
        ])
    }

    fn wait(&mut self) -> Wait {
        Wait {
            code: self.pick(&WaitCode::ALL),
            since: self.at(),
            detail: self.text(),
        }
    }

    fn status(&mut self) -> TaskStatus {
        TaskStatus {
            state: self.state(),
            attempt: self.small(),
            message: self.text(),
            error: self.maybe(Self::text),
            exit_code: self.maybe(Self::int),
            container: self.maybe(Self::text),
            pid: self.maybe(Self::small),
            at: self.at(),
            wall: self.wall(),
            started: self.maybe(Self::at),
        }
    }

    fn task(&mut self) -> Task {
        use DesiredState as D;
        let replica = Slot::Replica(self.small());
        Task {
            id: self.task_id(),
            meta: self.meta(),
            service: self.service_id(),
            revision: self.number(),
            slot: if self.flag() {
                replica
            } else {
                Slot::Node(self.node_id())
            },
            node: self.maybe(Self::node_id),
            attachments: self.list(Self::attachment),
            desired: self.pick(&[D::Ready, D::Running, D::Shutdown, D::Remove]),
            status: self.status(),
            not_before: self.maybe(Self::at),
            sequence: self.number(),
            restarts: Restarts {
                count: self.small(),
                streak: self.small(),
                recent: self.list(Self::at),
            },
            wait: self.maybe(Self::wait),
        }
    }

    fn stack(&mut self) -> Stack {
        Stack {
            id: self.stack_id(),
            meta: self.meta(),
            spec: StackSpec {
                name: self.text(),
                services: self.map(Self::service_spec),
                networks: self.map(|d| {
                    if d.flag() {
                        StackNetwork::Own(d.network_spec())
                    } else {
                        StackNetwork::External(d.text())
                    }
                }),
            },
            revision: self.number(),
        }
    }

    /// One of each kind.
    pub(super) fn objects(&mut self) -> Vec<Object> {
        vec![
            self.cluster().into(),
            self.node().into(),
            self.service().into(),
            self.revision().into(),
            self.task().into(),
            self.stack().into(),
            self.network().into(),
        ]
    }

    pub(super) fn assignment(&mut self) -> TaskAssignment {
        TaskAssignment {
            task: self.task(),
            service_name: self.text(),
            stack_name: self.text(),
            spec: self.task_spec(),
            ports: self.ports(),
            networks: self.list(Self::resolved_use),
            service_labels: self.labels(),
            hold: self.duration(),
        }
    }

    pub(super) fn report(&mut self) -> TaskReport {
        TaskReport {
            task: self.task_id(),
            status: self.status(),
            wait: self.maybe(Self::wait),
        }
    }

    pub(super) fn entry(&mut self) -> Entry {
        let mut changes: Vec<Change> = self.objects().into_iter().map(Change::Put).collect();
        changes.extend(self.objects().iter().map(|object| Change::Delete(object.key())));
        Entry {
            epoch: self.number(),
            min_version: self.random.random_range(0..=1),
            term: self.number(),
            planned_after: self.number(),
            at: self.at(),
            wall: self.wall(),
            request: self.maybe(Self::request_id),
            check: self.maybe(|d| DigestCheck {
                index: d.number(),
                version: d.small(),
                digest: d.random.random(),
            }),
            changes,
        }
    }

    pub(super) fn export(&mut self) -> Export {
        let objects = self.objects();
        Export {
            epoch: self.number(),
            index: self.number(),
            last_effective: self.number(),
            now: self.at(),
            digest_version: self.small(),
            digest: self.random.random(),
            requests: self.list(|d| {
                let created = d.objects().first().map(Object::key);
                (
                    d.request_id(),
                    RequestOutcome {
                        index: d.number(),
                        created: d.flag().then_some(created).flatten(),
                    },
                )
            }),
            objects,
        }
    }
}
