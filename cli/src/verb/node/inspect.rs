//! `shoal node inspect`.
//!
//! Without a name it is the node that answers.

use super::Client;
use crate::{
    complete::{Names, names},
    connect::Connection,
    failure::Failures,
    output::{inspected, print},
    verb::{now, service::InspectFormat},
    view::node::{Summary, json, pretty},
    wire::{node_summary, refused},
};
use anyhow::{Context, Result};
use shoal_api::v1;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct InspectArgs {
    /// Host names or ids, or self
    #[arg(default_value = "self", value_name = "NODE", add = names(Names::Nodes))]
    nodes: Vec<String>,
    /// A template such as '{{.Status.State}}', or json
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        default_value = "json",
        hide_default_value = true
    )]
    format: InspectFormat,
    /// For people
    #[arg(long, conflicts_with = "format")]
    pretty: bool,
}

pub(crate) async fn run(client: &Client, args: InspectArgs) -> Result<()> {
    let connection = client.connect().await?;
    let (mut found, mut failures) = (Vec::new(), Failures::default());
    for reference in args.nodes {
        found.extend(failures.sort(find(&connection, reference).await));
    }
    if args.pretty {
        let texts: Vec<_> = found.iter().map(|summary| pretty(summary, now())).collect();
        print(&texts.join("\n"))?;
    } else {
        let values: Vec<_> = found.iter().map(json).collect();
        print(&inspected(&values, args.format.0.as_ref())?)?;
    }
    failures.end()
}

async fn find(connection: &Connection, reference: String) -> Result<Summary> {
    let request = v1::GetNodeRequest { reference };
    let answer = connection.control().get_node(request).await;
    let found = answer.map_err(refused)?.into_inner().node;
    node_summary(found.context("the manager sent no node")?)
}
