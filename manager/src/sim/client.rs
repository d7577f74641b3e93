//! The users of a simulated cluster: writes of every kind, each with a request id and tried until told.
//!
//! Updates are made from what some member has applied, which may be old: a stale one must be refused.

mod networks;

use super::rng::Rng;
use crate::machine::ProposeError;
use shoal_core::{
    model::{
        Availability, Bytes, Cluster, ClusterId, ClusterSpec, ClusterStatus, ContainerSpec, CpuNanos, IdGen,
        Labels, Meta, Mode, Node, NodeId, NodeSpec, NodeState, NodeStatus, Placement, RequestId, Resources,
        RestartCondition, RestartPolicy, Role, Service, ServiceSpec, StackSpec, TaskSpec, Timestamp,
        UpdateConfig, WallTime,
    },
    refusal::RefusalCode,
    request::{Request, Response},
    store::StoreView,
};
use std::{collections::VecDeque, time::Duration};

#[derive(Debug)]
pub(super) struct Client {
    ids: IdGen,
    script: VecDeque<Request>,
    pub(super) pending: Option<Operation>,
    number: u64,
    /// Services and stacks made, for their names.
    made: u64,
}

/// A write that the user waits for.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) id: RequestId,
    pub(super) request: Request,
    pub(super) tried_at: u64,
}

/// What an answer means to the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Done,
    Refused,
    TryAgain,
}

impl Client {
    pub(super) fn new(ids: IdGen, number: u64) -> Self {
        Self {
            ids,
            number,
            script: VecDeque::new(),
            pending: None,
            made: 0,
        }
    }

    /// A user who first makes a cluster of these nodes.
    pub(super) fn founder(mut ids: IdGen, nodes: &[NodeId]) -> Self {
        let cluster = Cluster {
            id: ClusterId::mint(&mut ids),
            meta: Meta::default(),
            spec: ClusterSpec::default(),
            status: ClusterStatus::default(),
        };
        let first = node(NodeId::mint(&mut ids), Role::Manager);
        let mut founder = Self::new(ids, 0);
        founder.script.push_back(Request::Bootstrap {
            cluster: Box::new(cluster),
            node: Box::new(first),
        });
        for id in nodes {
            let node = Box::new(node(id.clone(), Role::Worker));
            founder.script.push_back(Request::AddNode { node });
        }
        founder
    }

    /// The next write, made from what the user can see. In a calm world only what was planned before.
    pub(super) fn next(
        &mut self,
        view: &StoreView,
        rng: &mut Rng,
        now: u64,
        calm: bool,
    ) -> Option<Operation> {
        let request = match self.script.pop_front() {
            Some(request) => request,
            None if calm => return None,
            None => self.invent(view, rng)?,
        };
        let operation = Operation {
            id: RequestId::mint(&mut self.ids),
            request,
            tried_at: now,
        };
        self.pending = Some(operation.clone());
        Some(operation)
    }

    /// The write was refused for good, unless a cluster cannot do without it: then it is asked for anew.
    pub(super) fn refused(&mut self, operation: &Operation) {
        self.pending = None;
        if matches!(
            operation.request,
            Request::AddNode { .. } | Request::Bootstrap { .. }
        ) {
            self.script.push_front(operation.request.clone());
        }
    }

