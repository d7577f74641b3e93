//! Assignments and reports of a worker's session.
//!
//! An assignment is cut into parts below the bound of a message; the worker puts them together again and
//! applies them only when the last one is there.

use super::{Malformed, nanos, optional, parsed, repeated, required};
use crate::{limits, v1};
use prost::Message;
use shoal_core::dispatcher::{Assignments, Position, TaskAssignment, TaskReport};
use std::time::Duration;

/// Parts of one assignment: 100,000 tasks at a full batch each, with room to spare.
const MAX_PARTS: usize = 4096;

impl From<TaskAssignment> for v1::TaskAssignment {
    fn from(assignment: TaskAssignment) -> Self {
        Self {
            task: Some(assignment.task.into()),
            service_name: assignment.service_name,
            stack_name: assignment.stack_name,
            spec: Some(assignment.spec.into()),
            ports: assignment.ports.into_iter().map(Into::into).collect(),
            service_labels: assignment.service_labels,
            hold_ns: nanos(assignment.hold),
        }
    }
}

impl TryFrom<v1::TaskAssignment> for TaskAssignment {
    type Error = Malformed;

    fn try_from(assignment: v1::TaskAssignment) -> Result<Self, Malformed> {
        Ok(Self {
            task: required(assignment.task, "task")?,
            service_name: assignment.service_name,
            stack_name: assignment.stack_name,
            spec: required(assignment.spec, "spec")?,
            ports: repeated(assignment.ports, "ports")?,
            service_labels: assignment.service_labels,
            hold: Duration::from_nanos(assignment.hold_ns),
        })
    }
}

impl From<TaskReport> for v1::TaskReport {
    fn from(report: TaskReport) -> Self {
        Self {
            task: report.task.to_string(),
            status: Some(report.status.into()),
            wait: report.wait.map(Into::into),
        }
    }
}

impl TryFrom<v1::TaskReport> for TaskReport {
    type Error = Malformed;

    fn try_from(report: v1::TaskReport) -> Result<Self, Malformed> {
        Ok(Self {
            task: parsed(&report.task, "task")?,
            status: required(report.status, "status")?,
            wait: optional(report.wait, "wait")?,
        })
    }
}

/// The reports of one message.
pub fn reports_from_wire(reports: Vec<v1::TaskReport>) -> Result<Vec<TaskReport>, Malformed> {
    repeated(reports, "reports")
}

/// An assignment as messages, each below the bound; the last one says so.
pub fn assignments_parts(assignments: Assignments) -> Vec<v1::Assignments> {
    let part = || v1::Assignments {
        full: assignments.prev.is_none(),
        prev: assignments.prev.map(Into::into),
        position: Some(assignments.position.into()),
        ..v1::Assignments::default()
    };
    let mut parts = vec![part()];
    let mut bytes = 0;
    for task in assignments.tasks {
        let task = v1::TaskAssignment::from(task);
        let size = task.encoded_len();
        if bytes > 0 && bytes + size > limits::BATCH_BYTES {
            parts.push(part());
            bytes = 0;
        }
        bytes += size;
        if let Some(part) = parts.last_mut() {
            part.tasks.push(task);
        }
    }
    for id in assignments.removed {
        // An id is 25 characters, two bytes of framing.
        if bytes + 27 > limits::BATCH_BYTES {
            parts.push(part());
            bytes = 0;
        }
        bytes += 27;
        if let Some(part) = parts.last_mut() {
            part.removed_tasks.push(id.to_string());
        }
    }
    if let Some(part) = parts.last_mut() {
        part.last = true;
    }
    parts
}

/// Puts the parts of one assignment together again.
#[derive(Debug, Default)]
pub struct AssignmentsJoiner {
    begun: Option<(Assignments, usize)>,
}

impl AssignmentsJoiner {
    /// Takes the next part; gives the whole when it was the last.
    pub fn take(&mut self, part: v1::Assignments) -> Result<Option<Assignments>, Malformed> {
        let position: Position = part
            .position
            .ok_or_else(|| Malformed::new("position", "is missing"))?
            .into();
        let prev: Option<Position> = part.prev.map(Into::into);
        if part.full == prev.is_some() {
            return Err(Malformed::new(
                "prev",
                "must be given exactly if it is no full assignment",
            ));
        }
        let (mut whole, parts) = self.begun.take().unwrap_or_else(|| {
            let empty = Assignments {
                prev,
                position,
                tasks: Vec::new(),
                removed: Vec::new(),
            };
            (empty, 0)
        });
        if (whole.prev, whole.position) != (prev, position) {
            return Err(Malformed::new(
                "position",
                "another assignment began before this one ended",
            ));
        }
        if parts >= MAX_PARTS {
            return Err(Malformed::new("last", format!("no end after {MAX_PARTS} parts")));
        }
        whole
            .tasks
            .extend(repeated::<_, TaskAssignment>(part.tasks, "tasks")?);
        for id in &part.removed_tasks {
            whole.removed.push(parsed(id, "removed_tasks")?);
        }
        if part.last {
            return Ok(Some(whole));
        }
        self.begun = Some((whole, parts + 1));
        Ok(None)
    }
}
