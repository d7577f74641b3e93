//! Who reaches whom: members of a network, others, the host, the world; and nobody under another's address.
//!
//! Every pair is tried over both families.

use std::net::IpAddr;

use shoal_overlay_net::rtnl::{LinkAddress, Request, RouteSocket};

use crate::world::{ANSWER, HOST, OUTSIDE, ask, ask_udp, in_a_host, serve, until};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn members_of_a_network_reach_each_other_and_nobody_else() {
    in_a_host(|world| async move {
        let (one, two) = (
            world.container(11, &["blue"]).await,
            world.container(12, &["blue"]).await,
        );
        let other = world.container(13, &["red"]).await;
        let (apart, together) = (
            world.container(14, &["ingress"]).await,
            world.container(15, &["ingress"]).await,
        );
        for container in [&one, &two, &other, &apart, &together] {
            container.serve(80, "here");
        }
        for (to, from) in [(two.v4(), one.v4()), (two.v6(), one.v6())] {
            let expect = format!("here {from}");
            assert_eq!(ask(&one.namespace, to, 80).await.unwrap(), expect);
            assert_eq!(ask_udp(&one.namespace, to, 80).await.unwrap(), expect);
        }
        for (from, to) in [
            (&one, &other),
            (&other, &one),
            (&one, &apart),
            (&apart, &together),
        ] {
            for address in [to.v4(), to.v6()] {
                let refused = ask(&from.namespace, address, 80).await.unwrap_err();
                assert_eq!(
                    refused.kind(),
                    std::io::ErrorKind::ConnectionRefused,
                    "{} {address}",
                    from.endpoint.id
                );
            }
        }
    });
}

#[test]
fn a_container_of_two_networks_reaches_both() {
    in_a_host(|world| async move {
        let both = world.container(11, &["blue", "red"]).await;
        let (blue, red) = (
            world.container(12, &["blue"]).await,
            world.container(13, &["red"]).await,
        );
        blue.serve(80, "blue");
        red.serve(80, "red");
        both.serve(80, "both");
        for (server, name, own) in [(&blue, "blue", 0), (&red, "red", 1)] {
            for address in server.addresses[0].iter() {
                let from = both.addresses[own]
                    .iter()
                    .find(|a| a.is_ipv4() == address.is_ipv4())
                    .unwrap();
                assert_eq!(
                    ask(&both.namespace, address, 80).await.unwrap(),
                    format!("{name} {from}")
                );
                assert!(
                    ask(&server.namespace, from, 80)
                        .await
                        .unwrap()
                        .starts_with("both ")
                );
            }
        }
        // Being in both does not join them.
        ask(&blue.namespace, red.v4(), 80).await.unwrap_err();
    });
}

#[test]
fn the_host_reaches_containers_and_they_the_world() {
    in_a_host(|world| async move {
        let (open, closed) = (
            world.container(11, &["blue"]).await,
            world.container(12, &["inner"]).await,
        );
        serve(&world.outside, 80, "outside");
        serve(&world.host, 80, "host");
        open.serve(80, "open");
        for (number, address) in [open.v4(), open.v6()].into_iter().enumerate() {
            let host = ["169.254.200.1", "fd00:1::1"][number];
            assert_eq!(
                ask(&world.host, address, 80).await.unwrap(),
                format!("open {host}")
            );
            // Going out, a container has the host's address.
            let outside = ip(OUTSIDE[number]);
            assert_eq!(
                ask(&open.namespace, outside, 80).await.unwrap(),
                format!("outside {}", HOST[number])
            );
            ask(&closed.namespace, outside, 80).await.unwrap_err();
            // The host's own ports are its own, and nothing comes in that was not asked for.
            ask(&open.namespace, ip(HOST[number]), 80).await.unwrap_err();
            ask(&closed.namespace, ip(HOST[number]), 80).await.unwrap_err();
        }
    });
}

