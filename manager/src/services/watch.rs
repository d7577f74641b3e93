//! `Watch.Watch`: changes of chosen objects as they are applied, from a chosen point on.
//!
//! Progress displays, `--wait` and every other follower use it; nothing polls. A follower that asks for a
//! point no longer known, or that falls behind, is told to forget what it has and gets a snapshot.

use crate::driver::{Handle, Subscription};
use shoal_api::{
    convert::{Details, snapshot_batches, status},
    v1::{
        self, ErrorCode, EventBatch, Kind as WireKind, Resync, SnapshotEnd, WatchRequest, WatchResponse,
        watch_response::Response as Say, watch_server::Watch,
    },
};
use shoal_core::store::{Event, Kind, Object, StoreView};
use std::collections::BTreeSet;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

/// Batches on their way to one follower.
const BATCHES: usize = 16;

/// Ids in one filter list: a progress display watches a handful.
const MOST_IDS: usize = 1000;

#[derive(Clone, Debug)]
pub struct WatchService {
    handle: Handle,
    shutdown: CancellationToken,
}

impl WatchService {
    pub fn new(handle: Handle, shutdown: CancellationToken) -> Self {
        Self { handle, shutdown }
    }
}

#[tonic::async_trait]
impl Watch for WatchService {
    type WatchStream = ReceiverStream<Result<WatchResponse, Status>>;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let request = request.into_inner();
        let follower = Follower {
            filter: Filter::new(&request)?,
            handle: self.handle.clone(),
        };
        let (output, received) = mpsc::channel(BATCHES);
        let shutdown = self.shutdown.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = output.closed() => {}
                _ = follower.run(&request, &output) => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(received)))
    }
}

/// What passes. An empty list lets everything through.
struct Filter {
    kinds: BTreeSet<Kind>,
    services: BTreeSet<String>,
    stacks: BTreeSet<String>,
    nodes: BTreeSet<String>,
    tasks: BTreeSet<String>,
    networks: BTreeSet<String>,
}

impl Filter {
    fn new(request: &WatchRequest) -> Result<Self, Status> {
        let mut kinds = BTreeSet::new();
        for number in &request.kinds {
            let kind = WireKind::try_from(*number)
                .ok()
                .and_then(|kind| Kind::try_from(kind).ok());
            kinds.insert(kind.ok_or_else(|| {
                status(
                    Details::of(ErrorCode::Invalid, format!("kind {number} is not known"))
                        .with_field("kinds"),
                )
            })?);
        }
        let ids = |field: &str, list: &[String]| -> Result<BTreeSet<String>, Status> {
            if list.len() > MOST_IDS {
                let message = format!("expected at most {MOST_IDS} ids, found {}", list.len());
                return Err(status(
                    Details::of(ErrorCode::TooLarge, message).with_field(field),
                ));
            }
            Ok(list.iter().cloned().collect())
        };
        Ok(Self {
            kinds,
            services: ids("services", &request.services)?,
            stacks: ids("stacks", &request.stacks)?,
            nodes: ids("nodes", &request.nodes)?,
            tasks: ids("tasks", &request.tasks)?,
            networks: ids("networks", &request.networks)?,
        })
    }

    fn passes(&self, object: &Object, view: &StoreView) -> bool {
        let within = |set: &BTreeSet<String>, id: Option<&str>| {
            set.is_empty() || id.is_some_and(|id| set.contains(id))
        };
        let (service, node, task) = match object {
            Object::Cluster(_) | Object::Stack(_) | Object::Network(_) => (None, None, None),
            Object::Node(node) => (None, Some(node.id.as_str()), None),
            Object::Service(service) => (Some(service.id.as_str()), None, None),
            Object::Revision(revision) => (Some(revision.key.service.as_str()), None, None),
            Object::Task(task) => (
                Some(task.service.as_str()),
                task.node.as_ref().map(|node| node.as_str()),
                Some(task.id.as_str()),
            ),
        };
        let stack = || match object {
            Object::Stack(stack) => Some(stack.id.to_string()),
            Object::Network(network) => network.stack.as_ref().map(ToString::to_string),
            Object::Service(service) => service.stack.as_ref().map(ToString::to_string),
            Object::Revision(revision) => stack_of(view, &revision.key.service),
            Object::Task(task) => stack_of(view, &task.service),
            Object::Cluster(_) | Object::Node(_) => None,
        };
        (self.kinds.is_empty() || self.kinds.contains(&object.kind()))
            && within(&self.services, service)
            && within(&self.nodes, node)
            && within(&self.tasks, task)
            && (self.networks.is_empty() || self.is_of_networks(object))
            && (self.stacks.is_empty() || within(&self.stacks, stack().as_deref()))
    }
}

