//! Brings the two ends of a stream together: who asked, and the worker that dialled back.
//!
//! A stream's id is minted from an unguessable seed and counts once, for the node that was asked. A node
//! that does not dial back in time is reported, never waited for longer.

use shoal_api::{
    limits::STREAM_CHUNKS,
    v1::{StreamDown, StreamRequest, StreamUp, stream_request::Request},
};
use shoal_core::model::{IdGen, NodeId, RequestId};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tonic::{Status, Streaming};

/// A worker has a session open: it dials back within a round trip or something is wrong with it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Requests on their way into one session; more are refused, since nobody reads that many logs at once.
const REQUESTS: usize = 256;

/// Why a stream could not be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error("node {node} has no session on this manager")]
    NotConnected { node: NodeId },
    #[error("node {node} has too many streams waiting")]
    Busy { node: NodeId },
    #[error("node {node} did not dial back within {patience:?}")]
    NoAnswer { node: NodeId, patience: Duration },
}

/// Shared by the dispatcher and the stream services; cheap to clone.
#[derive(Clone)]
pub struct Broker {
    inner: Arc<Mutex<Inner>>,
    patience: Duration,
}

struct Inner {
    ids: IdGen,
    nodes: BTreeMap<NodeId, mpsc::Sender<StreamRequest>>,
    waiting: BTreeMap<String, Waiting>,
}

struct Waiting {
    node: NodeId,
    pipe: oneshot::Sender<Pipe>,
}

/// A stream to a worker.
pub(super) struct Pipe {
    pub(super) up: Streaming<StreamUp>,
    pub(super) down: mpsc::Sender<Result<StreamDown, Status>>,
}

/// A stream that is waited for; forgotten when whoever asked has it, has waited enough or has gone.
struct Asked {
    broker: Broker,
    stream: String,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.broker.lock().waiting.remove(&self.stream);
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Broker({} nodes)", self.lock().nodes.len())
    }
}

impl Broker {
    /// `ids` must be seeded from the operating system's random source.
    pub fn new(ids: IdGen) -> Self {
        Self::with_patience(ids, PATIENCE)
    }

    pub(super) fn with_patience(ids: IdGen, patience: Duration) -> Self {
        let inner = Inner {
            ids,
            nodes: BTreeMap::new(),
            waiting: BTreeMap::new(),
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
            patience,
        }
    }

    /// What to ask of this node in its session; a later session takes the place of an earlier one.
    pub fn requests_for(&self, node: &NodeId) -> mpsc::Receiver<StreamRequest> {
        let (sender, requests) = mpsc::channel(REQUESTS);
        self.lock().nodes.insert(node.clone(), sender);
        requests
    }

    /// Asks the node and waits until it has dialled back.
    pub(super) async fn open(&self, node: &NodeId, request: Request) -> Result<Pipe, OpenError> {
        let (_asked, pipe) = self.ask(node, request)?;
        match timeout(self.patience, pipe).await {
            Ok(Ok(pipe)) => Ok(pipe),
            Ok(Err(_)) | Err(_) => Err(OpenError::NoAnswer {
                node: node.clone(),
                patience: self.patience,
            }),
        }
    }

    fn ask(&self, node: &NodeId, request: Request) -> Result<(Asked, oneshot::Receiver<Pipe>), OpenError> {
        let mut inner = self.lock();
        let stream = RequestId::mint(&mut inner.ids).to_string();
        let sender = inner
            .nodes
            .get(node)
            .ok_or_else(|| OpenError::NotConnected { node: node.clone() })?;
        match sender.try_send(StreamRequest {
            stream: stream.clone(),
            request: Some(request),
        }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Err(OpenError::Busy { node: node.clone() }),
            Err(mpsc::error::TrySendError::Closed(_)) => {
                inner.nodes.remove(node);
                return Err(OpenError::NotConnected { node: node.clone() });
            }
        }
        let (pipe, opened) = oneshot::channel();
        inner.waiting.insert(
            stream.clone(),
            Waiting {
                node: node.clone(),
                pipe,
            },
        );
        let asked = Asked {
            broker: self.clone(),
            stream,
        };
        Ok((asked, opened))
    }

    /// The worker's end has arrived. `None` if nobody waits for this stream from this node.
    pub(super) fn attach(
        &self,
        node: &NodeId,
        stream: &str,
        up: Streaming<StreamUp>,
    ) -> Option<mpsc::Receiver<Result<StreamDown, Status>>> {
        let mut inner = self.lock();
        // Another node's guess must not cost the rightful one its place.
        if inner
            .waiting
            .get(stream)
            .is_none_or(|waiting| waiting.node != *node)
        {
            return None;
        }
        let waiting = inner.waiting.remove(stream)?;
        let (down, received) = mpsc::channel(STREAM_CHUNKS);
        waiting.pipe.send(Pipe { up, down }).ok()?;
        Some(received)
    }

    #[cfg(test)]
    pub(super) fn is_waited_for(&self, stream: &str) -> bool {
        self.lock().waiting.contains_key(stream)
    }

    /// Every change under the lock is one insertion or removal, whole whatever its holder did next.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
