//! A service as a row of `service ls`, as JSON, and for people (`inspect --pretty`).
//!
//! How many tasks run is the manager's count, taken from one view of its store.

use super::{labels_text, meta_json, ports_text, short_id, spec::spec_json};
use crate::{
    output::{Column, Listing},
    units::{ago, human_size, rfc3339},
};
use serde_json::{Value, json};
use shoal_core::model::{Mode, Service, UpdateState, UpdateStatus, WallTime};

/// A service and how far it has come.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    pub(crate) service: Service,
    pub(crate) running: u32,
    pub(crate) desired: u32,
    /// The stack's name, empty without one.
    pub(crate) stack: String,
}

const COLUMNS: &[Column] = &[
    Column::new("ID", "ID"),
    Column::new("Name", "NAME"),
    Column::new("Mode", "MODE"),
    Column::new("Replicas", "REPLICAS"),
    Column::new("Image", "IMAGE"),
    Column::new("Ports", "PORTS"),
    Column::hidden("Labels", "LABELS"),
    Column::hidden("Stack", "STACK"),
];

pub(crate) fn listing(summaries: &[Summary], whole_ids: bool) -> Listing {
    let mut listing = Listing::new(COLUMNS);
    for summary in summaries {
        let spec = &summary.service.spec;
        listing.push(vec![
            short_id(summary.service.id.as_str(), whole_ids).into(),
            spec.name.as_str().into(),
            mode_name(&spec.mode).into(),
            replicas(summary).into(),
            spec.task.container.image.as_str().into(),
            ports_text(&spec.ports).into(),
            labels_text(&spec.labels).into(),
            summary.stack.as_str().into(),
        ]);
    }
    listing
}

pub(crate) fn mode_name(mode: &Mode) -> &'static str {
    match mode {
        Mode::Replicated { .. } => "replicated",
        Mode::Global => "global",
    }
}

fn replicas(summary: &Summary) -> String {
    let text = format!("{}/{}", summary.running, summary.desired);
    match summary.service.spec.task.placement.max_replicas_per_node {
        0 => text,
        most => format!("{text} (max {most} per node)"),
    }
}

pub(crate) fn json(summary: &Summary) -> Value {
    let service = &summary.service;
    let mut object = meta_json(service.id.as_str(), &service.meta);
    object.insert("Spec".to_owned(), spec_json(&service.spec));
    object.insert("Revision".to_owned(), json!(service.revision));
    object.insert(
        "ServiceStatus".to_owned(),
        json!({"RunningTasks": summary.running, "DesiredTasks": summary.desired}),
    );
    if !summary.stack.is_empty() {
        object.insert("Stack".to_owned(), json!(summary.stack));
    }
    if let Some(update) = &service.update {
        let mut status = json!({
            "State": update_state(update),
            "StartedAt": rfc3339(update.started_at),
            "Message": update.message,
        });
        if let Some(finished) = update.finished_at {
            status["CompletedAt"] = json!(rfc3339(finished));
        }
        object.insert("UpdateStatus".to_owned(), status);
    }
    Value::Object(object)
}

pub(crate) fn update_state(update: &UpdateStatus) -> &'static str {
    match update.state {
        UpdateState::Updating => "updating",
        UpdateState::Paused => "paused",
        UpdateState::Completed => "completed",
    }
}

/// What `inspect --pretty` prints.
pub(crate) fn pretty(summary: &Summary, now: WallTime) -> String {
    let service = &summary.service;
    let spec = &service.spec;
    let container = &spec.task.container;
    let mut lines = vec![("ID", service.id.to_string()), ("Name", spec.name.clone())];
    let mut add = |name, value: String| {
        if !value.is_empty() {
            lines.push((name, value));
        }
    };
    add("Stack", summary.stack.clone());
    add("Labels", labels_text(&spec.labels));
    add("Mode", mode_name(&spec.mode).to_owned());
    add("Running", replicas(summary));
    if let Some(update) = &service.update {
        add(
            "Update",
            format!(
                "{}, started {}: {}",
                update_state(update),
                ago(update.started_at, now),
                update.message
            ),
        );
    }
    add("Revision", service.revision.to_string());
    add("Constraints", spec.task.placement.constraints.join(", "));
    add("Image", container.image.clone());
    add("Digest", container.image_digest.clone().unwrap_or_default());
    add(
        "Entrypoint",
        container.command.clone().unwrap_or_default().join(" "),
    );
    add("Args", container.args.clone().unwrap_or_default().join(" "));
    let names: Vec<_> = container.env.keys().map(String::as_str).collect();
    add("Environment", names.join(", "));
    add("User", container.user.clone().unwrap_or_default());
    let mounts: Vec<_> = container
        .mounts
        .iter()
        .map(|mount| mount.target.as_str())
        .collect();
    add("Mounts", mounts.join(", "));
    let limits = &container.limits;
    add(
        "Memory limit",
        limits.memory.map(|bytes| human_size(bytes.0)).unwrap_or_default(),
    );
    add(
        "Pids limit",
        limits.pids.map(|pids| pids.to_string()).unwrap_or_default(),
    );
    add("Ports", ports_text(&spec.ports));
    add("Created", ago(service.meta.created_at, now));
    let mut out = String::new();
    for (name, value) in lines {
        out.push_str(&format!("{:<15}{value}\n", format!("{name}:")));
    }
    out
}
