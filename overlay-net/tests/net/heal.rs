//! Whatever is deleted comes back, and what was connected stays so.
//!
//! Damage is done through sockets that are not known as this process's own, as another program's would be.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use hickory_proto::rr::RecordType;
use shoal_overlay_net::desired::{PortKey, Protocol};
use shoal_overlay_net::namespace::Namespace;
use shoal_overlay_net::netlink::{self, Batch, Socket};
use shoal_overlay_net::nft::{Family, NftSocket, Operation, TableName};
use shoal_overlay_net::plan::host_link;
use shoal_overlay_net::rtnl::{Request, RouteSocket};

use crate::dns::lookup_in_stream;
use crate::world::{Container, Conversation, HOST, World, ask, ask_udp, in_a_host, until, vip};

/// The most that anything may stay away.
const MOST: Duration = Duration::from_secs(5);

/// What must survive: a client and a backend on a network, and somebody outside who asks by a published port.
struct Scene {
    world: World,
    client: Container,
    backend: Container,
    open: Vec<Conversation>,
}

impl Scene {
    async fn new(mut world: World) -> Self {
        let client = world.container(10, &["blue"]).await;
        let backend = world.container(11, &["blue"]).await;
        backend.serve(80, "backend");
        world.group("blue", 100, &[&backend]).await;
        let key = PortKey {
            protocol: Protocol::Tcp,
            address: None,
            port: 8080,
        };
        world.publish(key, Some(100), &[(&backend, 80)]).await;
        let mut open = Vec::new();
        for (vip, host) in vip("blue", 100).into_iter().zip(HOST) {
            let host = SocketAddr::new(host.parse().unwrap(), 8080);
            open.push(
                Conversation::open(&client.namespace, SocketAddr::new(vip, 80))
                    .await
                    .unwrap(),
            );
            open.push(
                Conversation::open(&world.host, SocketAddr::new(vip, 80))
                    .await
                    .unwrap(),
            );
            open.push(Conversation::open(&world.outside, host).await.unwrap());
        }
        Self {
            world,
            client,
            backend,
            open,
        }
    }

    /// Does damage, and waits until it is mended and everything goes on.
    async fn survives(&mut self, what: &str, damage: impl FnOnce(&Self)) {
        let before = self.world.net().status().borrow().healed;
        let start = Instant::now();
        damage(self);
        let mut status = self.world.net().status();
        let healed = tokio::time::timeout(MOST, status.wait_for(|status| status.healed > before)).await;
        healed
            .unwrap_or_else(|_elapsed| panic!("{what}: not mended"))
            .unwrap();
        assert!(start.elapsed() < MOST, "{what}: {:?}", start.elapsed());
        for (number, conversation) in self.open.iter_mut().enumerate() {
            conversation
                .echo()
                .await
                .unwrap_or_else(|error| panic!("{what}: connection {number}: {error}"));
        }
        for (vip, host) in vip("blue", 100).into_iter().zip(HOST) {
            let host: IpAddr = host.parse().unwrap();
            let answers = [
                ask(&self.client.namespace, vip, 80).await,
                ask(&self.backend.namespace, vip, 80).await,
                ask_udp(&self.client.namespace, vip, 80).await,
                ask(&self.world.host, vip, 80).await,
                ask(&self.world.outside, host, 8080).await,
            ];
            assert!(answers.iter().all(Result::is_ok), "{what}: {answers:?}");
        }
    }
}

/// Sends requests as another process would: under a port id that is not this process's own.
fn links(namespace: &Namespace, requests: impl FnOnce(&mut RouteSocket) -> Vec<Request<()>>) {
    let failures = namespace.enter(|| {
        let _takes_our_id = RouteSocket::open().unwrap();
        let mut socket = RouteSocket::open().unwrap();
        let requests = requests(&mut socket);
        assert!(!requests.is_empty(), "nothing to damage");
        socket.send(&requests, |()| -1).unwrap()
    });
    assert_eq!(failures.unwrap(), []);
}

fn operate(world: &World, namespace: &Namespace, operations: &[Operation]) {
    let tables = Family::ALL.map(|family| TableName {
        family,
        name: format!("shoal-{}", world.config.tag),
    });
    let both = tables
        .iter()
        .flat_map(|table| operations.iter().map(move |operation| (table, operation)));
    namespace
        .enter(|| {
            let _takes_our_id = NftSocket::open().unwrap();
            NftSocket::open().unwrap().commit(both)
        })
        .unwrap()
        .unwrap();
}

