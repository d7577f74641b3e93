//! What containers are told when they ask for names: who sees which, what is passed on and to whom, and what no
//! container can do to another by asking.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use hickory_proto::rr::RecordType;

use crate::dns::{NAMESERVER, Resolver, a, lookup, lookup_in_stream, question, resolv_conf, socket};
use crate::world::{World, ask, ask_udp, in_a_host, serve, until};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 53);

/// Names as the worker makes them of a service with a VIP and two slots, and of one of IPv4 alone.
async fn web(world: &mut World) {
    let (one, two, vip) = (ip("10.128.1.11"), ip("10.128.1.12"), ip("10.128.1.100"));
    let vip6 = ip("fd00:1:0:11::64");
    let records: &[(&str, &[IpAddr])] = &[
        ("web", &[vip, vip6]),
        ("www", &[vip, vip6]),
        ("tasks.web", &[one, two]),
        ("1.web", &[one]),
        ("web-1.web", &[one]),
        ("2.web", &[two]),
        ("my_db", &[ip("10.128.1.30")]),
        ("asleep", &[]),
    ];
    world.names("blue", records).await;
}

#[test]
fn names_are_answered_in_all_forms() {
    in_a_host(|mut world| async move {
        web(&mut world).await;
        let container = world.container(11, &["blue"]).await;
        let from = &container.namespace;
        use RecordType as T;
        for (name, kind, expect) in [
            ("web", T::A, "NoError 10.128.1.100"),
            ("WEB.", T::A, "NoError 10.128.1.100"),
            ("web", T::AAAA, "NoError fd00:1:0:11::64"),
            ("www", T::A, "NoError 10.128.1.100"),
            ("tasks.web", T::A, "NoError 10.128.1.11 10.128.1.12"),
            ("1.web", T::A, "NoError 10.128.1.11"),
            ("web-1.web", T::A, "NoError 10.128.1.11"),
            ("my_db", T::A, "NoError 10.128.1.30"),
            ("my_db", T::AAAA, "NoError"),
            ("asleep", T::A, "NoError"),
            ("web", T::TXT, "NoError"),
            ("11.1.128.10.in-addr.arpa.", T::PTR, "NoError web-1.web."),
            ("99.1.128.10.in-addr.arpa.", T::PTR, "NXDomain"),
        ] {
            assert_eq!(lookup(from, name, kind).await, expect, "{name} {kind}");
            let streamed = lookup_in_stream(from, name, kind).await.unwrap();
            assert_eq!(streamed, expect, "{name} {kind} in a stream");
        }
        // What changes is answered at once.
        world.names("blue", &[("web", &[ip("10.128.1.101")])]).await;
        assert_eq!(a(from, "web").await, "NoError 10.128.1.101");
        let dead = [ip("10.128.1.101")].into();
        world.change(|tables| *tables = tables.without(&dead)).await;
        assert_eq!(a(from, "web").await, "NoError");
    });
}

#[test]
fn names_of_a_network_are_its_members_alone() {
    in_a_host(|mut world| async move {
        resolv_conf(world.folder(), "nameserver 127.0.0.53\n");
        Resolver::at(&world.host, Ipv4Addr::new(127, 0, 0, 53), OUTSIDE, false);
        world.names("blue", &[("web", &[ip("10.128.1.1")])]).await;
        world
            .names(
                "red",
                &[("web", &[ip("10.128.2.1")]), ("db", &[ip("10.128.2.2")])],
            )
            .await;
        world.names("inner", &[("web", &[ip("10.128.3.1")])]).await;
        let (blue, red) = (
            world.container(11, &["blue"]).await,
            world.container(12, &["red"]).await,
        );
        let both = world.container(13, &["blue", "red"]).await;
        let inner = world.container(14, &["inner"]).await;
        let outside = format!("NoError {OUTSIDE}");
        for (container, name, expect) in [
            (&blue, "web", "NoError 10.128.1.1"),
            (&red, "web", "NoError 10.128.2.1"),
            (&both, "web", "NoError 10.128.1.1 10.128.2.1"),
            (&inner, "web", "NoError 10.128.3.1"),
            (&red, "db", "NoError 10.128.2.2"),
            (&blue, "db", &outside),
            // Without a way out, neither by asking.
            (&inner, "db", "NXDomain"),
            (&inner, "secret.example.com.", "NXDomain"),
        ] {
            assert_eq!(
                a(&container.namespace, name).await,
                expect,
                "{} {name}",
                container.endpoint.id
            );
        }
    });
}

