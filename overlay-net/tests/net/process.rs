//! What becomes of names and ports when `shoal-net` dies, is replaced, or is alone.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use shoal_overlay_net::NamesState;
use shoal_overlay_net::desired::{PortKey, Protocol};

use crate::dns::a;
use crate::world::{ANSWER, Container, Conversation, DEADLINE, HOST, World, ask, in_a_host, until};

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A container with a name and a published port.
pub(crate) async fn scene(world: &mut World) -> Container {
    let container = world.container(11, &["blue"]).await;
    container.serve(80, "here");
    world.names("blue", &[("web", &[container.v4()])]).await;
    let key = PortKey {
        protocol: Protocol::Tcp,
        address: None,
        port: 8080,
    };
    world.publish(key, Some(100), &[(&container, 80)]).await;
    container
}

/// Another file with the same in it. Copied by another process: while this one could write to it, no process that it
/// starts meanwhile, for another test, would let it be run.
pub(crate) fn copied(from: &Path, to: &Path) -> PathBuf {
    std::fs::create_dir(to.parent().unwrap()).unwrap();
    let copied = std::process::Command::new("cp")
        .args([from, to])
        .status()
        .unwrap();
    assert!(copied.success());
    to.to_owned()
}

fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

#[test]
fn one_that_dies_is_back_within_a_second() {
    in_a_host(|mut world| async move {
        let container = scene(&mut world).await;
        for _ in 0..3 {
            let pid = world.process().await;
            let start = Instant::now();
            signal(pid, Signal::KILL);
            // What the kernel does goes on without it.
            let host: IpAddr = HOST[0].parse().unwrap();
            assert!(ask(&world.outside, host, 8080).await.is_ok());
            let mut status = world.net().status();
            let other = |names: &NamesState| matches!(names, NamesState::Serving { pid: new } if *new != pid);
            let back = status.wait_for(|status| other(&status.names));
            drop(tokio::time::timeout(DEADLINE, back).await.unwrap().unwrap());
            assert_eq!(
                a(&container.namespace, "web").await,
                format!("NoError {}", container.v4())
            );
            assert!(
                ask(&world.host, LOCALHOST, 8080)
                    .await
                    .unwrap()
                    .starts_with("here ")
            );
            assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        }
    });
}

/// How long one that hangs may stand in the way of whoever asks for something.
const HUNG_MOST: Duration = Duration::from_secs(3);

#[test]
fn one_that_hangs_is_replaced_while_it_is_asked_for_something() {
    in_a_host(|mut world| async move {
        let container = scene(&mut world).await;
        let pid = world.process().await;
        signal(pid, Signal::STOP);
        let start = Instant::now();
        world.names("blue", &[("other", &[container.v4()])]).await;
        assert!(start.elapsed() < HUNG_MOST, "{:?}", start.elapsed());
        assert_eq!(
            a(&container.namespace, "other").await,
            format!("NoError {}", container.v4())
        );
        assert_ne!(world.process().await, pid);
    });
}

#[test]
fn one_that_hangs_is_replaced_though_nobody_asks_for_anything() {
    in_a_host(|mut world| async move {
        let container = scene(&mut world).await;
        for _ in 0..2 {
            let pid = world.process().await;
            let start = Instant::now();
            signal(pid, Signal::STOP);
            let mut status = world.net().status();
            let other = status
                .wait_for(|status| !matches!(status.names, NamesState::Serving { pid: old } if old == pid));
            drop(tokio::time::timeout(DEADLINE, other).await.unwrap().unwrap());
            assert!(start.elapsed() < HUNG_MOST, "{:?}", start.elapsed());
            world.process().await;
            assert_eq!(
                a(&container.namespace, "web").await,
                format!("NoError {}", container.v4())
            );
            assert!(
                ask(&world.host, LOCALHOST, 8080)
                    .await
                    .unwrap()
                    .starts_with("here ")
            );
        }
    });
}

