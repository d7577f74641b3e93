//! Users' writes: what they change, and what they are refused for. What follows from them is in the
//! scenario scripts.

use super::*;
use crate::{
    model::*,
    store::{Applied, Entry, Object, ObjectKey, Store},
};

struct World {
    store: Store,
    ids: IdGen,
    index: u64,
}

impl World {
    fn new() -> Self {
        Self {
            store: Store::new(),
            ids: IdGen::from_number(1),
            index: 0,
        }
    }

    fn plan(&mut self, request: &Request) -> Result<(Vec<Change>, Response), Refusal> {
        let mut ctx = RequestContext {
            ids: &mut self.ids,
            now: Timestamp(1),
            wall: WallTime(1),
        };
        plan(self.store.view(), request, &mut ctx)
    }

    fn carry_out(&mut self, request: &Request) -> Response {
        let (changes, response) = self.plan(request).unwrap();
        self.apply(changes);
        response
    }

    fn apply(&mut self, changes: Vec<Change>) {
        self.index += 1;
        let entry = Entry {
            min_version: 1,
            term: 1,
            planned_after: self.store.view().last_effective_index(),
            changes,
            ..Entry::default()
        };
        assert!(matches!(
            self.store.apply(self.index, 1, &entry),
            Applied::Took(_)
        ));
    }

    fn update(&mut self, version: u64, change: impl FnOnce(&mut ServiceSpec), force: bool) -> Request {
        let mut spec = self.store.view().service_by_name("web").unwrap().spec.clone();
        change(&mut spec);
        Request::UpdateService {
            reference: "web".to_owned(),
            version: Version(version),
            spec,
            force,
        }
    }
}

fn web() -> ServiceSpec {
    let mut task = TaskSpec::default();
    task.container.image = "web:1".to_owned();
    ServiceSpec {
        name: "web".to_owned(),
        labels: Labels::new(),
        mode: Mode::Replicated { replicas: 1 },
        task,
        ports: Vec::new(),
        endpoint_mode: EndpointMode::Vip,
        update: UpdateConfig::default(),
    }
}

fn kinds(changes: &[Change]) -> Vec<crate::store::Kind> {
    changes.iter().map(|change| change.key().kind()).collect()
}

#[test]
fn a_revision_is_made_only_of_what_tasks_are_made_from() {
    use crate::store::Kind::{Revision, Service};
    let mut world = World::new();
    let created = world.carry_out(&Request::CreateService { spec: web() });
    let Response::Service { warnings, .. } = created else {
        panic!("{created:?}");
    };
    assert_eq!(warnings.len(), 1, "not pinned: {warnings:?}");
    for (expect, force, change) in [
        (vec![], false, (|_| {}) as fn(&mut ServiceSpec)),
        (vec![Service], false, |s| {
            s.mode = Mode::Replicated { replicas: 4 }
        }),
        (vec![Service], false, |s| {
            s.labels.insert("a".to_owned(), "b".to_owned());
        }),
        (vec![Revision, Service], false, |s| {
            s.task.container.image = "web:2".to_owned();
        }),
        (vec![Revision, Service], true, |_| {}),
    ] {
        let request = world.update(1, change, force);
        let (changes, _) = world.plan(&request).unwrap();
        assert_eq!(kinds(&changes), expect);
    }
}

#[test]
fn a_stale_update_is_refused_and_says_so() {
    let mut world = World::new();
    world.carry_out(&Request::CreateService { spec: web() });
    let first = world.update(1, |s| s.task.container.image = "web:2".to_owned(), false);
    world.carry_out(&first);
    let refusal = world.plan(&first).unwrap_err();
    assert_eq!(
        (refusal.code, refusal.field.as_deref()),
        (RefusalCode::Stale, Some("version"))
    );
    assert!(refusal.hint.is_some());
}

