//! A program in a container and the caller's terminal: bytes both ways, size and signals, until one of them leaves.
//!
//! `exec`, `attach` and `run` start it; bytes are passed on as they are. With a terminal on both ends the caller's is raw
//! until the end. Whoever asks for the end of the client often enough leaves a program that does not care.

use crate::{
    failure::{Exit, hinted},
    output::{note, print_bytes},
    signals::{Endings, ended_by},
    terminal::{self, DetachKeys, Raw},
    wire::refused,
};
use anyhow::{Context, Error, Result};
use shoal_api::{
    limits::{CHUNK_BYTES, STREAM_CHUNKS},
    v1::{self, exec_request::Request, exec_response::Response},
};
use std::io::Write;
use tokio::{io::AsyncReadExt, sync::mpsc};
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tonic::Status;

/// So many requests to end (SIGINT, SIGTERM, SIGHUP) end the client, whatever the program makes of them; as Docker's.
const INSISTENCE: usize = 3;

/// What of the caller's side takes part.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// Its standard input is passed on.
    pub(crate) interactive: bool,
    /// The program has a terminal.
    pub(crate) tty: bool,
    /// Keys that leave the program to itself; none where it ends with its caller.
    pub(crate) detach: Option<DetachKeys>,
}

/// How a session ended.
#[derive(Debug)]
pub(crate) enum End {
    Exited(v1::ExecExit),
    /// The caller left by the detach keys.
    Detached,
    /// The caller wanted the client to end, with this code; the program may go on.
    GivenUp(Exit),
}

/// The caller's way to a program; what is to be said first is on it.
pub(crate) async fn open(first: Request) -> Result<(Speaker, ReceiverStream<v1::ExecRequest>)> {
    let (sender, receiver) = mpsc::channel(STREAM_CHUNKS);
    send(&sender, first).await?;
    Ok((Speaker(sender), ReceiverStream::new(receiver)))
}

#[derive(Debug)]
pub(crate) struct Speaker(mpsc::Sender<v1::ExecRequest>);

impl Speaker {
    /// Until the program ends or the caller leaves.
    pub(crate) async fn talk(
        self,
        incoming: impl Stream<Item = Result<v1::ExecResponse, Status>> + Unpin,
        caller: Caller,
    ) -> Result<End> {
        let endings = Endings::listen()?.into_stream();
        self.talk_with(incoming, caller, std::pin::pin!(endings)).await
    }

    /// The same, with whatever asks the client to end.
    async fn talk_with(
        self,
        mut incoming: impl Stream<Item = Result<v1::ExecResponse, Status>> + Unpin,
        caller: Caller,
        mut endings: impl Stream<Item = Exit> + Unpin,
    ) -> Result<End> {
        // Raw only once the program is there: a refusal is printed to a terminal as it was.
        let mut raw = None;
        let (left, mut leaves) = mpsc::channel(1);
        let mut left = Some(left);
        let mut input = None;
        let mut asked = 0;
        let ended = loop {
            let response = tokio::select! {
                response = incoming.next() => response,
                Some(()) = leaves.recv() => break Ok(End::Detached),
                Some(exit) = endings.next() => {
                    asked += 1;
                    // Before the start nobody else could hear of it.
                    if input.is_none() || asked == INSISTENCE {
                        break Ok(End::GivenUp(exit));
                    }
                    continue;
                }
            };
            match response {
                None => break Err(broken_off()),
                Some(Err(status)) => break Err(refused(status)),
                Some(Ok(response)) => match response.response {
                    Some(Response::Started(_)) => {
                        if caller.tty && caller.interactive && terminal::stdin_is_terminal() {
                            raw = Some(Raw::enter()?);
                        }
                        if let Some(left) = left.take() {
                            let speaking = pass_on(self.0.clone(), caller.clone(), left);
                            input = Some(tokio::spawn(speaking));
                        }
                    }
                    Some(Response::Stdout(data)) => print_bytes(&data)?,
                    Some(Response::Stderr(data)) => {
                        let mut stderr = std::io::stderr();
                        stderr
                            .write_all(&data)
                            .context("cannot write to standard error")?;
                    }
                    Some(Response::Exit(exit)) => break Ok(End::Exited(exit)),
                    None => {}
                },
            }
        };
        drop(raw);
        if let Some(input) = input {
            input.abort();
        }
        ended
    }
}

/// The daemon's answer to the first request, for a caller who may not want to wait for it.
pub(crate) async fn answer<T>(asked: impl Future<Output = Result<tonic::Response<T>, Status>>) -> Result<T> {
    tokio::select! {
        answer = asked => Ok(answer.map_err(refused)?.into_inner()),
        exit = ended_by() => Err(exit?.into()),
    }
}

fn broken_off() -> Error {
    hinted(
        "the connection to the container broke off",
        "The program may still run: `shoal service ps` shows where the task is.",
    )
}

/// The program's exit code as the caller's own.
pub(crate) fn exited(exit: &v1::ExecExit) -> Result<()> {
    if !exit.message.is_empty() {
        note(&format!("shoal: {}", exit.message));
    }
    match exit.code {
        0 => Ok(()),
        code => Err(Exit(u8::try_from(code).unwrap_or(1)).into()),
    }
}

/// The caller's terminal, for a program that has one.
pub(crate) fn size() -> v1::TerminalSize {
    let size = terminal::size();
    v1::TerminalSize {
        rows: size.rows.into(),
        columns: size.columns.into(),
    }
}