impl Filter {
    fn is_of_networks(&self, object: &Object) -> bool {
        match object {
            Object::Network(network) => self.networks.contains(network.id.as_str()),
            Object::Task(task) => task
                .attachments
                .iter()
                .any(|attachment| self.networks.contains(attachment.network.as_str())),
            Object::Cluster(_)
            | Object::Node(_)
            | Object::Service(_)
            | Object::Revision(_)
            | Object::Stack(_) => false,
        }
    }
}

fn stack_of(view: &StoreView, service: &shoal_core::model::ServiceId) -> Option<String> {
    view.service(service)?.stack.as_ref().map(ToString::to_string)
}

struct Follower {
    filter: Filter,
    handle: Handle,
}

type Output = mpsc::Sender<Result<WatchResponse, Status>>;

/// The follower has gone.
struct Gone;

impl Follower {
    async fn run(&self, request: &WatchRequest, output: &Output) -> Result<(), Gone> {
        let mut subscription = self.begin(request, output).await?;
        loop {
            match subscription.live.next().await {
                Ok(events) => self.events(&events, &self.handle.view(), output).await?,
                Err(behind) => subscription = self.anew(&behind.to_string(), output).await?,
            }
        }
    }

    async fn begin(&self, request: &WatchRequest, output: &Output) -> Result<Subscription, Gone> {
        let Some(resume) = request.resume else {
            let subscription = self.subscribe().await;
            if request.snapshot {
                self.snapshot(&subscription.view, output).await?;
            }
            return Ok(subscription);
        };
        if resume.epoch != self.handle.view().epoch() {
            return self.anew("the cluster was recovered since then", output).await;
        }
        match self.handle.subscribe(Some(resume.index)) {
            Ok(subscription) => {
                self.events(&subscription.missed, &subscription.view, output)
                    .await?;
                Ok(subscription)
            }
            Err(behind) => self.anew(&behind.to_string(), output).await,
        }
    }

    async fn anew(&self, reason: &str, output: &Output) -> Result<Subscription, Gone> {
        say(
            output,
            Say::Resync(Resync {
                reason: reason.to_owned(),
            }),
        )
        .await?;
        let subscription = self.subscribe().await;
        self.snapshot(&subscription.view, output).await?;
        Ok(subscription)
    }

    /// From the present state on; that is always known.
    async fn subscribe(&self) -> Subscription {
        match self.handle.subscribe(None) {
            Ok(subscription) => subscription,
            Err(_) => std::future::pending().await,
        }
    }

    async fn snapshot(&self, view: &StoreView, output: &Output) -> Result<(), Gone> {
        // Collected: an iterator over the store must not be held while waiting for a slow reader.
        let chosen: Vec<Object> = view
            .objects()
            .filter(|object| self.filter.passes(object, view))
            .map(super::public)
            .collect();
        for batch in snapshot_batches(chosen.into_iter()) {
            say(output, Say::Snapshot(batch)).await?;
        }
        let position = Some(v1::Position {
            epoch: view.epoch(),
            index: view.index(),
        });
        say(output, Say::SnapshotEnd(SnapshotEnd { position })).await
    }

    /// One message for each entry that changed something chosen.
    async fn events(&self, events: &[Event], view: &StoreView, output: &Output) -> Result<(), Gone> {
        for entry in events.chunk_by(|a, b| a.index == b.index) {
            let chosen: Vec<v1::Event> = entry
                .iter()
                .filter(|event| self.filter.passes(&event.object, view))
                .map(|event| public_event(event.clone()).into())
                .collect();
            if let (false, Some(first)) = (chosen.is_empty(), entry.first()) {
                let position = Some(v1::Position {
                    epoch: view.epoch(),
                    index: first.index,
                });
                say(
                    output,
                    Say::Events(EventBatch {
                        position,
                        wall: first.wall.0,
                        events: chosen,
                    }),
                )
                .await?;
            }
        }
        Ok(())
    }
}

fn public_event(event: Event) -> Event {
    Event {
        object: super::public(event.object),
        old: event.old.map(super::public),
        ..event
    }
}

async fn say(output: &Output, response: Say) -> Result<(), Gone> {
    output
        .send(Ok(WatchResponse {
            response: Some(response),
        }))
        .await
        .or(Err(Gone))
}
