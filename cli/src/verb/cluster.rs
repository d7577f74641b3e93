//! `shoal cluster …`: the cluster as a whole.
//!
//! `init` needs the node's own socket; the others any manager.

mod client_cert;
mod info;
mod init;

use super::Client;
use anyhow::Result;

#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Make this node the first of a cluster
    Init(init::InitArgs),
    /// Make an administrator's certificate for use from another machine
    ClientCert(client_cert::ClientCertArgs),
    /// Show the cluster
    Info(info::InfoArgs),
}

pub(crate) async fn run(client: &Client, verb: Verb) -> Result<()> {
    match verb {
        Verb::Init(args) => init::run(client, args).await,
        Verb::ClientCert(args) => client_cert::run(client, args).await,
        Verb::Info(args) => info::run(client, args).await,
    }
}
