//! `shoal stack services`.
//!
//! The same list as `service ls`, of one stack.

use super::Client;
use crate::{
    complete::{Names, names},
    filter::FilterArgs,
    output::{ListArgs, print},
    verb::service::{FILTERS, matches},
    view::service::{Summary, listing},
    wire::{refused, service_summary},
};
use anyhow::Result;
use shoal_api::v1;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ServicesArgs {
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    list: ListArgs,
    #[arg(add = names(Names::Stacks))]
    stack: String,
}

pub(crate) async fn run(client: &Client, args: ServicesArgs) -> Result<()> {
    args.filter.check(FILTERS)?;
    let connection = client.connect().await?;
    let request = v1::GetStackRequest {
        reference: args.stack,
    };
    let answer = connection
        .control()
        .get_stack(request)
        .await
        .map_err(refused)?
        .into_inner();
    let mut services: Vec<Summary> = answer
        .services
        .into_iter()
        .map(service_summary)
        .collect::<Result<_>>()?;
    services.retain(|summary| args.filter.pass(|key, value| matches(summary, key, value)));
    services.sort_by(|a, b| a.service.spec.name.cmp(&b.service.spec.name));
    print(&listing(&services, false).render(&args.list)?)
}
