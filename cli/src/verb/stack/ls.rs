//! `shoal stack ls`.
//!
//! Names, and how many services each has.

use super::Client;
use crate::{
    connect::Connection,
    filter::FilterArgs,
    output::{ListArgs, print},
    verb::now,
    view::stack::listing,
    wire::{collect, refused},
};
use anyhow::Result;
use shoal_api::v1;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LsArgs {
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    list: ListArgs,
}

pub(crate) async fn run(client: &Client, args: LsArgs) -> Result<()> {
    args.filter.check(&["name"])?;
    let connection = client.connect().await?;
    let mut stacks = list_stacks(&connection).await?;
    stacks.retain(|stack| args.filter.pass(|_, value| stack.name.contains(value)));
    print(&listing(&stacks, now()).render(&args.list)?)
}

pub(crate) async fn list_stacks(connection: &Connection) -> Result<Vec<v1::StackSummary>> {
    let stream = connection
        .control()
        .list_stacks(v1::ListStacksRequest {})
        .await
        .map_err(refused)?
        .into_inner();
    collect(stream, |batch| batch.stacks).await
}
