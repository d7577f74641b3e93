//! `shoal cluster …`: the cluster as a whole.
//!
//! `init` needs the node's own socket; `info` any manager.

mod info;
mod init;

use super::Client;
use anyhow::Result;

#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Make this node the first of a cluster
    Init(init::InitArgs),
    /// Show the cluster
    Info(info::InfoArgs),
}

pub(crate) async fn run(client: &Client, verb: Verb) -> Result<()> {
    match verb {
        Verb::Init(args) => init::run(client, args).await,
        Verb::Info(args) => info::run(client, args).await,
    }
}
