//! `shoal volume rm`.
//!
//! One that a container uses is refused by the daemon.

use super::Client;
use crate::{
    complete::{Names, names},
    output::print,
    wire::refused,
};
use anyhow::Result;
use shoal_api::v1;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RmArgs {
    /// A volume that is not there is no failure
    #[arg(short, long)]
    force: bool,
    #[arg(required = true, value_name = "VOLUME", add = names(Names::Volumes))]
    volumes: Vec<String>,
}

pub(crate) async fn run(client: &Client, args: RmArgs) -> Result<()> {
    let connection = client.connect().await?;
    for name in args.volumes {
        let request = v1::VolumeRemoveRequest {
            name: name.clone(),
            force: args.force,
        };
        connection.local().volume_remove(request).await.map_err(refused)?;
        print(&format!("{name}\n"))?;
    }
    Ok(())
}
