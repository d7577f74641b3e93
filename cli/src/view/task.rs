//! A task as a row of `service ps` and as JSON.
//!
//! Tasks of one slot stand together, the newest first, older ones indented below it as in Docker.

use super::{ellipsis, meta_json, network::addresses, pruned, short_id, spec::task_json};
use crate::{
    output::{Column, Listing},
    spec::ports_text,
    units::{ago, human_duration, rfc3339},
};
use serde_json::{Value, json};
use shoal_core::model::{Attachment, DesiredState, PublishedPort, Revision, Slot, Task, Timestamp, WallTime};

/// A task with the names that a user knows its neighbours by.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    pub(crate) task: Task,
    pub(crate) service_name: String,
    pub(crate) node_name: String,
    pub(crate) image: String,
    pub(crate) ports: Vec<PublishedPort>,
    /// Cluster time when it was asked for: the age of a wait is counted to here.
    pub(crate) now: Timestamp,
}

/// How a list of tasks is shown.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Look {
    pub(crate) whole: bool,
    /// Ids of nodes instead of names.
    pub(crate) no_resolve: bool,
}

const COLUMNS: &[Column] = &[
    Column::new("ID", "ID"),
    Column::new("Name", "NAME"),
    Column::new("Image", "IMAGE"),
    Column::new("Node", "NODE"),
    Column::new("DesiredState", "DESIRED STATE"),
    Column::new("CurrentState", "CURRENT STATE"),
    Column::new("Error", "ERROR"),
    Column::new("Ports", "PORTS"),
    Column::hidden("Waits", "WAITS FOR"),
    Column::hidden("Addresses", "ADDRESSES"),
];

/// Widest error in a table, as in Docker.
const ERROR_WIDTH: usize = 30;

pub(crate) fn listing(tasks: &[Summary], look: Look, now: WallTime, indent: bool) -> Listing {
    let mut tasks: Vec<&Summary> = tasks.iter().collect();
    tasks.sort_by(|a, b| {
        slot_key(a)
            .cmp(&slot_key(b))
            .then_with(|| b.task.sequence.cmp(&a.task.sequence))
    });
    let mut listing = Listing::new(COLUMNS);
    let mut before = None;
    for summary in tasks {
        let slot = slot_key(summary);
        let history = before.as_ref() == Some(&slot);
        before = Some(slot);
        let name = name(summary);
        let task = &summary.task;
        let node = match (&task.node, look.no_resolve || summary.node_name.is_empty()) {
            (Some(id), true) => id.to_string(),
            (Some(_), false) => summary.node_name.clone(),
            (None, _) => String::new(),
        };
        let error = task.status.error.clone().unwrap_or_default();
        let error = if error.is_empty() {
            String::new()
        } else {
            ellipsis(&format!("\"{error}\""), ERROR_WIDTH, look.whole)
        };
        listing.push(vec![
            short_id(task.id.as_str(), look.whole).into(),
            if history && indent {
                format!(" \\_ {name}").into()
            } else {
                name.into()
            },
            summary.image.as_str().into(),
            node.into(),
            title(desired_name(task.desired)).into(),
            current_state(summary, now).into(),
            error.into(),
            ports_text(&summary.ports).into(),
            waits_for(summary).into(),
            addresses(&task.attachments).join(", ").into(),
        ]);
    }
    listing
}

fn slot_key(summary: &Summary) -> (String, Slot) {
    (summary.service_name.clone(), summary.task.slot.clone())
}

/// `web.1`; a global service's task is named after its node.
pub(crate) fn name(summary: &Summary) -> String {
    match &summary.task.slot {
        Slot::Replica(number) => format!("{}.{number}", summary.service_name),
        Slot::Node(node) => format!("{}.{node}", summary.service_name),
    }
}

pub(crate) fn desired_name(desired: DesiredState) -> &'static str {
    match desired {
        DesiredState::Ready => "ready",
        DesiredState::Running => "running",
        DesiredState::Shutdown => "shutdown",
        DesiredState::Remove => "remove",
    }
}

fn title(word: &str) -> String {
    let mut chars = word.chars();
    let first: String = chars.next().into_iter().flat_map(char::to_uppercase).collect();
    first + chars.as_str()
}

/// `Running 5 minutes ago`, and what it waits for if it does.
fn current_state(summary: &Summary, now: WallTime) -> String {
    let status = &summary.task.status;
    let mut text = title(status.state.name());
    if status.wall.0 > 0 {
        text = format!("{text} {}", ago(status.wall, now).to_lowercase());
    }
    if let Some(wait) = &summary.task.wait {
        text = format!("{text} ({})", wait.code.name());
    }
    text
}

fn waits_for(summary: &Summary) -> String {
    summary.task.wait.as_ref().map_or_else(String::new, |wait| {
        let age = human_duration(summary.now.since(wait.since)).to_lowercase();
        let detail = if wait.detail.is_empty() {
            String::new()
        } else {
            format!(": {}", wait.detail)
        };
        format!("{} for {age}{detail}", wait.code.name())
    })
}

pub(crate) fn json(summary: &Summary, revision: Option<&Revision>) -> Value {
    let task = &summary.task;
    let mut object = meta_json(task.id.as_str(), &task.meta);
    let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
    put("Name", json!(name(summary)));
    put("Spec", json!(revision.map(|revision| task_json(&revision.task))));
    put("ServiceID", json!(task.service.as_str()));
    put("Revision", json!(task.revision));
    let slot = match &task.slot {
        Slot::Replica(number) => Some(number),
        Slot::Node(_) => None,
    };
    put("Slot", json!(slot));
    put("NodeID", json!(task.node.as_ref().map(|node| node.as_str())));
    let status = &task.status;
    let mut shown = pruned(json!({
        "Timestamp": rfc3339(status.wall),
        "State": status.state.name(),
        "Message": status.message,
        "Err": status.error,
        "ContainerStatus": {"ContainerID": status.container, "PID": status.pid},
    }));
    if let Some(code) = status.exit_code {
        shown["ContainerStatus"]["ExitCode"] = json!(code);
    }
    put("Status", shown);
    put("DesiredState", json!(desired_name(task.desired)));
    let attachments: Vec<_> = task.attachments.iter().map(attachment_json).collect();
    put(
        "NetworksAttachments",
        json!((!attachments.is_empty()).then_some(attachments)),
    );
    put("Restarts", json!(task.restarts.count));
    let wait = task.wait.as_ref();
    let wait = wait.map(|wait| json!({"Code": wait.code.name(), "Detail": wait.detail}));
    put("Wait", json!(wait));
    Value::Object(object)
}

fn attachment_json(attachment: &Attachment) -> Value {
    let addresses = attachment.addresses.iter();
    let addresses: Vec<_> = addresses.map(|address| address.to_string()).collect();
    json!({"Network": {"ID": attachment.network.as_str()}, "Addresses": addresses})
}
