//! `shoal cluster init`: makes the node whose daemon is asked the first of a cluster.
//!
//! On a node that belongs to a cluster already the daemon refuses.

use super::{Client, PoolArgs, pools_text};
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
    #[command(flatten)]
    pools: PoolArgs,
}

pub(crate) async fn run(client: &Client, args: InitArgs) -> Result<()> {
    let connection = client.connect().await?;
    let request = v1::InitRequest {
        name: args.name,
        listen_address: args.listen_addr,
        advertise_address: args.advertise_addr,
        availability: args.availability.wire().into(),
        default_addr_pools: args.pools.v4(),
        default_addr_pool_mask_length: args.pools.default_addr_pool_mask_length.unwrap_or(0),
        default_addr_pool_v6: args.pools.v6(),
    };
    let made = connection
        .bootstrap()
        .init(request)
        .await
        .map_err(refused)?
        .into_inner();
    let mut text = format!(
        "Cluster {} is made: this node ({}) is its manager.\n",
        made.cluster_id, made.node_id
    );
    if let Some(pools) = made.pools {
        let pools = pools_text(&pools.try_into()?);
        text.push_str(&format!("Networks get their addresses from {pools}.\n"));
    }
    print(&text)
}