#[test]
fn one_that_is_alive_is_not_replaced_when_its_network_stood_still() {
    in_a_host(|mut world| async move {
        scene(&mut world).await;
        let pid = world.process().await;
        // The network's own task has no turn for longer than it would wait for an answer.
        let start = Instant::now();
        let busy = rustix::event::Timespec {
            tv_sec: 3,
            tv_nsec: 0,
        };
        rustix::event::poll(&mut [], Some(&busy)).unwrap();
        assert!(start.elapsed() >= Duration::from_secs(3));
        // Then it hears two answers in time.
        let heard = tokio::time::timeout(Duration::from_millis(2500), async {
            let mut status = world.net().status();
            status.changed().await
        });
        assert!(heard.await.is_err(), "nothing has changed");
        assert_eq!(world.process().await, pid);
    });
}

#[test]
fn it_goes_on_without_the_network_that_started_it() {
    in_a_host(|mut world| async move {
        let container = scene(&mut world).await;
        let pid = world.process().await;
        let mut open = Conversation::open(&world.host, SocketAddr::new(LOCALHOST, 8080))
            .await
            .unwrap();
        world.close();
        assert_eq!(
            a(&container.namespace, "web").await,
            format!("NoError {}", container.v4())
        );
        assert!(
            ask(&world.host, LOCALHOST, 8080)
                .await
                .unwrap()
                .starts_with("here ")
        );
        world.reopen(&[&container]).await;
        assert_eq!(world.process().await, pid, "the same one goes on");
        open.echo().await.unwrap();
        assert_eq!(
            a(&container.namespace, "web").await,
            format!("NoError {}", container.v4())
        );
        // What the new one does not have is gone from it as well.
        world.reopen(&[]).await;
        let asked = crate::dns::socket(&container.namespace);
        let question = crate::dns::question("web", hickory_proto::rr::RecordType::A);
        asked.connect(crate::dns::NAMESERVER).await.unwrap();
        until("it is not answered any more", || async {
            let sent = asked.send(&question).await;
            let answered = tokio::time::timeout(ANSWER, asked.recv(&mut [0; 100])).await;
            sent.is_err() || !matches!(answered, Ok(Ok(_)))
        })
        .await;
    });
}

#[test]
fn another_build_takes_over_and_no_question_is_lost() {
    in_a_host(|mut world| async move {
        let container = scene(&mut world).await;
        another_build_takes_over(world, container).await;
    });
}

pub(crate) async fn another_build_takes_over(mut world: World, container: Container) {
    let pid = world.process().await;
    let mut open = Conversation::open(&world.host, SocketAddr::new(LOCALHOST, 8080))
        .await
        .unwrap();
    // Somebody asks all the time, and waits for each answer but a little.
    let asking = {
        let (namespace, host) = (container.namespace.clone(), world.host.clone());
        tokio::task::spawn_local(async move {
            let mut answered = 0;
            loop {
                let start = Instant::now();
                assert_eq!(a(&namespace, "web").await, "NoError 10.128.1.11");
                assert!(ask(&host, LOCALHOST, 8080).await.unwrap().starts_with("here "));
                assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
                answered += 1;
                let _shown = ANSWERED.with(|count| count.replace(answered));
            }
        })
    };
    world.config.program = copied(&world.config.program, &world.folder().join("new/shoal-net"));
    until("questions are asked", || async {
        ANSWERED.with(std::cell::Cell::get) > 2
    })
    .await;
    world.reopen(&[&container]).await;
    let new = world.process().await;
    assert_ne!(new, pid, "another one serves");
    let before = ANSWERED.with(std::cell::Cell::get);
    until("questions are answered by the new one", || async {
        ANSWERED.with(std::cell::Cell::get) > before + 2
    })
    .await;
    assert!(!asking.is_finished(), "{:?}", asking.await);
    asking.abort();
    // The connection that was open is still the old one's, which ends with it.
    open.echo().await.unwrap();
    let old = format!("/proc/{pid}/comm");
    assert_eq!(std::fs::read_to_string(&old).unwrap().trim(), "shoal-net-old");
    drop(open);
    until("the old one has ended", || async { ended(pid) }).await;
    assert_eq!(world.process().await, new);
    assert!(ask(&world.host, LOCALHOST, 8080).await.is_ok());
}