#[test]
fn references_are_ids_names_and_prefixes() {
    let mut world = World::new();
    let Response::Service { id, .. } = world.carry_out(&Request::CreateService { spec: web() }) else {
        panic!("no service");
    };
    for reference in [id.as_str(), "web", &id.as_str()[..5]] {
        let remove = Request::RemoveService {
            reference: reference.to_owned(),
        };
        let (changes, _) = world.plan(&remove).unwrap();
        assert_eq!(changes, vec![Change::Delete(ObjectKey::Service(id.clone()))]);
    }
    for reference in ["", "we", "webb"] {
        let remove = Request::RemoveService {
            reference: reference.to_owned(),
        };
        assert_eq!(
            world.plan(&remove).unwrap_err().code,
            RefusalCode::NotFound,
            "{reference:?}"
        );
    }
}

#[test]
fn a_transaction_has_a_bound() {
    let mut world = World::new();
    let services = (0..MAX_CHANGES / 2).map(|n| (format!("s{n}"), web()));
    let spec = StackSpec {
        name: "app".to_owned(),
        services: services
            .map(|(name, service)| (name.clone(), ServiceSpec { name, ..service }))
            .collect(),
        networks: Default::default(),
    };
    let refusal = world
        .plan(&Request::DeployStack { spec, prune: false })
        .unwrap_err();
    assert_eq!(refusal.code, RefusalCode::TooLarge);
}

#[test]
fn a_deploy_names_the_keys_that_changed() {
    let mut world = World::new();
    let deploy = |service: ServiceSpec| {
        let service = ServiceSpec {
            name: "web".to_owned(),
            ..service
        };
        let spec = StackSpec {
            name: "app".to_owned(),
            services: [("web".to_owned(), service)].into(),
            networks: Default::default(),
        };
        Request::DeployStack { spec, prune: false }
    };
    world.carry_out(&deploy(web()));
    let mut changed = web();
    let container = &mut changed.task.container;
    container.extra_hosts = vec![("db".to_owned(), "10.0.0.1".to_owned())];
    container.dns.servers = vec!["10.0.0.2".parse().unwrap()];
    let (_, response) = world.plan(&deploy(changed)).unwrap();
    let Response::Stack { changes, .. } = response else {
        panic!("{response:?}");
    };
    assert_eq!(changes[0].details, ["extra_hosts", "dns"]);
}

#[test]
fn revision_numbers_are_never_used_twice() {
    let mut world = World::new();
    world.carry_out(&Request::CreateService { spec: web() });
    for n in 2..5 {
        let version = world.store.view().service_by_name("web").unwrap().meta.version.0;
        let request = world.update(version, |s| s.task.container.image = format!("web:{n}"), false);
        let (changes, _) = world.plan(&request).unwrap();
        let Change::Put(Object::Revision(revision)) = &changes[0] else {
            panic!("{changes:?}");
        };
        assert_eq!(revision.key.number, n);
        world.carry_out(&request);
    }
}

fn first_entry() -> Request {
    let mut ids = IdGen::from_number(7);
    let pools = AddressPools {
        v6: Some("fd12:3456:789a::/48".parse().unwrap()),
        ..AddressPools::default()
    };
    let cluster = Cluster {
        id: ClusterId::mint(&mut ids),
        meta: Meta::default(),
        spec: ClusterSpec {
            pools,
            ..ClusterSpec::default()
        },
        status: ClusterStatus::default(),
    };
    let node = Node {
        id: NodeId::mint(&mut ids),
        meta: Meta::default(),
        spec: NodeSpec {
            labels: Labels::new(),
            role: Role::Manager,
            availability: Availability::Active,
        },
        description: None,
        status: NodeStatus {
            state: NodeState::Ready,
            message: String::new(),
            since: WallTime(0),
            at: Timestamp::ZERO,
        },
        manager: None,
    };
    Request::Bootstrap {
        cluster: Box::new(cluster),
        node: Box::new(node),
    }
}

