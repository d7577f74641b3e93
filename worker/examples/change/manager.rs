//! A manager of a few lines: takes the worker's session and says what it is told to say.
//!
//! It is reached over a pipe within the process, so that no socket is measured.

use std::collections::BTreeSet;
use std::io;

use futures::future::BoxFuture;
use hyper_util::rt::TokioIo;
use shoal_api::convert::assignments_parts;
use shoal_api::limits::MAX_MESSAGE_BYTES;
use shoal_api::v1::{self, session_down::Down, session_up::Up};
use shoal_core::dispatcher::{Assignments, Position, TablesDiff, TaskAssignment};
use shoal_worker::dial::{Dial, DialError, Dialled};
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

use crate::Outcome;

/// Bytes that the pipe holds: an update of one endpoint many times over.
const PIPE: usize = 1 << 20;
/// A heartbeat while something is measured would be measured too.
const HEARTBEAT_NS: u64 = 60_000_000_000;

/// Whom the worker dials.
#[derive(Clone)]
pub(crate) struct Manager {
    sessions: mpsc::Sender<Session>,
}

/// What one session says and hears.
pub(crate) struct Session {
    up: Streaming<v1::SessionUp>,
    down: mpsc::Sender<Result<v1::SessionDown, Status>>,
    at: Position,
    reported: BTreeSet<String>,
}

impl Manager {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Session>) {
        let (sessions, accepted) = mpsc::channel(1);
        (Self { sessions }, accepted)
    }

    async fn connect(&self, address: String) -> Result<Dialled, DialError> {
        let (theirs, ours) = tokio::io::duplex(PIPE);
        let service = v1::dispatcher_server::DispatcherServer::new(self.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        // One connection, and the end of them never comes: it would be the server's.
        let incoming = tokio_stream::once(Ok::<_, io::Error>(ours)).chain(tokio_stream::pending());
        tokio::spawn(
            Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming),
        );
        let mut theirs = Some(theirs);
        let connector = tower::service_fn(move |_: http::Uri| {
            let pipe = theirs
                .take()
                .ok_or_else(|| io::Error::other("the pipe was taken before"));
            async move { pipe.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://manager");
        match endpoint.connect_with_connector(connector).await {
            Ok(channel) => Ok(Dialled { channel, address }),
            Err(source) => Err(DialError::Connect { address, source }),
        }
    }
}

impl Dial for Manager {
    fn dial(&self) -> BoxFuture<'_, Result<Dialled, DialError>> {
        self.dial_back("manager".to_owned())
    }

    fn dial_back(&self, address: String) -> BoxFuture<'_, Result<Dialled, DialError>> {
        Box::pin(self.connect(address))
    }
}

#[tonic::async_trait]
impl v1::dispatcher_server::Dispatcher for Manager {
    type SessionStream = ReceiverStream<Result<v1::SessionDown, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionUp>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (down, stream) = mpsc::channel(16);
        let session = Session {
            up: request.into_inner(),
            down,
            at: Position { epoch: 1, index: 0 },
            reported: BTreeSet::new(),
        };
        let taken = self.sessions.send(session).await;
        taken.map_err(|_closed| Status::unavailable("measured already"))?;
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

impl Session {
    pub(crate) async fn welcome(&mut self) -> Outcome<()> {
        let welcome = v1::Welcome {
            heartbeat_period_ns: HEARTBEAT_NS,
            ..v1::Welcome::default()
        };
        self.tell(Down::Welcome(welcome)).await
    }

    pub(crate) async fn everything(&mut self, tasks: Vec<TaskAssignment>, tables: TablesDiff) -> Outcome<()> {
        self.at.index += 1;
        self.assign(None, self.at, tasks, tables).await
    }

    pub(crate) async fn change(&mut self, tables: TablesDiff) -> Outcome<()> {
        let before = self.at;
        self.at.index += 1;
        self.assign(Some(before), self.at, Vec::new(), tables).await
    }

    /// Until the worker has carried out all that it was told: only then it takes the next message, and this one follows
    /// on nothing, which it says.
    pub(crate) async fn listens(&mut self) -> Outcome<()> {
        let nowhere = Position {
            epoch: 0,
            ..Position::default()
        };
        self.assign(Some(nowhere), self.at, Vec::new(), TablesDiff::default())
            .await?;
        while !self.hear().await? {}
        Ok(())
    }

    /// Until so many tasks were reported.
    pub(crate) async fn hear_reports(&mut self, tasks: usize) -> Outcome<()> {
        while self.reported.len() < tasks {
            self.hear().await?;
        }
        Ok(())
    }

    /// The next message; whether it asks for everything.
    async fn hear(&mut self) -> Outcome<bool> {
        let message = self.up.message().await?.and_then(|message| message.up);
        match message.ok_or("the worker ended the session")? {
            Up::Resync(_) => Ok(true),
            Up::Reports(reports) => {
                self.reported
                    .extend(reports.reports.into_iter().map(|report| report.task));
                let sequence = reports.sequence;
                self.tell(Down::ReportsTaken(v1::ReportsTaken { sequence }))
                    .await?;
                Ok(false)
            }
            _ => Ok(false),
        }
    }

    async fn assign(
        &mut self,
        prev: Option<Position>,
        position: Position,
        tasks: Vec<TaskAssignment>,
        tables: TablesDiff,
    ) -> Outcome<()> {
        let assignments = Assignments {
            prev,
            position,
            tasks,
            removed: Vec::new(),
            tables,
        };
        for part in assignments_parts(assignments) {
            self.tell(Down::Assignments(part)).await?;
        }
        Ok(())
    }

    async fn tell(&mut self, down: Down) -> Outcome<()> {
        let message = v1::SessionDown { down: Some(down) };
        let sent = self.down.send(Ok(message)).await;
        Ok(sent.map_err(|_closed| "the worker ended the session")?)
    }
}
