//! `shoal inspect`: a task, a service, a node or a network, whichever the reference names, in that order.
//!
//! For images and volumes there are verbs of their own: those are not the cluster's.

use super::{Client, network, service::InspectFormat};
use crate::{
    complete::{Names, names},
    connect::Connection,
    failure::Failures,
    output::{inspected, print},
    view::{node, service, task},
    wire::{node_summary, refused, service_summary, task_summary},
};
use anyhow::{Context, Result};
use serde_json::Value;
use shoal_api::v1;
use shoal_core::model::Revision;
use tonic::{Code, Status};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct InspectArgs {
    /// Names or ids
    #[arg(required = true, value_name = "NAME|ID", add = names(Names::Tasks))]
    references: Vec<String>,
    /// A template such as '{{.Status.ContainerStatus.ExitCode}}', or json
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        default_value = "json",
        hide_default_value = true
    )]
    format: InspectFormat,
}

pub(crate) async fn run(client: &Client, args: InspectArgs) -> Result<()> {
    let connection = client.connect().await?;
    let (mut values, mut failures) = (Vec::new(), Failures::default());
    for reference in args.references {
        values.extend(failures.sort(find(&connection, reference).await));
    }
    print(&inspected(&values, args.format.0.as_ref())?)?;
    failures.end()
}

async fn find(connection: &Connection, reference: String) -> Result<Value> {
    let mut control = connection.control();
    let request = v1::GetTaskRequest {
        reference: reference.clone(),
    };
    if let Some(answer) = known(control.get_task(request).await)? {
        let summary = task_summary(answer.task.context("the manager sent no task")?)?;
        let revision: Option<Revision> = answer.revision.map(TryInto::try_into).transpose()?;
        return Ok(task::json(&summary, revision.as_ref()));
    }
    let request = v1::GetServiceRequest {
        reference: reference.clone(),
    };
    if let Some(answer) = known(control.get_service(request).await)? {
        let summary = service_summary(answer.service.context("the manager sent no service")?)?;
        return Ok(service::json(&summary));
    }
    let request = v1::GetNodeRequest {
        reference: reference.clone(),
    };
    if let Some(answer) = known(control.get_node(request).await)? {
        let summary = node_summary(answer.node.context("the manager sent no node")?)?;
        return Ok(node::json(&summary));
    }
    let request = v1::GetNetworkRequest {
        reference: reference.clone(),
    };
    if let Some(answer) = known(control.get_network(request).await)? {
        return network::shown(answer);
    }
    Err(crate::failure::hinted(
        format!("there is no task, service, node or network {reference:?}"),
        "`shoal image inspect` shows images.",
    ))
}

/// Not found is an answer here.
fn known<T>(answer: Result<tonic::Response<T>, Status>) -> Result<Option<T>> {
    match answer {
        Ok(answer) => Ok(Some(answer.into_inner())),
        Err(status) if status.code() == Code::NotFound => Ok(None),
        Err(status) => Err(refused(status)),
    }
}
