//! `Dispatcher.Session`: a worker's one connection to the control plane.
//!
//! The worker speaks first; from then on each side says what it has. The machine decides what the node
//! is assigned and what its reports change; this file passes both on and adds the streams that the
//! broker wants dialled back.

use crate::{
    driver::{Handle, SessionFeed, SessionMessage, WriteError},
    streams::{Broker, CallerNode},
};
use shoal_api::{
    convert::{Details, Malformed, assignments_parts, reports_from_wire, status},
    limits::{API_VERSION, MIN_API_VERSION},
    v1::{
        self, ErrorCode, HeartbeatPeriod, Hello, ReportsTaken, SessionDown, SessionEnd, SessionUp,
        StreamRequest, Welcome, dispatcher_server::Dispatcher, session_down::Down, session_up::Up,
    },
};
use shoal_core::{
    dispatcher::TaskReport,
    liveness,
    model::{NodeDescription, NodeId},
    store::StoreView,
    validate,
};
use std::time::Duration;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

/// Messages on their way to a worker: its own reading is the bound, this only evens it out.
const MESSAGES: usize = 64;

/// How often a silent session's node is looked up.
const LOOK: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
pub struct DispatcherService {
    handle: Handle,
    broker: Broker,
    caller: CallerNode,
    shutdown: CancellationToken,
}

impl DispatcherService {
    pub fn new(handle: Handle, broker: Broker, caller: CallerNode, shutdown: CancellationToken) -> Self {
        Self {
            handle,
            broker,
            caller,
            shutdown,
        }
    }
}

#[tonic::async_trait]
impl Dispatcher for DispatcherService {
    type SessionStream = ReceiverStream<Result<SessionDown, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<SessionUp>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let node = (self.caller)(request.extensions())
            .ok_or_else(|| status(Details::of(ErrorCode::Forbidden, "only a node opens a session")))?;
        let mut up = request.into_inner();
        let description = hello(&mut up).await?;
        let view = self.handle.view();
        if view.node(&node).is_none() {
            return Err(status(
                Details::of(ErrorCode::Forbidden, format!("node {node} is not in the cluster"))
                    .with_hint("it was removed: join again with a token"),
            ));
        }
        let feed = self
            .handle
            .open_session(node.clone(), description)
            .await
            .map_err(unavailable)?;
        let (down, received) = mpsc::channel(MESSAGES);
        let period = period(&view);
        let session = Session {
            requests: self.broker.requests_for(&node),
            handle: self.handle.clone(),
            node,
            period,
            feed,
            down,
        };
        tokio::spawn(session.run(up, self.shutdown.clone()));
        Ok(Response::new(ReceiverStream::new(received)))
    }
}

fn unavailable(error: WriteError) -> Status {
    status(Details::of(ErrorCode::Unavailable, error.to_string()))
}

/// The node's first words.
async fn hello(up: &mut Streaming<SessionUp>) -> Result<NodeDescription, Status> {
    let Some(SessionUp {
        up:
            Some(Up::Hello(Hello {
                api_version,
                description,
                held: _,
            })),
    }) = up.message().await?
    else {
        return Err(status(
            Details::of(ErrorCode::Invalid, "expected hello first").with_field("hello"),
        ));
    };
    if api_version < MIN_API_VERSION {
        let message = format!("expected version {MIN_API_VERSION} of the wire or newer, found {api_version}");
        return Err(status(
            Details::of(ErrorCode::Unsupported, message)
                .with_field("hello.api_version")
                .with_hint("upgrade shoald on the node"),
        ));
    }
    let description = description.ok_or_else(|| {
        status(Details::of(ErrorCode::Invalid, "is missing").with_field("hello.description"))
    })?;
    checked(description)
        .map_err(|reason| status(Details::of(ErrorCode::Invalid, reason).with_field("hello.description")))
}

fn checked(description: v1::NodeDescription) -> Result<NodeDescription, String> {
    let description = description.try_into().map_err(|e: Malformed| e.to_string())?;
    match validate::description(&description).first() {
        None => Ok(description),
        Some(fault) => Err(format!("{}: {}", fault.field, fault.message)),
    }
}

