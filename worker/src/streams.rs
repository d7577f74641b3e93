//! Streams of logs, of commands and of tasks' own programs: asked for in the session, dialled back to the manager that asked.
//!
//! Each stream has a connection of its own, so that a log nobody reads holds back neither heartbeats nor
//! other streams. Dropping the connection ends what runs behind it.

mod attach;
mod exec;
mod logs;

use crate::board::{Board, Posted};
use crate::clients::Clients;
use crate::dial::Dial;
use crate::keeper::chain;
use crate::name::container_of;
use shoal_agent_runtime::{ContainerId, Runtime};
use shoal_api::limits::{MAX_MESSAGE_BYTES, STREAM_CHUNKS};
use shoal_api::v1::{self, stream_request::Request, stream_up::Up};
use shoal_core::model::TaskId;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

/// Streams at a time on one node: each is a connection and, for exec, a process.
const MOST_STREAMS: usize = 256;

/// How long the manager has to read what was sent at the end of a stream.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// Whoever serves the streams that a manager asks for. A trait, so that a session can be tested alone.
pub(crate) trait ServeStreams: Send + Sync + 'static {
    /// Serves one request in a task of its own, on the manager at `address`.
    fn serve(&self, request: v1::StreamRequest, address: &str);
}

/// Serves streams; cheap to clone.
#[derive(Clone)]
pub(crate) struct Streams {
    dial: Arc<dyn Dial>,
    board: Arc<Board>,
    clients: Arc<Clients>,
    runtime: Runtime,
    places: Arc<Semaphore>,
}

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streams").finish_non_exhaustive()
    }
}

/// A stream to the manager: what goes up and what comes down.
pub(crate) struct Attached {
    up: mpsc::Sender<v1::StreamUp>,
    down: Streaming<v1::StreamDown>,
}

/// The other side has gone.
#[derive(Debug)]
pub(crate) struct Gone;

impl Streams {
    pub(crate) fn new(
        dial: Arc<dyn Dial>,
        board: Arc<Board>,
        clients: Arc<Clients>,
        runtime: Runtime,
    ) -> Self {
        Self {
            dial,
            board,
            clients,
            runtime,
            places: Arc::new(Semaphore::new(MOST_STREAMS)),
        }
    }

    async fn attach(&self, stream: String, address: String) -> Result<Attached, String> {
        let dialled = self
            .dial
            .dial_back(address)
            .await
            .map_err(|error| chain(&error))?;
        let mut client = v1::streams_client::StreamsClient::new(dialled.channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let (up, queue) = mpsc::channel(STREAM_CHUNKS);
        let hello = v1::StreamUp {
            up: Some(Up::Attached(v1::Attached { stream })),
        };
        up.send(hello).await.map_err(|error| error.to_string())?;
        let down = client.attach(ReceiverStream::new(queue)).await;
        let down = down.map_err(|status| status.message().to_owned())?.into_inner();
        Ok(Attached { up, down })
    }

    fn posted(&self, task: &str) -> Option<Posted> {
        self.board.get(&task.parse().ok()?)
    }

    /// The container whose log is a task's: of a task that is gone, the first attempt's.
    fn log_of(&self, task: &str) -> Option<ContainerId> {
        let id: TaskId = task.parse().ok()?;
        match self.board.get(&id) {
            Some(posted) => Some(posted.container),
            None => container_of(&id, 0),
        }
    }
}

impl ServeStreams for Streams {
    fn serve(&self, request: v1::StreamRequest, address: &str) {
        let (streams, address) = (self.clone(), address.to_owned());
        tokio::spawn(async move {
            let place = Arc::clone(&streams.places).try_acquire_owned();
            let mut attached = match streams.attach(request.stream, address).await {
                Ok(attached) => attached,
                Err(reason) => {
                    tracing::warn!(reason, "a stream could not be dialled back");
                    return;
                }
            };
            let served = match (place, request.request) {
                (Err(_), _) => {
                    let message = format!("{MOST_STREAMS} streams are open on this node already");
                    attached.fail(message, "end some of them").await
                }
                (Ok(_), Some(Request::Logs(logs))) => streams.logs(&mut attached, logs).await,
                (Ok(_), Some(Request::Exec(exec))) => streams.exec(&mut attached, exec).await,
                (Ok(_), Some(Request::Attach(attach))) => streams.attach_to(&mut attached, attach).await,
                (Ok(_), None) => {
                    let message = "this version of shoald does not know what was asked for".to_owned();
                    attached.fail(message, "upgrade the node").await
                }
            };
            match served {
                Ok(()) => attached.finish().await,
                Err(Gone) => tracing::debug!("a stream's reader has gone"),
            }
        });
    }
}

impl Attached {
    /// Ends the stream and waits until the manager has: dropped at once, what is on its way would be lost.
    async fn finish(self) {
        let Self { up, mut down } = self;
        drop(up);
        let drained = async { while let Ok(Some(_)) = down.message().await {} };
        if tokio::time::timeout(LAST_WORDS, drained).await.is_err() {
            tracing::debug!("a manager did not take the end of a stream in time");
        }
    }

    async fn send(&self, up: Up) -> Result<(), Gone> {
        self.up.send(v1::StreamUp { up: Some(up) }).await.or(Err(Gone))
    }

    async fn fail(&self, message: String, hint: &str) -> Result<(), Gone> {
        let failed = v1::StreamFailed {
            message,
            hint: hint.to_owned(),
        };
        self.send(Up::Failed(failed)).await
    }
}
