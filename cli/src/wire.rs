//! The border to the wire: refusals as errors, messages as nouns, batches as lists.
//!
//! Nothing beyond this file looks into a status; verbs build requests and read answers.

use crate::{
    failure::{Hinted, hinted, innermost},
    progress::Seen,
    view,
};
use anyhow::{Context, Error, Result};
use shoal_api::{
    convert::details_of,
    v1::{self, ErrorCode, object::Object, watch_response::Response},
};
use shoal_core::model::{Resources, Task, Timestamp};
use tokio_stream::StreamExt;

/// A manager's refusal as an error: the field, the message, further faults, the hint.
pub(crate) fn refused(status: tonic::Status) -> Error {
    // Only what this side made has a source: the connection broke.
    if let Some(source) = std::error::Error::source(&status) {
        return hinted(
            format!("the connection to the daemon broke: {}", innermost(source)),
            "It may just have ended or been restarted. Try again; `shoal dev up` starts one.",
        );
    }
    let details = details_of(&status);
    let mut message = String::new();
    if !details.field.is_empty() {
        message.push_str(&format!("{}: ", details.field));
    }
    message.push_str(&details.message);
    for fault in details
        .faults
        .iter()
        .filter(|fault| fault.field != details.field || fault.message != details.message)
    {
        message.push_str(&format!("\n{}: {}", fault.field, fault.message));
    }
    let hint = match details.code() {
        _ if !details.hint.is_empty() => details.hint.clone(),
        ErrorCode::Stale => "Somebody changed it meanwhile. Run the command again.".to_owned(),
        ErrorCode::OutcomeUnknown => "It may or may not have been carried out. Look, then run the command again.".to_owned(),
        ErrorCode::Unavailable => "The manager went away or is starting. Try again in a moment.".to_owned(),
        ErrorCode::Forbidden | ErrorCode::Unauthenticated => {
            "The call needs an administrator: root or the group shoal on a manager's own socket, or an administrator's certificate.".to_owned()
        }
        _ => String::new(),
    };
    Hinted { message, hint }.into()
}

/// A write made from a version that is no longer the current one.
pub(crate) fn is_stale(status: &tonic::Status) -> bool {
    details_of(status).code() == ErrorCode::Stale
}

/// All batches of a listing.
pub(crate) async fn collect<Batch, Item>(
    mut stream: tonic::Streaming<Batch>,
    items: impl Fn(Batch) -> Vec<Item>,
) -> Result<Vec<Item>> {
    let mut all = Vec::new();
    while let Some(batch) = stream.next().await {
        all.extend(items(batch.map_err(refused)?));
    }
    Ok(all)
}

pub(crate) fn service_summary(summary: v1::ServiceSummary) -> Result<view::service::Summary> {
    let found = summary
        .service
        .context("the manager sent a summary without its service")?;
    Ok(view::service::Summary {
        service: found.try_into()?,
        running: summary.running,
        desired: summary.desired,
        stack: summary.stack_name,
    })
}

pub(crate) fn task_summary(summary: v1::TaskSummary) -> Result<view::task::Summary> {
    let found = summary
        .task
        .context("the manager sent a summary without its task")?;
    let ports: Result<Vec<_>, _> = summary.ports.into_iter().map(TryInto::try_into).collect();
    Ok(view::task::Summary {
        task: found.try_into()?,
        service_name: summary.service_name,
        node_name: summary.node_name,
        image: summary.image,
        ports: ports?,
        now: Timestamp(summary.now),
    })
}

pub(crate) fn node_summary(summary: v1::NodeSummary) -> Result<view::node::Summary> {
    let found = summary
        .node
        .context("the manager sent a summary without its node")?;
    Ok(view::node::Summary {
        node: found.try_into()?,
        leader: summary.leader,
        own: summary.self_,
        running_tasks: summary.running_tasks,
        reserved: summary.reserved.map(Resources::from).unwrap_or_default(),
    })
}

pub(crate) fn network_summary(summary: v1::NetworkSummary) -> Result<view::network::Summary> {
    let found = summary
        .network
        .context("the manager sent a summary without its network")?;
    Ok(view::network::Summary {
        network: found.try_into()?,
        stack: summary.stack_name,
        services: summary.services,
        tasks: summary.tasks,
    })
}

/// What of a watch's message progress looks at.
pub(crate) fn seen_of(response: v1::WatchResponse) -> Result<Vec<Seen>> {
    match response.response {
        Some(Response::Snapshot(batch)) => batch.objects.into_iter().filter_map(present).collect(),
        Some(Response::Resync(_)) => Ok(vec![Seen::Reset]),
        Some(Response::Events(batch)) => batch.events.into_iter().filter_map(event).collect(),
        Some(Response::SnapshotEnd(_)) => Ok(vec![Seen::SnapshotEnd]),
        None => Ok(Vec::new()),
    }
}

fn event(event: v1::Event) -> Option<Result<Seen>> {
    let removed = event.kind() == v1::EventKind::Removed;
    match (event.object?.object?, removed) {
        (Object::Service(service), true) => Some(Ok(Seen::ServiceRemoved(service.id))),
        (Object::Task(found), true) => Some(task(found).map(Seen::TaskRemoved)),
        (object, _) => present(v1::Object { object: Some(object) }),
    }
}

fn present(object: v1::Object) -> Option<Result<Seen>> {
    match object.object? {
        Object::Service(found) => {
            let service = shoal_core::model::Service::try_from(found);
            Some(service.map(Box::new).map(Seen::Service).map_err(Error::new))
        }
        Object::Task(found) => Some(task(found).map(Seen::Task)),
        Object::Cluster(_)
        | Object::Network(_)
        | Object::Node(_)
        | Object::Revision(_)
        | Object::Stack(_) => None,
    }
}

fn task(found: v1::Task) -> Result<Box<Task>> {
    Ok(Box::new(found.try_into()?))
}
