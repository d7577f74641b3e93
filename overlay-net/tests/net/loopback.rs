//! Published ports over the loopback device, and ports that somebody else has.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;

use shoal_overlay_net::desired::{PortKey, Protocol, Tables};
use shoal_overlay_net::namespace::Namespace;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::world::{ANSWER, Conversation, DEADLINE, HOST, World, ask, ask_udp, in_a_host, until};

const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

fn key(protocol: Protocol, port: u16) -> PortKey {
    PortKey {
        protocol,
        address: None,
        port,
    }
}

async fn connect(from: &Namespace, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = from.enter(|| match to {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    });
    tokio::time::timeout(DEADLINE, socket.unwrap()?.connect(to)).await?
}

/// Takes all that comes, and says how much it was after the sender has ended.
fn counts(namespace: &Namespace, port: u16) {
    let listener = namespace
        .enter(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).unwrap())
        .unwrap();
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut sink = tokio::io::sink();
                let count = tokio::io::copy(&mut stream, &mut sink).await.unwrap();
                let said = format!("{count} ").repeat(100_000);
                stream.write_all(said.as_bytes()).await.unwrap();
            });
        }
    });
}

#[test]
fn published_ports_are_on_the_loopback_device() {
    in_a_host(|mut world| async move {
        let (one, two) = (
            world.container(11, &["blue"]).await,
            world.container(12, &["red"]).await,
        );
        one.serve(80, "one");
        two.serve(80, "two");
        for protocol in Protocol::ALL {
            world
                .publish(key(protocol, 8080), Some(100), &[(&one, 80), (&two, 80)])
                .await;
            // Host mode.
            world.publish(key(protocol, 8081), None, &[(&two, 80)]).await;
        }
        for address in LOOPBACK {
            let mut seen = BTreeSet::new();
            for _ in 0..4 {
                let answer = ask(&world.host, address, 8080).await.unwrap();
                seen.insert(answer.split(' ').next().unwrap().to_owned());
            }
            assert_eq!(seen.len(), 2, "{seen:?}");
            assert!(ask(&world.host, address, 8081).await.unwrap().starts_with("two "));
            assert!(ask_udp(&world.host, address, 8080).await.is_ok());
            assert!(
                ask_udp(&world.host, address, 8081)
                    .await
                    .unwrap()
                    .starts_with("two ")
            );
            let mut conversation = Conversation::open(&world.host, SocketAddr::new(address, 8080))
                .await
                .unwrap();
            // The backends change under it.
            world
                .publish(key(Protocol::Tcp, 8080), Some(100), &[(&one, 80), (&two, 80)])
                .await;
            conversation.echo().await.unwrap();
        }
        world.change(|tables| tables.ports.clear()).await;
        for address in LOOPBACK {
            let refused = ask(&world.host, address, 8080).await.unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        }
        assert!(world.net().status().borrow().ports_taken.is_empty());
    });
}

#[test]
fn nothing_is_lost_when_one_side_ends() {
    in_a_host(|mut world| async move {
        let container = world.container(11, &["blue"]).await;
        counts(&container.namespace, 80);
        world
            .publish(key(Protocol::Tcp, 8080), None, &[(&container, 80)])
            .await;
        for address in LOOPBACK {
            let stream = connect(&world.host, SocketAddr::new(address, 8080))
                .await
                .unwrap();
            let (mut read, mut write) = stream.into_split();
            let sent = tokio::spawn(async move {
                write.write_all(&vec![7; 3_000_000]).await.unwrap();
                // Ends its own direction only; the answer is still to come.
                write.shutdown().await.unwrap();
                write
            });
            let mut answer = String::new();
            let heard = tokio::time::timeout(DEADLINE, read.read_to_string(&mut answer)).await;
            heard.unwrap().unwrap();
            assert_eq!(answer.len(), 800_000);
            assert!(answer.starts_with("3000000 3000000 "));
            drop(sent.await.unwrap());
        }
    });
}

#[test]
fn a_dead_backend_is_passed_over_and_none_is_a_reset() {
    in_a_host(|mut world| async move {
        let (alive, dead) = (
            world.container(11, &["blue"]).await,
            world.container(12, &["blue"]).await,
        );
        alive.serve(80, "alive");
        world
            .publish(key(Protocol::Tcp, 8080), Some(100), &[(&alive, 80), (&dead, 80)])
            .await;
        for _ in 0..6 {
            assert!(
                ask(&world.host, LOOPBACK[0], 8080)
                    .await
                    .unwrap()
                    .starts_with("alive ")
            );
        }
        world
            .publish(key(Protocol::Tcp, 8080), Some(100), &[(&dead, 80)])
            .await;
        let refused = async {
            let mut stream = connect(&world.host, SocketAddr::new(LOOPBACK[0], 8080)).await?;
            stream.read(&mut [0; 10]).await
        };
        let refused = tokio::time::timeout(DEADLINE, refused).await.unwrap();
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    });
}

/// Asks by one socket, as often as it is called.
async fn exchange(socket: &tokio::net::UdpSocket) -> String {
    let mut answer = [0; 100];
    // A datagram to a backend that has just stopped is lost.
    for _ in 0..3 {
        // What was refused before is said now.
        let _sent = socket.send(b"who?").await;
        let heard = tokio::time::timeout(ANSWER, socket.recv(&mut answer)).await;
        if let Ok(Ok(length)) = heard {
            return String::from_utf8_lossy(&answer[..length]).into_owned();
        }
    }
    panic!("no answer");
}

