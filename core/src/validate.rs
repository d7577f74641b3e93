//! What a spec must be before it is stored: every fault is collected, each with the path of its field.
//!
//! Called by `request` on every user's write, and by the CLI's and compose's tests; nothing downstream
//! checks again. What is known but not built yet is refused here as unsupported, with its field.

mod container;
mod names;
mod network;
mod service;
#[cfg(test)]
mod tests;

pub use network::network;
pub use service::{MAX_REPLICAS, service, stack};

use crate::{
    model::{ClusterSpec, Labels, NodeDescription, NodeSpec},
    refusal::FieldFault,
};
use std::{fmt::Display, time::Duration};

/// Bytes of all labels, or of all environment variables, of one object: they are replicated and kept in
/// memory.
const MAX_TEXT_BYTES: usize = 64 * 1024;

/// The longest host name of Linux is 64 bytes, of DNS 253.
const MAX_WORD_BYTES: usize = 255;

/// Routes that a node may report: every new network is compared with them.
pub const MAX_ROUTES: usize = 1024;

/// Problems that a node may report: a person reads them.
pub const MAX_PROBLEMS: usize = 64;

/// Bytes of a problem, or of what would help.
const MAX_PROBLEM_BYTES: usize = 1024;

/// The checks of a node's spec.
pub fn node(spec: &NodeSpec) -> Vec<FieldFault> {
    let mut faults = Faults::default();
    labels(&mut faults, "labels", &spec.labels);
    faults.found
}

/// The checks of what a node says of itself: it is stored by every manager and shown to users, and a node may be
/// in anybody's hands.
pub fn description(description: &NodeDescription) -> Vec<FieldFault> {
    let mut faults = Faults::default();
    for (field, text) in [
        ("hostname", &description.hostname),
        ("os", &description.platform.os),
        ("arch", &description.platform.arch),
        ("engine_version", &description.engine_version),
        ("address", &description.address),
    ] {
        if text.len() > MAX_WORD_BYTES || text.chars().any(char::is_control) {
            let found = format!("{} bytes: {:.64?}", text.len(), text);
            faults.expected(field, "one line of at most 255 bytes", found);
        }
    }
    labels(&mut faults, "engine_labels", &description.engine_labels);
    if description.routes.len() > MAX_ROUTES {
        faults.expected("routes", "at most 1024", description.routes.len());
    }
    if description.problems.len() > MAX_PROBLEMS {
        faults.expected("problems", "at most 64", description.problems.len());
    }
    for (n, problem) in description.problems.iter().enumerate() {
        for (part, text) in [("what", &problem.what), ("remedy", &problem.remedy)] {
            if text.len() > MAX_PROBLEM_BYTES || text.chars().any(char::is_control) {
                let found = format!("{} bytes: {text:.64?}", text.len());
                faults.expected(
                    format!("problems[{n}].{part}"),
                    "one line of at most 1024 bytes",
                    found,
                );
            }
        }
    }
    faults.found
}

/// The checks of the cluster's spec.
pub fn cluster(spec: &ClusterSpec) -> Vec<FieldFault> {
    let mut faults = Faults::default();
    if spec.name != "default" {
        names::check(&mut faults, "name", &spec.name);
    }
    labels(&mut faults, "labels", &spec.labels);
    // Ended tasks are replicated; ten times Swarm's five is plenty.
    if spec.task_history_limit > 50 {
        faults.invalid(
            "task_history_limit",
            format!("expected at most 50, found {}", spec.task_history_limit),
        );
    }
    let heartbeat = Duration::from_millis(200)..=Duration::from_secs(60);
    if !heartbeat.contains(&spec.heartbeat_period) {
        faults.invalid(
            "heartbeat_period",
            format!("expected 200ms to 60s, found {:?}", spec.heartbeat_period),
        );
    }
    let hour = Duration::from_secs(3600);
    if spec.certificate_life < hour {
        faults.invalid(
            "certificate_life",
            format!("expected at least 1h, found {:?}", spec.certificate_life),
        );
    }
    network::pools(&mut faults, &spec.pools);
    faults.found
}

/// Collects faults in the order of the checks.
#[derive(Debug, Default)]
struct Faults {
    found: Vec<FieldFault>,
}

impl Faults {
    fn invalid(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.found.push(FieldFault {
            unsupported: false,
            field: field.into(),
            message: message.into(),
        });
    }

    fn unsupported(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.found.push(FieldFault {
            unsupported: true,
            field: field.into(),
            message: message.into(),
        });
    }

    fn expected(&mut self, field: impl Into<String>, expected: &str, found: impl Display) {
        self.invalid(field, format!("expected {expected}, found {found}"));
    }
}

fn labels(faults: &mut Faults, field: &str, labels: &Labels) {
    for key in labels.keys() {
        if key.is_empty() || key.contains(['\0', '\n']) {
            faults.expected(
                field,
                "a key of at least one character, on one line",
                format!("{key:?}"),
            );
        }
    }
    let bytes: usize = labels.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > MAX_TEXT_BYTES {
        faults.expected(field, "at most 64 KiB in all", format!("{bytes} bytes"));
    }
}
