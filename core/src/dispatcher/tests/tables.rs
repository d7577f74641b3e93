//! Who is told what of networks, and when. That diffs add up to the whole is asked after every step, here and in the
//! histories of planning.

use super::status;
use crate::{
    check,
    dispatcher::*,
    model::*,
    store::{Applied, Change, Entry, Event, ObjectKey, Store},
};
use std::collections::BTreeMap;

struct World {
    store: Store,
    sessions: Sessions,
    ids: IdGen,
    held: BTreeMap<NodeId, (Position, NetworkTables)>,
    index: u64,
    ingress: NetworkId,
}

impl World {
    fn new() -> Self {
        let mut ids = IdGen::from_number(1);
        let mut world = Self {
            store: Store::new(),
            sessions: Sessions::new(),
            ingress: NetworkId::mint(&mut ids),
            ids,
            held: BTreeMap::new(),
            index: 0,
        };
        let ingress = network(&world.ingress, INGRESS, 0);
        world.apply(vec![ingress.into()]);
        world
    }

    fn store(&mut self, changes: Vec<Change>) -> Vec<Event> {
        self.index += 1;
        let entry = Entry {
            min_version: 1,
            term: 1,
            planned_after: self.store.view().last_effective_index(),
            changes,
            ..Entry::default()
        };
        let Applied::Took(events) = self.store.apply(self.index, 1, &entry) else {
            panic!("dropped");
        };
        events
    }

    /// The diffs that the events lead to, in words: `+web`, `-web`, sorted, by node.
    fn hear(&mut self, events: &[Event]) -> BTreeMap<NodeId, Vec<String>> {
        let view = self.store.snapshot();
        let mut said = BTreeMap::new();
        for (node, assignments) in self.sessions.handle(&view, events) {
            let (position, tables) = self.held.get_mut(&node).unwrap();
            assert_eq!(assignments.prev, Some(*position));
            *position = assignments.position;
            let before = tables.clone();
            tables.apply(&assignments.tables);
            said.insert(node, words(&before, &assignments.tables));
        }
        for (node, (_, tables)) in &self.held {
            assert_eq!(check::tables(&view, node, tables), Vec::<String>::new());
        }
        said
    }

    fn apply(&mut self, changes: Vec<Change>) -> BTreeMap<NodeId, Vec<String>> {
        let events = self.store(changes);
        self.hear(&events)
    }

    fn open(&mut self) -> NodeId {
        let node = NodeId::mint(&mut self.ids);
        let full = self.sessions.open(&self.store.snapshot(), &node);
        let mut tables = NetworkTables::default();
        tables.apply(&full.tables);
        self.held.insert(node.clone(), (full.position, tables));
        node
    }

    fn network(&mut self, name: &str, n: u8) -> NetworkId {
        let id = NetworkId::mint(&mut self.ids);
        self.apply(vec![network(&id, name, n).into()]);
        id
    }

    fn service(&mut self, name: &str, networks: &[&NetworkId], published: Option<u16>) -> Service {
        let service = Service {
            id: ServiceId::mint(&mut self.ids),
            meta: Meta::default(),
            spec: ServiceSpec {
                name: name.to_owned(),
                labels: Labels::new(),
                mode: Mode::Replicated { replicas: 1 },
                task: TaskSpec::default(),
                ports: Vec::new(),
                endpoint_mode: EndpointMode::Vip,
                update: UpdateConfig::default(),
            },
            revision: 1,
            stack: None,
            endpoint: ServiceEndpoint {
                networks: networks
                    .iter()
                    .map(|network| ResolvedUse {
                        network: (*network).clone(),
                        aliases: Vec::new(),
                    })
                    .collect(),
                vips: Vec::new(),
                ports: published.map(port).into_iter().collect(),
            },
            update: None,
        };
        self.apply(vec![revision(&service).into(), service.clone().into()]);
        service
    }