/// What `nft flush ruleset` sends.
pub(crate) fn flush_ruleset(namespace: &Namespace) {
    let mut batch = Batch::new();
    batch.message(0x10, 0, &[0, 0, 0, 10], |_| {});
    batch.message(10 << 8 | 2, 0, &[0; 4], |_| {});
    batch.message(0x11, 0, &[0, 0, 0, 10], |_| {});
    namespace
        .enter(|| {
            let _takes_our_id = Socket::open(netlink::Protocol::Netfilter).unwrap();
            Socket::open(netlink::Protocol::Netfilter)
                .unwrap()
                .send_all(&batch)
        })
        .unwrap()
        .unwrap();
}

#[test]
fn tables_come_back() {
    in_a_host(|world| async move {
        let mut scene = Scene::new(world).await;
        scene
            .survives("flush ruleset in the host", |scene| {
                flush_ruleset(&scene.world.host);
            })
            .await;
        scene
            .survives("flush ruleset in the router", |scene| {
                flush_ruleset(&scene.world.router());
            })
            .await;
        scene
            .survives("the host's tables", |scene| {
                operate(&scene.world, &scene.world.host, &[Operation::RemoveTable]);
            })
            .await;
        scene
            .survives("the router's rules", |scene| {
                let chains = ["spoof", "spread", "forward", "itself", "n1", "p1", "net-blue"];
                let flush = chains.map(|chain| Operation::FlushChain {
                    chain: chain.to_owned(),
                });
                operate(&scene.world, &scene.world.router(), &flush);
            })
            .await;
        scene
            .survives("an element", |scene| {
                let router = scene.world.router();
                let table = TableName {
                    family: Family::V4,
                    name: format!("shoal-{}", scene.world.config.tag),
                };
                let state = router
                    .enter(|| NftSocket::open().unwrap().table(&table))
                    .unwrap()
                    .unwrap()
                    .unwrap();
                let operations: Vec<_> = [
                    "vips",
                    "backends",
                    "doors",
                    "door-backends",
                    "networks",
                    "hairpins",
                ]
                .iter()
                .map(|set| Operation::RemoveElements {
                    set: (*set).to_owned(),
                    keys: state.sets[*set].elements.keys().copied().collect(),
                })
                .collect();
                let operations = operations.iter().map(|operation| (&table, operation));
                router
                    .enter(|| {
                        let _takes_our_id = NftSocket::open().unwrap();
                        NftSocket::open().unwrap().commit(operations)
                    })
                    .unwrap()
                    .unwrap();
            })
            .await;
    });
}

#[test]
fn links_come_back() {
    in_a_host(|world| async move {
        let mut scene = Scene::new(world).await;
        scene
            .survives("the host's link", |scene| {
                let name = host_link(&scene.world.config.tag);
                links(&scene.world.host, |socket| {
                    vec![Request::RemoveLink(socket.link(&name).unwrap().unwrap().index)]
                });
            })
            .await;
        scene
            .survives("a container's link, in the router", |scene| {
                links(&scene.world.router(), |socket| {
                    let links = socket.links().unwrap().into_iter();
                    links
                        .filter(|link| link.name.starts_with('v'))
                        .map(|link| Request::RemoveLink(link.index))
                        .collect()
                });
            })
            .await;
        scene
            .survives("a container's link, in the container", |scene| {
                links(&scene.backend.namespace, |socket| {
                    vec![Request::RemoveLink(socket.link("eth0").unwrap().unwrap().index)]
                });
            })
            .await;
    });
}

#[test]
fn addresses_routes_and_neighbours_come_back() {
    in_a_host(|world| async move {
        let mut scene = Scene::new(world).await;
        for side in ["router", "host", "container"] {
            let namespace = |scene: &Scene| match side {
                "router" => scene.world.router(),
                "host" => scene.world.host.clone(),
                _ => scene.backend.namespace.clone(),
            };
            let own = format!("shoal-{}", scene.world.config.tag);
            scene
                .survives(&format!("routes of the {side}"), |scene| {
                    links(&namespace(scene), |socket| {
                        let routes = socket.routes().unwrap().into_iter().filter(|route| route.ours);
                        routes.map(|route| Request::RemoveRoute(route.route)).collect()
                    });
                })
                .await;
            scene
                .survives(&format!("neighbours of the {side}"), |scene| {
                    links(&namespace(scene), |socket| {
                        socket
                            .neighbours()
                            .unwrap()
                            .into_iter()
                            .map(Request::RemoveNeighbour)
                            .collect()
                    });
                })
                .await;
            let what = format!("addresses of the {side}");
            scene
                .survives(&what, |scene| {
                    links(&namespace(scene), |socket| addresses_of(socket, &own));
                })
                .await;
        }
    });
}

