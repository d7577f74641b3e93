//! `shoal stack ls`.
//!
//! Names, and how many services each has.

use super::Client;
use crate::{
    connect::Connection,
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
    list: ListArgs,
}

pub(crate) async fn run(client: &Client, args: LsArgs) -> Result<()> {
    let connection = client.connect().await?;
    let stacks = list_stacks(&connection).await?;
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
