//! A command in a task's container, its streams joined to the manager's.
//!
//! Down and up are pumped side by side: a command that does not read its input still gets its output out.
//! When the client goes, the session is dropped, which ends the command, unless it was started detached.

use super::{Attached, Gone, Streams};
use crate::clock;
use crate::keeper::chain;
use futures::StreamExt;
use shoal_agent_runtime::{
    ExecControl, ExecError, ExecExit, ExecOutput, ExecSpec, ExecStdin, ExecStream, Signal, TerminalSize,
};
use shoal_api::limits::CHUNK_BYTES;
use shoal_api::v1::{self, stream_down::Down, stream_up::Up};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tonic::Streaming;

/// What a container's runtime answers where the command is not to blame, as Docker.
pub(super) const RUNTIME_FAILED: i32 = 126;
/// A command's children may keep its output open after its end: what comes so late is still sent, as in Docker.
const LAST_WORDS: Duration = Duration::from_secs(2);
const DEFAULT_SIZE: TerminalSize = TerminalSize {
    columns: 80,
    rows: 24,
};

impl Streams {
    pub(super) async fn exec(
        &self,
        attached: &mut Attached,
        request: v1::ExecStreamRequest,
    ) -> Result<(), Gone> {
        let Some(posted) = self.posted(&request.task) else {
            let message = format!("task {} is not on this node any more", request.task);
            return attached
                .fail(message, "shoal service ps shows where the service's tasks are")
                .await;
        };
        let options = request.options.unwrap_or_default();
        let detach = options.detach;
        let spec = spec(options);
        let session = match self.runtime.exec(&posted.container, spec).await {
            Ok(session) => session,
            Err(error) => return refuse(attached, &request.task, &error).await,
        };
        let started = v1::ExecStarted {
            task: request.task,
            pid: 0,
        };
        attached.send(Up::ExecStarted(started)).await?;
        if detach {
            exited(&attached.up, 0, "").await?;
            // Kept until the command ends, since dropping the session would end it; the stream's place stays taken.
            let (_stdin, _control) = (session.stdin, session.control);
            throw_away(session.output, session.exit).await;
            return Ok(());
        }
        let Attached { up, down } = attached;
        tokio::select! {
            () = pump_down(down, session.stdin, session.control) => Err(Gone),
            sent = pump_up(up, session.output, session.exit) => sent,
        }
    }
}

async fn refuse(attached: &Attached, task: &str, error: &ExecError) -> Result<(), Gone> {
    match error {
        ExecError::Command { message, exit_code } => exited(&attached.up, *exit_code, message).await,
        ExecError::NotFound(_) | ExecError::NotRunning(_) => {
            let message = format!("task {task} is not running");
            attached
                .fail(message, "shoal service ps shows which tasks run")
                .await
        }
        // What was asked for cannot be had: as Docker answers for an unknown user.
        ExecError::Spec { .. } => exited(&attached.up, RUNTIME_FAILED, &chain(error)).await,
        ExecError::Spawn { .. } | ExecError::Shim { .. } => {
            attached
                .fail(
                    chain(error),
                    "`shoal service ps` shows the task, the daemon's log says more",
                )
                .await
        }
    }
}

fn spec(options: v1::ExecOptions) -> ExecSpec {
    let size = options.size.map(terminal_size).unwrap_or(DEFAULT_SIZE);
    ExecSpec {
        args: options.command,
        env: options.env.into_iter().collect(),
        workdir: options.workdir,
        user: options.user,
        tty: options.tty.then_some(size),
        stdin: options.stdin,
    }
}

pub(super) fn terminal_size(size: v1::TerminalSize) -> TerminalSize {
    TerminalSize {
        columns: u16::try_from(size.columns).unwrap_or(u16::MAX),
        rows: u16::try_from(size.rows).unwrap_or(u16::MAX),
    }
}

/// Returns when the client has gone.
async fn pump_down(down: &mut Streaming<v1::StreamDown>, stdin: Option<ExecStdin>, control: ExecControl) {
    let mut stdin = stdin;
    while let Ok(Some(message)) = down.message().await {
        match message.down {
            Some(Down::Stdin(data)) => {
                if let Some(open) = stdin.as_mut()
                    && open.write_all(&data).await.is_err()
                {
                    // The command closed its input; its output and end are still to come.
                    stdin = None;
                }
            }
            Some(Down::StdinClose(_)) => stdin = None,
            Some(Down::Resize(size)) => {
                if let Err(error) = control.resize(terminal_size(size)) {
                    tracing::debug!(error = %chain(&error), "a terminal was not resized");
                }
            }
            Some(Down::Signal(number)) => signal(&control, number).await,
            Some(Down::Cancel(_)) => return,
            None => {}
        }
    }
}

async fn signal(control: &ExecControl, number: i32) {
    let sent = match Signal::try_from(number) {
        Ok(signal) => control.signal(signal).await.map_err(|error| chain(&error)),
        Err(error) => Err(error.to_string()),
    };
    if let Err(reason) = sent {
        tracing::debug!(reason, "a signal did not reach a command");
    }
}

async fn pump_up(
    up: &mpsc::Sender<v1::StreamUp>,
    mut output: ExecStream,
    mut exit: ExecExit,
) -> Result<(), Gone> {
    let mut code = None;
    let mut last_words = None;
    loop {
        tokio::select! {
            biased;
            next = output.next() => match next {
                Some(Ok(chunk)) => send_chunk(up, chunk).await?,
                Some(Err(_)) | None => break,
            },
            ended = exit.wait(), if code.is_none() => {
                code = Some(ended);
                last_words = Some(Instant::now() + LAST_WORDS);
            }
            () = clock::sleep_until(last_words) => break,
        }
    }
    let ended = match code {
        Some(ended) => ended,
        None => exit.wait().await,
    };
    match ended {
        Ok(code) => exited(up, code, "").await,
        Err(error) => exited(up, RUNTIME_FAILED, &chain(&error)).await,
    }
}

/// A pipe that nobody reads would hold the command up.
async fn throw_away(mut output: ExecStream, mut exit: ExecExit) {
    while let Some(Ok(_)) = output.next().await {}
    if let Err(error) = exit.wait().await {
        tracing::debug!(error = %chain(&error), "a detached command was lost");
    }
}

pub(super) async fn send_chunk(up: &mpsc::Sender<v1::StreamUp>, chunk: ExecOutput) -> Result<(), Gone> {
    let (bytes, wrap): (_, fn(Vec<u8>) -> Up) = match chunk {
        ExecOutput::Stdout(bytes) => (bytes, Up::Stdout),
        ExecOutput::Stderr(bytes) => (bytes, Up::Stderr),
    };
    for part in bytes.chunks(CHUNK_BYTES) {
        let message = v1::StreamUp {
            up: Some(wrap(part.to_vec())),
        };
        up.send(message).await.or(Err(Gone))?;
    }
    Ok(())
}

pub(super) async fn exited(up: &mpsc::Sender<v1::StreamUp>, code: i32, message: &str) -> Result<(), Gone> {
    let exit = v1::ExecExit {
        code,
        message: message.to_owned(),
    };
    let message = v1::StreamUp {
        up: Some(Up::ExecExit(exit)),
    };
    up.send(message).await.or(Err(Gone))
}
