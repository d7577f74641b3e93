//! Published ports: from outside, from the host, from containers, on every address or a named one.
//!
//! The machine outside sends from another namespace: what the host asks of itself is never passed on.

use std::io;
use std::net::IpAddr;

use shoal_overlay_net::desired::{PortKey, Protocol};

use crate::world::{HOST, OUTSIDE, World, ask, ask_udp, in_a_host};

fn key(protocol: Protocol, port: u16) -> PortKey {
    PortKey {
        protocol,
        address: None,
        port,
    }
}

fn hosts() -> impl Iterator<Item = (IpAddr, &'static str)> {
    HOST.into_iter()
        .zip(OUTSIDE)
        .map(|(host, outside)| (host.parse().unwrap(), outside))
}

#[test]
fn a_published_port_leads_in_and_keeps_the_clients_address() {
    in_a_host(|mut world: World| async move {
        let (one, two) = (
            world.container(11, &["blue"]).await,
            world.container(12, &["blue"]).await,
        );
        let inner = world.container(13, &["inner"]).await;
        one.serve(80, "one");
        two.serve(80, "two");
        inner.serve(80, "inner");
        for protocol in Protocol::ALL {
            world
                .publish(key(protocol, 8080), Some(100), &[(&one, 80), (&two, 80)])
                .await;
        }
        world
            .publish(key(Protocol::Tcp, 8081), Some(101), &[(&inner, 80)])
            .await;
        for (host, outside) in hosts() {
            let mut seen = std::collections::BTreeSet::new();
            for _ in 0..40 {
                let answer = ask(&world.outside, host, 8080).await.unwrap();
                let (name, from) = answer.split_once(' ').unwrap();
                assert_eq!(from, outside);
                seen.insert(name.to_owned());
            }
            assert_eq!(seen.len(), 2, "both backends serve");
            assert!(
                ask_udp(&world.outside, host, 8080)
                    .await
                    .unwrap()
                    .ends_with(outside)
            );
            // From the host itself, by its own address, and from a container.
            assert!(
                ask(&world.host, host, 8080)
                    .await
                    .unwrap()
                    .ends_with(&host.to_string())
            );
            assert!(ask(&one.namespace, host, 8080).await.is_ok());
            // A network without a way out still has its way in.
            assert_eq!(
                ask(&world.outside, host, 8081).await.unwrap(),
                format!("inner {outside}")
            );
            let closed = ask(&world.outside, host, 8082).await.unwrap_err();
            assert_eq!(closed.kind(), io::ErrorKind::ConnectionRefused);
        }
        world.change(|tables| tables.ports.clear()).await;
        for (host, _) in hosts() {
            let closed = ask(&world.outside, host, 8080).await.unwrap_err();
            assert_eq!(closed.kind(), io::ErrorKind::ConnectionRefused);
        }
    });
}

#[test]
fn a_port_of_one_address_is_that_addresss_alone() {
    in_a_host(|mut world: World| async move {
        let (one, two) = (
            world.container(11, &["blue"]).await,
            world.container(12, &["blue"]).await,
        );
        one.serve(80, "one");
        two.serve(81, "two");
        let [v4, v6] = HOST.map(|host| host.parse::<IpAddr>().unwrap());
        let at = |address| PortKey {
            address: Some(address),
            ..key(Protocol::Tcp, 8080)
        };
        world.publish(at(v4), Some(100), &[(&one, 80)]).await;
        // Host mode: no VIP, one backend.
        world.publish(at(v6), None, &[(&two, 81)]).await;
        assert_eq!(
            ask(&world.outside, v4, 8080).await.unwrap(),
            format!("one {}", OUTSIDE[0])
        );
        assert_eq!(
            ask(&world.outside, v6, 8080).await.unwrap(),
            format!("two {}", OUTSIDE[1])
        );
        world.change(|tables| drop(tables.ports.remove(&at(v4)))).await;
        ask(&world.outside, v4, 8080).await.unwrap_err();
        assert!(ask(&world.outside, v6, 8080).await.is_ok());
    });
}

#[test]
fn a_port_without_backends_is_refused_at_once() {
    in_a_host(|mut world: World| async move {
        world.publish(key(Protocol::Tcp, 8080), Some(100), &[]).await;
        for (host, _) in hosts() {
            let closed = ask(&world.outside, host, 8080).await.unwrap_err();
            assert_eq!(closed.kind(), io::ErrorKind::ConnectionRefused);
        }
    });
}
