//! `shoal cluster info`: what the cluster is, and the state of the node that answers.
//!
//! Join tokens are secrets: only `--format` shows them.

use super::{Client, pools, pools_text};
use crate::{
    output::{Template, inspected, print},
    units::{ago, human_duration, rfc3339},
    verb::now,
    wire::refused,
};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use shoal_api::v1;
use shoal_core::model::WallTime;
use std::time::Duration;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct InfoArgs {
    /// `json`, or a template such as '{{.ID}}'
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

pub(crate) async fn run(client: &Client, args: InfoArgs) -> Result<()> {
    let connection = client.connect().await?;
    let status = connection
        .bootstrap()
        .status(v1::StatusRequest {})
        .await
        .map_err(refused)?
        .into_inner();
    if status.cluster_id.is_empty() {
        return Err(crate::failure::hinted(
            "this node is in no cluster",
            "Make one with `shoal cluster init`.",
        ));
    }
    let answer = connection
        .control()
        .get_cluster(v1::GetClusterRequest {})
        .await
        .map_err(refused)?
        .into_inner();
    match args.format.as_deref() {
        None => print(&pretty(&answer, &status)?),
        Some("json") => print(&format!("{}\n", json(&answer, &status)?)),
        Some(template) => {
            let template: Template = template.parse().map_err(crate::failure::usage)?;
            print(&inspected(&[json(&answer, &status)?], Some(&template))?)
        }
    }
}

fn json(answer: &v1::GetClusterResponse, status: &v1::StatusResponse) -> Result<Value> {
    let cluster = answer.cluster.as_ref().context("the manager sent no cluster")?;
    let spec = cluster.spec.clone().unwrap_or_default();
    let pools = pools(&spec)?;
    let v4: Vec<_> = pools.v4.iter().map(ToString::to_string).collect();
    let meta = cluster.meta.unwrap_or_default();
    let position = answer.position.unwrap_or_default();
    Ok(json!({
        "ID": cluster.id,
        "CreatedAt": rfc3339(WallTime(meta.created_at)),
        "Spec": {
            "Name": spec.name, "Labels": spec.labels,
            "TaskHistoryRetentionLimit": spec.task_history_limit,
            "HeartbeatPeriod": spec.heartbeat_period_ns,
            "NodeCertExpiry": spec.certificate_life_ns,
        },
        "DefaultAddrPool": v4,
        "SubnetSize": pools.v4_subnet_length,
        "DefaultAddrPoolIPv6": pools.v6.map(|pool| pool.to_string()),
        "Nodes": answer.nodes, "Managers": answer.managers,
        "JoinTokens": {"Worker": answer.worker_join_token, "Manager": answer.manager_join_token},
        "Epoch": position.epoch, "Index": position.index, "Digest": answer.digest,
        "Node": {
            "ID": status.node_id, "StateDirectory": status.state_directory,
            "ListenAddress": status.listen_address, "Ready": status.ready, "Problems": status.problems,
        },
    }))
}

/// For people; without the join tokens, which are secrets.
fn pretty(answer: &v1::GetClusterResponse, status: &v1::StatusResponse) -> Result<String> {
    let cluster = answer.cluster.as_ref().context("the manager sent no cluster")?;
    let spec = cluster.spec.clone().unwrap_or_default();
    let meta = cluster.meta.unwrap_or_default();
    let position = answer.position.unwrap_or_default();
    let life = human_duration(Duration::from_nanos(spec.certificate_life_ns));
    let mut out = String::new();
    for (name, value) in [
        ("ID", cluster.id.as_str()),
        ("Name", &spec.name),
        ("Created", &ago(WallTime(meta.created_at), now())),
        ("Nodes", &answer.nodes.to_string()),
        ("Managers", &answer.managers.to_string()),
        ("Index", &format!("{} (epoch {})", position.index, position.epoch)),
        ("Certificates", &format!("live {life}")),
        ("Address pools", &pools_text(&pools(&spec)?)),
        ("This node", &status.node_id),
        ("State", &status.state_directory),
        ("Listens on", &status.listen_address),
        ("Problems", &status.problems.join("; ")),
    ] {
        if !value.is_empty() {
            out.push_str(&format!("{:<15}{value}\n", format!("{name}:")));
        }
    }
    Ok(out)
}