/// Requests that take the addresses of Shoal's links away.
fn addresses_of(socket: &mut RouteSocket, mark: &str) -> Vec<Request<()>> {
    let links = socket.links().unwrap();
    let ours = |index: u32| {
        links
            .iter()
            .any(|link| link.index == index && link.alias.starts_with(mark))
    };
    let addresses = socket
        .addresses()
        .unwrap()
        .into_iter()
        .filter(|address| ours(address.link));
    addresses.map(Request::RemoveAddress).collect()
}

/// In a container's own count of processes, one of its may have any number: also this process's.
#[test]
fn what_a_process_of_the_same_number_took_away_comes_back() {
    in_a_host(|world| async move {
        let mut scene = Scene::new(world).await;
        // Not the first thing that is heard of the container.
        scene
            .survives("routes in the router", |scene| {
                links(&scene.world.router(), |socket| {
                    let routes = socket.routes().unwrap().into_iter().filter(|route| route.ours);
                    routes.map(|route| Request::RemoveRoute(route.route)).collect()
                });
            })
            .await;
        scene
            .survives("routes in a container", |scene| {
                let failures = scene.backend.namespace.enter(|| {
                    let mut socket = RouteSocket::open().unwrap();
                    assert_eq!(socket.port_id().unwrap(), std::process::id());
                    let routes = socket.routes().unwrap().into_iter().filter(|route| route.ours);
                    let requests: Vec<_> = routes.map(|route| Request::RemoveRoute(route.route)).collect();
                    socket.send::<()>(&requests, |()| -1).unwrap()
                });
                assert_eq!(failures.unwrap(), []);
            })
            .await;
    });
}

#[test]
fn forwarding_comes_back() {
    in_a_host(|world| async move {
        let mut scene = Scene::new(world).await;
        for (side, file) in [
            ("host", "ipv4/ip_forward"),
            ("router", "ipv4/ip_forward"),
            ("router", "ipv6/conf/all/forwarding"),
        ] {
            scene
                .survives(file, |scene| {
                    let namespace = if side == "host" {
                        scene.world.host.clone()
                    } else {
                        scene.world.router()
                    };
                    namespace
                        .enter(|| std::fs::write(format!("/proc/sys/net/{file}"), "0"))
                        .unwrap()
                        .unwrap();
                })
                .await;
        }
    });
}

#[test]
fn the_network_outlives_its_process() {
    in_a_host(|world| async move {
        let mut scene = Scene::new(world).await;
        let gone = scene.world.container(12, &["blue"]).await;
        let router = scene.world.router();
        let before = router
            .enter(|| RouteSocket::open().unwrap().links())
            .unwrap()
            .unwrap();
        scene.world.reopen(&[&scene.client, &scene.backend]).await;
        for conversation in &mut scene.open {
            conversation.echo().await.unwrap();
        }
        let after = router
            .enter(|| RouteSocket::open().unwrap().links())
            .unwrap()
            .unwrap();
        assert_eq!(after.len() + 1, before.len(), "what nobody wants is removed");
        assert!(
            after.iter().all(|link| before.contains(link)),
            "the others were not touched"
        );
        drop(gone);
    });
}

#[test]
fn the_way_to_names_comes_back_inside_a_container() {
    in_a_host(|mut world| async move {
        let all = [
            world.container(10, &["blue"]).await,
            world.container(11, &["red"]).await,
            world.container(12, &["blue"]).await,
            world.container(13, &["blue"]).await,
        ];
        world.names("blue", &[("web", &[all[0].v4()])]).await;
        world.names("red", &[("web", &[all[1].v4()])]).await;
        let pid = world.process().await;
        for container in &all {
            let start = Instant::now();
            flush_ruleset(&container.namespace);
            let expect = if container.v4() == all[1].v4() {
                &all[1]
            } else {
                &all[0]
            };
            let expect = format!("NoError {}", expect.v4());
            until("names are answered again", || async {
                let answer = lookup_in_stream(&container.namespace, "web", RecordType::A).await;
                answer.is_ok_and(|answer| answer == expect)
            })
            .await;
            assert!(start.elapsed() < MOST, "{:?}", start.elapsed());
        }
        assert_eq!(world.process().await, pid);
    });
}