#[test]
fn an_exchange_of_datagrams_stays_with_a_backend_that_drains() {
    in_a_host(|mut world| async move {
        let (old, new) = (
            world.container(11, &["blue"]).await,
            world.container(12, &["blue"]).await,
        );
        old.serve(80, "old");
        new.serve(80, "new");
        let key = key(Protocol::Udp, 8080);
        world.publish(key, Some(100), &[(&old, 80)]).await;
        let socket = |host: &Namespace| {
            let socket = host
                .enter(|| std::net::UdpSocket::bind("127.0.0.1:0"))
                .unwrap()
                .unwrap();
            socket.connect((LOOPBACK[0], 8080)).unwrap();
            socket.set_nonblocking(true).unwrap();
            tokio::net::UdpSocket::from_std(socket).unwrap()
        };
        let known = socket(&world.host);
        assert!(exchange(&known).await.starts_with("old "));
        let change = |tables: &mut Tables, draining| {
            let published = Arc::make_mut(tables.ports.get_mut(&key).unwrap());
            published.backends = new.addresses[0]
                .iter()
                .map(|address| SocketAddr::new(address, 80))
                .collect();
            published.draining = draining;
        };
        let draining = world.tables().ports[&key].backends.clone();
        world.change(|tables| change(tables, draining)).await;
        for _ in 0..4 {
            assert!(exchange(&known).await.starts_with("old "));
            assert!(exchange(&socket(&world.host)).await.starts_with("new "));
        }
        // When it has stopped, who is still there has another.
        world.change(|tables| change(tables, BTreeSet::new())).await;
        assert!(exchange(&known).await.starts_with("new "));
    });
}

#[test]
fn a_port_of_one_address_is_held_there_alone() {
    in_a_host(|mut world| async move {
        let container = world.container(11, &["blue"]).await;
        container.serve(80, "here");
        let at = |address: &str| PortKey {
            address: Some(address.parse().unwrap()),
            ..key(Protocol::Tcp, 8080)
        };
        world
            .publish(at("127.0.0.1"), Some(100), &[(&container, 80)])
            .await;
        assert!(
            ask(&world.host, LOOPBACK[0], 8080)
                .await
                .unwrap()
                .starts_with("here ")
        );
        for elsewhere in [LOOPBACK[1], HOST[0].parse().unwrap(), HOST[1].parse().unwrap()] {
            let refused = ask(&world.host, elsewhere, 8080).await.unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused, "{elsewhere}");
        }
        for (number, host) in HOST.into_iter().enumerate() {
            ask(&world.outside, host.parse::<IpAddr>().unwrap(), 8080)
                .await
                .unwrap_err();
            world.publish(at(host), Some(101), &[(&container, 80)]).await;
            assert!(
                ask(&world.outside, host.parse::<IpAddr>().unwrap(), 8080)
                    .await
                    .is_ok()
            );
            let others = HOST.into_iter().skip(number + 1);
            for other in others {
                ask(&world.outside, other.parse::<IpAddr>().unwrap(), 8080)
                    .await
                    .unwrap_err();
            }
        }
        ask(&world.host, LOOPBACK[1], 8080).await.unwrap_err();
        // An address that the host does not have.
        world
            .publish(at("192.0.2.200"), Some(102), &[(&container, 80)])
            .await;
        let status = world.net().status();
        let why = status.borrow().ports_taken[&at("192.0.2.200")].clone();
        assert!(why.contains("does not have the address"), "{why}");
    });
}

/// Waits for what is said about ports.
async fn taken(world: &World, expect: &[PortKey]) -> Vec<String> {
    let mut status = world.net().status();
    let said = status.wait_for(|status| status.ports_taken.keys().eq(expect));
    let status = tokio::time::timeout(DEADLINE, said).await.unwrap().unwrap();
    status.ports_taken.values().cloned().collect()
}

#[test]
fn a_port_that_is_taken_is_left_alone_and_had_when_it_is_free() {
    in_a_host(|mut world| async move {
        let container = world.container(11, &["blue"]).await;
        container.serve(80, "ours");
        let theirs = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8080)).unwrap();
        world
            .publish(key(Protocol::Tcp, 8080), Some(100), &[(&container, 80)])
            .await;
        world
            .publish(key(Protocol::Udp, 8080), Some(100), &[(&container, 80)])
            .await;
        let why = taken(&world, &[key(Protocol::Tcp, 8080)]).await;
        let expect = format!("8080/tcp is taken by process {} (", std::process::id());
        assert!(why[0].starts_with(&expect), "{why:?}");
        // Whoever has it goes on to be asked there, from outside as well.
        let host: IpAddr = HOST[0].parse().unwrap();
        let asked = connect(&world.outside, SocketAddr::new(host, 8080))
            .await
            .unwrap();
        let (_, by) = theirs.accept().unwrap();
        assert_eq!(by, asked.local_addr().unwrap());
        assert!(
            ask_udp(&world.outside, host, 8080)
                .await
                .unwrap()
                .starts_with("ours ")
        );
        // With it gone, the port is ours, and nobody else's any more.
        drop((asked, theirs));
        assert!(taken(&world, &[]).await.is_empty());
        for (from, to) in [(&world.outside, host), (&world.host, LOOPBACK[0])] {
            until("the port leads to the backend", || async {
                ask(from, to, 8080)
                    .await
                    .is_ok_and(|answer| answer.starts_with("ours "))
            })
            .await;
        }
        let refused = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8080)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        let refused = std::net::UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 8080)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        // And free again when nobody publishes it.
        world.change(|tables| tables.ports.clear()).await;
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8080)).unwrap();
    });
}
