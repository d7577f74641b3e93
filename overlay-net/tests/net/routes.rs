//! Routes of others that come later and lead a part of our networks elsewhere, as a VPN's.

use std::net::IpAddr;
use std::os::fd::{AsFd as _, AsRawFd as _};

use shoal_overlay_net::address::{Mac, Prefix};
use shoal_overlay_net::desired::{PortKey, Protocol};
use shoal_overlay_net::rtnl::{Request, Route, RouteSocket, VethEnd, Via};

use crate::dns::a;
use crate::world::{Container, Conversation, HOST, OUTSIDE, World, ask, in_a_host, serve, until, vip};

/// Number of the host's link into the VPN.
const LINK: u32 = 77;

fn in_the_host(world: &World, requests: &[Request<()>]) {
    let outside = world.outside.as_fd().as_raw_fd();
    let sent = world
        .host
        .enter(|| RouteSocket::open().unwrap().send(requests, |()| outside));
    assert_eq!(sent.unwrap().unwrap(), []);
}

/// Dials in: these prefixes are the VPN's.
fn dial(world: &World, prefixes: &[&str]) {
    let end = |index, name: &str, last| VethEnd {
        index,
        name: name.to_owned(),
        mac: Mac([2, 0, 0, 0, 1, last]),
    };
    let pair = Request::AddVeth {
        here: end(LINK, "vpn0", 1),
        there: end(LINK, "vpn1", 2),
        namespace: (),
        mtu: 1400,
    };
    in_the_host(world, &[pair, Request::Up(LINK)]);
    // Not by requests of ours: their routes would be known as Shoal's.
    for prefix in prefixes {
        let added = std::process::Command::new("ip")
            .args(["route", "add", prefix, "dev", "vpn0"])
            .status()
            .unwrap();
        assert!(added.success(), "{prefix}");
    }
}

/// Routes of ours for single addresses that lead through the host's link to the router.
fn own(world: &World) -> Vec<Prefix> {
    let routes = world.host.enter(|| RouteSocket::open().unwrap().routes());
    let routes: Vec<Route> = routes
        .unwrap()
        .unwrap()
        .into_iter()
        .filter(|route| route.ours)
        .map(|route| route.route)
        .collect();
    let single = routes.into_iter().filter(|route| {
        let to = route.to;
        to == Prefix::host(to.address()) && matches!(route.via, Via::Gateway(..))
    });
    let pool: Prefix = "10.128.0.0/12".parse().unwrap();
    single
        .map(|route| route.to)
        .filter(|to| pool.contains(to.address()))
        .collect()
}

async fn everything_works(world: &World, client: &Container, server: &Container) {
    for (number, host) in HOST.into_iter().enumerate() {
        let host: IpAddr = host.parse().unwrap();
        assert!(ask(&world.outside, host, 8080).await.is_ok(), "a published port");
        assert!(
            ask(&world.host, vip("blue", 100)[number], 80).await.is_ok(),
            "a VIP"
        );
        let direct = [server.v4(), server.v6()][number];
        assert!(ask(&world.host, direct, 80).await.is_ok(), "a task");
        let outside: IpAddr = OUTSIDE[number].parse().unwrap();
        assert!(ask(&client.namespace, outside, 81).await.is_ok(), "the world");
    }
    let localhost = IpAddr::from([127, 0, 0, 1]);
    assert!(
        ask(&world.host, localhost, 8080).await.is_ok(),
        "over the loopback device"
    );
    let expect = format!("NoError {}", server.v4());
    assert_eq!(a(&client.namespace, "web").await, expect);
}

#[test]
fn a_vpn_over_a_network_of_ours_comes_and_goes() {
    in_a_host(|mut world| async move {
        let client = world.container(10, &["blue"]).await;
        let server = world.container(11, &["blue"]).await;
        server.serve(80, "here");
        serve(&world.outside, 81, "outside");
        world.group("blue", 100, &[&server]).await;
        world.names("blue", &[("web", &[server.v4()])]).await;
        let key = PortKey {
            protocol: Protocol::Tcp,
            address: None,
            port: 8080,
        };
        world.publish(key, Some(100), &[(&server, 80)]).await;
        everything_works(&world, &client, &server).await;
        let host: IpAddr = HOST[0].parse().unwrap();
        let mut open = Conversation::open(&world.outside, (host, 8080).into())
            .await
            .unwrap();
        assert!(own(&world).is_empty());
        for prefixes in [
            &["10.128.1.0/24", "fd00:1:0:11::/64"][..],
            // Ingress and the network; a part of it.
            &["10.128.0.0/15", "fd00:1::/50"],
            &["10.128.1.8/29", "fd00:1:0:11::8/125"],
        ] {
            dial(&world, prefixes);
            let status = world.net().status();
            let crossing = |what: &str| what.contains("the link vpn0 and the network blue");
            until("it is named", || async {
                status
                    .borrow()
                    .problems
                    .iter()
                    .any(|problem| crossing(&problem.what))
            })
            .await;
            everything_works(&world, &client, &server).await;
            open.echo().await.unwrap();
            // What comes later as well.
            let late = world.container(12, &["blue"]).await;
            late.serve(80, "late");
            assert!(ask(&world.host, late.v4(), 80).await.is_ok());
            let id = late.endpoint.id.clone();
            drop(late);
            world.net().detach(&id).await.unwrap();
            // What nobody here has is the VPN's.
            let routes = own(&world);
            assert!(routes.contains(&Prefix::host(server.v4())), "{routes:?}");
            assert!(!routes.contains(&"10.128.1.9/32".parse().unwrap()), "{routes:?}");
            in_the_host(&world, &[Request::RemoveLink(LINK)]);
            until("nothing is left of it", || async {
                status.borrow().problems.is_empty() && own(&world).is_empty()
            })
            .await;
            everything_works(&world, &client, &server).await;
            open.echo().await.unwrap();
        }
    });
}
