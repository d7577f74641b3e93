//! `shoal node …`.
//!
//! A node is named by its host name, its id or the beginning of one; `self` is the one that answers.

mod inspect;
mod ls;
mod update;

pub(crate) use ls::list_nodes;

use super::Client;
use anyhow::Result;
use shoal_api::v1;

#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// List the cluster's nodes
    #[command(visible_alias = "list")]
    Ls(ls::LsArgs),
    /// Show nodes in full
    Inspect(inspect::InspectArgs),
    /// Change a node
    Update(update::UpdateArgs),
}

pub(crate) async fn run(client: &Client, verb: Verb) -> Result<()> {
    match verb {
        Verb::Ls(args) => ls::run(client, args).await,
        Verb::Inspect(args) => inspect::run(client, args).await,
        Verb::Update(args) => update::run(client, args).await,
    }
}

/// May a node take tasks?
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum AvailabilityArg {
    Active,
    Pause,
    Drain,
}

impl AvailabilityArg {
    pub(crate) fn wire(self) -> v1::Availability {
        match self {
            Self::Active => v1::Availability::Active,
            Self::Pause => v1::Availability::Pause,
            Self::Drain => v1::Availability::Drain,
        }
    }
}
