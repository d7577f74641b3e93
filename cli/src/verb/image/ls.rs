//! `shoal image ls`.
//!
//! One row a reference, as in Docker; an image without one is `<none>`.

use super::Client;
use crate::{
    filter::{FilterArgs, label_matches},
    output::{ListArgs, print},
    verb::now,
    view::image::listing,
    wire::refused,
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
    /// Only this repository or reference
    #[arg(
        value_name = "REPOSITORY[:TAG]",
        default_value = "",
        hide_default_value = true
    )]
    reference: String,
}

pub(crate) async fn run(client: &Client, args: LsArgs) -> Result<()> {
    args.filter.check(&["dangling", "label", "reference"])?;
    let connection = client.connect().await?;
    let request = v1::ImageListRequest {
        reference: args.reference,
    };
    let mut images = connection
        .local()
        .image_list(request)
        .await
        .map_err(refused)?
        .into_inner()
        .images;
    images.retain(|image| {
        args.filter.pass(|key, value| match key {
            "dangling" => image.references.is_empty() == (value == "true" || value == "1"),
            "label" => label_matches(&image.labels.clone().into_iter().collect(), value),
            _ => image.references.iter().any(|reference| reference.contains(value)),
        })
    });
    print(&listing(&images, args.no_trunc, now()).render(&args.list)?)
}
