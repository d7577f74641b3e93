//! `shoal network prune`.
//!
//! A stack's networks go with the stack, `ingress` stays.

use super::{Client, ls::list_networks};
use crate::{
    failure::{Failures, usage},
    filter::{Filter, FilterArgs, label_matches},
    output::print,
    verb::request_id,
    wire::refused,
};
use anyhow::Result;
use shoal_api::v1;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct PruneArgs {
    /// Needed: it does not ask
    #[arg(short, long)]
    force: bool,
    /// Only those that match: label=KEY[=VALUE]
    #[arg(long, value_name = "FILTER")]
    filter: Vec<Filter>,
}

pub(crate) async fn run(client: &Client, args: PruneArgs) -> Result<()> {
    let filter = FilterArgs::from(args.filter);
    filter.check(&["label"])?;
    if !args.force {
        return Err(usage(
            "network prune removes every network that no service joins; give --force to say that you want it",
        ));
    }
    let connection = client.connect().await?;
    let mut networks = list_networks(&connection).await?;
    networks.retain(|summary| {
        let labels = &summary.network.spec.labels;
        summary.is_unused() && filter.pass(|_, value| label_matches(labels, value))
    });
    let mut failures = Failures::default();
    let mut text = String::new();
    for summary in networks {
        let request = v1::RemoveNetworkRequest {
            reference: summary.network.id.to_string(),
            request_id: request_id(),
        };
        let answer = connection.control().remove_network(request).await;
        if failures.sort(answer.map_err(refused)).is_some() {
            text.push_str(&format!("{}\n", summary.network.spec.name));
        }
    }
    if !text.is_empty() {
        print(&format!("Deleted Networks:\n{text}"))?;
    }
    failures.end()
}
