//! `shoal volume ls`.
//!
//! Anonymous volumes have ids for names.

use super::Client;
use crate::{
    filter::FilterArgs,
    output::{ListArgs, print},
    view::volume::listing,
    wire::refused,
};
use anyhow::Result;
use shoal_api::v1;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LsArgs {
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    list: ListArgs,
}

pub(crate) async fn run(client: &Client, args: LsArgs) -> Result<()> {
    args.filter.check(&["dangling", "driver", "name"])?;
    let connection = client.connect().await?;
    let mut volumes = connection
        .local()
        .volume_list(v1::VolumeListRequest {})
        .await
        .map_err(refused)?
        .into_inner()
        .volumes;
    volumes.retain(|volume| {
        args.filter.pass(|key, value| match key {
            "dangling" => (volume.containers == 0) == (value == "true" || value == "1"),
            "driver" => value == "local",
            _ => volume.name.contains(value),
        })
    });
    print(&listing(&volumes).render(&args.list)?)
}
