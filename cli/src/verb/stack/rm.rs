//! `shoal stack rm`: the stack and its services, in one transaction each.
//!
//! The containers stop after it returns; volumes stay.

use super::Client;
use crate::{output::print, verb::request_id, wire::refused};
use anyhow::Result;
use shoal_api::v1;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RmArgs {
    #[arg(required = true, value_name = "STACK")]
    stacks: Vec<String>,
}

pub(crate) async fn run(client: &Client, args: RmArgs) -> Result<()> {
    let connection = client.connect().await?;
    for reference in args.stacks {
        let request = v1::RemoveStackRequest {
            reference,
            request_id: request_id(),
        };
        let done = connection
            .control()
            .remove_stack(request)
            .await
            .map_err(refused)?
            .into_inner();
        let lines = done
            .services
            .iter()
            .map(|name| format!("Removing service {name}\n"));
        print(&lines.collect::<String>())?;
    }
    Ok(())
}