fn period(view: &StoreView) -> Duration {
    let configured = view
        .cluster()
        .map_or(Duration::from_secs(1), |cluster| cluster.spec.heartbeat_period);
    liveness::period(configured, view.node_count())
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

struct Session {
    handle: Handle,
    node: NodeId,
    period: Duration,
    feed: SessionFeed,
    requests: mpsc::Receiver<StreamRequest>,
    down: mpsc::Sender<Result<SessionDown, Status>>,
}

/// What ends a session.
enum End {
    /// The connection is gone, or the worker does not read.
    Lost,
    Goodbye,
    /// Told to the worker first.
    Said {
        reason: String,
        reconnect: bool,
    },
}

impl Session {
    async fn run(mut self, mut up: Streaming<SessionUp>, shutdown: CancellationToken) {
        let end = match self.serve(&mut up, &shutdown).await {
            Ok(()) => End::Lost,
            Err(end) => end,
        };
        let goodbye = matches!(end, End::Goodbye);
        if let End::Said { reason, reconnect } = end {
            drop(self.say(Down::End(SessionEnd { reason, reconnect })).await);
        }
        self.feed.close(goodbye).await;
    }

    async fn serve(
        &mut self,
        up: &mut Streaming<SessionUp>,
        shutdown: &CancellationToken,
    ) -> Result<(), End> {
        let view = self.handle.view();
        self.say(Down::Welcome(Welcome {
            session: self.node.to_string(),
            heartbeat_period_ns: nanos(self.period),
            cluster_id: view
                .cluster()
                .map(|cluster| cluster.id.to_string())
                .unwrap_or_default(),
            api_version: API_VERSION,
            now: view.now().0,
        }))
        .await?;
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => {
                    return Err(End::Said { reason: "the manager stops".to_owned(), reconnect: true });
                }
                message = self.feed.next() => match message {
                    Some(message) => self.pass_down(message).await?,
                    None => return Err(End::Said { reason: "another session took its place".to_owned(), reconnect: true }),
                },
                Some(request) = self.requests.recv() => {
                    self.still_a_member()?;
                    self.say(Down::Stream(request)).await?;
                }
                // A node that was removed may have been told by nobody, and say nothing itself.
                _ = looks.tick() => self.still_a_member()?,
                message = up.message() => match message {
                    Ok(Some(SessionUp { up: Some(message) })) => self.pass_up(message).await?,
                    Ok(Some(SessionUp { up: None })) => {}
                    Ok(None) | Err(_) => return Ok(()),
                },
            }
        }
    }

    async fn pass_down(&mut self, message: SessionMessage) -> Result<(), End> {
        match message {
            SessionMessage::Assignments(assignments) => {
                self.still_a_member()?;
                for part in assignments_parts(*assignments) {
                    self.say(Down::Assignments(part)).await?;
                }
                Ok(())
            }
            SessionMessage::ReportsTaken { sequence } => {
                self.say(Down::ReportsTaken(ReportsTaken { sequence })).await
            }
        }
    }

    async fn pass_up(&mut self, message: Up) -> Result<(), End> {
        self.still_a_member()?;
        let passed = match message {
            Up::Heartbeat(_) => {
                self.look_around().await?;
                self.feed.heartbeat().await
            }
            Up::Reports(reports) => {
                let parsed =
                    reports_from_wire(reports.reports).map_err(|error| refuse(&error.to_string()))?;
                let bounded = parsed.into_iter().map(TaskReport::bounded).collect();
                self.feed.reports(reports.sequence, bounded).await
            }
            Up::Goodbye(_) => return Err(End::Goodbye),
            Up::Resync(_) => self.feed.resync().await,
            Up::Description(description) => {
                let description = checked(description).map_err(|reason| refuse(&reason))?;
                self.feed.described(description).await
            }
            Up::Hello(_) => return Err(refuse("hello was said already")),
        };
        passed.or(Err(End::Said {
            reason: "the manager stops".to_owned(),
            reconnect: true,
        }))
    }

    /// With each heartbeat: is the period still the same?
    async fn look_around(&mut self) -> Result<(), End> {
        let now = period(&self.handle.view());
        if now != self.period {
            self.period = now;
            self.say(Down::HeartbeatPeriod(HeartbeatPeriod {
                period_ns: nanos(now),
            }))
            .await?;
        }
        Ok(())
    }

    /// A node that was removed is told nothing more.
    fn still_a_member(&self) -> Result<(), End> {
        if self.handle.view().node(&self.node).is_some() {
            return Ok(());
        }
        Err(End::Said {
            reason: "the node was removed from the cluster".to_owned(),
            reconnect: false,
        })
    }

    async fn say(&self, down: Down) -> Result<(), End> {
        self.down
            .send(Ok(SessionDown { down: Some(down) }))
            .await
            .or(Err(End::Lost))
    }
}

/// The worker broke the protocol: it comes back, and the log says why.
fn refuse(reason: &str) -> End {
    tracing::warn!(reason, "a worker's message does not parse");
    End::Said {
        reason: reason.to_owned(),
        reconnect: true,
    }
}
