//! A successor takes over whatever its predecessor had not been heard to say, and what becomes of both when it fails.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};

use shoal_overlay_net::desired::{PortKey, Protocol};
use shoal_overlay_net::message::{Reply, Request, VERSION, frame};

use crate::dns::a;
use crate::process::{another_build_takes_over, copied, ended, scene};
use crate::world::{ANSWER, Container, Conversation, DEADLINE, World, ask, in_a_host, until};

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn key(protocol: Protocol, port: u16) -> PortKey {
    PortKey {
        protocol,
        address: None,
        port,
    }
}

#[test]
fn no_question_is_lost_though_ports_are_taken() {
    in_a_host(|mut world| async move {
        let container = scene(&mut world).await;
        // What is said of them is longer than what is read of a greeting at once.
        let theirs = [9001, 9002].map(|port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap());
        for port in [9001, 9002] {
            world
                .publish(key(Protocol::Tcp, port), Some(101), &[(&container, 80)])
                .await;
        }
        let mut status = world.net().status();
        let said = status.wait_for(|status| status.ports_taken.len() == 2);
        drop(tokio::time::timeout(DEADLINE, said).await.unwrap().unwrap());
        another_build_takes_over(world, container).await;
        drop(theirs);
    });
}

/// Makes a program that runs this instead of taking over.
fn successor(world: &mut World, instead: &str) {
    let program = world.folder().join("broken-shoal-net");
    let text = world.folder().join("script");
    let real = world.config.program.display();
    let script =
        format!("#!/bin/sh\nif [ \"$3\" = take-over ]; then {instead}; exit 1; fi\nexec {real} \"$@\"\n");
    std::fs::write(&text, script).unwrap();
    // By another process: see `copied`.
    let installed = Command::new("install")
        .args(["-m", "700"])
        .args([&text, &program])
        .status();
    assert!(installed.unwrap().success());
    world.config.program = program;
}

async fn serves(world: &World, container: &Container) {
    let expect = format!("NoError {}", container.v4());
    assert_eq!(a(&container.namespace, "web").await, expect);
    let answer = ask(&world.host, LOCALHOST, 8080).await.unwrap();
    assert!(answer.starts_with("here "), "{answer}");
}

#[test]
fn one_whose_successor_ends_before_it_has_all_goes_on() {
    in_a_host(|mut world| async move {
        let container = scene(&mut world).await;
        let old = world.process().await;
        let mut open = Conversation::open(&world.host, SocketAddr::new(LOCALHOST, 8080))
            .await
            .unwrap();
        let program = world.config.program.clone();
        // That no port is taken, it says in six bytes; the seventh is the first of what it hands over.
        for instead in ["true", "head -c 7 > /dev/null"] {
            world.config.program.clone_from(&program);
            successor(&mut world, instead);
            world.reopen(&[&container]).await;
            assert_eq!(world.process().await, old, "{instead}");
            serves(&world, &container).await;
            open.echo().await.unwrap();
        }
    });
}

#[test]
fn one_whose_successor_ends_with_what_it_was_given_keeps_its_connections() {
    in_a_host(|mut world| async move {
        let container = scene(&mut world).await;
        let old = world.process().await;
        let mut open = Conversation::open(&world.host, SocketAddr::new(LOCALHOST, 8080))
            .await
            .unwrap();
        successor(&mut world, "cat > /dev/null");
        world.reopen(&[&container]).await;
        assert_ne!(world.process().await, old);
        serves(&world, &container).await;
        open.echo().await.unwrap();
        let name = std::fs::read_to_string(format!("/proc/{old}/comm")).unwrap();
        assert_eq!(name.trim(), "shoal-net-old");
        drop(open);
        until("the old one has ended", || async { ended(old) }).await;
    });
}

fn replace(world: &mut World) {
    let new = world.folder().join("new/shoal-net");
    world.config.program = copied(&world.config.program, &new);
}

#[test]
fn one_that_only_has_connections_left_holds_no_port() {
    in_a_host(|mut world| async move {
        let container = scene(&mut world).await;
        let other = key(Protocol::Tcp, 8081);
        world.publish(other, Some(101), &[(&container, 80)]).await;
        let old = world.process().await;
        let mut open = Conversation::open(&world.host, SocketAddr::new(LOCALHOST, 8080))
            .await
            .unwrap();
        replace(&mut world);
        world.reopen(&[&container]).await;
        assert_ne!(world.process().await, old);
        world.change(|tables| drop(tables.ports.remove(&other))).await;
        until("the port is free", || async {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8081)).is_ok()
        })
        .await;
        open.echo().await.unwrap();
        assert!(!ended(old));
    });
}

#[test]
fn datagrams_that_are_waited_for_come_from_the_old_one() {
    in_a_host(|mut world| async move {
        let container = scene(&mut world).await;
        let backend = container
            .namespace
            .enter(|| std::net::UdpSocket::bind("0.0.0.0:90"))
            .unwrap()
            .unwrap();
        backend.set_nonblocking(true).unwrap();
        let backend = tokio::net::UdpSocket::from_std(backend).unwrap();
        world
            .publish(key(Protocol::Udp, 8090), Some(101), &[(&container, 90)])
            .await;
        let asking = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .unwrap();
        asking.connect((Ipv4Addr::LOCALHOST, 8090)).await.unwrap();
        asking.send(b"who?").await.unwrap();
        let mut said = [0; 100];
        let heard = tokio::time::timeout(DEADLINE, backend.recv_from(&mut said)).await;
        let (_, by) = heard.unwrap().unwrap();
        let old = world.process().await;
        replace(&mut world);
        world.reopen(&[&container]).await;
        assert_ne!(world.process().await, old);
        backend.send_to(b"late", by).await.unwrap();
        let answered = tokio::time::timeout(ANSWER, asking.recv(&mut said)).await;
        let length = answered.unwrap().unwrap();
        assert_eq!(&said[..length], b"late");
        // And what is asked now is the new one's to carry.
        asking.send(b"again").await.unwrap();
        let heard = tokio::time::timeout(DEADLINE, backend.recv_from(&mut said)).await;
        assert_eq!(heard.unwrap().unwrap().0, 5);
    });
}

#[test]
fn a_log_that_cannot_be_written_is_no_reason_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let full = || std::fs::File::create(Path::new("/dev/full")).unwrap();
    let mut process = Command::new(env!("CARGO_BIN_EXE_shoal-net"))
        .args(["00000000", "no-router"])
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(listener)))
        .stdout(full())
        .stderr(full())
        .spawn()
        .unwrap();
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    // That a network has come is logged before it is answered.
    let hello = Request::Hello { version: VERSION };
    stream.write_all(&frame(&hello).unwrap()).unwrap();
    let pid = process.id();
    let expect = frame(&Reply::Hello {
        version: VERSION,
        pid,
    });
    let expect = expect.unwrap();
    let mut answer = vec![0; expect.len()];
    let answered = stream.read_exact(&mut answer);
    stream.write_all(&frame(&Request::End).unwrap()).unwrap();
    let status = process.wait().unwrap();
    answered.unwrap();
    assert_eq!(answer, expect);
    assert!(status.success(), "{status}");
}
