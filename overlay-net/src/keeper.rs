//! Keeps both halves of a node's network with the same tables: the kernel, by the engine, and `shoal-net`.
//!
//! A task of its own: one command after the other, and what happens to the process in between. Ports are held before
//! the kernel leads to them, and names are answered after what they stand for is there.

use std::sync::{Arc, Weak};

use tokio::sync::{mpsc, oneshot, watch};

use crate::desired::{Desired, Endpoint, EndpointId, Tables};
use crate::engine::{self, ApplyError, AttachError, EngineThread, KernelError, NetStatus};
use crate::message::Asker;
use crate::namespace::NamespaceId;
use crate::process::{Process, without_ports};

/// One that lags this far behind makes its callers wait.
pub(crate) const QUEUE: usize = 256;

/// What is asked for.
#[derive(Debug)]
pub(crate) enum Command {
    /// New tables.
    Apply(Arc<Tables>, oneshot::Sender<Result<(), ApplyError>>),
    /// An endpoint.
    Attach(Box<Endpoint>, oneshot::Sender<Result<(), AttachError>>),
    /// An endpoint less.
    Detach(EndpointId, oneshot::Sender<Result<(), KernelError>>),
}

/// What the task has.
#[derive(Debug)]
pub(crate) struct Keeper {
    process: Process,
    /// Goes with the handle of the network.
    engine: Weak<EngineThread>,
    tables: Arc<Tables>,
    tell: watch::Sender<NetStatus>,
}

impl Keeper {
    /// Makes both halves what is desired: the process first, since one that is there already must not forget any name
    /// meanwhile, then the kernel by `start`.
    pub(crate) async fn open<E>(
        mut process: Process,
        desired: Desired,
        start: impl AsyncFnOnce(Desired) -> Result<EngineThread, E>,
    ) -> Result<(Self, Arc<EngineThread>), E> {
        let tables = Arc::clone(&desired.tables);
        for (id, endpoint) in &desired.endpoints {
            if let Some(asker) = asker(endpoint) {
                process.add(id.clone(), asker);
            }
        }
        // What does not serve yet is said by the status, and tried again.
        drop(process.serve(&tables).await);
        let leading = Desired {
            tables: without_ports(&tables, &process.taken()),
            endpoints: desired.endpoints,
        };
        let engine = Arc::new(start(leading).await?);
        let keeper = Self {
            process,
            engine: Arc::downgrade(&engine),
            tables,
            tell: engine.tell.clone(),
        };
        keeper.tell();
        Ok((keeper, engine))
    }

    /// Until nobody can ask for anything any more.
    pub(crate) async fn run(mut self, mut queue: mpsc::Receiver<Command>) {
        loop {
            tokio::select! {
                biased;
                command = queue.recv() => match command {
                    // Who asked may have stopped waiting.
                    Some(Command::Apply(tables, reply)) => drop(reply.send(self.apply(tables).await)),
                    Some(Command::Attach(endpoint, reply)) => drop(reply.send(self.attach(*endpoint).await)),
                    Some(Command::Detach(id, reply)) => drop(reply.send(self.detach(id).await)),
                    None => return,
                },
                said = self.process.wait() => {
                    let changed = self.process.heard(said).await;
                    if changed && let Err(error) = self.lead().await {
                        tracing::error!(%error, "ports that are free or taken now lead where they did before");
                    }
                }
            }
            self.tell();
        }
    }

    async fn apply(&mut self, tables: Arc<Tables>) -> Result<(), ApplyError> {
        let in_force = self.tables.revision;
        if tables.revision < in_force {
            let given = tables.revision;
            return Err(ApplyError::Stale { given, in_force });
        }
        self.tables = tables;
        // When it fails here it fails below.
        drop(self.process.hold(&self.tables).await);
        let led = self.lead().await;
        let answered = self.process.answer(&self.tables).await;
        led?;
        answered
            .map(|_failures| ())
            .map_err(|why| ApplyError::Names { why })
    }

    /// The kernel gets the tables, but for ports that somebody else has.
    async fn lead(&self) -> Result<(), ApplyError> {
        let tables = without_ports(&self.tables, &self.process.taken());
        let asked = self.ask(|reply| engine::Command::Apply(tables, reply)).await;
        asked.unwrap_or(Err(ApplyError::Closed))
    }

    async fn attach(&mut self, endpoint: Endpoint) -> Result<(), AttachError> {
        let id = endpoint.id.clone();
        let asker = asker(&endpoint);
        let asked = self
            .ask(|reply| engine::Command::Attach(Box::new(endpoint), reply))
            .await;
        asked.unwrap_or(Err(AttachError::Closed))?;
        let Some(asker) = asker else {
            let why = "it ended meanwhile".to_owned();
            return Err(AttachError::Gone { id, why });
        };
        self.process.add(id.clone(), asker);
        let why = match self.process.bring().await {
            Ok(mut failures) => failures.remove(&id),
            Err(why) => Some(why),
        };
        match why {
            None => Ok(()),
            Some(why) => Err(AttachError::Names { id, why }),
        }
    }

    /// The process lets go of the namespace first: its sockets keep it, and the links in it, alive.
    async fn detach(&mut self, id: EndpointId) -> Result<(), KernelError> {
        if self.process.remove(&id) {
            drop(self.process.bring().await);
        }
        let asked = self.ask(|reply| engine::Command::Detach(id, reply)).await;
        asked.unwrap_or_else(|| Err(KernelError::closed()))
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> engine::Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        let sent = self.engine.upgrade()?.send(command(reply)).await;
        if !sent {
            return None;
        }
        answer.await.ok()
    }

    fn tell(&self) {
        let (state, taken) = (self.process.state(), self.process.taken());
        self.tell
            .send_if_modified(|status| status.take_process(state, taken, self.process.nameless()));
    }
}

/// Who asks from an endpoint; none if it is gone.
fn asker(endpoint: &Endpoint) -> Option<Asker> {
    Some(Asker {
        namespace: endpoint.namespace.clone(),
        id: NamespaceId::of(&endpoint.namespace).ok()?,
        networks: endpoint
            .attachments
            .iter()
            .map(|attachment| attachment.network.clone())
            .collect(),
        addresses: endpoint
            .attachments
            .iter()
            .flat_map(|attachment| attachment.addresses.iter())
            .collect(),
        servers: endpoint.resolver.servers.clone(),
        port: None,
    })
}
