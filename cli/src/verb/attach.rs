//! `shoal attach TASK`: the streams of a task's own program.
//!
//! It goes on when its caller leaves: by the detach keys if it has a terminal, or in any other way.

use super::{
    Client,
    session::{self, Caller, End},
};
use crate::{
    complete::{Names, names},
    connect::Connection,
    output::note,
    terminal::DetachKeys,
    wire::refused,
};
use anyhow::{Context, Result};
use shoal_api::v1::{self, exec_request::Request};
use shoal_core::model::Revision;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct AttachArgs {
    /// Keys that leave the program to itself
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    detach_keys: DetachKeys,
    /// Do not pass standard input on
    #[arg(long)]
    no_stdin: bool,
    /// A task: SERVICE.SLOT, its id, or the beginning of one
    #[arg(add = names(Names::Tasks))]
    task: String,
}

pub(crate) async fn run(client: &Client, args: AttachArgs) -> Result<()> {
    let connection = client.connect().await?;
    let request = v1::GetTaskRequest {
        reference: args.task.clone(),
    };
    let answer = connection
        .control()
        .get_task(request)
        .await
        .map_err(refused)?
        .into_inner();
    let revision: Revision = answer
        .revision
        .context("the manager sent no revision")?
        .try_into()?;
    let container = revision.task.container;
    let caller = Caller {
        interactive: !args.no_stdin && (container.tty || container.stdin_open),
        tty: container.tty,
        detach: container.tty.then_some(args.detach_keys),
    };
    match to(&connection, args.task.clone(), caller, false).await? {
        End::Exited(exit) => session::exited(&exit),
        End::Detached => {
            note(&format!(
                "\nLeft; the program goes on. `shoal attach {}` comes back.",
                args.task
            ));
            Ok(())
        }
        End::GivenUp(exit) => {
            note(&format!(
                "shoal: left; the program goes on. `shoal attach {}` comes back.",
                args.task
            ));
            Err(exit.into())
        }
    }
}

/// Attaches to a task; with `replay` what it wrote before comes first.
pub(crate) async fn to(connection: &Connection, task: String, caller: Caller, replay: bool) -> Result<End> {
    let start = v1::AttachStart {
        task,
        options: Some(v1::AttachOptions {
            stdin: caller.interactive,
            replay,
            size: caller.tty.then(session::size),
        }),
    };
    let (speaker, outgoing) = session::open(Request::Attach(start)).await?;
    let incoming = session::answer(connection.exec().attach(outgoing)).await?;
    speaker.talk(incoming, caller).await
}
