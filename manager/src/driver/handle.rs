//! What services hold of the driver: ways to write, to read, to follow and to speak for a session.
//!
//! Cheap to clone. Every wait here is bounded by its caller's own deadline.

use super::events::{EventLog, NeedsResync, Subscription};
use crate::machine::{Input, ProposeError};
use shoal_core::{
    dispatcher::{Assignments, TaskReport},
    model::{NodeDescription, NodeId, RequestId, Timestamp},
    request::{Request, Response},
    store::StoreView,
};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tokio::sync::{mpsc, oneshot, watch};

/// Messages on their way to one session: diffs are small and their reader does nothing but apply them.
const MESSAGES: usize = 256;

/// Why a write was not done, or not known to be.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WriteError {
    #[error(transparent)]
    Propose(ProposeError),
    /// It may still take effect once there is room, if it was already on its way.
    #[error("{0}")]
    DiskFull(String),
    #[error("the manager has stopped")]
    Stopped,
}

/// Who leads, as far as this manager knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaderState {
    pub leader: Option<u64>,
    pub term: u64,
    /// This manager leads and plans.
    pub established: bool,
}

/// From the manager to a worker's session.
#[derive(Debug)]
pub enum SessionMessage {
    Assignments(Box<Assignments>),
    /// Reports up to this one are durable or known.
    ReportsTaken {
        sequence: u64,
    },
}

#[derive(Debug)]
pub(super) enum Command {
    Propose {
        request: Box<Request>,
        id: Option<RequestId>,
        answer: oneshot::Sender<Result<Response, WriteError>>,
    },
    OpenSession {
        node: NodeId,
        description: Box<NodeDescription>,
        number: u64,
        messages: mpsc::Sender<SessionMessage>,
    },
    CloseSession {
        node: NodeId,
        number: u64,
        goodbye: bool,
    },
    Input(Box<Input>),
}

#[derive(Clone, Debug)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    events: Arc<EventLog>,
    leader: watch::Receiver<LeaderState>,
    sessions: Arc<AtomicU64>,
}

/// An open session: what the manager says to it, and how it speaks.
#[derive(Debug)]
pub struct SessionFeed {
    handle: Handle,
    node: NodeId,
    number: u64,
    messages: mpsc::Receiver<SessionMessage>,
}

impl Handle {
    pub(super) fn new(
        commands: mpsc::Sender<Command>,
        events: Arc<EventLog>,
        leader: watch::Receiver<LeaderState>,
    ) -> Self {
        Self {
            commands,
            events,
            leader,
            sessions: Arc::new(AtomicU64::new(0)),
        }
    }

    /// A user's write; returns when it has taken effect, durably, or with the reason why not.
    pub async fn propose(&self, request: Request, id: Option<RequestId>) -> Result<Response, WriteError> {
        let (answer, answered) = oneshot::channel();
        self.command(Command::Propose {
            request: Box::new(request),
            id,
            answer,
        })
        .await?;
        answered.await.unwrap_or(Err(WriteError::Stopped))
    }

    /// The applied state.
    pub fn view(&self) -> StoreView {
        self.events.view()
    }

    /// The applied state with the hash of all of it.
    pub fn digest(&self) -> (StoreView, [u8; 32]) {
        self.events.digest()
    }

    /// Cluster time now, to show ages by. Decisions are made with the leader's own.
    pub fn now(&self) -> Timestamp {
        self.events.now()
    }

    /// Events after this index, or from now on; with the state after those that were missed.
    pub fn subscribe(&self, after: Option<u64>) -> Result<Subscription, NeedsResync> {
        self.events.subscribe(after)
    }

    pub fn leader(&self) -> watch::Receiver<LeaderState> {
        self.leader.clone()
    }

    /// Takes the place of the node's earlier session, if there is one. Its first message is everything
    /// that the node is assigned.
    pub async fn open_session(
        &self,
        node: NodeId,
        description: NodeDescription,
    ) -> Result<SessionFeed, WriteError> {
        let number = self.sessions.fetch_add(1, Ordering::Relaxed);
        let (messages, received) = mpsc::channel(MESSAGES);
        let description = Box::new(description);
        self.command(Command::OpenSession {
            node: node.clone(),
            description,
            number,
            messages,
        })
        .await?;
        Ok(SessionFeed {
            handle: self.clone(),
            node,
            number,
            messages: received,
        })
    }

    /// Hands leadership over if there is someone to take it, then ends the driver.
    pub async fn stop(&self) {
        drop(self.input(Input::Stop).await);
    }

    pub(super) async fn input(&self, input: Input) -> Result<(), WriteError> {
        self.command(Command::Input(Box::new(input))).await
    }

    async fn command(&self, command: Command) -> Result<(), WriteError> {
        self.commands.send(command).await.or(Err(WriteError::Stopped))
    }
}

impl SessionFeed {
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// `None` once the session was replaced or did not keep up: its stream must end.
    pub async fn next(&mut self) -> Option<SessionMessage> {
        self.messages.recv().await
    }

    pub async fn heartbeat(&self) -> Result<(), WriteError> {
        self.handle
            .input(Input::Heartbeat {
                node: self.node.clone(),
            })
            .await
    }

    pub async fn described(&self, description: NodeDescription) -> Result<(), WriteError> {
        let (node, description) = (self.node.clone(), Box::new(description));
        self.handle.input(Input::Described { node, description }).await
    }

    /// The worker could not apply a diff.
    pub async fn resync(&self) -> Result<(), WriteError> {
        self.handle
            .input(Input::Resync {
                node: self.node.clone(),
            })
            .await
    }

    /// Answered by `ReportsTaken` with this sequence number, or a later one.
    pub async fn reports(&self, sequence: u64, reports: Vec<TaskReport>) -> Result<(), WriteError> {
        self.handle
            .input(Input::Reports {
                node: self.node.clone(),
                sequence,
                reports,
            })
            .await
    }

    /// `goodbye`: the node shuts down on purpose.
    pub async fn close(self, goodbye: bool) {
        let (node, number) = (self.node.clone(), self.number);
        drop(
            self.handle
                .command(Command::CloseSession {
                    node,
                    number,
                    goodbye,
                })
                .await,
        );
    }
}