    /// A task of the service that was just assigned.
    fn task(&mut self, service: &Service, node: &NodeId) -> Task {
        let networks = service.endpoint.networks.iter();
        let task = Task {
            id: TaskId::mint(&mut self.ids),
            meta: Meta::default(),
            service: service.id.clone(),
            revision: 1,
            slot: Slot::Replica(1),
            node: Some(node.clone()),
            attachments: networks.map(|used| self.place(&used.network)).collect(),
            desired: DesiredState::Running,
            status: status(TaskState::Assigned, 0),
            not_before: None,
            sequence: 1,
            restarts: Restarts::default(),
            wait: None,
        };
        self.apply(vec![task.clone().into()]);
        task
    }

    fn place(&self, network: &NetworkId) -> Attachment {
        let number = self.store.view().free_number(network, 1);
        let of = self.store.view().network(network).unwrap();
        Attachment {
            network: network.clone(),
            number,
            addresses: crate::allocator::addresses(of, number),
        }
    }

    fn move_on(&mut self, task: &mut Task, state: TaskState) -> BTreeMap<NodeId, Vec<String>> {
        task.status.state = state;
        self.apply(vec![task.clone().into()])
    }
}

fn revision(service: &Service) -> Revision {
    Revision {
        key: RevisionKey {
            service: service.id.clone(),
            number: service.revision,
        },
        meta: Meta::default(),
        task: TaskSpec::default(),
        ports: service.endpoint.ports.clone(),
        networks: service.endpoint.networks.clone(),
    }
}

fn network(id: &NetworkId, name: &str, n: u8) -> Network {
    Network {
        id: id.clone(),
        meta: Meta::default(),
        spec: NetworkSpec {
            name: name.to_owned(),
            ingress: name == INGRESS,
            ..NetworkSpec::default()
        },
        stack: None,
        status: NetworkStatus {
            v4: Some(format!("10.{n}.0.0/16").parse().unwrap()),
            ..NetworkStatus::default()
        },
    }
}

fn port(published: u16) -> PublishedPort {
    PublishedPort {
        target: 80,
        published,
        protocol: Protocol::Tcp,
        mode: PortMode::Ingress,
        host_ip: None,
    }
}

fn words(before: &NetworkTables, diff: &TablesDiff) -> Vec<String> {
    let mut words = Vec::new();
    for (id, network) in &diff.networks {
        words.push(match network {
            Some(network) => format!("+{}", network.name),
            None => format!("-{}", before.networks[id].name),
        });
    }
    for (id, service) in &diff.services {
        words.push(match service {
            Some(service) => format!("+{}", service.name),
            None => format!("-{}", before.services[id].name),
        });
    }
    for (id, endpoint) in &diff.endpoints {
        words.push(match endpoint {
            Some(endpoint) if endpoint.draining => "~endpoint".to_owned(),
            Some(_) => "+endpoint".to_owned(),
            None => {
                assert!(before.endpoints.contains_key(id), "it was not there");
                "-endpoint".to_owned()
            }
        });
    }
    words.sort();
    words
}

fn said(node: &NodeId, words: &[&str]) -> (NodeId, Vec<String>) {
    (
        node.clone(),
        words.iter().map(|word| (*word).to_owned()).collect(),
    )
}

#[test]
fn an_endpoint_is_known_while_it_runs_and_drains_before_it_ends() {
    let mut world = World::new();
    let front = world.network("front", 1);
    let web = world.service("web", &[&front], None);
    let (here, there, elsewhere) = (world.open(), world.open(), world.open());
    let mut first = world.task(&web, &here);
    world.move_on(&mut first, TaskState::Running);
    let mut second = world.task(&web, &there);
    for state in [TaskState::Preparing, TaskState::Ready, TaskState::Starting] {
        assert_eq!(world.move_on(&mut second, state), BTreeMap::new(), "{state:?}");
    }
    let both = |word: &str| BTreeMap::from([said(&here, &[word]), said(&there, &[word])]);
    assert_eq!(world.move_on(&mut second, TaskState::Running), both("+endpoint"));
    second.desired = DesiredState::Shutdown;
    assert_eq!(world.apply(vec![second.clone().into()]), both("~endpoint"));
    let told = world.move_on(&mut second, TaskState::Shutdown);
    assert_eq!(told[&here], ["-endpoint"]);
    assert_eq!(
        told[&there],
        ["-endpoint", "-endpoint", "-front", "-web"],
        "it has no task in it"
    );
    assert_eq!(world.held[&elsewhere].1.endpoints, BTreeMap::new());
}

