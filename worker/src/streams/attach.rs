//! The streams of a task's own program, joined to the manager's.
//!
//! The client is there before a task that waits for one is started, its terminal has its size by then, and it hears
//! how the program ended after everything that it wrote. When the client goes, the program goes on.

use super::exec::{RUNTIME_FAILED, exited, send_chunk, terminal_size};
use super::{Attached, Gone, Streams};
use crate::board::Posted;
use crate::keeper::chain;
use futures::StreamExt;
use shoal_agent_runtime::{
    AttachControl, AttachError, AttachSession, AttachSpec, AttachStream, ContainerId, ExecStdin, Runtime,
    Signal,
};
use shoal_api::v1::{self, stream_down::Down, stream_up::Up};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tonic::Streaming;

impl Streams {
    pub(super) async fn attach_to(
        &self,
        attached: &mut Attached,
        request: v1::AttachStreamRequest,
    ) -> Result<(), Gone> {
        let Some(posted) = self.posted(&request.task) else {
            let message = format!("task {} is not on this node any more", request.task);
            let hint = "shoal service ps shows where the service's tasks are";
            return attached.fail(message, hint).await;
        };
        let options = request.options.unwrap_or_default();
        let session = match self.session(&posted, &options).await {
            Ok(session) => session,
            Err(error) => return refuse(attached, &request.task, &error).await,
        };
        let AttachSession {
            stdin,
            output,
            control,
        } = session;
        let started = v1::ExecStarted {
            task: request.task,
            pid: 0,
        };
        attached.send(Up::ExecStarted(started)).await?;
        self.clients.came(&posted.task.id);
        let Attached { up, down } = attached;
        let input = Input {
            runtime: &self.runtime,
            container: &posted.container,
            stdin,
            control,
        };
        tokio::select! {
            () = input.pump_down(down) => Err(Gone),
            sent = self.pump_up(up, output, &posted) => sent,
        }
    }

    async fn session(
        &self,
        posted: &Posted,
        options: &v1::AttachOptions,
    ) -> Result<AttachSession, AttachError> {
        let spec = AttachSpec {
            stdin: options.stdin,
            replay: options.replay,
        };
        let session = self.runtime.attach(&posted.container, spec).await?;
        if let Some(size) = options.size {
            session.control.resize(terminal_size(size))?;
        }
        Ok(session)
    }

    async fn pump_up(
        &self,
        up: &mpsc::Sender<v1::StreamUp>,
        mut output: AttachStream,
        posted: &Posted,
    ) -> Result<(), Gone> {
        while let Some(Ok(chunk)) = output.next().await {
            send_chunk(up, chunk).await?;
        }
        let (code, message) = self.end_of(posted).await;
        exited(up, code, &message).await
    }

    /// How the program ended. Its container may be removed by then, but not before the board says it.
    async fn end_of(&self, posted: &Posted) -> (i32, String) {
        let error = match self.runtime.wait(&posted.container).await {
            Ok(exit) => return (exit.code, String::new()),
            Err(error) => chain(&error),
        };
        let said = self.board.get(&posted.task.id).map(|posted| posted.report);
        match said.and_then(|report| report.exit_code) {
            Some(code) => (code, String::new()),
            None => (RUNTIME_FAILED, error),
        }
    }
}

/// Where what comes from the client goes.
struct Input<'a> {
    runtime: &'a Runtime,
    container: &'a ContainerId,
    stdin: Option<ExecStdin>,
    control: AttachControl,
}

impl Input<'_> {
    /// Returns when the client has gone.
    async fn pump_down(mut self, down: &mut Streaming<v1::StreamDown>) {
        while let Ok(Some(message)) = down.message().await {
            match message.down {
                Some(Down::Stdin(data)) => {
                    if let Some(open) = self.stdin.as_mut()
                        && open.write_all(&data).await.is_err()
                    {
                        // The program closed its input; its output and end are still to come.
                        self.stdin = None;
                    }
                }
                Some(Down::StdinClose(_)) => self.close_stdin().await,
                Some(Down::Resize(size)) => {
                    if let Err(error) = self.control.resize(terminal_size(size)) {
                        tracing::debug!(error = %chain(&error), "a terminal was not resized");
                    }
                }
                Some(Down::Signal(number)) => self.signal(number).await,
                Some(Down::Cancel(_)) => return,
                None => {}
            }
        }
    }

    async fn close_stdin(&mut self) {
        if self.stdin.take().is_none() {
            return;
        }
        if let Err(error) = self.runtime.close_stdin(self.container).await {
            tracing::debug!(error = %chain(&error), "a program's input was not closed");
        }
    }

    async fn signal(&self, number: i32) {
        let sent = match Signal::try_from(number) {
            Ok(signal) => self
                .runtime
                .kill(self.container, signal)
                .await
                .map_err(|error| chain(&error)),
            Err(error) => Err(error.to_string()),
        };
        if let Err(reason) = sent {
            tracing::debug!(reason, "a signal did not reach a program");
        }
    }
}

async fn refuse(attached: &Attached, task: &str, error: &AttachError) -> Result<(), Gone> {
    let hint = match error {
        AttachError::NotFound(_) => "shoal service ps shows which tasks run",
        AttachError::NotRunning(_) => "shoal logs shows what it wrote",
        AttachError::NoStdin(_) => "leave -i away, or make the service with an open standard input",
        AttachError::OldShim(_) => "shoal service update --force makes the service's containers anew",
        AttachError::Shim { .. } => "`shoal service ps` shows the task, the daemon's log says more",
    };
    attached
        .fail(format!("attaching to task {task}: {}", chain(error)), hint)
        .await
}
