//! The worker's public door: everything put together, started and stopped.
//!
//! Called by the node; owns no decision of its own.

use crate::board::Board;
use crate::clients::Clients;
use crate::crash;
use crate::dial::Dial;
use crate::disk::{Disk, DiskError, Kept};
use crate::local::{NodeFacts, WorkerView};
use crate::name::task_of;
use crate::network::{
    NetworkHub, NodeSide, Opening, Overlay, PortsTaken, has_links, keep_described, watch_host,
};
use crate::node_runtime::NodeRuntime;
use crate::runtime::TaskRuntime;
use crate::session::{SessionParts, keep_open};
use crate::streams::Streams;
use crate::supervisor::{Parts, Supervisor};
use crate::task::{Found, Link};
use futures::future::BoxFuture;
use shoal_agent_runtime::{ContainerId, Runtime};
use shoal_core::model::{Bytes, CpuNanos, NodeDescription, NodeId, Platform, Resources};
use shoal_overlay_net::{Net, NetConfig};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

/// Updates that wait for the supervisor; a session sends one at a time.
const MESSAGES: usize = 8;

/// What a worker is started with.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// `<state>/worker`.
    pub state_dir: PathBuf,
    pub facts: NodeFacts,
    /// The address by which other nodes reach this one; empty where it listens locally only.
    pub address: String,
    pub node: NodeId,
    /// What is the node's own in its network.
    pub side: NodeSide,
    pub net: NetConfig,
}

/// The worker could not be started.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("taking up the containers of this node: {0}")]
    Containers(String),
    #[error("reading the machine's boot id")]
    Boot(#[source] std::io::Error),
    #[error("opening the network of this node's containers")]
    Network(#[from] shoal_overlay_net::OpenError),
    #[error("the worker is stopping")]
    Stopped,
}

/// A running worker. Dropping it stops the worker at once; containers go on in either case.
#[derive(Debug)]
pub struct Worker {
    view: WorkerView,
    session: JoinHandle<()>,
    supervisor: JoinHandle<()>,
    _described: AbortOnDropHandle<()>,
}

impl Worker {
    /// Takes up what was assigned before, and opens a session as soon as a manager answers.
    ///
    /// # Errors
    /// Where the disk or the containers of an earlier daemon cannot be read.
    pub async fn start(
        config: WorkerConfig,
        runtime: Runtime,
        dial: Arc<dyn Dial>,
    ) -> Result<Self, WorkerError> {
        let boot = tokio::fs::read_to_string("/proc/sys/kernel/random/boot_id").await;
        let boot = boot.map_err(WorkerError::Boot)?.trim().to_owned();
        let path = config.state_dir.clone();
        let opened = tokio::task::spawn_blocking(move || Disk::open(&path)).await;
        let (disk, kept) = opened.map_err(|_stopping| WorkerError::Stopped)??;
        crash::reached("worker.open.1-disk-read");
        let (description, described) = watch::channel(describe(&runtime, &config));
        let host = IpAddr::V4(config.side.host_v4());
        let node_runtime = Arc::new(NodeRuntime::new(runtime.clone(), host));
        let found = node_runtime.list().await;
        let found = found.map_err(|failure| WorkerError::Containers(failure.message))?;
        crash::reached("worker.open.2-containers-listed");
        let network = Arc::new(open_network(&config, &kept, &found, &node_runtime).await?);
        crash::reached("worker.open.3-network-open");
        let (ports, ports_told) = watch::channel(PortsTaken::default());
        let (host, of_host) = watch::channel(Vec::new());
        let watching = watch_host(runtime.clone(), host);
        let keeping = keep_described(network.status(), of_host, description, ports);
        let keeping = async move {
            tokio::select! {
                () = keeping => {}
                () = watching => {}
            }
        };
        let board = Arc::new(Board::default());
        let clients = Arc::new(Clients::default());
        let (link, linked) = watch::channel(Link::Lost);
        let (manager, spoken_to) = watch::channel(String::new());
        let supervisor = Supervisor::new(Parts {
            runtime: node_runtime,
            board: Arc::clone(&board),
            disk,
            kept,
            found,
            boot,
            link: linked,
            network: Arc::clone(&network),
            ports: ports_told,
            clients: Arc::clone(&clients),
        });
        let (messages, inbox) = mpsc::channel(MESSAGES);
        let parts = SessionParts {
            streams: Arc::new(Streams::new(
                Arc::clone(&dial),
                Arc::clone(&board),
                clients,
                runtime,
            )),
            dial,
            board: Arc::clone(&board),
            supervisor: messages,
            description: described.clone(),
            manager,
        };
        Ok(Self {
            view: WorkerView {
                board,
                facts: Arc::new(config.facts),
                description: described,
                manager: spoken_to,
                network: network.status(),
            },
            session: tokio::spawn(keep_open(parts, link)),
            supervisor: tokio::spawn(supervisor.run(inbox)),
            _described: AbortOnDropHandle::new(tokio::spawn(keeping)),
        })
    }

    /// For the local service.
    pub fn view(&self) -> WorkerView {
        self.view.clone()
    }

    /// Is a session open?
    pub fn in_session(&self) -> bool {
        !self.view.manager.borrow().is_empty()
    }

    /// Ends the session and the keepers. Containers and their shims go on.
    pub async fn stop(self) {
        self.session.abort();
        // Ended by its session's end: the last sender of its messages is gone. A panic was logged when it was.
        drop(self.session.await);
        drop(self.supervisor.await);
    }
}

/// What runs stays attached; the network has it in hand again when this returns.
async fn open_network(
    config: &WorkerConfig,
    kept: &Kept,
    found: &[(ContainerId, Found)],
    runtime: &NodeRuntime,
) -> Result<NetworkHub, WorkerError> {
    let mut attached = Vec::new();
    for (container, found) in found {
        let task = task_of(container).and_then(|(task, _)| kept.set.tasks.get(&task));
        let Some(task) = task.filter(|task| has_links(task) && !matches!(found, Found::Exited(_))) else {
            continue;
        };
        // One that has ended meanwhile is seen by its keeper.
        if let Ok(namespace) = runtime.namespace(container).await {
            attached.push((task, container.clone(), namespace));
        }
    }
    let opening = Opening {
        node: config.node.clone(),
        side: config.side.clone(),
        tables: &kept.tables,
        at: kept.set.at,
        failing: kept.failing(),
        attached,
    };
    let net = config.net.clone();
    let open = |desired| -> BoxFuture<'static, _> {
        Box::pin(async move {
            let net: Arc<dyn Overlay> = Arc::new(Net::open(net, desired).await?);
            Ok(net)
        })
    };
    Ok(NetworkHub::open(opening, open).await?)
}

fn describe(runtime: &Runtime, config: &WorkerConfig) -> NodeDescription {
    let facts = runtime.facts();
    NodeDescription {
        hostname: facts.hostname.clone(),
        platform: Platform {
            os: facts.os.clone(),
            arch: facts.architecture.clone(),
        },
        resources: Resources {
            cpu: CpuNanos(u64::from(facts.cpus) * 1_000_000_000),
            memory: Bytes(facts.memory),
        },
        engine_version: config.facts.version.clone(),
        engine_labels: std::collections::BTreeMap::new(),
        address: config.address.clone(),
        routes: Vec::new(),
        problems: Vec::new(),
    }
}
