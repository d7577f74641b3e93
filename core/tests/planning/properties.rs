//! What holds whatever happens: random histories of users, nodes, workers and time.
//!
//! Every applied entry is checked by the world itself (no node over its reservations, no port twice, one
//! live task a slot, states never back, a code for whatever waits). Here: a plan applied leaves nothing
//! to plan, not even for a planner that starts from the store alone; the same history gives the same
//! bytes; and when everything is well again, everything runs.

use super::world::{self, World};
use proptest::prelude::*;
use shoal_core::{model::*, planner::PlannerInput, request::Request};
use std::time::Duration;

/// Indexes are taken modulo what there is.
#[derive(Clone, Debug)]
enum Step {
    Node {
        zone: u8,
        cpu: u8,
    },
    Availability(u8, u8),
    Label(u8, u8),
    Silence(u8),
    Speak(u8),
    Goodbye(u8),
    RemoveNode(u8),
    Create(Shape),
    Update(u8, Shape),
    Scale(u8, u8),
    Remove(u8),
    Work(u8),
    End {
        task: u8,
        how: u8,
    },
    Pass(u8),
    Budget(u8),
    TakeOver,
    /// A network with a subnet of its own, or one of the pools.
    Network(u8),
    RemoveNetwork(u8),
    /// Two services in one stack, with a network of its own.
    Stack {
        name: u8,
        shape: Shape,
        network: bool,
        prune: bool,
    },
    RemoveStack(u8),
    /// Sessions hear of several entries at once.
    HoldUp(u8),
    /// A plan is lost on its way into the log.
    Lose,
}

/// A service's options, each 0 for none.
#[derive(Clone, Debug)]
struct Shape {
    replicas: u8,
    global: bool,
    cpu: u8,
    port: u8,
    zone: u8,
    spread: bool,
    most: u8,
    restart: u8,
    /// Bits: which networks.
    networks: u8,
    /// A port on every node, or one that is chosen.
    publish: u8,
    dnsrr: bool,
}

fn shapes() -> impl Strategy<Value = Shape> {
    (
        0..6_u8,
        prop::bool::weighted(0.2),
        0..4_u8,
        0..3_u8,
        0..3_u8,
        any::<bool>(),
        0..3_u8,
        0..6_u8,
        (0..16_u8, 0..4_u8, any::<bool>()),
    )
        .prop_map(
            |(replicas, global, cpu, port, zone, spread, most, restart, (networks, publish, dnsrr))| Shape {
                replicas,
                global,
                cpu,
                port,
                zone,
                spread,
                most,
                restart,
                networks,
                publish,
                dnsrr,
            },
        )
}

fn steps() -> impl Strategy<Value = Step> {
    let any = || any::<u8>();
    prop_oneof![
        3 => (0..3_u8, 1..5_u8).prop_map(|(zone, cpu)| Step::Node { zone, cpu }),
        2 => (any(), 0..3_u8).prop_map(|(node, a)| Step::Availability(node, a)),
        1 => (any(), 0..3_u8).prop_map(|(node, zone)| Step::Label(node, zone)),
        1 => any().prop_map(Step::Silence),
        2 => any().prop_map(Step::Speak),
        1 => any().prop_map(Step::Goodbye),
        1 => any().prop_map(Step::RemoveNode),
        3 => shapes().prop_map(Step::Create),
        2 => (any(), shapes()).prop_map(|(service, shape)| Step::Update(service, shape)),
        3 => (any(), 0..8_u8).prop_map(|(service, replicas)| Step::Scale(service, replicas)),
        1 => any().prop_map(Step::Remove),
        8 => (1..8_u8).prop_map(Step::Work),
        4 => (any(), 0..3_u8).prop_map(|(task, how)| Step::End { task, how }),
        4 => any().prop_map(Step::Pass),
        1 => (1..30_u8).prop_map(Step::Budget),
        1 => Just(Step::TakeOver),
        3 => (0..4_u8).prop_map(Step::Network),
        2 => (0..4_u8).prop_map(Step::RemoveNetwork),
        2 => (0..2_u8, shapes(), prop::bool::ANY, prop::bool::ANY)
            .prop_map(|(name, shape, network, prune)| Step::Stack { name, shape, network, prune }),
        1 => (0..2_u8).prop_map(Step::RemoveStack),
        2 => (1..6_u8).prop_map(Step::HoldUp),
        1 => Just(Step::Lose),
    ]
}