    /// Every node takes tasks again, so that the cluster can come to rest.
    pub(super) fn calm(&mut self, view: &StoreView) {
        for node in view
            .nodes()
            .filter(|node| node.spec.availability != Availability::Active)
        {
            let spec = NodeSpec {
                availability: Availability::Active,
                ..node.spec.clone()
            };
            let reference = node.id.to_string();
            self.script.push_back(Request::UpdateNode {
                reference,
                version: node.meta.version,
                spec,
            });
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.pending.is_none() && self.script.is_empty()
    }

    /// Takes an answer in. An error says that it should never have been given.
    pub(super) fn judge(
        &self,
        operation: &Operation,
        result: &Result<Response, ProposeError>,
    ) -> Result<Verdict, String> {
        match result {
            Ok(_) => Ok(Verdict::Done),
            Err(ProposeError::Refused(refusal)) => {
                let ours_alone = matches!(
                    operation.request,
                    Request::CreateService { .. }
                        | Request::CreateNetwork { .. }
                        | Request::Bootstrap { .. }
                        | Request::DeployStack { .. }
                );
                // Ports and subnets are everybody's.
                let shared = refusal
                    .field
                    .as_ref()
                    .is_some_and(|field| field.contains("ports[") || field.contains("subnets["));
                if refusal.code == RefusalCode::Conflict && ours_alone && !shared {
                    return Err(format!("request {} took effect twice: {refusal}", operation.id));
                }
                Ok(Verdict::Refused)
            }
            Err(_) => Ok(Verdict::TryAgain),
        }
    }

    fn invent(&mut self, view: &StoreView, rng: &mut Rng) -> Option<Request> {
        let services: Vec<_> = view.services().collect();
        let service = rng.pick(&services).map(|service| Service::clone(service));
        match rng.between(0, 100) {
            0..30 if services.len() < 8 => Some(Request::CreateService {
                spec: self.service(view, rng),
            }),
            0..50 => service.map(|service| scale(&service, rng)),
            50..70 => service.map(|service| update(service, view, rng)),
            70..78 => service.map(|service| Request::RemoveService {
                reference: service.id.to_string(),
            }),
            78..88 => node_request(view, rng),
            88..95 => self.network_request(view, rng),
            _ => Some(self.stack(rng)),
        }
    }

    fn service(&mut self, view: &StoreView, rng: &mut Rng) -> ServiceSpec {
        self.made += 1;
        let name = format!("service-{}-{}", self.number, self.made);
        let mode = if rng.chance(150) {
            Mode::Global
        } else {
            Mode::Replicated {
                replicas: small(rng, 1, 6),
            }
        };
        let mut spec = service_spec(name, mode, rng);
        networks::join(&mut spec, view, rng);
        spec
    }

    fn network_request(&mut self, view: &StoreView, rng: &mut Rng) -> Option<Request> {
        if rng.chance(300) {
            return networks::removal(view, rng);
        }
        self.made += 1;
        networks::creation(view, (self.number, self.made), rng)
    }

    fn stack(&mut self, rng: &mut Rng) -> Request {
        self.made += 1;
        let name = format!("stack-{}-{}", self.number, self.made);
        let networks = networks::of_stack(&name, rng);
        let services = (0..rng.between(1, 4))
            .map(|number| {
                let mode = Mode::Replicated {
                    replicas: small(rng, 1, 3),
                };
                let mut spec = service_spec(format!("{name}_part-{number}"), mode, rng);
                spec.task.networks = networks::uses(networks.keys());
                (format!("part-{number}"), spec)
            })
            .collect();
        Request::DeployStack {
            spec: StackSpec {
                name,
                services,
                networks,
            },
            prune: false,
        }
    }
}

fn small(rng: &mut Rng, low: u64, high: u64) -> u32 {
    u32::try_from(rng.between(low, high)).unwrap_or(1)
}

fn service_spec(name: String, mode: Mode, rng: &mut Rng) -> ServiceSpec {
    let mut placement = Placement::default();
    if rng.chance(150) {
        placement.constraints.push("engine.labels.zone==a".to_owned());
    }
    if rng.chance(50) {
        placement
            .constraints
            .push("engine.labels.zone==nowhere".to_owned());
    }
    if rng.chance(150) {
        placement.max_replicas_per_node = 1;
    }
    let delay = rng
        .chance(700)
        .then(|| Duration::from_millis(rng.between(0, 3000)));
    let condition = if rng.chance(800) {
        RestartCondition::Any
    } else {
        RestartCondition::OnFailure
    };
    ServiceSpec {
        name,
        labels: Labels::from([("count".to_owned(), "0".to_owned())]),
        mode,
        task: TaskSpec {
            container: ContainerSpec {
                image: "busybox:1".to_owned(),
                ..ContainerSpec::default()
            },
            networks: Vec::new(),
            reservations: Resources {
                cpu: CpuNanos(rng.between(0, 12) * 100_000_000),
                memory: Bytes(rng.between(0, 5) << 28),
            },
            placement,
            restart: RestartPolicy {
                condition,
                delay,
                ..RestartPolicy::default()
            },
            force_update: 0,
        },
        ports: networks::ports(rng),
        endpoint_mode: networks::endpoint_mode(rng),
        update: UpdateConfig {
            monitor: Duration::from_secs(1),
            ..UpdateConfig::default()
        },
    }
}

fn scale(service: &Service, rng: &mut Rng) -> Request {
    Request::ScaleServices {
        scales: vec![(service.spec.name.clone(), small(rng, 0, 7))],
    }
}

/// Adds one to the count that it saw; now and then a new revision, too.
fn update(service: Service, view: &StoreView, rng: &mut Rng) -> Request {
    let mut spec = service.spec;
    let count = spec
        .labels
        .get("count")
        .and_then(|text| text.parse::<u64>().ok())
        .unwrap_or(0);
    spec.labels.insert("count".to_owned(), (count + 1).to_string());
    if rng.chance(400) {
        spec.task
            .container
            .env
            .insert("ROUND".to_owned(), (count + 1).to_string());
    }
    if service.stack.is_none() && rng.chance(150) {
        networks::join(&mut spec, view, rng);
        spec.ports = networks::ports(rng);
    }
    Request::UpdateService {
        reference: spec.name.clone(),
        version: service.meta.version,
        spec,
        force: rng.chance(100),
    }
}

fn node_request(view: &StoreView, rng: &mut Rng) -> Option<Request> {
    let nodes: Vec<_> = view
        .nodes()
        .filter(|node| node.spec.role == Role::Worker)
        .collect();
    let node = rng.pick(&nodes)?;
    let availability = match rng.between(0, 4) {
        0 => Availability::Drain,
        1 => Availability::Pause,
        _ => Availability::Active,
    };
    let spec = NodeSpec {
        availability,
        ..node.spec.clone()
    };
    Some(Request::UpdateNode {
        reference: node.id.to_string(),
        version: node.meta.version,
        spec,
    })
}

/// A node that nothing has been heard of.
pub(super) fn node(id: NodeId, role: Role) -> Node {
    Node {
        id,
        meta: Meta::default(),
        spec: NodeSpec {
            labels: Labels::new(),
            role,
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
