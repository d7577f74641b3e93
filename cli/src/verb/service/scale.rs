//! `shoal service scale NAME=REPLICAS…`: all of them or none.
//!
//! One transaction, then one wait for all of them.

use super::{Client, WaitArgs};
use crate::{
    complete::{Names, names},
    output::print,
    verb::request_id,
    wire::refused,
};
use anyhow::Result;
use shoal_api::v1;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ScaleArgs {
    #[command(flatten)]
    wait: WaitArgs,
    #[arg(required = true, value_name = "SERVICE=REPLICAS", value_parser = scale, add = names(Names::Services))]
    scales: Vec<v1::Scale>,
}

fn scale(text: &str) -> Result<v1::Scale, String> {
    let parsed = text.rsplit_once('=').and_then(|(reference, replicas)| {
        Some(v1::Scale {
            reference: (!reference.is_empty()).then(|| reference.to_owned())?,
            replicas: replicas.parse().ok()?,
        })
    });
    parsed.ok_or_else(|| format!("expected SERVICE=REPLICAS, found {text:?}"))
}

pub(crate) async fn run(client: &Client, args: ScaleArgs) -> Result<()> {
    let connection = client.connect().await?;
    let request = v1::ScaleServicesRequest {
        scales: args.scales.clone(),
        request_id: request_id(),
    };
    let done = connection
        .control()
        .scale_services(request)
        .await
        .map_err(refused)?
        .into_inner();
    let lines: Vec<_> = args
        .scales
        .iter()
        .map(|scale| format!("{} scaled to {}\n", scale.reference, scale.replicas))
        .collect();
    print(&lines.concat())?;
    args.wait.wait(&connection, done.ids).await
}
