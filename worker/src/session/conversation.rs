//! One session from its hello to its end.
//!
//! Parts of a large change are collected before they are applied; while one is being written to disk no
//! further one is read, so that a slow disk holds back the manager and not the heartbeats.

use super::SessionParts;
use crate::assignment::{Position, UpdateRefusal};
use crate::clock;
use crate::crash;
use crate::supervisor::{Message, Refused};
use crate::wire;
use shoal_api::convert::AssignmentsJoiner;
use shoal_api::limits::{API_VERSION, MAX_MESSAGE_BYTES};
use shoal_api::v1::{self, session_down::Down, session_up::Up};
use shoal_core::model::TaskId;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Interval, MissedTickBehavior};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

/// Messages that may wait to be sent: heartbeats and one report message are all there ever is.
const UP_QUEUE: usize = 16;
/// A manager that does not welcome in this time is not serving.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(5);
/// Bounds on what a manager may ask of a worker's clock.
const SHORTEST_PERIOD: Duration = Duration::from_millis(100);
const LONGEST_PERIOD: Duration = Duration::from_secs(60);
/// Reports that were not answered in this time are said again: a manager that lost its leadership, or had
/// too many to keep, answers them never. Much longer than an entry takes to become durable.
const REPORT_AGAIN: Duration = Duration::from_secs(2);
/// A full disk is asked again after this.
const DISK_PAUSE: Duration = Duration::from_secs(2);

/// How a session ended.
#[derive(Debug)]
pub(super) enum Fate {
    Broken(String),
    Ended(String),
    Removed(String),
}

type Applying = oneshot::Receiver<Result<(), Refused>>;

/// The report message under way.
struct Said {
    sequence: u64,
    tasks: Vec<TaskId>,
    again_at: Instant,
}

pub(super) struct Conversation<'a> {
    parts: &'a SessionParts,
    address: String,
    up: mpsc::Sender<v1::SessionUp>,
    down: Streaming<v1::SessionDown>,
    heartbeat: Interval,
    said: Option<Said>,
    sequence: u64,
    joiner: AssignmentsJoiner,
    applying: Option<Applying>,
    /// When and why everything is to be asked for again.
    resync: Option<(Instant, String)>,
}

impl<'a> Conversation<'a> {
    pub(super) async fn open(parts: &'a SessionParts, channel: Channel, address: &str) -> Result<Self, Fate> {
        let mut client = v1::dispatcher_client::DispatcherClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let (up, queue) = mpsc::channel(UP_QUEUE);
        let description = parts.description.borrow().clone();
        let hello = v1::Hello {
            api_version: API_VERSION,
            description: Some(description.into()),
            held: Some(position_to_wire(held(parts).await)),
        };
        send(&up, Up::Hello(hello)).await?;
        let opened = tokio::time::timeout(WELCOME_TIMEOUT, async {
            let mut down = client.session(ReceiverStream::new(queue)).await?.into_inner();
            let first = down.message().await?;
            Ok::<_, tonic::Status>((down, first))
        });
        let (down, first) = match opened.await {
            Ok(Ok(opened)) => opened,
            Ok(Err(status)) => return Err(Fate::Broken(status.message().to_owned())),
            Err(_) => return Err(Fate::Broken("the manager did not answer in time".to_owned())),
        };
        let period = match first.and_then(|first| first.down) {
            Some(Down::Welcome(welcome)) => period(welcome.heartbeat_period_ns),
            Some(Down::End(end)) => return Err(ended(end)),
            Some(_) | None => return Err(Fate::Broken("the manager did not welcome this node".to_owned())),
        };
        Ok(Self {
            parts,
            address: address.to_owned(),
            up,
            down,
            heartbeat: interval(period),
            said: None,
            sequence: 0,
            joiner: AssignmentsJoiner::default(),
            applying: None,
            resync: None,
        })
    }

    pub(super) async fn run(&mut self) -> Fate {
        let fate = self.talk().await;
        self.unsay();
        fate
    }

    fn unsay(&mut self) {
        if let Some(said) = self.said.take() {
            self.parts.board.unsay(said.tasks);
        }
    }

    async fn talk(&mut self) -> Fate {
        let mut description = self.parts.description.clone();
        loop {
            let step = tokio::select! {
                message = self.down.message(), if self.applying.is_none() => match message {
                    Ok(Some(message)) => self.hear(message).await,
                    Ok(None) => Err(Fate::Broken("the manager closed the session".to_owned())),
                    Err(status) => Err(Fate::Broken(status.message().to_owned())),
                },
                applied = applied(&mut self.applying) => self.applied(applied),
                () = clock::sleep_until(self.resync.as_ref().map(|(at, _)| *at)) => self.ask_again().await,
                _ = self.heartbeat.tick() => self.tell(Up::Heartbeat(v1::Heartbeat {})).await,
                () = self.parts.board.news(), if self.said.is_none() => self.report().await,
                () = clock::sleep_until(self.said.as_ref().map(|said| said.again_at)) => {
                    self.unsay();
                    Ok(())
                }
                Ok(()) = description.changed() => {
                    let now = description.borrow_and_update().clone();
                    self.tell(Up::Description(now.into())).await
                }
            };
            if let Err(fate) = step {
                return fate;
            }
        }
    }