thread_local! {
    static ANSWERED: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// Whether a process is no more, or only waits for its parent to notice.
pub(crate) fn ended(pid: u32) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).map_or(true, |command| command.is_empty())
}

#[test]
fn the_end_of_the_network_ends_it_and_its_predecessor() {
    in_a_host(|mut world| async move {
        let container = scene(&mut world).await;
        let old = world.process().await;
        let _open = Conversation::open(&world.host, SocketAddr::new(LOCALHOST, 8080))
            .await
            .unwrap();
        world.config.program = copied(&world.config.program, &world.folder().join("new/shoal-net"));
        world.reopen(&[&container]).await;
        let new = world.process().await;
        assert!(new != old && !ended(old) && !ended(new));
        world.close();
        shoal_overlay_net::purge(world.config.clone()).await.unwrap();
        assert!(ended(old) && ended(new));
    });
}

#[test]
fn one_that_cannot_be_started_is_said_and_tried_again() {
    in_a_host(|mut world| async move {
        let container = scene(&mut world).await;
        let pid = world.process().await;
        world.close();
        let program = world.folder().join("later/shoal-net");
        let there = std::mem::replace(&mut world.config.program, program.clone());
        signal(pid, Signal::KILL);
        until("it is gone", || async { ended(pid) }).await;
        world.reopen(&[&container]).await;
        let status = world.net().status().borrow().clone();
        assert!(
            matches!(&status.names, NamesState::Down { why } if why.contains("later/shoal-net")),
            "{status:?}"
        );
        assert!(
            status
                .problems
                .iter()
                .any(|problem| problem.what.contains("no names")),
            "{status:?}"
        );
        // The kernel's part does not wait for it.
        let host: IpAddr = HOST[0].parse().unwrap();
        assert!(ask(&world.outside, host, 8080).await.is_ok());
        copied(&there, &program);
        world.process().await;
        assert_eq!(
            a(&container.namespace, "web").await,
            format!("NoError {}", container.v4())
        );
        assert!(world.net().status().borrow().problems.is_empty());
    });
}

#[test]
fn what_comes_and_goes_leaves_nothing_behind() {
    in_a_host(|mut world| async move {
        let stays = scene(&mut world).await;
        let pid = world.process().await;
        let open = || std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        let before = open();
        let ports = world.tables().ports.clone();
        for round in 0..40_u8 {
            let container = world.container(20 + round, &["blue"]).await;
            world
                .names("blue", &[("web", &[stays.v4()]), ("other", &[container.v4()])])
                .await;
            for protocol in Protocol::ALL {
                let key = PortKey {
                    protocol,
                    address: None,
                    port: 9000 + u16::from(round),
                };
                world.publish(key, Some(110), &[(&container, 80)]).await;
            }
            assert_eq!(
                a(&container.namespace, "other").await,
                format!("NoError {}", container.v4())
            );
            let id = container.endpoint.id.clone();
            drop(container);
            world.net().detach(&id).await.unwrap();
            world.change(|tables| tables.ports.clone_from(&ports)).await;
        }
        until("all that came has gone", || async { open() == before }).await;
        assert_eq!(world.process().await, pid);
        assert_eq!(
            a(&stays.namespace, "web").await,
            format!("NoError {}", stays.v4())
        );
        assert!(
            ask(&world.host, LOCALHOST, 8080)
                .await
                .unwrap()
                .starts_with("here ")
        );
    });
}
