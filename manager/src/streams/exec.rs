//! `Exec`: a program in a task's container or the task's own, with its input, output, size, signals and exit code.
//!
//! Bytes are passed on as they come; each direction waits for its reader. When the client goes, the
//! worker is told: it ends a program that was run, and lets the task's own go on.

use super::{
    broker::{Broker, Pipe},
    refused,
};
use crate::driver::Handle;
use shoal_api::{
    convert::{Details, status},
    limits::STREAM_CHUNKS,
    v1::{
        AttachStart, AttachStreamRequest, ErrorCode, ExecOptions, ExecRequest, ExecResponse, ExecStart,
        ExecStreamRequest, StreamCancel, StreamDown, StreamUp, exec_request, exec_response,
        exec_server::Exec, stream_down::Down, stream_request, stream_up::Up,
    },
};
use shoal_core::{
    model::{NodeId, Task, TaskState},
    resolve,
};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

#[derive(Clone, Debug)]
pub struct ExecService {
    handle: Handle,
    broker: Broker,
}

impl ExecService {
    pub fn new(handle: Handle, broker: Broker) -> Self {
        Self { handle, broker }
    }

    /// The task meant, in a state from `least` to running, and the node it is on.
    fn target(&self, reference: &str, least: TaskState) -> Result<(Arc<Task>, NodeId), Status> {
        let view = self.handle.view();
        let task = resolve::task(&view, reference).map_err(refused)?;
        let state = task.status.state;
        match (&task.node, state) {
            (Some(node), state) if (least..=TaskState::Running).contains(&state) => {
                Ok((Arc::clone(task), node.clone()))
            }
            _ => Err(status(
                Details::of(
                    ErrorCode::Unavailable,
                    format!(
                        "task {} is {}: there is no program of it that runs",
                        task.id,
                        state.name()
                    ),
                )
                .with_hint("`shoal service ps` shows the tasks that run"),
            )),
        }
    }
}

#[tonic::async_trait]
impl Exec for ExecService {
    type RunStream = ReceiverStream<Result<ExecResponse, Status>>;
    type AttachStream = ReceiverStream<Result<ExecResponse, Status>>;

    async fn run(
        &self,
        request: Request<Streaming<ExecRequest>>,
    ) -> Result<Response<Self::RunStream>, Status> {
        let mut input = request.into_inner();
        let ExecStart { task, options } = first(&mut input).await?;
        let (task, node) = self.target(&task, TaskState::Starting)?;
        let exec = ExecStreamRequest {
            task: task.id.to_string(),
            options: Some(options.unwrap_or_default()),
        };
        let asked = stream_request::Request::Exec(exec);
        let pipe = self.broker.open(&node, asked).await?;
        Ok(joined(pipe, input))
    }

    async fn attach(
        &self,
        request: Request<Streaming<ExecRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let mut input = request.into_inner();
        let AttachStart { task, options } = first_attach(&mut input).await?;
        // One that waits for its client has a container and is not started.
        let (task, node) = self.target(&task, TaskState::Ready)?;
        let attach = AttachStreamRequest {
            task: task.id.to_string(),
            options: Some(options.unwrap_or_default()),
        };
        let asked = stream_request::Request::Attach(attach);
        let pipe = self.broker.open(&node, asked).await?;
        Ok(joined(pipe, input))
    }
}

fn joined(
    pipe: Pipe,
    input: Streaming<ExecRequest>,
) -> Response<ReceiverStream<Result<ExecResponse, Status>>> {
    let (output, received) = mpsc::channel(STREAM_CHUNKS);
    tokio::spawn(serve(pipe, input, output));
    Response::new(ReceiverStream::new(received))
}

async fn first_attach(input: &mut Streaming<ExecRequest>) -> Result<AttachStart, Status> {
    match input.message().await? {
        Some(ExecRequest {
            request: Some(exec_request::Request::Attach(start)),
        }) => Ok(start),
        _ => Err(status(
            Details::of(ErrorCode::Invalid, "expected which task to attach to first").with_field("attach"),
        )),
    }
}

