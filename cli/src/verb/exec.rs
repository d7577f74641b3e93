//! `shoal exec`: a command in a task's container, with its streams, its terminal and its exit code.
//!
//! Bytes are passed on as they are; with `-it` the caller's terminal is raw until the command ends.

use super::Client;
use crate::{
    complete::{Names, names},
    failure::{Exit, hinted, usage},
    output::print_bytes,
    spec::Pair,
    terminal::{self, Raw},
    wire::refused,
};
use anyhow::{Context, Result};
use shoal_api::{
    limits::{CHUNK_BYTES, STREAM_CHUNKS},
    v1::{self, exec_request::Request, exec_response::Response},
};
use std::{collections::HashMap, io::Write};
use tokio::{io::AsyncReadExt, sync::mpsc};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ExecArgs {
    /// Start the command and leave it running; what it writes is thrown away
    #[arg(short, long, conflicts_with = "interactive")]
    detach: bool,
    /// Pass standard input on
    #[arg(short, long)]
    interactive: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    tty: bool,
    /// Environment variable; NAME alone takes the caller's own
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = crate::spec::pair)]
    env: Vec<Pair>,
    /// User name or id, and perhaps a group
    #[arg(short, long)]
    user: Option<String>,
    /// Working directory
    #[arg(short, long, value_name = "DIRECTORY")]
    workdir: Option<String>,
    /// A task: its id, the beginning of one, or SERVICE.SLOT
    #[arg(add = names(Names::Tasks))]
    task: String,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

pub(crate) async fn run(client: &Client, args: ExecArgs) -> Result<()> {
    if args.tty && args.interactive && !terminal::stdin_is_terminal() {
        return Err(usage("the input is not a terminal: leave -t away"));
    }
    let connection = client.connect().await?;
    let size = terminal::size();
    let own = |name: &str| std::env::var(name).ok();
    let env: HashMap<String, String> = args
        .env
        .iter()
        .filter_map(|pair| Some((pair.key.clone(), pair.value.clone().or_else(|| own(&pair.key))?)))
        .collect();
    let start = v1::ExecStart {
        task: args.task.clone(),
        options: Some(v1::ExecOptions {
            command: args.command.clone(),
            env: env.into_iter().collect(),
            user: args.user.clone(),
            workdir: args.workdir.clone(),
            tty: args.tty,
            stdin: args.interactive,
            size: args.tty.then(|| wire_size(size)),
            detach: args.detach,
        }),
    };
    let (sender, receiver) = mpsc::channel(STREAM_CHUNKS);
    send(&sender, Request::Start(start)).await?;
    let outgoing = ReceiverStream::new(receiver);
    let mut incoming = connection
        .exec()
        .run(outgoing)
        .await
        .map_err(refused)?
        .into_inner();
    // Raw only once the command runs: a refusal is printed to a terminal as it was.
    let mut raw = None;
    let mut input = None;
    while let Some(response) = incoming.next().await {
        match response.map_err(refused)?.response {
            Some(Response::Started(_)) => {
                if args.tty && args.interactive {
                    raw = Some(Raw::enter()?);
                }
                input = Some(tokio::spawn(pass_on(sender.clone(), args.interactive, args.tty)));
            }
            Some(Response::Stdout(data)) => print_bytes(&data)?,
            Some(Response::Stderr(data)) => {
                std::io::stderr()
                    .write_all(&data)
                    .context("cannot write to standard error")?;
            }
            Some(Response::Exit(exit)) => {
                drop(raw);
                if let Some(input) = input {
                    input.abort();
                }
                return ended(&exit);
            }
            None => {}
        }
    }
    drop(raw);
    Err(hinted(
        "the connection to the container broke off",
        "The command may still run: `shoal service ps` shows where the task is.",
    ))
}

fn ended(exit: &v1::ExecExit) -> Result<()> {
    if !exit.message.is_empty() {
        crate::output::note(&format!("shoal: {}", exit.message));
    }
    match exit.code {
        0 => Ok(()),
        code => Err(Exit(u8::try_from(code).unwrap_or(1)).into()),
    }
}

fn wire_size(size: terminal::Size) -> v1::TerminalSize {
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

/// Standard input, the terminal's size and signals, until the command ends.
async fn pass_on(sender: mpsc::Sender<v1::ExecRequest>, interactive: bool, tty: bool) {
    let signals = signals(sender.clone(), tty);
    if interactive {
        tokio::join!(signals, stdin(sender));
    } else {
        drop(sender);
        signals.await;
    }
}

async fn stdin(sender: mpsc::Sender<v1::ExecRequest>) {
    let mut input = tokio::io::stdin();
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let request = match input.read(&mut buffer).await {
            Ok(length) if length > 0 => Request::Stdin(buffer[..length].to_vec()),
            _ => Request::StdinClose(v1::StdinClose {}),
        };
        let last = matches!(request, Request::StdinClose(_));
        if send(&sender, request).await.is_err() || last {
            return;
        }
    }
}

/// Without a terminal of its own the command gets the signals that the client gets.
#[cfg(unix)]
async fn signals(sender: mpsc::Sender<v1::ExecRequest>, tty: bool) {
    use tokio::signal::unix::{SignalKind, signal};
    let kinds = [
        SignalKind::window_change(),
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
        SignalKind::quit(),
    ];
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
            Request::Resize(wire_size(terminal::size()))
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
