//! `shoal context …`: the clusters that this user reaches by name.
//!
//! Files of the user's own; no daemon is asked.

mod import;
mod ls;
mod rm;

use anyhow::Result;

#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Take in a context that `shoal cluster client-cert` wrote
    Import(import::ImportArgs),
    /// List contexts
    #[command(visible_alias = "list")]
    Ls(ls::LsArgs),
    /// Remove contexts
    #[command(visible_alias = "remove")]
    Rm(rm::RmArgs),
}

pub(crate) fn run(client: &super::Client, verb: Verb) -> Result<()> {
    match verb {
        Verb::Import(args) => import::run(&args),
        Verb::Ls(args) => ls::run(client, &args),
        Verb::Rm(args) => rm::run(&args),
    }
}
