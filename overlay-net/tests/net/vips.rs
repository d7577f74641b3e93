//! Connections to a VIP: spread evenly, over both families and protocols, from containers, the host and the backend
//! itself; and none lost while backends come and go.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use shoal_overlay_net::desired::{Group, GroupId, PortKey, Protocol};

use crate::world::{Container, Conversation, World, ask, ask_udp, in_a_host, until, vip};

/// How often each backend answered.
async fn answers(from: &Container, to: std::net::IpAddr, times: usize) -> BTreeMap<String, usize> {
    let mut seen = BTreeMap::new();
    for _ in 0..times {
        let answer = ask(&from.namespace, to, 80).await.unwrap();
        let (name, _) = answer.split_once(' ').unwrap();
        *seen.entry(name.to_owned()).or_default() += 1;
    }
    seen
}

#[test]
fn connections_are_spread_evenly() {
    in_a_host(|mut world| async move {
        let client = world.container(10, &["blue"]).await;
        let mut backends = Vec::new();
        for host in 11..15 {
            let backend = world.container(host, &["blue"]).await;
            backend.serve(80, &format!("b{host}"));
            backends.push(backend);
        }
        world
            .group("blue", 100, &backends.iter().collect::<Vec<_>>())
            .await;
        for to in vip("blue", 100) {
            let seen = answers(&client, to, 200).await;
            // 50 each; a fair draw is out of these bounds once in ten million runs.
            assert!(
                seen.len() == 4 && seen.values().all(|n| (18..=88).contains(n)),
                "{seen:?}"
            );
            assert!(ask_udp(&client.namespace, to, 80).await.unwrap().starts_with('b'));
            let client = client.addresses[0]
                .iter()
                .find(|a| a.is_ipv4() == to.is_ipv4())
                .unwrap();
            let answer = ask(&backends[0].namespace, to, 80).await.unwrap();
            assert!(!answer.contains(&client.to_string()));
        }
    });
}

#[test]
fn a_backend_sees_who_asks_and_may_ask_itself() {
    in_a_host(|mut world| async move {
        let (client, backend) = (
            world.container(10, &["blue"]).await,
            world.container(11, &["blue"]).await,
        );
        let stranger = world.container(12, &["red"]).await;
        backend.serve(80, "backend");
        world.group("blue", 100, &[&backend]).await;
        let sources = [
            (client.v4(), "169.254.200.1", "169.254.200.2"),
            (client.v6(), "fd00:1::1", "fd00:1::2"),
        ];
        for (to, (client_address, host, itself)) in vip("blue", 100).into_iter().zip(sources) {
            assert_eq!(
                ask(&client.namespace, to, 80).await.unwrap(),
                format!("backend {client_address}")
            );
            assert_eq!(ask(&world.host, to, 80).await.unwrap(), format!("backend {host}"));
            assert_eq!(
                ask(&backend.namespace, to, 80).await.unwrap(),
                format!("backend {itself}")
            );
            assert_eq!(
                ask_udp(&backend.namespace, to, 80).await.unwrap(),
                format!("backend {itself}")
            );
            ask(&stranger.namespace, to, 80).await.unwrap_err();
        }
    });
}

#[test]
fn without_backends_it_is_said_at_once() {
    in_a_host(|mut world| async move {
        let client = world.container(10, &["blue"]).await;
        world.group("blue", 100, &[]).await;
        for to in vip("blue", 100) {
            let error = ask(&client.namespace, to, 80).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{error}");
            let error = ask_udp(&client.namespace, to, 80).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{error}");
            let error = ask(&world.host, to, 80).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{error}");
        }
    });
}

async fn set(world: &mut World, active: &[&Container], draining: &[&Container]) {
    let addresses =
        |containers: &[&Container]| containers.iter().flat_map(|c| c.addresses[0].iter()).collect();
    let id: GroupId = "group-100/blue".parse().unwrap();
    let old = Arc::clone(&world.tables().groups[&id]);
    let group = Group {
        backends: addresses(active),
        draining: addresses(draining),
        ..(*old).clone()
    };
    world
        .change(|tables| {
            tables.groups.insert(id, Arc::new(group));
        })
        .await;
}