    async fn tell(&self, up: Up) -> Result<(), Fate> {
        send(&self.up, up).await
    }

    async fn report(&mut self) -> Result<(), Fate> {
        let batch = self.parts.board.take_unheard();
        if batch.is_empty() {
            return Ok(());
        }
        self.sequence += 1;
        let reports = batch
            .iter()
            .map(|(_, posted)| wire::report(posted).into())
            .collect();
        self.said = Some(Said {
            sequence: self.sequence,
            tasks: batch.into_iter().map(|(id, _)| id).collect(),
            again_at: Instant::now() + REPORT_AGAIN,
        });
        let message = v1::Reports {
            sequence: self.sequence,
            reports,
        };
        self.tell(Up::Reports(message)).await?;
        crash::reached("worker.report.3-said");
        Ok(())
    }

    async fn hear(&mut self, message: v1::SessionDown) -> Result<(), Fate> {
        match message.down {
            Some(Down::Assignments(part)) => self.assignments(part).await,
            Some(Down::ReportsTaken(taken)) => {
                if self
                    .said
                    .as_ref()
                    .is_some_and(|said| said.sequence <= taken.sequence)
                {
                    self.said = None;
                    crash::reached("worker.report.4-taken");
                    // More may have come while they were under way.
                    return self.report().await;
                }
                Ok(())
            }
            Some(Down::Stream(request)) => {
                self.parts.streams.serve(request, &self.address);
                Ok(())
            }
            Some(Down::HeartbeatPeriod(change)) => {
                self.heartbeat = interval(period(change.period_ns));
                Ok(())
            }
            Some(Down::End(end)) => Err(ended(end)),
            // A second welcome, or a kind of message that this version does not know: neither is an order.
            Some(Down::Welcome(_)) | None => Ok(()),
        }
    }

    async fn assignments(&mut self, part: v1::Assignments) -> Result<(), Fate> {
        let whole = match self.joiner.take(part) {
            Ok(Some(whole)) => whole,
            Ok(None) => return Ok(()),
            Err(malformed) => return Err(Fate::Broken(format!("assignments: {malformed}"))),
        };
        let (answer, applying) = oneshot::channel();
        let message = Message::Update(wire::update(whole), answer);
        let sent = self.parts.supervisor.send(message).await;
        sent.or(Err(Fate::Broken("the worker is stopping".to_owned())))?;
        self.applying = Some(applying);
        Ok(())
    }

    fn applied(&mut self, result: Result<(), Refused>) -> Result<(), Fate> {
        let now = Instant::now();
        self.resync = match result {
            Ok(()) => None,
            Err(Refused::Order(refusal @ UpdateRefusal::Older { .. })) => {
                // This manager lags behind the one before: another one, or the same a moment later.
                return Err(Fate::Broken(refusal.to_string()));
            }
            Err(Refused::Order(refusal @ UpdateRefusal::Gap { .. })) => Some((now, refusal.to_string())),
            Err(refused @ Refused::Disk(_)) => {
                tracing::warn!(reason = %refused, "new tasks wait until the disk takes them");
                Some((now + DISK_PAUSE, refused.to_string()))
            }
        };
        Ok(())
    }

    async fn ask_again(&mut self) -> Result<(), Fate> {
        match self.resync.take() {
            Some((_, reason)) => self.tell(Up::Resync(v1::ResyncAssignments { reason })).await,
            None => Ok(()),
        }
    }
}

/// The answer to the update that is being applied; never, if there is none.
async fn applied(applying: &mut Option<Applying>) -> Result<(), Refused> {
    let Some(answer) = applying else {
        return std::future::pending().await;
    };
    let result = answer.await;
    *applying = None;
    result.unwrap_or_else(|_| Err(Refused::Disk("the worker is stopping".to_owned())))
}

fn position_to_wire(position: Position) -> v1::Position {
    v1::Position {
        epoch: position.epoch,
        index: position.index,
    }
}

async fn held(parts: &SessionParts) -> Position {
    let (answer, position) = oneshot::channel();
    match parts.supervisor.send(Message::Position(answer)).await {
        Ok(()) => position.await.unwrap_or_default(),
        Err(_) => Position::default(),
    }
}

async fn send(up: &mpsc::Sender<v1::SessionUp>, message: Up) -> Result<(), Fate> {
    let sent = up.send(v1::SessionUp { up: Some(message) }).await;
    sent.or(Err(Fate::Broken("the manager takes nothing any more".to_owned())))
}

fn ended(end: v1::SessionEnd) -> Fate {
    if end.reconnect {
        Fate::Ended(end.reason)
    } else {
        Fate::Removed(end.reason)
    }
}

fn period(nanos: u64) -> Duration {
    Duration::from_nanos(nanos).clamp(SHORTEST_PERIOD, LONGEST_PERIOD)
}

fn interval(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