#[test]
fn the_rest_is_passed_on_to_the_hosts_resolvers_as_they_are_now() {
    in_a_host(|world| async move {
        resolv_conf(world.folder(), "search example.com\nnameserver 127.0.0.53\n");
        let first = Resolver::at(&world.host, Ipv4Addr::new(127, 0, 0, 53), OUTSIDE, false);
        let other = Ipv4Addr::new(198, 51, 100, 7);
        let second = Resolver::at(&world.outside, Ipv4Addr::new(192, 0, 2, 9), other, false);
        let container = world.container(11, &["blue"]).await;
        let from = &container.namespace;
        assert_eq!(a(from, "www.example.com.").await, format!("NoError {OUTSIDE}"));
        assert_eq!(a(from, "unknown").await, format!("NoError {OUTSIDE}"));
        let streamed = lookup_in_stream(from, "www.example.com.", RecordType::A)
            .await
            .unwrap();
        assert_eq!((streamed, first.asked.get()), (format!("NoError {OUTSIDE}"), 3));
        resolv_conf(world.folder(), "nameserver 192.0.2.9\n");
        until("the new resolver is asked", || async {
            a(from, "www.example.com.").await == format!("NoError {other}")
        })
        .await;
        let before = first.asked.get();
        assert_eq!(a(from, "www.example.com.").await, format!("NoError {other}"));
        assert_eq!((first.asked.get(), second.asked.get() >= 2), (before, true));
        // No resolver at all.
        resolv_conf(world.folder(), "");
        until("nobody is asked", || async {
            a(from, "www.example.com.").await == "ServFail"
        })
        .await;
    });
}

#[test]
fn a_container_may_have_resolvers_of_its_own() {
    in_a_host(|world| async move {
        resolv_conf(world.folder(), "nameserver 127.0.0.53\n");
        Resolver::at(&world.host, Ipv4Addr::new(127, 0, 0, 53), OUTSIDE, false);
        let own = Ipv4Addr::new(198, 51, 100, 7);
        Resolver::at(&world.outside, Ipv4Addr::new(192, 0, 2, 9), own, false);
        let mut container = world.unattached(11, &["blue"]);
        container.endpoint.resolver.servers = vec![ip("192.0.2.9")];
        world.net().attach(container.endpoint.clone()).await.unwrap();
        let other = world.container(12, &["blue"]).await;
        assert_eq!(
            a(&container.namespace, "example.com.").await,
            format!("NoError {own}")
        );
        assert_eq!(
            a(&other.namespace, "example.com.").await,
            format!("NoError {OUTSIDE}")
        );
        container.endpoint.resolver.servers.clear();
        world.net().attach(container.endpoint.clone()).await.unwrap();
        assert_eq!(
            a(&container.namespace, "example.com.").await,
            format!("NoError {OUTSIDE}")
        );
    });
}

#[test]
fn what_does_not_fit_into_a_datagram_comes_in_a_stream() {
    in_a_host(|mut world| async move {
        resolv_conf(world.folder(), "nameserver 127.0.0.53\n");
        Resolver::at(&world.host, Ipv4Addr::new(127, 0, 0, 53), OUTSIDE, true);
        let many: Vec<IpAddr> = (1..=200).map(|host| IpAddr::from([10, 128, 1, host])).collect();
        world.names("blue", &[("tasks.many", &many)]).await;
        let container = world.container(11, &["blue"]).await;
        let from = &container.namespace;
        assert_eq!(a(from, "tasks.many").await, "cut");
        let whole = lookup_in_stream(from, "tasks.many", RecordType::A).await.unwrap();
        assert_eq!(whole.split(' ').count(), 201);
        assert_eq!(a(from, "example.com.").await, "cut");
        let whole = lookup_in_stream(from, "example.com.", RecordType::A)
            .await
            .unwrap();
        assert_eq!(whole, format!("NoError {OUTSIDE}"));
    });
}

#[test]
fn a_silent_resolver_holds_up_nobody_but_who_asks_it() {
    in_a_host(|mut world| async move {
        resolv_conf(world.folder(), "nameserver 127.0.0.54\nnameserver 127.0.0.53\n");
        let _silent = Resolver::silent(&world.host, Ipv4Addr::new(127, 0, 0, 54));
        Resolver::at(&world.host, Ipv4Addr::new(127, 0, 0, 53), OUTSIDE, false);
        web(&mut world).await;
        let (flooding, other) = (
            world.container(11, &["blue"]).await,
            world.container(12, &["blue"]).await,
        );
        // The second one answers for the first, within libc's patience, and after that at once.
        let start = Instant::now();
        assert_eq!(
            a(&other.namespace, "example.com.").await,
            format!("NoError {OUTSIDE}")
        );
        assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
        let start = Instant::now();
        assert_eq!(
            a(&other.namespace, "example.com.").await,
            format!("NoError {OUTSIDE}")
        );
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        // Nobody answers, and one container asks without end: it is refused, and others have their names meanwhile.
        resolv_conf(world.folder(), "nameserver 127.0.0.54\n");
        until("the other one is not asked any more", || async {
            a(&other.namespace, "example.com.").await == "ServFail"
        })
        .await;
        let asking = socket(&flooding.namespace);
        let asked = question("example.com.", RecordType::A);
        until("questions beyond the bound are refused", || async {
            for _ in 0..200 {
                asking.send_to(&asked, NAMESERVER).await.unwrap();
            }
            let mut answer = [0; 512];
            let answered = tokio::time::timeout(Duration::from_millis(100), asking.recv(&mut answer)).await;
            answered.is_ok_and(|received| crate::dns::words(&answer[..received.unwrap()]) == "ServFail")
        })
        .await;
        let start = Instant::now();
        assert_eq!(a(&other.namespace, "web").await, "NoError 10.128.1.100");
        assert!(
            start.elapsed() < Duration::from_millis(500),
            "{:?}",
            start.elapsed()
        );
    });
}

