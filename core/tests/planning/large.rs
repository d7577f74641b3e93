//! What planning costs on a large cluster. The bounds are for builds without optimisation on a busy
//! machine; `cargo test --release -p shoal-core --test planning large -- --nocapture` prints the figures.

use super::world::{self, World};
use shoal_core::{
    model::*,
    request::{Request, Response},
};
use std::time::{Duration, Instant};

const NODES: usize = 5000;
const TASKS: u32 = 10_000;

fn cluster(nodes: usize) -> World {
    let mut world = World::new(5);
    world.checked = false;
    world.budget = 50_000;
    for n in 0..nodes {
        let (node, description) = world::node(&mut world.ids, &format!("n{n}"));
        let node = Node {
            description: Some(description),
            status: NodeStatus {
                state: NodeState::Ready,
                ..node.status
            },
            ..node
        };
        let id = node.id.clone();
        world.request(&Request::AddNode { node: Box::new(node) }).unwrap();
        world.workers.entry(id).or_default();
    }
    world.settle();
    world
}

#[expect(
    clippy::disallowed_methods,
    reason = "the test measures; core itself reads no clock"
)]
fn timed(what: &str, work: impl FnOnce()) -> Duration {
    let before = Instant::now();
    work();
    let took = before.elapsed();
    println!("{what}: {took:?}");
    took
}

fn create(world: &mut World, spec: ServiceSpec) -> ServiceId {
    let Ok(Response::Service { id, .. }) = world.request(&Request::CreateService { spec }) else {
        panic!("refused");
    };
    id
}

fn placed(world: &World, service: &ServiceId) -> (usize, u32) {
    let mut on_node = std::collections::BTreeMap::<NodeId, u32>::new();
    for task in world.view().tasks_of_service(service) {
        *on_node.entry(task.node.clone().unwrap()).or_default() += 1;
    }
    (on_node.len(), on_node.values().copied().max().unwrap())
}

#[test]
fn large_clusters_are_planned_in_time() {
    let mut world = cluster(NODES);
    let mut spec = world::service("web", Mode::Replicated { replicas: TASKS });
    spec.task.reservations.cpu = CpuNanos(100_000_000);
    spec.task
        .placement
        .constraints
        .push("node.platform.os==linux".to_owned());
    let web = create(&mut world, spec);
    let took = timed("10,000 tasks made and placed over 5,000 nodes", || world.settle());
    assert!(took < Duration::from_secs(30));
    assert_eq!(placed(&world, &web), (NODES, 2));

    let mut spread = world::service("spread", Mode::Replicated { replicas: TASKS });
    spread
        .task
        .placement
        .preferences
        .push(Preference::Spread("node.labels.zone".to_owned()));
    let spread = create(&mut world, spread);
    let took = timed("10,000 more with a preference", || world.settle());
    assert!(took < Duration::from_secs(30));
    assert_eq!(placed(&world, &spread), (NODES, 2));

    let running: Vec<_> = world
        .view()
        .tasks()
        .map(|t| (t.node.clone().unwrap(), t.id.clone()))
        .collect();
    timed("20,000 tasks reported running", || {
        for batch in running.chunks(100) {
            for (node, task) in batch {
                world.report(node, vec![(task.clone(), TaskState::Running)]);
            }
            world.settle();
        }
    });

    // One event costs what it touches.
    let task = world.view().tasks_of_service(&web).next().unwrap().id.clone();
    let took = timed("one task fails and is placed anew", || {
        let node = world.view().task(&task).unwrap().node.clone().unwrap();
        world.report(&node, vec![(task.clone(), TaskState::Failed)]);
        world.settle();
    });
    assert!(took < Duration::from_secs(1));
    let small = create(
        &mut world,
        world::service("small", Mode::Replicated { replicas: 1 }),
    );
    let took = timed("a service of one task", || world.settle());
    assert!(took < Duration::from_millis(500));
    assert_eq!(placed(&world, &small), (1, 1));

    let took = timed("a new leader looks at everything", || {
        world.take_over();
        world.settle();
    });
    assert!(took < Duration::from_secs(60));
    let took = timed("a service of 10,000 tasks is removed", || {
        world
            .request(&Request::RemoveService {
                reference: "spread".to_owned(),
            })
            .unwrap();
        world.settle();
    });
    assert!(took < Duration::from_secs(30));
}

#[test]
fn who_waits_for_an_address_costs_nothing_while_it_waits() {
    let mut world = cluster(10);
    let tiny = NetworkSpec {
        name: "tiny".to_owned(),
        subnets: vec!["10.9.0.0/29".parse().unwrap()],
        ..NetworkSpec::default()
    };
    world.request(&Request::CreateNetwork { spec: tiny }).unwrap();
    let mut spec = world::service("web", Mode::Replicated { replicas: TASKS });
    spec.task.networks.push(NetworkUse {
        network: "tiny".to_owned(),
        aliases: Vec::new(),
    });
    let web = create(&mut world, spec);
    let took = timed("10,000 tasks made, five of which have an address", || {
        world.settle();
    });
    assert!(took < Duration::from_secs(15));
    let placed = |world: &World| -> Vec<Task> {
        let tasks = world.view().tasks_of_service(&web);
        let placed = tasks.filter(|task| task.node.is_some());
        placed.map(|task| Task::clone(task)).collect()
    };
    let ended = placed(&world).remove(0);
    assert_eq!(placed(&world).len(), 5);
    let node = ended.node.clone().unwrap();
    let took = timed("one ends and its address rests and is given again", || {
        world.report(&node, vec![(ended.id.clone(), TaskState::Failed)]);
        world.settle();
        for _ in 0..12 {
            world.pass(Duration::from_secs(1));
        }
    });
    assert!(took < Duration::from_secs(1));
    let live = placed(&world).into_iter().filter(|task| task.id != ended.id);
    assert_eq!(live.count(), 5);
}
