//! `shoal exec`: a command in a task's container, with its streams, its terminal and its exit code.
//!
//! The command ends with its caller, unless it was told to stay.

use super::{
    Client,
    session::{self, Caller, End},
};
use crate::{
    complete::{Names, names},
    failure::usage,
    spec::Pair,
    terminal,
};
use anyhow::Result;
use shoal_api::v1::{self, exec_request::Request};
use std::collections::HashMap;

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
    /// A task: SERVICE.SLOT, its id, or the beginning of one
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
            size: args.tty.then(session::size),
            detach: args.detach,
        }),
    };
    let (speaker, outgoing) = session::open(Request::Start(start)).await?;
    let incoming = session::answer(connection.exec().run(outgoing)).await?;
    let caller = Caller {
        interactive: args.interactive,
        tty: args.tty,
        detach: None,
    };
    match speaker.talk(incoming, caller).await? {
        End::Exited(exit) => session::exited(&exit),
        End::Detached => Ok(()),
        End::GivenUp(exit) => Err(exit.into()),
    }
}
