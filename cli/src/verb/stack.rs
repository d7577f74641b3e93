//! `shoal stack …`.
//!
//! Only `deploy` and `config` read compose files; the others know stacks by name.

mod config;
mod deploy;
mod ls;
mod ps;
mod rm;
mod services;

pub(crate) use ls::list_stacks;

use super::Client;
use anyhow::Result;

#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Deploy a compose file as a stack, or update the stack to it
    #[command(visible_alias = "up")]
    Deploy(deploy::DeployArgs),
    /// List stacks
    #[command(visible_alias = "list")]
    Ls(ls::LsArgs),
    /// List the services of a stack
    Services(services::ServicesArgs),
    /// List the tasks of a stack
    Ps(ps::PsArgs),
    /// Show the compose file as it is read: merged, with its variables filled in
    Config(config::ConfigArgs),
    /// Remove stacks
    #[command(visible_aliases = ["remove", "down"])]
    Rm(rm::RmArgs),
}

pub(crate) async fn run(client: &Client, verb: Verb) -> Result<()> {
    match verb {
        Verb::Deploy(args) => deploy::run(client, args).await,
        Verb::Ls(args) => ls::run(client, args).await,
        Verb::Services(args) => services::run(client, args).await,
        Verb::Ps(args) => ps::run(client, args).await,
        Verb::Config(args) => config::run(&args),
        Verb::Rm(args) => rm::run(client, args).await,
    }
}
