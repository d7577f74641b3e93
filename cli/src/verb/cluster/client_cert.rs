//! `shoal cluster client-cert`: an administrator's certificate, for use from another machine.
//!
//! The key is made here and only its request goes to the manager. What is printed is a context, whole, for
//! `shoal context import`.

use super::Client;
use crate::{
    context::{Context, Pem, write_private},
    failure::{hinted, usage},
    output::{note, print},
    wire::refused,
};
use anyhow::{Context as _, Result};
use jiff::Timestamp;
use shoal_api::{identity::NewKey, v1};
use std::path::PathBuf;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ClientCertArgs {
    /// Who it is for, as the managers' logs shall call them
    #[arg(long, default_value = "admin")]
    name: String,
    /// Manager that the client shall ask (the address that this one advertises if not given)
    #[arg(long, value_name = "HOST[:PORT]")]
    manager: Option<String>,
    /// File to write, which must not exist (standard output if not given)
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(crate) async fn run(client: &Client, args: ClientCertArgs) -> Result<()> {
    if args.name.is_empty() {
        return Err(usage("--name: expected who the certificate is for"));
    }
    let connection = client.connect().await?;
    let address = match &args.manager {
        Some(address) => address.trim_start_matches("tcp://").to_owned(),
        None => advertised(&connection).await?,
    };
    let key = NewKey::generate()?;
    let request = v1::IssueAdminRequest {
        csr: key.csr_pem.clone(),
        name: args.name,
    };
    let issued = connection
        .ca()
        .issue_admin(request)
        .await
        .map_err(refused)?
        .into_inner();
    let credentials = key.certified(issued.certificate, issued.root_certificate);
    let until = credentials.validity()?.not_after;
    let context = Context {
        host: format!("tcp://{address}"),
        ca: Some(Pem::Text(credentials.root_pem)),
        cert: Some(Pem::Text(credentials.certificate_pem)),
        key: Some(Pem::Text(credentials.key_pem.to_string())),
    };
    let text = context.text()?;
    match &args.output {
        Some(path) => write_private(path, &text)?,
        None => print(&text)?,
    }
    let until = until.0 / 1_000_000_000;
    let until = Timestamp::from_second(until)
        .map(|at| at.to_string())
        .unwrap_or_default();
    note(&format!(
        "Whoever has this may do everything until {until}. Where it shall be used: `shoal context import NAME FILE`, \
         then `shoal --context NAME …`."
    ));
    Ok(())
}

/// Where the manager that answers says it can be reached.
async fn advertised(connection: &crate::connect::Connection) -> Result<String> {
    let request = v1::GetNodeRequest {
        reference: "self".to_owned(),
    };
    let answer = connection
        .control()
        .get_node(request)
        .await
        .map_err(refused)?
        .into_inner();
    let summary = answer.node.context("the manager sent no node")?;
    let manager = summary.node.and_then(|node| node.manager);
    let address = manager.map(|manager| manager.address).unwrap_or_default();
    let reachable = !address.is_empty() && !address.starts_with("0.0.0.0:") && !address.starts_with("[::]:");
    reachable.then_some(address).ok_or_else(|| {
        hinted(
            "this manager advertises no address of its own",
            "Name one by which the client reaches it: --manager HOST[:2377].",
        )
    })
}