#[test]
fn a_node_knows_a_network_from_its_first_task_to_its_last() {
    let mut world = World::new();
    let (front, back) = (world.network("front", 1), world.network("back", 2));
    let web = world.service("web", &[&front], None);
    let db = world.service("db", &[&front, &back], None);
    let (here, there) = (world.open(), world.open());
    let mut task = world.task(&db, &here);
    world.move_on(&mut task, TaskState::Running);
    assert_eq!(world.held[&there].1.services, BTreeMap::new());
    let events = world.store(vec![]);
    assert_eq!(world.hear(&events), BTreeMap::new());
    let mut other = world.task(&web, &there);
    let names = |world: &World, node: &NodeId| -> Vec<String> {
        let tables = &world.held[node].1;
        let networks = tables.networks.values().map(|network| network.name.clone());
        let services = tables.services.values().map(|service| service.name.clone());
        let mut names: Vec<_> = networks.chain(services).collect();
        names.sort();
        names
    };
    assert_eq!(names(&world, &there), ["db", "front", "ingress", "web"]);
    assert_eq!(names(&world, &here), ["back", "db", "front", "ingress", "web"]);
    assert_eq!(world.held[&there].1.endpoints.len(), 1);
    world.move_on(&mut other, TaskState::Failed);
    assert_eq!(names(&world, &there), ["ingress"]);
    let deleted = Change::Delete(ObjectKey::Task(task.id.clone()));
    let told = world.apply(vec![deleted]);
    assert_eq!(told[&here], ["-back", "-db", "-endpoint", "-front", "-web"]);
}

#[test]
fn what_is_published_is_known_everywhere() {
    let mut world = World::new();
    let front = world.network("front", 1);
    let (here, there) = (world.open(), world.open());
    let mut web = world.service("web", &[&front], Some(8080));
    assert_eq!(world.held[&there].1.services.len(), 1);
    let mut task = world.task(&web, &here);
    assert_eq!(
        world.move_on(&mut task, TaskState::Running)[&there],
        ["+endpoint"]
    );
    web.endpoint.ports.clear();
    let told = world.apply(vec![web.clone().into()]);
    assert_eq!(
        told,
        BTreeMap::from([said(&here, &["+web"]), said(&there, &["-endpoint", "-web"])])
    );
    web.endpoint.ports.push(port(8081));
    let told = world.apply(vec![web.clone().into()]);
    assert_eq!(told[&there], ["+endpoint", "+web"]);
    let told = world.apply(vec![Change::Delete(ObjectKey::Service(web.id.clone()))]);
    assert_eq!(told[&there], ["-endpoint", "-web"]);
    assert_eq!(
        told[&here],
        ["-web"],
        "its task runs there until it is told to stop"
    );
}

#[test]
fn an_older_task_says_which_ports_it_has_while_the_services_are_others() {
    let mut world = World::new();
    let (front, back) = (world.network("front", 1), world.network("back", 2));
    let mut web = world.service("web", &[&front], Some(8080));
    let guest = world.service("guest", &[&front], None);
    let (here, there) = (world.open(), world.open());
    let mut old = world.task(&web, &here);
    world.move_on(&mut old, TaskState::Running);
    world.task(&guest, &there);
    let own = |world: &World| [&here, &there].map(|node| world.held[node].1.endpoints[&old.id].ports.clone());
    assert_eq!(own(&world), [None, None]);
    let update = |world: &mut World, web: &mut Service, change: &dyn Fn(&mut Service)| {
        web.revision += 1;
        change(web);
        world.apply(vec![revision(web).into(), web.clone().into()])
    };
    let both = |words: &[&str]| BTreeMap::from([said(&here, words), said(&there, words)]);
    let told = update(&mut world, &mut web, &|web| web.endpoint.ports[0].target = 81);
    assert_eq!(told, both(&["+endpoint", "+web"]));
    let kept = Some(vec![port(8080)]);
    assert_eq!(own(&world), [kept.clone(), kept.clone()]);
    // The nodes of a network that the service has left still reach the task in it.
    update(&mut world, &mut web, &|web| {
        web.endpoint.networks[0].network = back.clone();
    });
    let told = update(&mut world, &mut web, &|web| web.endpoint.ports.clear());
    assert_eq!(told[&there], ["-web"]);
    assert_eq!(own(&world), [kept.clone(), kept]);
    let told = update(&mut world, &mut web, &|web| web.endpoint.ports.push(port(8080)));
    assert_eq!(told, both(&["+endpoint", "+web"]));
    assert_eq!(own(&world), [None, None]);
    update(&mut world, &mut web, &|web| web.endpoint.ports[0].target = 81);
    let told = world.apply(vec![Change::Delete(ObjectKey::Service(web.id.clone()))]);
    assert_eq!(told, both(&["+endpoint", "-web"]));
}