#[test]
fn no_connection_is_lost_while_backends_come_and_go() {
    in_a_host(|mut world| async move {
        let client = world.container(10, &["blue"]).await;
        let mut backends = Vec::new();
        for host in 11..16 {
            let backend = world.container(host, &["blue"]).await;
            backend.serve(80, &format!("b{host}"));
            backends.push(backend);
        }
        let all: Vec<&Container> = backends.iter().collect();
        world.group("blue", 100, &all).await;
        let asked = client.namespace.clone();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let fire = tokio::spawn(async move {
            let mut stopped = stopped;
            let mut count = 0_u32;
            while stopped.try_recv().is_err() {
                for to in vip("blue", 100) {
                    ask(&asked, to, 80).await.unwrap();
                    ask_udp(&asked, to, 80).await.unwrap();
                    count += 2;
                }
            }
            count
        });
        for round in 0..60 {
            let here = 1 + round % all.len();
            set(&mut world, &all[..here], &all[here..]).await;
            tokio::task::yield_now().await;
        }
        stop.send(()).unwrap();
        let count = fire.await.unwrap();
        assert!(count >= 60, "only {count} connections were made meanwhile");
    });
}

#[test]
fn a_backend_that_drains_keeps_what_it_has_and_one_that_stopped_does_not() {
    in_a_host(|mut world| async move {
        let client = world.container(10, &["blue"]).await;
        let (old, new) = (
            world.container(11, &["blue"]).await,
            world.container(12, &["blue"]).await,
        );
        old.serve(80, "old");
        new.serve(80, "new");
        world.group("blue", 100, &[&old]).await;
        for to in vip("blue", 100).map(|to| SocketAddr::new(to, 80)) {
            set(&mut world, &[&old], &[]).await;
            let mut before = Conversation::open(&client.namespace, to).await.unwrap();
            assert!(before.greeting.starts_with("old "));
            set(&mut world, &[&new], &[&old]).await;
            before.echo().await.unwrap();
            assert!(
                ask(&client.namespace, to.ip(), 80)
                    .await
                    .unwrap()
                    .starts_with("new ")
            );
            before.echo().await.unwrap();
            set(&mut world, &[&new], &[]).await;
            // Tables are in force before connections are ended: nobody waits for that.
            let error = loop {
                if let Err(error) = before.echo().await {
                    break error;
                }
            };
            assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted, "{error}");
        }
    });
}

#[test]
fn who_only_waits_for_a_backend_hears_that_it_stopped() {
    in_a_host(|mut world| async move {
        let client = world.container(10, &["blue"]).await;
        let (old, new) = (
            world.container(11, &["blue"]).await,
            world.container(12, &["blue"]).await,
        );
        old.serve(80, "old");
        for number in 0..2 {
            world.group("blue", 100, &[&old]).await;
            let vip = SocketAddr::new(vip("blue", 100)[number], 80);
            let direct = SocketAddr::new([old.v4(), old.v6()][number], 80);
            let elsewhere = SocketAddr::new([client.v4(), client.v6()][number], 81);
            if number == 0 {
                client.serve(81, "client");
            }
            let mut waiting = Vec::new();
            for (from, to) in [(&client, vip), (&client, direct), (&new, vip)] {
                waiting.push(Conversation::open(&from.namespace, to).await.unwrap());
            }
            waiting.push(Conversation::open(&world.host, vip).await.unwrap());
            let mut unharmed = Conversation::open(&new.namespace, elsewhere).await.unwrap();
            set(&mut world, &[&new], &[]).await;
            for conversation in &mut waiting {
                let error = conversation.wait().await.unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted, "{error}");
            }
            unharmed.echo().await.unwrap();
        }
    });
}