#[test]
fn a_container_has_its_port_53_for_itself() {
    in_a_host(|mut world| async move {
        web(&mut world).await;
        let container = world.container(11, &["blue"]).await;
        let other = world.container(12, &["blue"]).await;
        serve(&container.namespace, 53, "own");
        assert_eq!(
            ask(&other.namespace, container.v4(), 53).await.unwrap(),
            format!("own {}", other.v4())
        );
        assert!(
            ask_udp(&other.namespace, container.v4(), 53)
                .await
                .unwrap()
                .starts_with("own ")
        );
        let home = Ipv4Addr::LOCALHOST;
        assert!(
            ask(&container.namespace, home, 53)
                .await
                .unwrap()
                .starts_with("own ")
        );
        assert!(
            ask_udp(&container.namespace, home, 53)
                .await
                .unwrap()
                .starts_with("own ")
        );
        let from = &container.namespace;
        assert_eq!(a(from, "web").await, "NoError 10.128.1.100");
        let streamed = lookup_in_stream(from, "web", RecordType::A).await.unwrap();
        assert_eq!(streamed, "NoError 10.128.1.100");
    });
}

#[test]
fn a_flood_of_questions_starves_nobody_and_leaves_nothing() {
    in_a_host(|mut world| async move {
        web(&mut world).await;
        let flooding = world.container(11, &["blue"]).await;
        let other = world.container(12, &["blue"]).await;
        let pid = world.process().await;
        assert_eq!(a(&other.namespace, "web").await, "NoError 10.128.1.100");
        let before = memory(pid);
        // More than it can answer, from a thread of its own and from ever other ports.
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (namespace, stopped) = (flooding.namespace.clone(), std::sync::Arc::clone(&stop));
        let flood = std::thread::spawn(move || {
            let asked = question("web", RecordType::A);
            let mut sent = 0_u64;
            while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                let socket = namespace
                    .enter(|| std::net::UdpSocket::bind("0.0.0.0:0").unwrap())
                    .unwrap();
                for _ in 0..50 {
                    // Its own queue may be full.
                    sent += u64::from(socket.send_to(&asked, NAMESERVER).is_ok());
                }
            }
            sent
        });
        let start = Instant::now();
        let mut times = Vec::new();
        while start.elapsed() < Duration::from_secs(2) {
            let asked = Instant::now();
            assert_eq!(a(&other.namespace, "web").await, "NoError 10.128.1.100");
            times.push(asked.elapsed());
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let sent = flood.join().unwrap();
        times.sort();
        let slow = times[times.len() * 99 / 100];
        // However fast the machine is.
        let asked = u64::try_from(times.len()).unwrap();
        assert!(sent > 10 * asked, "{sent} questions beside {asked} are no flood");
        assert!(slow < Duration::from_millis(100), "{slow:?}");
        let after = memory(pid);
        assert!(after < before + 1024, "{before} KiB, {after} KiB after the flood");
    });
}

/// What a process has of its own in memory, in KiB.
fn memory(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let anonymous = text
        .lines()
        .find_map(|line| line.strip_prefix("Anonymous:"))
        .unwrap();
    anonymous.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_container_that_ended_is_kept_by_nothing() {
    in_a_host(|mut world| async move {
        web(&mut world).await;
        let links = || {
            let read = || {
                shoal_overlay_net::rtnl::RouteSocket::open()
                    .unwrap()
                    .links()
                    .unwrap()
                    .len()
            };
            world.router().enter(read).unwrap()
        };
        let before = links();
        let (told, untold) = (
            world.container(11, &["blue"]).await,
            world.container(12, &["blue"]).await,
        );
        // A conversation that is open when they end.
        let stream = told
            .namespace
            .enter(tokio::net::TcpSocket::new_v4)
            .unwrap()
            .unwrap();
        let stream = stream.connect(NAMESERVER).await.unwrap();
        assert_eq!(links(), before + 2);
        let id = told.endpoint.id.clone();
        drop(stream);
        drop(told);
        world.net().detach(&id).await.unwrap();
        until("the link of one is gone", || async { links() == before + 1 }).await;
        drop(untold);
        until("the link of the other is gone", || async { links() == before }).await;
    });
}