#[test]
fn ports_of_the_host_are_opened_by_name() {
    in_a_host(|mut world| async move {
        let container = world.container(11, &["blue"]).await;
        serve(&world.host, 8053, "host");
        ask(&container.namespace, ip(HOST[0]), 8053).await.unwrap_err();
        world
            .change(|tables| {
                tables.node.open_host_ports = [(shoal_overlay_net::desired::Protocol::Tcp, 8053)].into();
            })
            .await;
        assert!(
            ask(&container.namespace, ip(HOST[0]), 8053)
                .await
                .unwrap()
                .starts_with("host ")
        );
        ask_udp(&container.namespace, ip(HOST[0]), 8053)
            .await
            .unwrap_err();
    });
}

#[test]
fn nothing_gets_in_by_the_hosts_routes() {
    in_a_host(|world| async move {
        let container = world.container(11, &["blue"]).await;
        container.serve(80, "here");
        // A neighbour that sends to a container's address by way of this host.
        let via = shoal_overlay_net::rtnl::Via::Gateway(2, ip(HOST[0]));
        let to = "10.128.0.0/12".parse().unwrap();
        let route = Request::<()>::SetRoute(shoal_overlay_net::rtnl::Route {
            to,
            via,
            source: None,
        });
        let failures = world
            .outside
            .enter(|| RouteSocket::open().unwrap().send(&[route], |()| -1))
            .unwrap();
        assert!(failures.unwrap().is_empty());
        ask(&world.outside, container.v4(), 80).await.unwrap_err();
        ask_udp(&world.outside, container.v4(), 80).await.unwrap_err();
    });
}

#[test]
fn a_link_sends_only_from_its_own_address() {
    in_a_host(|world| async move {
        let (good, bad) = (
            world.container(11, &["blue"]).await,
            world.container(12, &["blue"]).await,
        );
        let server = world.container(13, &["blue"]).await;
        for (stolen, own, to) in [
            (good.v4(), bad.v4(), server.v4()),
            (good.v6(), bad.v6(), server.v6()),
        ] {
            let length = if stolen.is_ipv4() { 32 } else { 128 };
            let address = Request::<()>::AddAddress(LinkAddress {
                link: 2,
                address: stolen,
                length,
            });
            let taken = bad
                .namespace
                .enter(|| RouteSocket::open().unwrap().send(&[address], |()| -1))
                .unwrap();
            assert!(taken.unwrap().is_empty());
            let bind = |address: IpAddr, port| std::net::UdpSocket::bind((address, port)).unwrap();
            let heard = server.namespace.enter(|| bind(to, 90)).unwrap();
            for source in [stolen, own] {
                let socket = bad.namespace.enter(|| bind(source, 0)).unwrap();
                socket.send_to(source.to_string().as_bytes(), (to, 90)).unwrap();
            }
            // What was sent first under the other's address would be here first.
            heard.set_read_timeout(Some(ANSWER)).unwrap();
            let mut said = [0; 100];
            let (length, from) = heard.recv_from(&mut said).unwrap();
            assert_eq!(
                (from.ip(), String::from_utf8_lossy(&said[..length]).into_owned()),
                (own, own.to_string())
            );
        }
    });
}

#[test]
fn links_go_with_their_namespace_and_nothing_stays() {
    in_a_host(|world| async move {
        let links = || {
            world
                .router()
                .enter(|| RouteSocket::open().unwrap().links())
                .unwrap()
                .unwrap()
                .len()
        };
        let routes = || {
            world
                .router()
                .enter(|| RouteSocket::open().unwrap().routes())
                .unwrap()
                .unwrap()
                .len()
        };
        let before = (links(), routes());
        let container = world.container(11, &["blue", "red"]).await;
        assert_eq!(links(), before.0 + 2);
        // Again: nothing changes.
        world.net().attach(container.endpoint.clone()).await.unwrap();
        assert_eq!(links(), before.0 + 2);
        let id = container.endpoint.id.clone();
        drop(container);
        world.net().detach(&id).await.unwrap();
        until("the links are gone", || async { (links(), routes()) == before }).await;
        assert!(world.net().status().borrow().lost.is_empty());
    });
}

#[test]
fn a_namespace_that_is_gone_is_said() {
    in_a_host(|world| async move {
        let container = world.unattached(11, &["blue"]);
        let endpoint = container.endpoint.clone();
        drop(container);
        let error = world.net().attach(endpoint).await.unwrap_err();
        assert!(error.to_string().contains("namespace is not there"), "{error}");
        let container = world.container(12, &["blue"]).await;
        let id = container.endpoint.id.clone();
        drop(container);
        until("it is said to be lost", || async {
            world.net().status().borrow().lost.contains_key(&id)
        })
        .await;
    });
}