fn shaped(name: &str, shape: &Shape) -> ServiceSpec {
    let mode = if shape.global {
        Mode::Global
    } else {
        Mode::Replicated {
            replicas: shape.replicas.into(),
        }
    };
    let mut spec = world::service(name, mode);
    spec.task.reservations.cpu = CpuNanos(u64::from(shape.cpu) * 500_000_000);
    if shape.port > 0 {
        let port = 8000 + u16::from(shape.port);
        spec.ports.push(PublishedPort {
            target: port,
            published: port,
            protocol: Protocol::Tcp,
            mode: PortMode::Host,
            host_ip: None,
        });
    }
    if shape.publish > 0 {
        let published = [8000, 8001, 0][usize::from(shape.publish) - 1];
        spec.ports.push(PublishedPort {
            target: 80 + u16::from(shape.replicas % 2),
            published,
            protocol: Protocol::Udp,
            mode: PortMode::Ingress,
            host_ip: None,
        });
    }
    if shape.dnsrr {
        spec.endpoint_mode = EndpointMode::DnsRoundRobin;
    }
    let placement = &mut spec.task.placement;
    if shape.zone > 0 {
        placement
            .constraints
            .push(format!("node.labels.zone!=z{}", shape.zone));
    }
    if shape.spread {
        placement
            .preferences
            .push(Preference::Spread("node.labels.zone".to_owned()));
    }
    if !shape.global {
        placement.max_replicas_per_node = shape.most.into();
    }
    if shape.dnsrr {
        spec.labels.insert(REMOVE_AT_END.to_owned(), String::new());
    }
    let restart = &mut spec.task.restart;
    match shape.restart {
        1 => restart.condition = RestartCondition::OnFailure,
        2 => restart.max_attempts = Some(2),
        3 => {
            restart.max_attempts = Some(1);
            restart.window = Some(Duration::from_secs(20));
        }
        4 => restart.delay = Some(Duration::ZERO),
        5 => restart.condition = RestartCondition::None,
        _ => {}
    }
    spec
}

fn pick<T: Clone>(all: &[T], index: u8) -> Option<T> {
    (!all.is_empty()).then(|| all[usize::from(index) % all.len()].clone())
}

/// Small ones: `ingress` has room for fourteen, any other network for six, and there are few of them.
fn pools() -> AddressPools {
    AddressPools {
        v4: vec!["10.128.0.0/25".parse().unwrap()],
        v4_subnet_length: 29,
        v6: Some("fd12:3456:789a::/48".parse().unwrap()),
    }
}

struct History {
    world: World,
    descriptions: Vec<(NodeId, NodeDescription)>,
    made: u32,
}

impl History {
    fn new() -> Self {
        Self {
            world: World::with_pools(3, &pools()),
            descriptions: Vec::new(),
            made: 0,
        }
    }

    fn node(&self, index: u8) -> Option<(NodeId, NodeDescription)> {
        let there: Vec<_> = self
            .descriptions
            .iter()
            .filter(|(id, _)| self.world.view().node(id).is_some())
            .cloned()
            .collect();
        pick(&there, index)
    }

    fn service(&self, index: u8) -> Option<Service> {
        let all: Vec<_> = self.world.view().services().cloned().collect();
        pick(&all, index).map(|service| Service::clone(&service))
    }

    /// Asks; what is refused changes nothing.
    fn ask(&mut self, request: &Request) {
        let _answer = self.world.request(request);
    }

    fn change_node(&mut self, index: u8, change: impl FnOnce(&mut NodeSpec)) {
        let Some((id, _)) = self.node(index) else {
            return;
        };
        let node = self.world.view().node(&id).unwrap();
        let (version, mut spec) = (node.meta.version, node.spec.clone());
        change(&mut spec);
        self.ask(&Request::UpdateNode {
            reference: id.to_string(),
            version,
            spec,
        });
    }