#[test]
fn the_first_entry_makes_the_network_that_everybody_has() {
    let mut world = World::new();
    world.carry_out(&first_entry());
    let view = world.store.view();
    let ingress = view.network_by_name("ingress").unwrap();
    assert!(ingress.spec.ingress);
    assert_eq!(ingress.status.v4, Some("10.128.0.0/15".parse().unwrap()));
    assert_eq!(ingress.status.v6, Some("fd12:3456:789a:1::/64".parse().unwrap()));
    world.carry_out(&Request::CreateService { spec: web() });
    let view = world.store.view();
    let service = view.service_by_name("web").unwrap();
    assert_eq!(
        service.endpoint.networks[0].network,
        view.network_by_name("ingress").unwrap().id
    );
    assert_eq!(
        service.endpoint.vips,
        [],
        "nobody meets in it, and nothing is published"
    );
}

#[test]
fn the_pools_are_fixed_when_the_cluster_is_made() {
    let mut world = World::new();
    world.carry_out(&first_entry());
    let cluster = world.store.view().cluster().unwrap().clone();
    let mut spec = cluster.spec.clone();
    spec.pools.v4_subnet_length = 24;
    let refusal = world
        .plan(&Request::UpdateCluster {
            version: cluster.meta.version,
            spec,
        })
        .unwrap_err();
    assert_eq!(refusal.field.as_deref(), Some("pools"));
}

/// A node that says of itself that its host has these routes.
fn node_with(routes: &[&str]) -> Node {
    let Request::Bootstrap { mut node, .. } = first_entry() else {
        panic!("no first entry");
    };
    node.description = Some(NodeDescription {
        hostname: "laptop".to_owned(),
        routes: routes.iter().map(|route| route.parse().unwrap()).collect(),
        ..NodeDescription::default()
    });
    *node
}

#[test]
fn a_route_that_takes_the_pools_is_named() {
    for (routes, named) in [
        (vec![], None),
        (vec!["0.0.0.0/1", "128.0.0.0/1", "fc00::/7", "10.0.0.0/8"], None),
        (vec!["10.128.0.0/12", "10.129.0.0/16"], Some("10.128.0.0/12")),
    ] {
        let mut world = World::new();
        world.carry_out(&first_entry());
        world.apply(vec![node_with(&routes).into()]);
        let request = Request::CreateNetwork {
            spec: NetworkSpec {
                name: "front".to_owned(),
                ipv6: true,
                ..NetworkSpec::default()
            },
        };
        let refusal = world.plan(&request).err();
        let expect = named.map(|route| {
            (
                RefusalCode::Exhausted,
                format!("node \"laptop\" (25) has the route {route}"),
            )
        });
        let said = refusal.map(|refusal| {
            let id = node_with(&[]).id.to_string();
            let (_, place) = refusal.message.split_once("10.128.0.0/12, where ").unwrap();
            assert!(refusal.hint.unwrap().contains("a VPN perhaps"));
            (refusal.code, place.replace(&id, "25"))
        });
        assert_eq!(said, expect, "{routes:?}");
    }
}

#[test]
fn who_asks_for_the_subnet_of_what_goes_is_told_what_to_wait_for() {
    let mut world = World::new();
    world.carry_out(&first_entry());
    let network = |name: &str, subnet: &str| Request::CreateNetwork {
        spec: NetworkSpec {
            name: name.to_owned(),
            subnets: vec![subnet.parse().unwrap()],
            ..NetworkSpec::default()
        },
    };
    world.carry_out(&network("front", "10.9.0.0/29"));
    let mut service = web();
    service.task.networks = vec![NetworkUse {
        network: "front".to_owned(),
        aliases: Vec::new(),
    }];
    world.carry_out(&Request::CreateService { spec: service });
    for reference in ["web", "front"] {
        let reference = reference.to_owned();
        world.carry_out(&match reference.as_str() {
            "web" => Request::RemoveService { reference },
            _ => Request::RemoveNetwork { reference },
        });
    }
    let refusal = world.plan(&network("back", "10.9.0.0/28")).unwrap_err();
    assert_eq!(
        (refusal.code, refusal.hint.as_deref()),
        (
            RefusalCode::Conflict,
            Some("try again in 10 s, or ask for another subnet, or for none: then a free one is chosen")
        )
    );
    let (changes, _) = world.plan(&network("back", "10.9.0.0/29")).unwrap();
    let [Change::Delete(_), Change::Put(Object::Network(heir))] = changes.as_slice() else {
        panic!("{changes:?}");
    };
    assert_eq!((heir.status.last, heir.status.resting.len()), (1, 1));
}

