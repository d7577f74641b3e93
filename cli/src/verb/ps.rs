//! `shoal ps`: the containers of this node.
//!
//! Works without a manager: the node's own daemon knows them.

use super::{Client, now};
use crate::{
    filter::FilterArgs,
    output::{ListArgs, print},
    view::container,
    wire::refused,
};
use anyhow::Result;
use shoal_api::v1;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct PsArgs {
    /// Show ended containers too
    #[arg(short, long)]
    all: bool,
    /// Do not cut long texts
    #[arg(long)]
    no_trunc: bool,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    list: ListArgs,
}

pub(crate) async fn run(client: &Client, args: PsArgs) -> Result<()> {
    args.filter.check(&["id", "name", "service", "task"])?;
    let connection = client.connect().await?;
    let request = v1::ContainerListRequest { all: args.all };
    let mut containers = connection
        .local()
        .container_list(request)
        .await
        .map_err(refused)?
        .into_inner()
        .containers;
    containers.retain(|found| {
        args.filter.pass(|key, value| match key {
            "id" => found.id.starts_with(value),
            "task" => found.task.starts_with(value),
            "service" => found.service_name == value,
            _ => container::name(found).contains(value),
        })
    });
    print(&container::listing(&containers, args.no_trunc, now()).render(&args.list)?)
}
