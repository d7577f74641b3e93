//! `shoal network inspect`.
//!
//! Beside what Docker shows: the services that join it, and their names and addresses in it.

use super::Client;
use crate::{
    complete::{Names, names},
    connect::Connection,
    failure::Failures,
    output::{inspected, print},
    verb::service::InspectFormat,
    view::network::{Member, json},
    wire::{network_summary, refused},
};
use anyhow::{Context, Result};
use serde_json::Value;
use shoal_api::v1;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct InspectArgs {
    /// Names or ids
    #[arg(required = true, value_name = "NETWORK", add = names(Names::Networks))]
    networks: Vec<String>,
    /// A template such as '{{.Name}}', or json
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        default_value = "json",
        hide_default_value = true
    )]
    format: InspectFormat,
    /// Taken for Docker's sake: services are always shown
    #[arg(short, long, hide = true)]
    verbose: bool,
}

pub(crate) async fn run(client: &Client, args: InspectArgs) -> Result<()> {
    let connection = client.connect().await?;
    let (mut values, mut failures) = (Vec::new(), Failures::default());
    for reference in args.networks {
        values.extend(failures.sort(find(&connection, reference).await));
    }
    print(&inspected(&values, args.format.0.as_ref())?)?;
    failures.end()
}

async fn find(connection: &Connection, reference: String) -> Result<Value> {
    let request = v1::GetNetworkRequest { reference };
    let answer = connection.control().get_network(request).await;
    shown(answer.map_err(refused)?.into_inner())
}

pub(crate) fn shown(answer: v1::GetNetworkResponse) -> Result<Value> {
    let summary = network_summary(answer.network.context("the manager sent no network")?)?;
    let members: Result<Vec<_>> = answer.services.into_iter().map(Member::try_from).collect();
    Ok(json(&summary, &members?))
}
