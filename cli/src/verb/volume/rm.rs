//! `shoal volume rm`.
//!
//! One that a container uses is refused by the daemon.

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
    /// A volume that is not there is no failure
    #[arg(short, long)]
    force: bool,
    #[arg(required = true, value_name = "VOLUME", add = names(Names::Volumes))]
    volumes: Vec<String>,
}

pub(crate) async fn run(client: &Client, args: RmArgs) -> Result<()> {
    let connection = client.connect().await?;
    let mut failures = Failures::default();
    for name in args.volumes {
        let request = v1::VolumeRemoveRequest {
            name: name.clone(),
            force: args.force,
        };
        match connection.local().volume_remove(request).await {
            Ok(_) => print(&format!("{name}\n"))?,
            Err(status) => failures.add(refused(status)),
        }
    }
    failures.end()
}
