//! `shoal service why`: what a service waits for, since when, and who must move.
//!
//! The reasons are the manager's; here they are only laid out.

use super::Client;
use crate::{
    complete::{Names, names},
    output::{Column, ListArgs, Listing, print},
    units::human_duration,
    view::short_id,
    wire::refused,
};
use anyhow::Result;
use shoal_api::v1::{self, slot::Slot};
use std::time::Duration;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct WhyArgs {
    /// Name or id
    #[arg(add = names(Names::Services))]
    service: String,
    #[command(flatten)]
    list: ListArgs,
}

const COLUMNS: &[Column] = &[
    Column::new("Task", "TASK"),
    Column::new("Slot", "SLOT"),
    Column::new("Code", "WAITS FOR"),
    Column::new("Age", "SINCE"),
    Column::new("Owner", "WHO MUST MOVE"),
    Column::new("Node", "NODE"),
    Column::new("Detail", "DETAIL"),
];

pub(crate) async fn run(client: &Client, args: WhyArgs) -> Result<()> {
    let connection = client.connect().await?;
    let request = v1::ServiceWhyRequest {
        reference: args.service,
    };
    let why = connection
        .control()
        .service_why(request)
        .await
        .map_err(refused)?
        .into_inner();
    let mut listing = Listing::new(COLUMNS);
    for reason in &why.reasons {
        let slot = match reason.slot.as_ref().and_then(|slot| slot.slot.as_ref()) {
            Some(Slot::Replica(number)) => number.to_string(),
            Some(Slot::Node(node)) => short_id(node, false),
            None => String::new(),
        };
        listing.push(vec![
            short_id(reason.task.as_deref().unwrap_or_default(), args.list.quiet).into(),
            slot.into(),
            reason.code.as_str().into(),
            human_duration(Duration::from_nanos(reason.age_ns))
                .to_lowercase()
                .into(),
            reason.owner.as_str().into(),
            short_id(reason.node.as_deref().unwrap_or_default(), false).into(),
            reason.detail.as_str().into(),
        ]);
    }
    if args.list.format.is_some() || args.list.quiet {
        return print(&listing.render(&args.list)?);
    }
    let mut text = format!(
        "{}: {} of {} running. {}\n",
        why.name, why.running, why.desired, why.summary
    );
    if !why.reasons.is_empty() {
        text.push_str(&listing.render(&args.list)?);
    }
    print(&text)
}
