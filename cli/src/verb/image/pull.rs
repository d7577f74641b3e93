//! `shoal image pull`.
//!
//! Anonymous: credentials for registries are not built yet.

use super::{Client, progress};
use crate::{output::print, wire::refused};
use anyhow::Result;
use shoal_api::v1;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct PullArgs {
    /// os/arch[/variant] (this node's if not given)
    #[arg(long, default_value = "", hide_default_value = true)]
    platform: String,
    /// Do not show progress
    #[arg(short, long)]
    quiet: bool,
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    reference: String,
}

pub(crate) async fn run(client: &Client, args: PullArgs) -> Result<()> {
    let connection = client.connect().await?;
    let request = v1::ImagePullRequest {
        reference: args.reference,
        platform: args.platform,
    };
    let stream = connection
        .local()
        .image_pull(request)
        .await
        .map_err(refused)?
        .into_inner();
    let mut text = String::new();
    for image in progress::show(stream, args.quiet).await? {
        if !args.quiet {
            text.push_str(&format!("Digest: {}\n", image.digest));
        }
        text.push_str(&format!("{}\n", image.reference));
    }
    print(&text)
}
