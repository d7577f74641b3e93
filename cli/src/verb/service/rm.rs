//! `shoal service rm`.
//!
//! The containers stop after it returns, unless it is told to wait.

use super::Client;
use crate::{
    complete::{Names, names},
    connect::Connection,
    failure::Failures,
    output::print,
    progress::{GoneArgs, until_gone},
    verb::request_id,
    wire::refused,
};
use anyhow::Result;
use shoal_api::v1;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RmArgs {
    /// Names or ids
    #[arg(required = true, value_name = "SERVICE", add = names(Names::Services))]
    services: Vec<String>,
    #[command(flatten)]
    gone: GoneArgs,
}

pub(crate) async fn run(client: &Client, args: RmArgs) -> Result<()> {
    let connection = client.connect().await?;
    let mut failures = Failures::default();
    let mut removed = Vec::new();
    for reference in args.services {
        let request = v1::RemoveServiceRequest {
            reference: reference.clone(),
            request_id: request_id(),
        };
        // Asked before: a removed service is known by its id only.
        let id = if args.gone.detach {
            None
        } else {
            id_of(&connection, &reference).await
        };
        // The others are removed even if one is unknown, as Docker does.
        match connection.control().remove_service(request).await {
            Ok(_) => {
                removed.extend(id);
                print(&format!("{reference}\n"))?;
            }
            Err(status) => failures.add(refused(status)),
        }
    }
    failures.sort(until_gone(&connection, removed).await);
    failures.end()
}

/// An unknown service is refused by its removal.
async fn id_of(connection: &Connection, reference: &str) -> Option<String> {
    let request = v1::GetServiceRequest {
        reference: reference.to_owned(),
    };
    let answer = connection.control().get_service(request).await.ok()?;
    Some(answer.into_inner().service?.service?.id)
}