async fn send(sender: &mpsc::Sender<v1::ExecRequest>, request: Request) -> Result<()> {
    let request = v1::ExecRequest {
        request: Some(request),
    };
    sender
        .send(request)
        .await
        .ok()
        .context("the connection to the daemon is gone")
}

/// Standard input, the terminal's size and signals, until the program ends.
async fn pass_on(sender: mpsc::Sender<v1::ExecRequest>, caller: Caller, left: mpsc::Sender<()>) {
    let signals = signals(sender.clone(), caller.tty);
    if caller.interactive {
        tokio::join!(signals, stdin(sender, caller.detach, left));
    } else {
        drop((sender, left));
        signals.await;
    }
}

async fn stdin(
    sender: mpsc::Sender<v1::ExecRequest>,
    mut detach: Option<DetachKeys>,
    left: mpsc::Sender<()>,
) {
    let mut input = tokio::io::stdin();
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let Ok(length @ 1..) = input.read(&mut buffer).await else {
            // Nobody is left to hear of a failure.
            drop(send(&sender, Request::StdinClose(v1::StdinClose {})).await);
            return;
        };
        let (data, leaves) = match &mut detach {
            None => (buffer[..length].to_vec(), false),
            Some(keys) => keys.pass(&buffer[..length]),
        };
        if !data.is_empty() && send(&sender, Request::Stdin(data)).await.is_err() {
            return;
        }
        if leaves {
            left.send(()).await.ok();
            return;
        }
    }
}

/// Without a terminal of its own the program gets the signals that the client gets.
#[cfg(unix)]
async fn signals(sender: mpsc::Sender<v1::ExecRequest>, tty: bool) {
    use tokio::signal::unix::{SignalKind, signal};
    let mut kinds = vec![
        SignalKind::window_change(),
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::quit(),
    ];
    if !crate::signals::outlives_terminal() {
        kinds.push(SignalKind::hangup());
    }
    let mut streams = Vec::new();
    for kind in kinds {
        let Ok(stream) = signal(kind) else { continue };
        let stream = futures::stream::unfold(stream, move |mut stream| async move {
            stream.recv().await.map(|()| (kind, stream))
        });
        streams.push(Box::pin(stream));
    }
    let mut arrived = futures::stream::select_all(streams);
    while let Some(kind) = arrived.next().await {
        let request = if kind == SignalKind::window_change() {
            if !tty {
                continue;
            }
            Request::Resize(size())
        } else {
            Request::Signal(kind.as_raw_value())
        };
        if send(&sender, request).await.is_err() {
            return;
        }
    }
}

#[cfg(not(unix))]
async fn signals(_sender: mpsc::Sender<v1::ExecRequest>, _tty: bool) {}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(response: Response) -> Result<v1::ExecResponse, Status> {
        Ok(v1::ExecResponse {
            response: Some(response),
        })
    }

    /// What becomes of a program that says this, for a caller who only listens.
    async fn heard(said: Vec<Result<v1::ExecResponse, Status>>) -> Result<End> {
        let (speaker, _outgoing) = open(Request::Signal(0)).await?;
        let caller = Caller {
            interactive: false,
            tty: false,
            detach: None,
        };
        // The caller's side runs between two messages, and finds that it has nothing to say.
        let said = futures::stream::unfold(said.into_iter(), |mut said| async {
            tokio::task::yield_now().await;
            said.next().map(|next| (next, said))
        });
        let endings = futures::stream::pending();
        speaker.talk_with(Box::pin(said), caller, endings).await
    }

    #[tokio::test]
    async fn a_caller_without_input_hears_the_end() {
        let exit = v1::ExecExit {
            code: 7,
            message: String::new(),
        };
        let started = || response(Response::Started(v1::ExecStarted::default()));
        let quiet = || response(Response::Stderr(Vec::new()));
        let said = vec![started(), quiet(), quiet(), response(Response::Exit(exit))];
        let End::Exited(exit) = heard(said).await.unwrap() else {
            panic!("nobody left");
        };
        assert_eq!(exit.code, 7);
        let error = heard(vec![started(), quiet()]).await.unwrap_err();
        assert!(error.to_string().contains("broke off"), "{error}");
    }

    #[tokio::test]
    async fn a_caller_who_insists_leaves_a_program_that_does_not_care() {
        let (speaker, _outgoing) = open(Request::Signal(0)).await.unwrap();
        let caller = Caller {
            interactive: false,
            tty: false,
            detach: None,
        };
        let (started, starts) = tokio::sync::oneshot::channel();
        let mut started = Some(started);
        // Whatever it is told, it only writes.
        let program = std::iter::from_fn(move || {
            let response = match started.take() {
                Some(started) => {
                    started.send(()).unwrap();
                    Response::Started(v1::ExecStarted::default())
                }
                None => Response::Stderr(Vec::new()),
            };
            Some(self::response(response))
        });
        let endings = async move {
            starts.await.unwrap();
            futures::stream::iter([Exit(130), Exit(129), Exit(143), Exit(130)])
        };
        let endings = Box::pin(futures::FutureExt::flatten_stream(endings));
        let program = futures::stream::iter(program);
        let ended = speaker.talk_with(program, caller, endings).await.unwrap();
        assert!(matches!(ended, End::GivenUp(Exit(143))), "{ended:?}");
    }
}
