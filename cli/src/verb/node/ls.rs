//! `shoal node ls`.
//!
//! The node that answers is marked, as in Docker.

use super::Client;
use crate::{
    connect::Connection,
    filter::{FilterArgs, label_matches},
    output::{ListArgs, print},
    view::node::{Summary, listing},
    wire::{collect, node_summary, refused},
};
use anyhow::Result;
use shoal_api::v1;
use shoal_core::model::Role;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LsArgs {
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    list: ListArgs,
}

pub(crate) async fn run(client: &Client, args: LsArgs) -> Result<()> {
    args.filter
        .check(&["id", "label", "name", "node.label", "role"])?;
    let connection = client.connect().await?;
    let mut nodes = list_nodes(&connection).await?;
    nodes.retain(|summary| args.filter.pass(|key, value| matches(summary, key, value)));
    nodes.sort_by(|a: &Summary, b: &Summary| {
        hostname(a)
            .cmp(hostname(b))
            .then_with(|| a.node.id.cmp(&b.node.id))
    });
    print(&listing(&nodes).render(&args.list)?)
}

pub(crate) async fn list_nodes(connection: &Connection) -> Result<Vec<Summary>> {
    let stream = connection
        .control()
        .list_nodes(v1::ListNodesRequest {})
        .await
        .map_err(refused)?
        .into_inner();
    let nodes = collect(stream, |batch| batch.nodes).await?;
    nodes.into_iter().map(node_summary).collect()
}

fn hostname(summary: &Summary) -> &str {
    summary
        .node
        .description
        .as_ref()
        .map_or("", |description| &description.hostname)
}

fn matches(summary: &Summary, key: &str, value: &str) -> bool {
    let node = &summary.node;
    match key {
        "id" => node.id.as_str().starts_with(value),
        "label" | "node.label" => label_matches(&node.spec.labels, value),
        "role" => {
            value
                == if node.spec.role == Role::Manager {
                    "manager"
                } else {
                    "worker"
                }
        }
        _ => hostname(summary).contains(value),
    }
}
