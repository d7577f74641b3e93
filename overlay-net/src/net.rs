//! The node's network as the worker has it in hand.
//!
//! A handle: the work is the keeper's task's and the engine's thread's. Dropping the last one stops both and changes
//! nothing in the kernel or in `shoal-net`: links, tables, names, ports and connections go on.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use crate::desired::{Desired, Endpoint, EndpointId, Tables, Tag};
use crate::engine::{self, ApplyError, AttachError, EngineThread, KernelError, NetStatus};
use crate::keeper::{Command, Keeper, QUEUE};
use crate::namespace::{self, Namespace, NamespaceError};
use crate::process::{self, Place, Process};

/// Where a node's network keeps its files, and how it marks what it makes.
#[derive(Debug, Clone)]
pub struct NetConfig {
    /// The mark of this Shoal.
    pub tag: Tag,
    /// A directory of its own, emptied by a reboot.
    pub run_dir: PathBuf,
    /// The program `shoal-net`: the part of the network that needs a living process.
    pub program: PathBuf,
}

/// The node's network.
#[derive(Debug, Clone)]
pub struct Net {
    engine: Arc<EngineThread>,
    keeper: mpsc::Sender<Command>,
}

/// The node's network could not be opened, or not be removed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its directory could not be made.
    #[error("make {path}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The router's namespace could not be made or found.
    #[error("the router's network namespace")]
    Router(#[source] NamespaceError),
    /// The process could not be ended.
    #[error("end shoal-net")]
    Process(#[source] std::io::Error),
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

impl NetConfig {
    /// The file that the router's namespace is mounted on.
    pub fn router(&self) -> PathBuf {
        self.run_dir.join("router")
    }

    fn place(&self) -> Place {
        Place {
            tag: self.tag.clone(),
            router: self.router(),
            program: self.program.clone(),
            socket: self.run_dir.join("shoal-net.sock"),
            log: self.run_dir.join("shoal-net.log"),
        }
    }
}

impl Net {
    /// Makes the router and the link to it, or takes over those that are there with all connections through them,
    /// and removes what this Shoal left and `desired` does not have. Starts `shoal-net`, or goes on with the one that
    /// is there; if it cannot be started, the status says so and it is tried again.
    ///
    /// Called in the host's network namespace, by a runtime with all drivers, on which its task goes on.
    pub async fn open(config: NetConfig, desired: Desired) -> Result<Self, OpenError> {
        fs::create_dir_all(&config.run_dir).map_err(|source| OpenError::Directory {
            path: config.run_dir.clone(),
            source,
        })?;
        let process = Process::new(config.place());
        let start = async |desired| start(config, desired).await;
        let (task, engine) = Keeper::open(process, desired, start).await?;
        let (keeper, queue) = mpsc::channel(QUEUE);
        tokio::spawn(task.run(queue));
        Ok(Self { engine, keeper })
    }

    /// Puts tables in force; returns when the kernel has them and names are answered from them. Tables of the revision
    /// in force replace it, so that a backend known here to be dead is taken out at once ([`Tables::without`]); older
    /// ones are refused.
    pub async fn apply(&self, tables: Arc<Tables>) -> Result<(), ApplyError> {
        self.ask(|reply| Command::Apply(tables, reply))
            .await
            .unwrap_or(Err(ApplyError::Closed))
    }

    /// Gives a container its links and names; again with the same changes nothing.
    pub async fn attach(&self, endpoint: Endpoint) -> Result<(), AttachError> {
        self.ask(|reply| Command::Attach(Box::new(endpoint), reply))
            .await
            .unwrap_or(Err(AttachError::Closed))
    }

    /// Takes a container that has ended out of all tables; its links go with its namespace.
    pub async fn detach(&self, id: &EndpointId) -> Result<(), KernelError> {
        let closed = || Err(KernelError::closed());
        self.ask(|reply| Command::Detach(id.clone(), reply))
            .await
            .unwrap_or_else(closed)
    }

    /// How the network is, and every change of that.
    pub fn status(&self) -> watch::Receiver<NetStatus> {
        self.engine.tell.subscribe()
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.keeper.send(command(reply)).await.ok()?;
        answer.await.ok()
    }
}

/// The thread must start in the host's namespace, and a pool's thread is in it as well.
async fn start(config: NetConfig, desired: Desired) -> Result<EngineThread, OpenError> {
    let opened = tokio::task::spawn_blocking(move || {
        let router = router(&config.router()).map_err(OpenError::Router)?;
        Ok(EngineThread::start(config.tag, router, desired)?)
    });
    opened
        .await
        .unwrap_or_else(|_ended| Err(OpenError::Kernel(KernelError::closed())))
}

/// Ends `shoal-net` and takes everything of this Shoal's network out of the kernel, whoever made it; connections
/// through it end.
pub async fn purge(config: NetConfig) -> Result<(), OpenError> {
    let done = tokio::task::spawn_blocking(move || {
        process::end(&config.place()).map_err(OpenError::Process)?;
        engine::purge(&config.tag)?;
        namespace::unpin(&config.router()).map_err(OpenError::Router)
    });
    done.await
        .unwrap_or_else(|_ended| Err(OpenError::Kernel(KernelError::closed())))
}

/// The router's namespace: the one that is there, or a new one.
fn router(path: &Path) -> Result<Namespace, NamespaceError> {
    match Namespace::open(path) {
        Ok(there) => Ok(there),
        Err(error) if error.is_gone() => {
            namespace::unpin(path)?;
            Namespace::create(path)
        }
        Err(error) => Err(error),
    }
}