#[test]
fn pools_that_the_cluster_gets_later_are_told() {
    let mut world = World::new();
    let mut cluster = Cluster {
        id: ClusterId::mint(&mut world.ids),
        meta: Meta::default(),
        spec: ClusterSpec::default(),
        status: ClusterStatus::default(),
    };
    world.apply(vec![cluster.clone().into()]);
    let here = world.open();
    cluster.spec.pools.v6 = Some("fd12:3456:789a::/48".parse().unwrap());
    let told = world.apply(vec![cluster.clone().into()]);
    assert_eq!(told, BTreeMap::from([said(&here, &[])]));
    assert_eq!(world.held[&here].1.pools.len(), 2);
    cluster.spec.name = "other".to_owned();
    assert_eq!(world.apply(vec![cluster.into()]), BTreeMap::new());
}

#[test]
fn members_of_ingress_do_not_know_each_other() {
    let mut world = World::new();
    let ingress = world.ingress.clone();
    let (here, there) = (world.open(), world.open());
    let (one, two) = (
        world.service("one", &[&ingress], None),
        world.service("two", &[&ingress], None),
    );
    let (mut first, mut second) = (world.task(&one, &here), world.task(&two, &there));
    assert_eq!(
        world.move_on(&mut first, TaskState::Running),
        BTreeMap::from([said(&here, &["+endpoint"])])
    );
    world.move_on(&mut second, TaskState::Running);
    for node in [&here, &there] {
        let tables = &world.held[node].1;
        assert_eq!((tables.services.len(), tables.endpoints.len()), (1, 1));
    }
}

#[test]
fn a_change_of_a_services_own_address_is_sent_alone() {
    let mut world = World::new();
    let front = world.network("front", 1);
    let mut web = world.service("web", &[&front], None);
    let here = world.open();
    let mut task = world.task(&web, &here);
    world.move_on(&mut task, TaskState::Running);
    web.endpoint.vips = vec![world.place(&front)];
    let told = world.apply(vec![web.clone().into()]);
    assert_eq!(told, BTreeMap::from([said(&here, &["+web"])]));
    // What concerns nobody's tables is not sent.
    web.spec.labels.insert("a".to_owned(), "b".to_owned());
    let mut network = Network::clone(world.store.view().network(&front).unwrap());
    network.status.last = 7;
    assert_eq!(world.apply(vec![web.into(), network.into()]), BTreeMap::new());
}

#[test]
fn several_entries_are_one_diff() {
    let mut world = World::new();
    let front = world.network("front", 1);
    let web = world.service("web", &[&front], None);
    let (here, there) = (world.open(), world.open());
    let mut task = world.task(&web, &here);
    let mut other = world.task(&web, &there);
    let mut events = Vec::new();
    for (task, state) in [(&mut task, TaskState::Running), (&mut other, TaskState::Running)] {
        task.status.state = state;
        events.extend(world.store(vec![task.clone().into()]));
    }
    task.status.state = TaskState::Failed;
    events.extend(world.store(vec![task.clone().into()]));
    let told = world.hear(&events);
    assert_eq!(
        told[&there],
        ["+endpoint"],
        "the one that ended at once was never there"
    );
    assert_eq!(told[&here], ["-front", "-web"]);
}
