//! `shoal version`: the client's and the daemon's.
//!
//! The client's part is shown even if no daemon answers.

use super::Client;
use crate::{
    output::{Template, inspected, print},
    wire::refused,
};
use anyhow::Result;
use serde_json::{Value, json};
use shoal_api::{limits::API_VERSION, v1};
use std::env::consts::{ARCH, OS};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct VersionArgs {
    /// `json`, or a template such as '{{.Server.Version}}'
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

pub(crate) async fn run(client: &Client, args: VersionArgs) -> Result<()> {
    let own = json!({
        "Version": env!("CARGO_PKG_VERSION"), "ApiVersion": API_VERSION, "Os": OS, "Arch": ARCH,
    });
    let asked = ask(client).await;
    let server = asked.as_ref().map_or(Value::Null, |answer| {
        json!({
            "Version": answer.version, "ApiVersion": answer.api_version, "MinAPIVersion": answer.min_api_version,
            "Os": answer.os, "Arch": answer.arch, "KernelVersion": answer.kernel, "NodeID": answer.node_id,
        })
    });
    let both = json!({"Client": own, "Server": server});
    let text = match args.format.as_deref() {
        Some("json") => format!("{both}\n"),
        Some(template) => {
            let template: Template = template.parse().map_err(crate::failure::usage)?;
            inspected(&[both], Some(&template))?
        }
        None => pretty(&own, &server),
    };
    print(&text)?;
    // As Docker does: the client's part is shown, and the failure is one.
    asked.map(drop)
}

async fn ask(client: &Client) -> Result<v1::VersionResponse> {
    let connection = client.connect().await?;
    let answer = connection.control().version(v1::VersionRequest {}).await;
    Ok(answer.map_err(refused)?.into_inner())
}

fn pretty(own: &Value, server: &Value) -> String {
    let mut out = String::new();
    for (title, part) in [("Client", own), ("Server", server)] {
        let Some(map) = part.as_object() else { continue };
        out.push_str(&format!("{title}:\n"));
        for (key, value) in map {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            out.push_str(&format!(" {:<15}{value}\n", format!("{key}:")));
        }
    }
    out
}
