//! Measures a change's way through a worker: `change DIRECTORY-OF-PROGRAMS`.
//!
//! A whole worker, with its state on this machine's disk and its network in namespaces of its own, in session with a
//! manager of a few lines. Of a thousand services of ten endpoints one endpoint leaves, or comes back. Lines `change MS`:
//! from the update sent until the worker has it on disk and in force and listens again; lines `asking MS`: the same
//! without an update, which is the way there and back; lines `disk MS`: keeping such an update, alone.

#![expect(clippy::print_stdout, reason = "a tool for people at a terminal")]

mod cluster;
mod manager;

use std::collections::BTreeSet;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use cluster::{SERVICES, change, ended_tasks, node, tables};
use manager::{Manager, Session};
use nix::sched::{CloneFlags, unshare};
use shoal_agent_runtime::{Runtime, RuntimeConfig};
use shoal_core::dispatcher::TablesDiff;
use shoal_overlay_net::{NetConfig, purge};
use shoal_worker::assignment::{AssignmentSet, Touched};
use shoal_worker::disk::Disk;
use shoal_worker::local::NodeFacts;
use shoal_worker::network::NodeSide;
use shoal_worker::{Worker, WorkerConfig};

type Outcome<T> = Result<T, Box<dyn Error>>;

const CHANGES: u32 = 200;

fn main() -> Outcome<()> {
    let programs = std::env::args_os()
        .nth(1)
        .ok_or("expected the directory of the programs")?;
    // Before any thread: every one that follows is in them.
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)?;
    let private = rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    // On a disk: what is in memory only costs nothing to keep.
    let folder = PathBuf::from(format!("/var/tmp/shoal-change-{}", std::process::id()));
    let outcome = runtime.block_on(measure(&folder, Path::new(&programs)));
    std::fs::remove_dir_all(&folder)?;
    outcome
}

async fn measure(folder: &Path, programs: &Path) -> Outcome<()> {
    let net = NetConfig {
        tag: tag().parse()?,
        run_dir: folder.join("net"),
        program: programs.join("shoal-net"),
    };
    let outcome = in_session(folder, programs, net.clone()).await;
    purge(net).await?;
    outcome?;
    keeping(&folder.join("kept")).await
}

async fn in_session(folder: &Path, programs: &Path, net: NetConfig) -> Outcome<()> {
    let runtime = Runtime::open(RuntimeConfig {
        state_dir: folder.join("state"),
        run_dir: folder.join("run"),
        logs_dir: folder.join("logs"),
        volumes_dir: folder.join("volumes"),
        tag: tag(),
        shim: programs.join("shoal-shim"),
        spawn: programs.join("shoal-spawn"),
        insecure_registries: Vec::new(),
        favordynmods: false,
    })
    .await?;
    let config = WorkerConfig {
        state_dir: folder.join("worker"),
        facts: NodeFacts {
            node_id: node().to_string(),
            cluster_id: String::new(),
            manager: false,
            version: String::new(),
            state_dir: folder.join("state"),
            run_dir: folder.join("run"),
        },
        address: String::new(),
        node: node(),
        side: NodeSide {
            tag: tag().parse()?,
            open_host_ports: BTreeSet::new(),
        },
        net,
    };
    let (manager, mut sessions) = Manager::new();
    let worker = Worker::start(config, runtime, Arc::new(manager)).await?;
    let mut session = sessions.recv().await.ok_or("the worker opened no session")?;
    let measured = changes(&mut session).await;
    worker.stop().await;
    measured
}

async fn changes(session: &mut Session) -> Outcome<()> {
    session.welcome().await?;
    let tasks = ended_tasks();
    let expected = tasks.len();
    session.everything(tasks, TablesDiff::full(tables()?)).await?;
    session.listens().await?;
    // What it has to say of its tasks is not part of what follows.
    session.hear_reports(expected).await?;
    for round in 0..CHANGES {
        let begun = Instant::now();
        session.change(change(SERVICES / 2, round % 2 == 0)?).await?;
        session.listens().await?;
        println!("change {}", millis(begun));
        let begun = Instant::now();
        session.listens().await?;
        println!("asking {}", millis(begun));
    }
    Ok(())
}

/// What the disk takes of it.
async fn keeping(folder: &Path) -> Outcome<()> {
    let path = folder.to_owned();
    let (disk, _nothing) = tokio::task::spawn_blocking(move || Disk::open(&path)).await??;
    let mut set = AssignmentSet::default();
    let untouched = Touched::default();
    disk.put_assignments(&set, &untouched, &TablesDiff::full(tables()?), "boot")
        .await?;
    for round in 0..CHANGES {
        set.at.index += 1;
        let change = change(SERVICES / 2, round % 2 == 0)?;
        let begun = Instant::now();
        disk.put_assignments(&set, &untouched, &change, "boot").await?;
        println!("disk {}", millis(begun));
    }
    Ok(())
}

fn tag() -> String {
    format!("{:08x}", std::process::id())
}

fn millis(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1000.0
}