/// The tables of the host are gone when a change is to be made in them, after the router has its part of it.
#[test]
fn clients_are_told_though_a_later_step_fails() {
    in_a_host(|mut world| async move {
        let client = world.container(10, &["blue"]).await;
        let (old, new) = (
            world.container(11, &["blue"]).await,
            world.container(12, &["blue"]).await,
        );
        old.serve(80, "old");
        new.serve(80, "new");
        world.group("blue", 100, &[&old]).await;
        let key = PortKey {
            protocol: Protocol::Tcp,
            address: None,
            port: 8080,
        };
        world.publish(key, None, &[(&old, 80)]).await;
        let to = SocketAddr::new(vip("blue", 100)[0], 80);
        let mut waiting = Conversation::open(&client.namespace, to).await.unwrap();
        crate::heal::flush_ruleset(&world.host);
        let backends = |container: &Container| container.addresses[0].iter().collect::<Vec<_>>();
        let new_backends = backends(&new);
        world
            .change(|tables| {
                let id = "group-100/blue";
                let group = Arc::make_mut(tables.groups.get_mut(id).unwrap());
                group.backends = new_backends.iter().copied().collect();
                let port = Arc::make_mut(tables.ports.get_mut(&key).unwrap());
                port.backends = new_backends
                    .iter()
                    .map(|address| SocketAddr::new(*address, 80))
                    .collect();
            })
            .await;
        let error = waiting.wait().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted, "{error}");
        let host: std::net::IpAddr = crate::world::HOST[0].parse().unwrap();
        assert!(ask(&world.outside, host, 8080).await.unwrap().starts_with("new "));
    });
}

#[test]
fn datagrams_of_one_socket_go_on_to_another_backend() {
    in_a_host(|mut world| async move {
        let client = world.container(10, &["blue"]).await;
        let (old, new) = (
            world.container(11, &["blue"]).await,
            world.container(12, &["blue"]).await,
        );
        old.serve(80, "old");
        new.serve(80, "new");
        world.group("blue", 100, &[&old]).await;
        for to in vip("blue", 100) {
            set(&mut world, &[&old], &[]).await;
            let local = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = client
                .namespace
                .enter(|| std::net::UdpSocket::bind(local))
                .unwrap()
                .unwrap();
            socket.set_nonblocking(true).unwrap();
            let socket = tokio::net::UdpSocket::from_std(socket).unwrap();
            socket.connect((to, 80)).await.unwrap();
            let said = || async {
                socket.send(b"who?").await.unwrap();
                let mut answer = [0; 100];
                let answered = tokio::time::timeout(crate::world::ANSWER, socket.recv(&mut answer)).await;
                answered.map_or(String::new(), |length| {
                    String::from_utf8_lossy(&answer[..length.unwrap()]).into_owned()
                })
            };
            assert!(said().await.starts_with("old "));
            set(&mut world, &[&new], &[]).await;
            until("the new one answers", || async {
                said().await.starts_with("new ")
            })
            .await;
        }
    });
}

#[test]
fn a_thousand_groups_and_one_change() {
    in_a_host(|mut world| async move {
        let client = world.container(10, &["blue"]).await;
        let backend = world.container(11, &["blue"]).await;
        backend.serve(80, "backend");
        world.group("blue", 100, &[&backend]).await;
        let many = |tables: &mut shoal_overlay_net::desired::Tables| {
            for number in 0..1000_u16 {
                let [high, low] = number.to_be_bytes();
                let backends = (0..10_u8)
                    .map(|n| std::net::IpAddr::from([10, 130 + n, high, low]))
                    .collect();
                let group = Group {
                    network: "red".parse().unwrap(),
                    vip: [std::net::IpAddr::from([10, 129, high, low])]
                        .into_iter()
                        .collect(),
                    backends,
                    draining: std::collections::BTreeSet::new(),
                    records: BTreeMap::new(),
                };
                tables
                    .groups
                    .insert(format!("many-{number}/red").parse().unwrap(), Arc::new(group));
            }
        };
        let start = std::time::Instant::now();
        world.change(many).await;
        println!("a thousand groups of ten: {:?}", start.elapsed());
        let start = std::time::Instant::now();
        set(&mut world, &[&backend, &client], &[]).await;
        println!("one change among them: {:?}", start.elapsed());
        set(&mut world, &[&backend], &[]).await;
        assert!(
            ask(&client.namespace, vip("blue", 100)[0], 80)
                .await
                .unwrap()
                .starts_with("backend ")
        );
    });
}
