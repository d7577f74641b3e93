//! `shoal volume …`: the volumes of this node.
//!
//! They ask the daemon of the node itself: volumes are each node's own.

mod ls;
mod rm;

use super::Client;
use anyhow::Result;

#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// List this node's volumes
    #[command(visible_alias = "list")]
    Ls(ls::LsArgs),
    /// Remove volumes
    #[command(visible_alias = "remove")]
    Rm(rm::RmArgs),
}

pub(crate) async fn run(client: &Client, verb: Verb) -> Result<()> {
    match verb {
        Verb::Ls(args) => ls::run(client, args).await,
        Verb::Rm(args) => rm::run(client, args).await,
    }
}
