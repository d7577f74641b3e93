//! `shoal service …`.
//!
//! A service is named by its name, its id or the beginning of one.

mod create;
mod inspect;
mod logs;
mod ls;
mod ps;
mod rm;
mod scale;
mod update;
mod why;

#[cfg(test)]
pub(crate) use create::tests::spec_of;
pub(crate) use inspect::InspectFormat;
pub(crate) use ls::{FILTERS, list_services, matches};
pub(crate) use ps::{TaskListArgs, list_tasks};
pub(crate) use update::read;

use super::Client;
use anyhow::Result;

#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Create a service
    Create(Box<create::CreateArgs>),
    /// List services
    #[command(visible_alias = "list")]
    Ls(ls::LsArgs),
    /// List the tasks of services
    Ps(ps::PsArgs),
    /// Show services in full
    Inspect(inspect::InspectArgs),
    /// Change a service
    Update(Box<update::UpdateArgs>),
    /// Set the number of tasks of services
    Scale(scale::ScaleArgs),
    /// Fetch the logs of a service or task
    Logs(logs::LogsArgs),
    /// Remove services
    #[command(visible_alias = "remove")]
    Rm(rm::RmArgs),
    /// Say what a service waits for, and who must move
    Why(why::WhyArgs),
}

pub(crate) async fn run(client: &Client, verb: Verb) -> Result<()> {
    match verb {
        Verb::Create(args) => create::run(client, *args).await,
        Verb::Ls(args) => ls::run(client, args).await,
        Verb::Ps(args) => ps::run(client, args).await,
        Verb::Inspect(args) => inspect::run(client, args).await,
        Verb::Update(args) => update::run(client, *args).await,
        Verb::Scale(args) => scale::run(client, args).await,
        Verb::Logs(args) => logs::run(client, args).await,
        Verb::Rm(args) => rm::run(client, args).await,
        Verb::Why(args) => why::run(client, args).await,
    }
}

/// The flags of every verb that makes a cluster move.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct WaitArgs {
    /// Do not wait for the tasks to run
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", hide_default_value = true, action = clap::ArgAction::Set)]
    pub(crate) detach: bool,
    /// Do not show progress
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

impl WaitArgs {
    /// Waits for these services (ids), unless told not to.
    pub(crate) async fn wait(
        self,
        connection: &crate::connect::Connection,
        services: Vec<String>,
    ) -> Result<()> {
        if self.detach || services.is_empty() {
            return Ok(());
        }
        let follow = crate::progress::Follow {
            services,
            quiet: self.quiet,
        };
        crate::progress::follow(connection, follow).await
    }
}

/// What a manager wants said beside its answer.
pub(crate) fn warn(warnings: &[String]) {
    for warning in warnings {
        crate::output::note(&format!("shoal: warning: {warning}"));
    }
}