async fn first(input: &mut Streaming<ExecRequest>) -> Result<ExecStart, Status> {
    let invalid =
        |field: &str, message: &str| status(Details::of(ErrorCode::Invalid, message).with_field(field));
    let Some(ExecRequest {
        request: Some(exec_request::Request::Start(start)),
    }) = input.message().await?
    else {
        return Err(invalid(
            "start",
            "expected which program to run in which task first",
        ));
    };
    if start
        .options
        .as_ref()
        .is_none_or(|options: &ExecOptions| options.command.is_empty())
    {
        return Err(invalid(
            "start.options.command",
            "expected a program to run, found none",
        ));
    }
    Ok(start)
}

/// Passes both directions on until the program has ended or the client has gone.
async fn serve(
    pipe: Pipe,
    input: Streaming<ExecRequest>,
    output: mpsc::Sender<Result<ExecResponse, Status>>,
) {
    let Pipe { up, down } = pipe;
    let cancel = down.clone();
    tokio::select! {
        () = pass_output(up, &output) => {}
        () = output.closed() => {}
        // The client's half may end long before the program does.
        () = pass_input(input, down) => {}
    }
    drop(cancel.try_send(Ok(StreamDown {
        down: Some(Down::Cancel(StreamCancel {})),
    })));
}

/// Ends with the program; the last message is its exit.
async fn pass_output(mut up: Streaming<StreamUp>, output: &mpsc::Sender<Result<ExecResponse, Status>>) {
    loop {
        let message = match up.message().await {
            Ok(Some(StreamUp { up: Some(message) })) => message,
            Ok(Some(StreamUp { up: None })) => continue,
            Ok(None) => return fail(output, "the node ended the stream before the program ended").await,
            Err(error) => {
                return fail(
                    output,
                    &format!("the connection to the node broke: {}", error.message()),
                )
                .await;
            }
        };
        let (response, last) = match message {
            Up::ExecStarted(started) => (exec_response::Response::Started(started), false),
            Up::Stdout(bytes) => (exec_response::Response::Stdout(bytes), false),
            Up::Stderr(bytes) => (exec_response::Response::Stderr(bytes), false),
            Up::ExecExit(exit) => (exec_response::Response::Exit(exit), true),
            Up::Failed(failed) => {
                let details = Details::of(ErrorCode::Unavailable, failed.message).with_hint(failed.hint);
                drop(output.send(Err(status(details))).await);
                return;
            }
            Up::Attached(_) | Up::LogLines(_) => continue,
        };
        if output
            .send(Ok(ExecResponse {
                response: Some(response),
            }))
            .await
            .is_err()
            || last
        {
            return;
        }
    }
}

async fn fail(output: &mpsc::Sender<Result<ExecResponse, Status>>, message: &str) {
    drop(
        output
            .send(Err(status(Details::of(ErrorCode::Unavailable, message))))
            .await,
    );
}

/// Ends only when the connection breaks: a client that has said all it wants still waits for the output.
async fn pass_input(mut input: Streaming<ExecRequest>, down: mpsc::Sender<Result<StreamDown, Status>>) {
    loop {
        let message = match input.message().await {
            Ok(Some(ExecRequest {
                request: Some(message),
            })) => message,
            Ok(Some(ExecRequest { request: None })) => continue,
            Ok(None) => return std::future::pending().await,
            Err(_) => return,
        };
        let message = match message {
            exec_request::Request::Start(_) | exec_request::Request::Attach(_) => continue,
            exec_request::Request::Stdin(bytes) => Down::Stdin(bytes),
            exec_request::Request::StdinClose(close) => Down::StdinClose(close),
            exec_request::Request::Resize(size) => Down::Resize(size),
            exec_request::Request::Signal(signal) => Down::Signal(signal),
        };
        if down.send(Ok(StreamDown { down: Some(message) })).await.is_err() {
            // The worker reads no more; what it still says counts.
            return std::future::pending().await;
        }
    }
}