#[test]
fn another_tools_firewall_is_opened_or_named() {
    in_a_host(|world| async move {
        let mut scene = Scene::new(world).await;
        let docker = Firewall {
            family: 2,
            table: "filter",
            chain: "FORWARD",
        };
        scene
            .survives("a FORWARD that drops", |scene| docker.raise(&scene.world.host))
            .await;
        let rules = |scene: &Scene| {
            let ours = format!("shoal-{}", scene.world.config.tag);
            let chains = scene
                .world
                .host
                .enter(|| NftSocket::open().unwrap().foreign(&ours))
                .unwrap()
                .unwrap();
            chains.iter().map(|chain| chain.rules.len()).sum::<usize>()
        };
        assert_eq!(rules(&scene), 2, "in and out");
        // A tool that we do not know: not changed, but said.
        let unknown = Firewall {
            family: 1,
            table: "mine",
            chain: "pass",
        };
        unknown.raise(&scene.world.host);
        let status = scene.world.net().status();
        until("it is named", || async { !status.borrow().problems.is_empty() }).await;
        let problem = status.borrow().problems[0].clone();
        let link = host_link(&scene.world.config.tag);
        assert!(
            problem.what.contains("chain pass of the table inet mine"),
            "{problem:?}"
        );
        assert!(
            problem
                .remedy
                .contains(&format!("nft insert rule inet mine pass iifname {link} accept"))
        );
        assert_eq!(rules(&scene), 2);
        // What is said to help does, and then there is nothing more to say.
        let host: IpAddr = HOST[0].parse().unwrap();
        assert!(ask(&scene.world.outside, host, 8080).await.is_err());
        let done = std::process::Command::new("sh")
            .args(["-ec", &problem.remedy])
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
        until("nothing is said", || async {
            status.borrow().problems.is_empty()
        })
        .await;
        assert!(ask(&scene.world.outside, host, 8080).await.is_ok());
    });
}

#[test]
fn what_is_purged_leaves_nothing() {
    in_a_host(|world| async move {
        let before = world.before.clone();
        let mut scene = Scene::new(world).await;
        let docker = Firewall {
            family: 2,
            table: "filter",
            chain: "FORWARD",
        };
        scene
            .survives("a FORWARD that drops", |scene| docker.raise(&scene.world.host))
            .await;
        let Scene {
            mut world,
            client,
            backend,
            ..
        } = scene;
        world.close();
        shoal_overlay_net::purge(world.config.clone()).await.unwrap();
        drop((client, backend));
        assert!(!world.config.router().exists());
        let firewall = vec!["2 filter FORWARD: ".to_owned()];
        until("all is as before", || async {
            crate::world::look(&world.host) == [before.clone(), firewall.clone()].concat()
        })
        .await;
        // Nothing left to remove.
        shoal_overlay_net::purge(world.config.clone()).await.unwrap();
    });
}

/// A chain that drops everything that is passed on.
struct Firewall {
    family: u8,
    table: &'static str,
    chain: &'static str,
}

impl Firewall {
    fn raise(&self, namespace: &Namespace) {
        let header = [self.family, 0, 0, 0];
        let mut batch = Batch::new();
        batch.message(0x10, 0, &[0, 0, 0, 10], |_| {});
        batch.message(10 << 8, 0x400, &header, |m| {
            m.text(1, self.table);
        });
        batch.message(10 << 8 | 3, 0x400, &header, |m| {
            m.text(1, self.table)
                .text(3, self.chain)
                .text(7, "filter")
                .u32_be(5, 0);
            m.nest(4, |hook| {
                hook.u32_be(1, 2).u32_be(2, 0);
            });
        });
        batch.message(0x11, 0, &[0, 0, 0, 10], |_| {});
        namespace
            .enter(|| {
                let _takes_our_id = Socket::open(netlink::Protocol::Netfilter).unwrap();
                Socket::open(netlink::Protocol::Netfilter)
                    .unwrap()
                    .send_all(&batch)
            })
            .unwrap()
            .unwrap();
    }
}
