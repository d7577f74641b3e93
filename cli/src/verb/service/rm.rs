//! `shoal service rm`.
//!
//! The containers stop after it returns; `service ps` of a removed service finds nothing.

use super::Client;
use crate::{output::print, verb::request_id, wire::refused};
use anyhow::Result;
use shoal_api::v1;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RmArgs {
    /// Names or ids
    #[arg(required = true, value_name = "SERVICE")]
    services: Vec<String>,
}

pub(crate) async fn run(client: &Client, args: RmArgs) -> Result<()> {
    let connection = client.connect().await?;
    let mut failed = None;
    for reference in args.services {
        let request = v1::RemoveServiceRequest {
            reference: reference.clone(),
            request_id: request_id(),
        };
        // The others are removed even if one is unknown, as Docker does.
        match connection.control().remove_service(request).await {
            Ok(_) => print(&format!("{reference}\n"))?,
            Err(status) => {
                if let Some(earlier) = failed.replace(refused(status)) {
                    crate::output::note(&format!("shoal: {earlier}"));
                }
            }
        }
    }
    failed.map_or(Ok(()), Err)
}