/// Sets a setting in a container, as its runtime does before it is attached.
fn set(container: &crate::world::Container, path: &str, value: &str) {
    let path = format!("/proc/sys/net/{path}");
    let written = container.namespace.enter(|| std::fs::write(&path, value));
    written.unwrap().unwrap();
}

#[test]
fn a_container_that_switched_ipv6_off_has_ipv4() {
    in_a_host(|world| async move {
        let whole = world.container(11, &["blue"]).await;
        whole.serve(80, "whole");
        let mut all = Vec::new();
        for (host, setting) in [(12, "all"), (13, "default")] {
            let without = world.unattached(host, &["blue"]);
            set(&without, &format!("ipv6/conf/{setting}/disable_ipv6"), "1");
            world.net().attach(without.endpoint.clone()).await.unwrap();
            let own = without.v4();
            assert_eq!(
                ask(&without.namespace, whole.v4(), 80).await.unwrap(),
                format!("whole {own}")
            );
            assert!(world.net().status().borrow().lost.is_empty());
            all.push(without);
        }
        // Off later: what is gone by that is not put back again and again.
        set(&whole, "ipv6/conf/all/disable_ipv6", "1");
        assert!(ask(&whole.namespace, whole.v4(), 80).await.is_ok());
        assert!(world.net().status().borrow().lost.is_empty());
    });
}

#[test]
fn what_is_refused_to_one_container_is_its_own_trouble() {
    in_a_host(|mut world| async move {
        let whole = world.container(11, &["blue"]).await;
        whole.serve(80, "whole");
        world.group("blue", 100, &[&whole]).await;
        let vip = crate::world::vip("blue", 100)[0];
        // Something in it has the name of what shall come.
        let blocked = world.unattached(12, &["blue"]);
        let block = |index, name: &str| {
            let end = |index, name: String, last| shoal_overlay_net::rtnl::VethEnd {
                index,
                name,
                mac: shoal_overlay_net::address::Mac([2, 0, 0, 0, 2, last]),
            };
            Request::AddVeth {
                here: end(index, name.to_owned(), 1),
                there: end(index + 1, format!("{name}-end"), 2),
                namespace: (),
                mtu: 1500,
            }
        };
        let inside = |request: Request<()>| {
            let home = std::os::fd::AsFd::as_fd(&blocked.namespace);
            let home = std::os::fd::AsRawFd::as_raw_fd(&home);
            let sent = blocked
                .namespace
                .enter(|| RouteSocket::open().unwrap().send(&[request], |()| home));
            assert_eq!(sent.unwrap().unwrap(), []);
        };
        inside(block(50, "eth0"));
        let refused = world.net().attach(blocked.endpoint.clone()).await.unwrap_err();
        assert!(
            matches!(refused, shoal_overlay_net::AttachError::Kernel { .. }),
            "{refused}"
        );
        assert!(
            world.net().status().borrow().lost.is_empty(),
            "nobody has asked for it"
        );
        // With one that is to be there as well, a network opens, heals, and takes others in.
        world.reopen(&[&whole, &blocked]).await;
        let id = blocked.endpoint.id.clone();
        assert!(world.net().status().borrow().lost.contains_key(&id));
        let other = world.container(13, &["blue"]).await;
        world.group("blue", 100, &[&whole]).await;
        assert!(ask(&other.namespace, vip, 80).await.is_ok());
        let before = world.net().status().borrow().healed;
        crate::heal::flush_ruleset(&world.router());
        let mut status = world.net().status();
        let healed = status.wait_for(|status| status.healed > before);
        drop(
            tokio::time::timeout(crate::world::DEADLINE, healed)
                .await
                .unwrap()
                .unwrap(),
        );
        assert!(ask(&other.namespace, vip, 80).await.is_ok());
        // Once it is out of the way, the container has what it should.
        inside(Request::RemoveLink(50));
        until("it is whole", || async {
            world.net().status().borrow().lost.is_empty()
        })
        .await;
        assert!(ask(&blocked.namespace, vip, 80).await.is_ok());
    });
}
