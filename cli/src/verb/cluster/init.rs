//! `shoal cluster init`: makes the node whose daemon is asked the first of a cluster.
//!
//! On a node that belongs to a cluster already the daemon refuses.

use super::Client;
use crate::{output::print, verb::node::AvailabilityArg, wire::refused};
use anyhow::Result;
use shoal_api::v1;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct InitArgs {
    /// The cluster's name
    #[arg(long, default_value = "default")]
    name: String,
    /// Address to listen on, HOST:PORT (the daemon's setting if not given)
    #[arg(long, value_name = "ADDRESS", default_value = "", hide_default_value = true)]
    listen_addr: String,
    /// Address by which others reach this node, HOST:PORT
    #[arg(long, value_name = "ADDRESS", default_value = "", hide_default_value = true)]
    advertise_addr: String,
    /// May this node take tasks?
    #[arg(long, default_value = "active")]
    availability: AvailabilityArg,
}

pub(crate) async fn run(client: &Client, args: InitArgs) -> Result<()> {
    let connection = client.connect().await?;
    let request = v1::InitRequest {
        name: args.name,
        listen_address: args.listen_addr,
        advertise_address: args.advertise_addr,
        availability: args.availability.wire().into(),
    };
    let made = connection
        .bootstrap()
        .init(request)
        .await
        .map_err(refused)?
        .into_inner();
    print(&format!(
        "Cluster {} is made: this node ({}) is its manager.\n",
        made.cluster_id, made.node_id
    ))
}
