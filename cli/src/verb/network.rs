//! `shoal network …`: the networks of the cluster.
//!
//! A network is named by its name, its id or the beginning of one.

mod create;
mod inspect;
mod ls;
mod prune;
mod rm;

pub(crate) use inspect::shown;
pub(crate) use ls::list_networks;

use super::Client;
use anyhow::Result;

#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Create a network
    Create(Box<create::CreateArgs>),
    /// List networks
    #[command(visible_alias = "list")]
    Ls(ls::LsArgs),
    /// Show networks in full
    Inspect(inspect::InspectArgs),
    /// Remove networks that no service joins
    #[command(visible_alias = "remove")]
    Rm(rm::RmArgs),
    /// Remove all networks that no service joins
    Prune(prune::PruneArgs),
}

pub(crate) async fn run(client: &Client, verb: Verb) -> Result<()> {
    match verb {
        Verb::Create(args) => create::run(client, *args).await,
        Verb::Ls(args) => ls::run(client, args).await,
        Verb::Inspect(args) => inspect::run(client, args).await,
        Verb::Rm(args) => rm::run(client, args).await,
        Verb::Prune(args) => prune::run(client, args).await,
    }
}