    /// Takes a step whose first plan is dropped, as a fenced entry is.
    fn lose_plans_of(&mut self, step: &Step) {
        self.world.lose_next = true;
        self.take(step);
        self.world.lose_next = false;
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Node { .. }
            | Step::Availability(..)
            | Step::Label(..)
            | Step::Silence(_)
            | Step::Speak(_)
            | Step::Goodbye(_)
            | Step::RemoveNode(_) => self.take_node(step),
            Step::Create(..) | Step::Update(..) | Step::Scale(..) | Step::Remove(_) => {
                self.take_service(step);
            }
            Step::Network(_) | Step::RemoveNetwork(_) | Step::Stack { .. } | Step::RemoveStack(_) => {
                self.take_network(step);
            }
            Step::HoldUp(entries) => self.world.held_up = *entries,
            Step::Work(times) => {
                for _ in 0..*times {
                    self.world.settle();
                    self.world.step_workers();
                }
            }
            Step::End { task, how } => {
                let on_nodes: Vec<_> = self
                    .world
                    .view()
                    .tasks()
                    .filter(|task| {
                        task.status.state > TaskState::Assigned && !task.status.state.is_terminal()
                    })
                    .map(|task| task.id.clone())
                    .collect();
                let how = [TaskState::Failed, TaskState::Complete, TaskState::Rejected][usize::from(*how)];
                if let Some(task) = pick(&on_nodes, *task) {
                    let node = self
                        .world
                        .view()
                        .task(&task)
                        .and_then(|task| task.node.clone())
                        .unwrap();
                    if self.world.workers.get(&node).is_some_and(|worker| !worker.silent) {
                        self.world.end(&task, how);
                    }
                }
            }
            Step::Pass(seconds) => self.world.pass(Duration::from_millis(u64::from(*seconds) * 300)),
            Step::Budget(budget) => self.world.budget = usize::from(*budget),
            Step::TakeOver => self.world.take_over(),
            Step::Lose => {}
        }
        if matches!(step, Step::Lose) {
            return;
        }
        self.world.settle();
    }

    fn take_node(&mut self, step: &Step) {
        match step {
            Step::Node { zone, cpu } => {
                let (mut node, mut description) = world::node(&mut self.world.ids, "host");
                node.spec.labels.insert("zone".to_owned(), format!("z{zone}"));
                description.resources.cpu = CpuNanos(u64::from(*cpu) * 1_000_000_000);
                self.descriptions.push((node.id.clone(), description.clone()));
                self.world.add_node(node, description);
            }
            Step::Availability(node, which) => {
                let which =
                    [Availability::Active, Availability::Pause, Availability::Drain][usize::from(*which)];
                self.change_node(*node, |spec| spec.availability = which);
            }
            Step::Label(node, zone) => {
                let zone = format!("z{zone}");
                self.change_node(*node, |spec| {
                    spec.labels.insert("zone".to_owned(), zone);
                });
            }
            Step::Speak(node) => {
                if let Some((id, description)) = self.node(*node) {
                    self.world.open_session(&id, description);
                }
            }
            Step::Silence(node) | Step::Goodbye(node) | Step::RemoveNode(node) => {
                let Some((id, _)) = self.node(*node) else {
                    return;
                };
                self.world.workers.get_mut(&id).unwrap().silent = true;
                if !matches!(step, Step::Silence(_)) {
                    let view = self.world.store.snapshot();
                    let input = PlannerInput::Goodbye { node: id.clone() };
                    self.world.planner.handle(&view, input, self.world.now).unwrap();
                }
                if matches!(step, Step::RemoveNode(_)) {
                    self.world.settle();
                    self.ask(&Request::RemoveNode {
                        reference: id.to_string(),
                    });
                }
            }
            _ => unreachable!(),
        }
    }

    /// The spec on those of the networks that there are.
    fn on_networks(&self, mut spec: ServiceSpec, shape: &Shape) -> ServiceSpec {
        for n in (0..4).filter(|n| shape.networks & (1 << n) != 0) {
            let network = format!("n{n}");
            if self.world.view().network_by_name(&network).is_some() {
                spec.task.networks.push(NetworkUse {
                    network,
                    aliases: vec!["alias".to_owned()],
                });
            }
        }
        spec
    }

    fn take_network(&mut self, step: &Step) {
        match step {
            Step::Network(n) => {
                // They have their range in turn, one of them with another beside it.
                let subnets = (*n == 0 || *n == 3).then(|| "10.9.0.0/29".parse().unwrap());
                self.ask(&Request::CreateNetwork {
                    spec: NetworkSpec {
                        name: format!("n{n}"),
                        ipv6: *n % 2 == 1,
                        subnets: subnets.into_iter().collect(),
                        ..NetworkSpec::default()
                    },
                });
            }
            Step::RemoveNetwork(n) => self.ask(&Request::RemoveNetwork {
                reference: format!("n{n}"),
            }),
            Step::Stack {
                name,
                shape,
                network,
                prune,
            } => {
                let mut spec = StackSpec {
                    name: format!("stack{name}"),
                    ..StackSpec::default()
                };
                if *network {
                    let subnet = format!("10.9.{}.0/29", name + 1);
                    let own = StackNetwork::Own(NetworkSpec {
                        subnets: vec![subnet.parse().unwrap()],
                        ..NetworkSpec::default()
                    });
                    spec.networks.insert("own".to_owned(), own);
                }
                for service in ["a", "b"].into_iter().take(1 + usize::from(shape.replicas % 2)) {
                    let mut service_spec = shaped(service, shape);
                    if *network && shape.spread {
                        service_spec.task.networks.push(NetworkUse {
                            network: "own".to_owned(),
                            aliases: Vec::new(),
                        });
                    }
                    spec.services.insert(service.to_owned(), service_spec);
                }
                self.ask(&Request::DeployStack { spec, prune: *prune });
            }
            Step::RemoveStack(name) => self.ask(&Request::RemoveStack {
                reference: format!("stack{name}"),
            }),
            _ => unreachable!(),
        }
    }

    fn take_service(&mut self, step: &Step) {
        match step {
            Step::Create(shape) => {
                self.made += 1;
                let spec = self.on_networks(shaped(&format!("s{}", self.made), shape), shape);
                self.ask(&Request::CreateService { spec });
            }
            Step::Update(service, shape) => {
                if let Some(service) = self.service(*service) {
                    let mut spec = self.on_networks(shaped(&service.spec.name, shape), shape);
                    spec.mode = service.spec.mode;
                    self.ask(&Request::UpdateService {
                        reference: service.id.to_string(),
                        version: service.meta.version,
                        spec,
                        force: shape.restart == 0,
                    });
                }
            }
            Step::Scale(service, replicas) => {
                if let Some(service) = self.service(*service) {
                    self.ask(&Request::ScaleServices {
                        scales: vec![(service.id.to_string(), (*replicas).into())],
                    });
                }
            }
            Step::Remove(service) => {
                if let Some(service) = self.service(*service) {
                    self.ask(&Request::RemoveService {
                        reference: service.id.to_string(),
                    });
                }
            }
            _ => unreachable!(),
        }
    }

    /// A planner that knows nothing but the store finds nothing to do.
    fn check_fixpoint(&mut self) {
        let view = self.world.store.snapshot();
        let mut fresh = shoal_core::planner::Planner::new();
        fresh.lead(&view, self.world.now);
        let mut ids = IdGen::from_number(99);
        let plan = fresh.turn(
            &view,
            shoal_core::planner::TurnContext {
                ids: &mut ids,
                now: self.world.now,
                wall: self.world.wall(),
                budget: 1_000_000,
            },
        );
        let stored: Vec<_> = plan
            .changes
            .iter()
            .map(|change| view.get(&change.key()))
            .collect();
        assert!(
            plan.changes.is_empty(),
            "left to plan: {:#?}\nstored: {stored:#?}",
            plan.changes
        );
        assert!(!plan.more);
    }

    /// All nodes are well, workers work and time passes: whatever may run runs.
    fn heal(&mut self) {
        self.world.budget = 2000;
        self.world.held_up = 0;
        self.world.deliver();
        for (id, description) in self.descriptions.clone() {
            if self.world.view().node(&id).is_some() {
                self.world.open_session(&id, description);
            }
        }
        self.world.settle();
        for _ in 0..400 {
            self.world.run_workers();
            self.world.pass(Duration::from_secs(1));
        }
        self.world.run_workers();
        for task in self.world.view().tasks() {
            let live = task.desired <= DesiredState::Running;
            let hungry = task
                .wait
                .as_ref()
                .is_some_and(|wait| wait.code == WaitCode::NoAddress);
            let waits = task.status.state == TaskState::Pending || hungry;
            let stuck = live && task.status.state != TaskState::Running && !waits;
            assert!(!stuck, "it neither runs nor waits for a node: {task:#?}");
            assert!(
                live || task.status.state.is_terminal(),
                "it never stopped: {task:#?}"
            );
        }
        for service in self.world.view().services() {
            self.check_count(service);
        }
        for network in self.world.view().networks() {
            // A service whose update cannot go on still has tasks in it.
            let held = self.world.view().holders(&network.id).next().is_some();
            assert!(!network.status.removed || held, "it never went: {network:#?}");
        }
    }

    fn check_count(&self, service: &Service) {
        let Mode::Replicated { replicas } = service.spec.mode else {
            return;
        };
        let mut slots: Vec<_> = self
            .world
            .view()
            .tasks_of_service(&service.id)
            .map(|task| task.slot.clone())
            .collect();
        slots.dedup();
        assert_eq!(
            slots.len(),
            usize::try_from(replicas).unwrap(),
            "{}",
            service.spec.name
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, max_shrink_iters: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_applied_leaves_nothing_to_plan(steps in prop::collection::vec(steps(), 1..60)) {
        let mut history = History::new();
        for (n, step) in steps.iter().enumerate() {
            // What a lost step would have planned is planned again after it.
            if matches!(steps.get(n + 1), Some(Step::Lose)) {
                history.lose_plans_of(step);
            } else {
                history.take(step);
            }
            history.check_fixpoint();
        }
        history.heal();
        history.check_fixpoint();
    }

    #[test]
    fn the_same_history_gives_the_same_bytes(steps in prop::collection::vec(steps(), 1..40)) {
        let run = || {
            let mut history = History::new();
            for step in &steps {
                history.take(step);
            }
            (history.world.store.digest(), history.world.changes)
        };
        prop_assert_eq!(run(), run());
    }
}
