//! `shoal node update`: availability and labels.
//!
//! Reads the spec, changes what was given, and writes it back at the version that was read.

use super::{AvailabilityArg, Client};
use crate::{
    complete::{Names, names},
    failure::usage,
    output::print,
    spec::{Pair, pair},
    verb::request_id,
    wire::{node_summary, refused},
};
use anyhow::{Context, Result};
use shoal_api::v1;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct UpdateArgs {
    /// May the node take tasks? With drain its tasks move elsewhere
    #[arg(long)]
    availability: Option<AvailabilityArg>,
    /// Add or change a label
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    label_add: Vec<Pair>,
    /// Remove a label
    #[arg(long, value_name = "KEY")]
    label_rm: Vec<String>,
    /// worker or manager
    #[arg(long, hide = true)]
    role: Option<String>,
    /// Host name or id, or self
    #[arg(add = names(Names::Nodes))]
    node: String,
}

pub(crate) async fn run(client: &Client, args: UpdateArgs) -> Result<()> {
    if args.role.is_some() {
        return Err(usage("--role: a node's role cannot be changed yet"));
    }
    let connection = client.connect().await?;
    let request = v1::GetNodeRequest {
        reference: args.node.clone(),
    };
    let answer = connection
        .control()
        .get_node(request)
        .await
        .map_err(refused)?
        .into_inner();
    let found = node_summary(answer.node.context("the manager sent no node")?)?.node;
    let mut spec: v1::NodeSpec = found.spec.into();
    spec.labels.retain(|key, _| !args.label_rm.contains(key));
    for Pair { key, value } in args.label_add {
        spec.labels.insert(key, value.unwrap_or_default());
    }
    if let Some(availability) = args.availability {
        spec.availability = availability.wire().into();
    }
    let request = v1::UpdateNodeRequest {
        reference: found.id.to_string(),
        version: found.meta.version.0,
        spec: Some(spec),
        request_id: request_id(),
    };
    connection.control().update_node(request).await.map_err(refused)?;
    print(&format!("{}\n", args.node))
}
