//! `shoal network ls`.
//!
//! `ingress` is among them: it exists from the start.

use super::Client;
use crate::{
    connect::Connection,
    filter::{FilterArgs, label_matches},
    output::{ListArgs, print},
    view::network::{Summary, driver_name, listing, scope_name},
    wire::{collect, network_summary, refused},
};
use anyhow::Result;
use shoal_api::v1;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LsArgs {
    /// Show whole ids
    #[arg(long)]
    no_trunc: bool,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    list: ListArgs,
}

/// What networks can be filtered by.
const FILTERS: &[&str] = &[
    "dangling", "driver", "id", "label", "name", "scope", "stack", "type",
];

pub(crate) async fn run(client: &Client, args: LsArgs) -> Result<()> {
    args.filter.check(FILTERS)?;
    let connection = client.connect().await?;
    let mut networks = list_networks(&connection).await?;
    networks.retain(|summary| args.filter.pass(|key, value| matches(summary, key, value)));
    print(&listing(&networks, args.no_trunc).render(&args.list)?)
}

pub(crate) async fn list_networks(connection: &Connection) -> Result<Vec<Summary>> {
    let stream = connection
        .control()
        .list_networks(v1::ListNetworksRequest::default())
        .await
        .map_err(refused)?
        .into_inner();
    let networks = collect(stream, |batch| batch.networks).await?;
    networks.into_iter().map(network_summary).collect()
}

fn matches(summary: &Summary, key: &str, value: &str) -> bool {
    let (network, spec) = (&summary.network, &summary.network.spec);
    let driver = spec.driver;
    match key {
        "dangling" => summary.is_unused() == (value == "true" || value == "1"),
        "driver" => driver_name(driver) == value,
        "id" => network.id.as_str().starts_with(value),
        "label" => label_matches(&spec.labels, value),
        // Docker's word for what is a cluster here.
        "scope" => scope_name(driver) == if value == "swarm" { "cluster" } else { value },
        "stack" => summary.stack == value,
        "type" => (if spec.ingress { "builtin" } else { "custom" }) == value,
        _ => spec.name.contains(value),
    }
}
