//! `shoal image …`: the images of this node.
//!
//! They ask the daemon of the node itself: images are each node's own.

mod import;
mod inspect;
mod load;
mod ls;
mod progress;
mod pull;
mod rm;
mod upload;

use super::Client;
use anyhow::Result;

#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Load images from an archive of `docker save` or an OCI layout
    Load(load::LoadArgs),
    /// Make an image from a root file system
    Import(import::ImportArgs),
    /// Pull an image from a registry
    Pull(pull::PullArgs),
    /// List this node's images
    #[command(visible_alias = "list")]
    Ls(ls::LsArgs),
    /// Show images in full
    Inspect(inspect::InspectArgs),
    /// Remove images
    #[command(visible_alias = "remove")]
    Rm(rm::RmArgs),
}

pub(crate) async fn run(client: &Client, verb: Verb) -> Result<()> {
    match verb {
        Verb::Load(args) => load::run(client, args).await,
        Verb::Import(args) => import::run(client, args).await,
        Verb::Pull(args) => pull::run(client, args).await,
        Verb::Ls(args) => ls::run(client, args).await,
        Verb::Inspect(args) => inspect::run(client, args).await,
        Verb::Rm(args) => rm::run(client, args).await,
    }
}
