//! `shoal image rm`.
//!
//! A reference is untagged; the image goes with its last one.

use super::Client;
use crate::{
    complete::{Names, names},
    failure::Failures,
    output::print,
    wire::refused,
};
use anyhow::Result;
use shoal_api::v1;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RmArgs {
    /// Even if it has other references
    #[arg(short, long)]
    force: bool,
    /// References or ids
    #[arg(required = true, value_name = "IMAGE", add = names(Names::Images))]
    images: Vec<String>,
}

pub(crate) async fn run(client: &Client, args: RmArgs) -> Result<()> {
    let connection = client.connect().await?;
    let mut failures = Failures::default();
    for reference in args.images {
        let request = v1::ImageRemoveRequest {
            reference,
            force: args.force,
        };
        let answer = connection.local().image_remove(request).await;
        let Some(gone) = failures.sort(answer.map_err(refused)) else {
            continue;
        };
        let gone = gone.into_inner();
        let untagged = gone
            .untagged
            .iter()
            .map(|reference| format!("Untagged: {reference}\n"));
        let deleted = gone.deleted.iter().map(|id| format!("Deleted: {id}\n"));
        print(&untagged.chain(deleted).collect::<String>())?;
    }
    failures.end()
}
