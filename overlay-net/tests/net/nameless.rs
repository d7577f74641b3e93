//! Containers whose names somebody in them took away, in ways that only opening anew mends.

use std::net::Ipv4Addr;

use rustix::process::{Pid, Signal, kill_process};
use shoal_overlay_net::namespace::Namespace;
use shoal_overlay_net::netlink::{Batch, Protocol, Socket};
use shoal_overlay_net::rtnl::{LinkAddress, Request, RouteSocket};

use crate::dns::{NAMESERVER, lookup_in_stream, question, socket, words};
use crate::world::{ANSWER, Container, DEADLINE, in_a_host, until};
use hickory_proto::rr::RecordType;

/// What a lookup by a datagram gives; nothing if there is no answer.
async fn answer(from: &Namespace) -> String {
    let socket = socket(from);
    let question = question("web", RecordType::A);
    // Nobody may be there, and then it is refused.
    let _sent = socket.send_to(&question, NAMESERVER).await;
    let mut answer = [0; 4096];
    match tokio::time::timeout(ANSWER, socket.recv_from(&mut answer)).await {
        Ok(Ok((length, _))) => words(&answer[..length]),
        _ => String::new(),
    }
}

/// The ports of 127.0.0.11 in a container, as the kernel lists them.
fn ports(container: &Container, table: &str) -> Vec<u16> {
    let path = format!("/proc/thread-self/net/{table}");
    let text = container.namespace.enter(|| std::fs::read_to_string(path));
    let text = text.unwrap().unwrap();
    let address = format!(
        "{:08X}:",
        u32::from_ne_bytes(Ipv4Addr::new(127, 0, 0, 11).octets())
    );
    let local = |line: &str| {
        let port = line
            .split_ascii_whitespace()
            .nth(1)?
            .strip_prefix(&address)?
            .to_owned();
        u16::from_str_radix(&port, 16).ok()
    };
    text.lines().filter_map(local).collect()
}

/// Closes a socket of 127.0.0.11 as `ss -K` does.
fn close_by_force(container: &Container, protocol: u8, port: u16) {
    // struct inet_diag_req_v2, for a socket in any state with this end.
    let mut request = vec![2, protocol, 0, 0];
    request.extend_from_slice(&u32::MAX.to_ne_bytes());
    request.extend_from_slice(&port.to_be_bytes());
    request.extend_from_slice(&[0; 2]);
    request.extend_from_slice(&[127, 0, 0, 11]);
    request.extend_from_slice(&[0; 28 + 4]);
    request.extend_from_slice(&[0xff; 8]);
    let mut batch = Batch::new();
    batch.message(21, 0, &request, |_| {});
    let closed = container
        .namespace
        .enter(|| Socket::open(Protocol::SocketDiag).unwrap().send_all(&batch));
    closed.unwrap().unwrap();
}

#[test]
fn sockets_that_are_closed_by_force_are_opened_again() {
    in_a_host(|mut world| async move {
        let container = world.container(11, &["blue"]).await;
        world.names("blue", &[("web", &[container.v4()])]).await;
        let expect = format!("NoError {}", container.v4());
        let pid = world.process().await;
        for (protocol, table) in [(17, "udp"), (6, "tcp")] {
            assert_eq!(answer(&container.namespace).await, expect);
            let [port] = ports(&container, table)[..] else {
                panic!("{:?}", ports(&container, table));
            };
            close_by_force(&container, protocol, port);
            until("names are answered again", || async {
                let streamed = lookup_in_stream(&container.namespace, "web", RecordType::A).await;
                answer(&container.namespace).await == expect && streamed.is_ok_and(|answer| answer == expect)
            })
            .await;
        }
        assert_eq!(world.process().await, pid);
        // The network knows of it: its successor is asked on the port where the containers ask now.
        world.close();
        world.reopen(&[&container]).await;
        assert_eq!(answer(&container.namespace).await, expect);
    });
}

#[test]
fn a_container_without_names_is_said_and_tried_again() {
    in_a_host(|mut world| async move {
        let container = world.container(11, &["blue"]).await;
        let whole = world.container(12, &["blue"]).await;
        world.names("blue", &[("web", &[container.v4()])]).await;
        let expect = format!("NoError {}", container.v4());
        let own = LinkAddress {
            link: 1,
            address: Ipv4Addr::LOCALHOST.into(),
            length: 8,
        };
        let change = |request: Request<()>| {
            let sent = container
                .namespace
                .enter(|| RouteSocket::open().unwrap().send(&[request], |()| -1));
            assert_eq!(sent.unwrap().unwrap(), []);
        };
        // Without it nobody can listen on 127.0.0.11.
        change(Request::RemoveAddress(own));
        let pid = world.process().await;
        let process = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        kill_process(process, Signal::KILL).unwrap();
        let mut status = world.net().status();
        let said = status.wait_for(|status| status.nameless.contains_key(&container.endpoint.id));
        let status = tokio::time::timeout(DEADLINE, said)
            .await
            .unwrap()
            .unwrap()
            .clone();
        assert_eq!(status.nameless.len(), 1, "{status:?}");
        let names = |what: &str| what.contains("container-11 has no names") && what.contains("127.0.0.11");
        assert!(
            status.problems.iter().any(|problem| names(&problem.what)),
            "{status:?}"
        );
        assert_eq!(answer(&whole.namespace).await, expect);
        let new = world.process().await;
        assert_ne!(new, pid);
        change(Request::AddAddress(own));
        until("it has names", || async {
            answer(&container.namespace).await == expect
        })
        .await;
        until("nothing is said", || async {
            let status = world.net().status().borrow().clone();
            status.nameless.is_empty() && status.problems.is_empty()
        })
        .await;
        assert_eq!(world.process().await, new, "it was not started anew for that");
    });
}
