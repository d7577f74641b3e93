//! `shoal node update`: availability and labels.
//!
//! Reads the spec, changes what was given, and writes it back at the version that was read, anew if that is no longer
//! the current one.

use super::{AvailabilityArg, Client};
use crate::{
    complete::{Names, names},
    failure::usage,
    output::print,
    spec::{Pair, pair},
    verb::{request_id, rewrite::rewrite},
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
    rewrite(async || {
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
        let request = v1::UpdateNodeRequest {
            reference: found.id.to_string(),
            version: found.meta.version.0,
            spec: Some(changed(&args, found.spec.into())),
            request_id: request_id(),
        };
        Ok(connection.control().update_node(request).await)
    })
    .await?;
    print(&format!("{}\n", args.node))
}

/// The spec with the flags' changes.
fn changed(args: &UpdateArgs, mut spec: v1::NodeSpec) -> v1::NodeSpec {
    spec.labels.retain(|key, _| !args.label_rm.contains(key));
    for Pair { key, value } in &args.label_add {
        spec.labels.insert(key.clone(), value.clone().unwrap_or_default());
    }
    if let Some(availability) = args.availability {
        spec.availability = availability.wire().into();
    }
    spec
}
