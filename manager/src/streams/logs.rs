//! `Logs.Stream`: the lines of one task or of all tasks of a service, from wherever they run.
//!
//! A node that cannot be reached costs its own lines and a notice, never the answer. While following, new
//! tasks of the service are taken in as they come.

use super::{
    broker::Broker,
    refused,
    tail::{self, Target},
};
use crate::driver::{Handle, Live};
use shoal_api::{
    limits::STREAM_CHUNKS,
    v1::{
        LogNotice, LogOptions, LogStreamRequest, LogsRequest, LogsResponse, StreamUp, TaskLines,
        logs_request, logs_response, logs_server::Logs, stream_request, stream_up::Up,
    },
};
use shoal_core::{
    model::{ServiceId, Task, TaskId},
    store::{Event, EventKind, Object, StoreView},
};
use std::{collections::BTreeSet, sync::Arc};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// Streams to workers that one request opens at a time when it does not follow: enough to keep all nodes
/// busy, few enough that a request for a large service leaves room for others.
const AT_A_TIME: usize = 16;

type Output = mpsc::Sender<Result<LogsResponse, Status>>;

#[derive(Clone, Debug)]
pub struct LogsService {
    handle: Handle,
    broker: Broker,
}

impl LogsService {
    pub fn new(handle: Handle, broker: Broker) -> Self {
        Self { handle, broker }
    }
}

#[tonic::async_trait]
impl Logs for LogsService {
    type StreamStream = ReceiverStream<Result<LogsResponse, Status>>;

    async fn stream(&self, request: Request<LogsRequest>) -> Result<Response<Self::StreamStream>, Status> {
        let LogsRequest { of, options } = request.into_inner();
        let reference = match of {
            Some(logs_request::Of::Service(reference) | logs_request::Of::Task(reference)) => reference,
            None => String::new(),
        };
        // State and events from one point on: no task is missed or taken twice.
        let subscription = self
            .handle
            .subscribe(None)
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let view = subscription.view;
        let target = tail::target(&view, &reference).map_err(refused)?;
        let (output, received) = mpsc::channel(STREAM_CHUNKS);
        let mut reader = Reader {
            broker: self.broker.clone(),
            options: options.unwrap_or_default(),
            output,
            places: Arc::new(Semaphore::new(AT_A_TIME)),
            taken: BTreeSet::new(),
            tasks: JoinSet::new(),
        };
        match target {
            Target::Task(task) => {
                reader.take(&view, task);
                tokio::spawn(async move { reader.drain().await });
            }
            Target::Service(service) => {
                for task in tail::speakers(&view, &service.id) {
                    reader.take(&view, task);
                }
                let (handle, id) = (self.handle.clone(), service.id.clone());
                tokio::spawn(async move {
                    if reader.options.follow {
                        reader.follow(&handle, &id, subscription.live).await;
                    }
                    reader.drain().await;
                });
            }
        }
        Ok(Response::new(ReceiverStream::new(received)))
    }
}

struct Reader {
    broker: Broker,
    options: LogOptions,
    output: Output,
    places: Arc<Semaphore>,
    taken: BTreeSet<TaskId>,
    /// One per task; dropped together, which ends the streams behind them.
    tasks: JoinSet<()>,
}

impl Reader {
    fn take(&mut self, view: &StoreView, task: Arc<Task>) {
        if !self.taken.insert(task.id.clone()) {
            return;
        }
        let (broker, options, output) = (self.broker.clone(), self.options, self.output.clone());
        // A stream that is followed stays open: it must not hold the place of another.
        let places = (!options.follow).then(|| Arc::clone(&self.places));
        let head = head(view, &task);
        self.tasks.spawn(async move {
            let _place = match places {
                Some(places) => places.acquire_owned().await.ok(),
                None => None,
            };
            read(&broker, &task, head, options, &output).await;
        });
    }

    /// Takes in tasks as they come to speak, until the client or the service has gone.
    async fn follow(&mut self, handle: &Handle, service: &ServiceId, mut live: Live) {
        let output = self.output.clone();
        loop {
            let events = tokio::select! {
                () = output.closed() => return self.tasks.abort_all(),
                // Finished readers are taken out as they end, so that the set stays as small as it can be.
                Some(_) = self.tasks.join_next(), if !self.tasks.is_empty() => continue,
                events = live.next() => events,
            };
            let view = handle.view();
            let Ok(events) = events else {
                let Ok(anew) = handle.subscribe(None) else { return };
                live = anew.live;
                for task in tail::speakers(&anew.view, service) {
                    self.take(&anew.view, task);
                }
                continue;
            };
            for task in events.iter().filter_map(|event| speaking(event, service)) {
                // A task that has just begun to speak is read from its first line.
                self.options.tail = None;
                self.take(&view, task);
            }
            if view.service(service).is_none() {
                return;
            }
        }
    }

    /// Waits for all readers, or for the client to go.
    async fn drain(mut self) {
        let output = self.output.clone();
        loop {
            tokio::select! {
                () = output.closed() => return,
                ended = self.tasks.join_next() => if ended.is_none() { return },
            }
        }
    }
}

/// The task of an event, if it is the service's and may have spoken.
fn speaking(event: &Event, service: &ServiceId) -> Option<Arc<Task>> {
    match (&event.object, event.kind) {
        (Object::Task(task), EventKind::Created | EventKind::Updated)
            if task.service == *service && tail::may_have_spoken(task) =>
        {
            Some(Arc::clone(task))
        }
        _ => None,
    }
}

/// What stands before every batch of the task's lines.
fn head(view: &StoreView, task: &Task) -> TaskLines {
    let node = task.node.as_ref().and_then(|id| view.node(id));
    TaskLines {
        task: task.id.to_string(),
        service_name: view
            .service(&task.service)
            .map(|service| service.spec.name.clone())
            .unwrap_or_default(),
        slot: Some(task.slot.clone().into()),
        node: task.node.as_ref().map(ToString::to_string).unwrap_or_default(),
        node_name: node
            .and_then(|node| node.description.as_ref())
            .map(|description| description.hostname.clone())
            .unwrap_or_default(),
        lines: Vec::new(),
    }
}

/// Passes one task's lines on; whatever goes wrong becomes a notice.
async fn read(broker: &Broker, task: &Task, head: TaskLines, options: LogOptions, output: &Output) {
    let Some(node) = &task.node else { return };
    let request = LogStreamRequest {
        task: task.id.to_string(),
        options: Some(options),
    };
    let notice = match broker.open(node, stream_request::Request::Logs(request)).await {
        Err(error) => Some(error.to_string()),
        Ok(mut pipe) => loop {
            match pipe.up.message().await {
                Ok(Some(StreamUp {
                    up: Some(Up::LogLines(batch)),
                })) => {
                    let lines = TaskLines {
                        lines: batch.lines,
                        ..head.clone()
                    };
                    if !send(output, logs_response::Response::Lines(lines)).await {
                        return;
                    }
                }
                Ok(Some(StreamUp {
                    up: Some(Up::Failed(failed)),
                })) => break Some(failed.message),
                Ok(Some(_)) => {}
                Ok(None) => break None,
                Err(error) => break Some(format!("the connection to the node broke: {}", error.message())),
            }
        },
    };
    if let Some(message) = notice {
        let notice = LogNotice {
            task: head.task,
            node: head.node_name,
            message,
        };
        send(output, logs_response::Response::Notice(notice)).await;
    }
}

/// False when the client has gone.
async fn send(output: &Output, response: logs_response::Response) -> bool {
    let response = LogsResponse {
        response: Some(response),
    };
    output.send(Ok(response)).await.is_ok()
}