#[test]
fn what_changes_of_networks_makes_a_revision_where_tasks_differ() {
    use crate::store::Kind::{Network, Revision, Service};
    let mut world = World::new();
    world.carry_out(&first_entry());
    for name in ["front", "back"] {
        world.carry_out(&Request::CreateNetwork {
            spec: NetworkSpec {
                name: name.to_owned(),
                ..NetworkSpec::default()
            },
        });
    }
    let joined = |network: &str, alias: &str| NetworkUse {
        network: network.to_owned(),
        aliases: vec![alias.to_owned()],
    };
    let mut spec = web();
    spec.task.networks = vec![joined("front", "www")];
    let published = PublishedPort {
        target: 80,
        published: 0,
        protocol: Protocol::Tcp,
        mode: PortMode::Ingress,
        host_ip: None,
    };
    spec.ports = vec![published];
    world.carry_out(&Request::CreateService { spec });
    let version = world.store.view().service_by_name("web").unwrap().meta.version.0;
    let id = world.store.view().network_by_name("front").unwrap().id.clone();
    type ChangeOf = Box<dyn Fn(&mut ServiceSpec)>;
    let cases: Vec<(Vec<crate::store::Kind>, ChangeOf)> = vec![
        (vec![], Box::new(|_| {})),
        // The number that was chosen, said aloud.
        (vec![Service], Box::new(|s| s.ports[0].published = 30_000)),
        (
            vec![Revision, Service],
            Box::new(|s| s.ports[0].published = 30_001),
        ),
        (
            vec![Service, Network],
            Box::new(|s| s.endpoint_mode = EndpointMode::DnsRoundRobin),
        ),
        (
            vec![Revision, Service],
            Box::new(move |s| s.task.networks = vec![joined(id.as_str(), "www")]),
        ),
        (
            vec![Revision, Service, Network],
            Box::new(move |s| s.task.networks.push(joined("back", "www"))),
        ),
        (
            vec![Revision, Service],
            Box::new(|s| s.task.container.dns.search = vec!["example.org".to_owned()]),
        ),
    ];
    for (n, (expect, change)) in cases.into_iter().enumerate() {
        let request = world.update(version, |spec| change(spec), false);
        let (changes, _) = world.plan(&request).unwrap();
        assert_eq!(kinds(&changes), expect, "case {n}");
    }
}

#[test]
fn addresses_of_a_stack_are_given_in_one_transaction() {
    let mut world = World::new();
    world.carry_out(&first_entry());
    let services = (0..20).map(|n| {
        let mut service = web();
        service.task.networks = vec![NetworkUse {
            network: "in".to_owned(),
            aliases: Vec::new(),
        }];
        (format!("s{n}"), service)
    });
    let spec = StackSpec {
        name: "app".to_owned(),
        services: services
            .map(|(name, service)| (name.clone(), ServiceSpec { name, ..service }))
            .collect(),
        networks: [("in".to_owned(), StackNetwork::Own(NetworkSpec::default()))].into(),
    };
    world.carry_out(&Request::DeployStack { spec, prune: false });
    assert_eq!(crate::check::addresses(world.store.view()), Vec::<String>::new());
    let network = world.store.view().network_by_name("app_in").unwrap().clone();
    assert_eq!((network.status.last, network.meta.version.0), (20, world.index));
    world.carry_out(&Request::RemoveStack {
        reference: "app".to_owned(),
    });
    let network = world.store.view().network(&network.id).unwrap();
    assert!(network.status.removed, "its addresses rest");
    assert_eq!(network.status.resting.len(), 1);
}
