//! `shoal stack rm`: the stack, its services and networks, in one transaction each.
//!
//! The containers stop after it returns, unless it is told to wait; volumes stay.

use super::Client;
use crate::{
    complete::{Names, names},
    connect::Connection,
    failure::Failures,
    output::print,
    progress::{GoneArgs, until_gone},
    verb::request_id,
    wire::refused,
};
use anyhow::Result;
use shoal_api::v1;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RmArgs {
    /// Names or ids
    #[arg(required = true, value_name = "STACK", add = names(Names::Stacks))]
    stacks: Vec<String>,
    #[command(flatten)]
    gone: GoneArgs,
}

pub(crate) async fn run(client: &Client, args: RmArgs) -> Result<()> {
    let connection = client.connect().await?;
    let mut failures = Failures::default();
    let mut removed = Vec::new();
    for reference in args.stacks {
        // Asked before: removed services are known by their ids only.
        let ids = if args.gone.detach {
            Vec::new()
        } else {
            services_of(&connection, &reference).await
        };
        let request = v1::RemoveStackRequest {
            reference,
            request_id: request_id(),
        };
        let answer = connection.control().remove_stack(request).await;
        let Some(done) = failures.sort(answer.map_err(refused)) else {
            continue;
        };
        let done = done.into_inner();
        removed.extend(ids);
        let services = done.services.iter().map(|name| ("service", name));
        let networks = done.networks.iter().map(|name| ("network", name));
        let lines = services.chain(networks);
        let lines = lines.map(|(kind, name)| format!("Removing {kind} {name}\n"));
        print(&lines.collect::<String>())?;
    }
    failures.sort(until_gone(&connection, removed).await);
    failures.end()
}

/// An unknown stack is refused by its removal.
async fn services_of(connection: &Connection, reference: &str) -> Vec<String> {
    let request = v1::GetStackRequest {
        reference: reference.to_owned(),
    };
    let answer = connection.control().get_stack(request).await;
    let services = answer
        .map(|answer| answer.into_inner().services)
        .unwrap_or_default();
    let ids = services.into_iter().filter_map(|summary| summary.service);
    ids.map(|service| service.id).collect()
}
