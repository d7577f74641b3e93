//! `shoal stack ps`.
//!
//! The same list as `service ps`, over all services of the stack.

use super::Client;
use crate::{
    complete::{Names, names},
    verb::service::{TaskListArgs, list_tasks},
};
use anyhow::Result;
use shoal_api::v1;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct PsArgs {
    #[arg(add = names(Names::Stacks))]
    stack: String,
    #[command(flatten)]
    show: TaskListArgs,
}

pub(crate) async fn run(client: &Client, args: PsArgs) -> Result<()> {
    args.show.check()?;
    let connection = client.connect().await?;
    let request = v1::ListTasksRequest {
        stack: args.stack,
        ..v1::ListTasksRequest::default()
    };
    args.show.show(list_tasks(&connection, request).await?)
}
