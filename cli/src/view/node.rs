//! A node as a row of `node ls`, as JSON, and for people.
//!
//! What the managers judge and what the node says of itself stand side by side.

use super::{labels_text, meta_json, pruned};
use crate::{
    output::{Column, Listing},
    units::{ago, human_size},
};
use serde_json::{Value, json};
use shoal_core::model::{Availability, Node, NodeState, Resources, Role, WallTime};

#[derive(Clone, Debug)]
pub(crate) struct Summary {
    pub(crate) node: Node,
    pub(crate) leader: bool,
    /// It is the node that answered.
    pub(crate) own: bool,
    pub(crate) running_tasks: u32,
    pub(crate) reserved: Resources,
}

const COLUMNS: &[Column] = &[
    Column::hidden("ID", "ID"),
    // The table marks the node that answers.
    Column::new("MarkedID", "ID"),
    Column::new("Hostname", "HOSTNAME"),
    Column::new("Status", "STATUS"),
    Column::new("Availability", "AVAILABILITY"),
    Column::new("ManagerStatus", "MANAGER STATUS"),
    Column::new("EngineVersion", "ENGINE VERSION"),
    Column::hidden("Self", "SELF"),
    Column::hidden("Tasks", "TASKS"),
    Column::hidden("Labels", "LABELS"),
];

pub(crate) fn listing(nodes: &[Summary]) -> Listing {
    let mut listing = Listing::new(COLUMNS);
    for summary in nodes {
        let node = &summary.node;
        let description = node.description.as_ref();
        let mark = if summary.own { " *" } else { "" };
        listing.push(vec![
            node.id.as_str().into(),
            format!("{}{mark}", node.id).into(),
            description.map_or("", |description| &description.hostname).into(),
            state_name(node.status.state).into(),
            availability_name(node.spec.availability).into(),
            manager_status(summary).into(),
            description
                .map_or("", |description| &description.engine_version)
                .into(),
            summary.own.into(),
            summary.running_tasks.into(),
            labels_text(&node.spec.labels).into(),
        ]);
    }
    listing
}

pub(crate) fn state_name(state: NodeState) -> &'static str {
    match state {
        NodeState::Unknown => "Unknown",
        NodeState::Ready => "Ready",
        NodeState::Down => "Down",
    }
}

fn availability_name(availability: Availability) -> &'static str {
    match availability {
        Availability::Active => "Active",
        Availability::Pause => "Pause",
        Availability::Drain => "Drain",
    }
}

fn manager_status(summary: &Summary) -> &'static str {
    match (&summary.node.manager, summary.leader) {
        (_, true) => "Leader",
        (Some(_), false) => "Reachable",
        (None, false) => "",
    }
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Worker => "worker",
        Role::Manager => "manager",
    }
}

pub(crate) fn json(summary: &Summary) -> Value {
    let node = &summary.node;
    let mut object = meta_json(node.id.as_str(), &node.meta);
    let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
    put(
        "Spec",
        json!({
            "Labels": node.spec.labels,
            "Role": role_name(node.spec.role),
            "Availability": availability_name(node.spec.availability).to_lowercase(),
        }),
    );
    let description = node.description.as_ref().map(|description| {
        let routes: Vec<_> = description.routes.iter().map(ToString::to_string).collect();
        let problems = description.problems.iter();
        let problems = problems.map(|problem| json!({"What": problem.what, "Remedy": problem.remedy}));
        json!({
            "Hostname": description.hostname,
            "Platform": {"Architecture": description.platform.arch, "OS": description.platform.os},
            "Resources": {
                "NanoCPUs": description.resources.cpu.0,
                "MemoryBytes": description.resources.memory.0,
            },
            "Engine": {"EngineVersion": description.engine_version, "Labels": description.engine_labels},
            "Routes": routes,
            "Problems": problems.collect::<Vec<_>>(),
        })
    });
    put("Description", json!(description));
    put(
        "Status",
        pruned(json!({
            "State": state_name(node.status.state).to_lowercase(),
            "Message": node.status.message,
            "Addr": node.description.as_ref().map(|description| description.address.clone()),
        })),
    );
    let manager = node.manager.as_ref();
    let manager = manager.map(
        |manager| json!({"Leader": summary.leader, "Reachability": "reachable", "Addr": manager.address}),
    );
    put("ManagerStatus", json!(manager));
    put(
        "Reserved",
        json!({"NanoCPUs": summary.reserved.cpu.0, "MemoryBytes": summary.reserved.memory.0}),
    );
    put("RunningTasks", json!(summary.running_tasks));
    Value::Object(object)
}

/// What `inspect --pretty` prints.
pub(crate) fn pretty(summary: &Summary, now: WallTime) -> String {
    let node = &summary.node;
    let mut lines = vec![("ID", node.id.to_string())];
    let mut add = |name, value: String| {
        if !value.is_empty() {
            lines.push((name, value));
        }
    };
    add("Labels", labels_text(&node.spec.labels));
    add("Role", role_name(node.spec.role).to_owned());
    add(
        "Availability",
        availability_name(node.spec.availability).to_owned(),
    );
    add(
        "State",
        format!(
            "{} since {}",
            state_name(node.status.state),
            ago(node.status.since, now)
        ),
    );
    add("Message", node.status.message.clone());
    add("Manager", manager_status(summary).to_owned());
    if let Some(description) = &node.description {
        add("Hostname", description.hostname.clone());
        add(
            "Platform",
            format!("{}/{}", description.platform.os, description.platform.arch),
        );
        let cpu = |nanos: u64| {
            format!(
                "{}.{:02}",
                nanos / 1_000_000_000,
                nanos % 1_000_000_000 / 10_000_000
            )
        };
        let (has, reserved) = (&description.resources, &summary.reserved);
        add(
            "Cpus",
            format!("{}, {} reserved", cpu(has.cpu.0), cpu(reserved.cpu.0)),
        );
        let (memory, taken) = (human_size(has.memory.0), human_size(reserved.memory.0));
        add("Memory", format!("{memory}, {taken} reserved"));
        add("Version", description.engine_version.clone());
        add("Address", description.address.clone());
        let routes: Vec<_> = description.routes.iter().map(ToString::to_string).collect();
        add("Routes", routes.join(", "));
        for problem in &description.problems {
            add("Problem", problem.what.clone());
            add("Remedy", problem.remedy.clone());
        }
    }
    add("Tasks", summary.running_tasks.to_string());
    add("Joined", ago(node.meta.created_at, now));
    let mut out = String::new();
    for (name, value) in lines {
        out.push_str(&format!("{:<15}{value}\n", format!("{name}:")));
    }
    out
}
