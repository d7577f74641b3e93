//! `shoal service ls`.
//!
//! `stack services` shows the same for one stack.

use super::Client;
use crate::{
    connect::Connection,
    filter::{FilterArgs, label_matches},
    output::{ListArgs, print},
    view::service::{Summary, listing, mode_name},
    wire::{collect, refused, service_summary},
};
use anyhow::Result;
use shoal_api::v1;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LsArgs {
    /// Show whole ids
    #[arg(long)]
    no_trunc: bool,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    list: ListArgs,
}

/// What services can be filtered by.
pub(crate) const FILTERS: &[&str] = &["id", "label", "mode", "name", "stack"];

pub(crate) async fn run(client: &Client, args: LsArgs) -> Result<()> {
    args.filter.check(FILTERS)?;
    let connection = client.connect().await?;
    let mut services = list_services(&connection, String::new()).await?;
    services.retain(|summary| args.filter.pass(|key, value| matches(summary, key, value)));
    print(&listing(&services, args.no_trunc).render(&args.list)?)
}

/// All services by name, or those of a stack (a reference).
pub(crate) async fn list_services(connection: &Connection, stack: String) -> Result<Vec<Summary>> {
    let request = v1::ListServicesRequest { stack };
    let stream = connection
        .control()
        .list_services(request)
        .await
        .map_err(refused)?
        .into_inner();
    let services = collect(stream, |batch| batch.services).await?;
    let mut services: Vec<_> = services.into_iter().map(service_summary).collect::<Result<_>>()?;
    services.sort_by(|a, b| a.service.spec.name.cmp(&b.service.spec.name));
    Ok(services)
}

pub(crate) fn matches(summary: &Summary, key: &str, value: &str) -> bool {
    let service = &summary.service;
    match key {
        "id" => service.id.as_str().starts_with(value),
        "label" => label_matches(&service.spec.labels, value),
        "mode" => mode_name(&service.spec.mode) == value,
        "stack" => summary.stack == value,
        _ => service.spec.name.contains(value),
    }
}
