//! `shoal network rm`.
//!
//! One that a service joins is refused by the manager, with the services' names.

use super::Client;
use crate::{
    complete::{Names, names},
    failure::Failures,
    output::print,
    verb::request_id,
    wire::refused,
};
use anyhow::Result;
use shoal_api::v1;
use tonic::Code;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RmArgs {
    /// A network that is not there is no failure
    #[arg(short, long)]
    force: bool,
    /// Names or ids
    #[arg(required = true, value_name = "NETWORK", add = names(Names::Networks))]
    networks: Vec<String>,
}

pub(crate) async fn run(client: &Client, args: RmArgs) -> Result<()> {
    let connection = client.connect().await?;
    let mut failures = Failures::default();
    for reference in args.networks {
        let request = v1::RemoveNetworkRequest {
            reference: reference.clone(),
            request_id: request_id(),
        };
        match connection.control().remove_network(request).await {
            Ok(_) => print(&format!("{reference}\n"))?,
            Err(status) if args.force && status.code() == Code::NotFound => {}
            Err(status) => failures.add(refused(status)),
        }
    }
    failures.end()
}
