//! Assignments and reports of a worker's session.
//!
//! An assignment is cut into parts below the bound of a message; the worker puts them together again and
//! applies them only when the last one is there.

use super::{Malformed, nanos, optional, parsed, repeated, required};
use crate::{limits, v1};
use prost::Message;
use shoal_core::dispatcher::{Assignments, Position, TablesDiff, TaskAssignment, TaskReport};
use std::{mem, time::Duration};

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
            networks: assignment.networks.into_iter().map(Into::into).collect(),
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
            networks: repeated(assignment.networks, "networks")?,
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
    let mut parts = Parts::new(v1::Assignments {
        full: assignments.prev.is_none(),
        prev: assignments.prev.map(Into::into),
        position: Some(assignments.position.into()),
        ..v1::Assignments::default()
    });
    for task in assignments.tasks {
        let task = v1::TaskAssignment::from(task);
        parts.room(task.encoded_len()).tasks.push(task);
    }
    for id in assignments.removed {
        let id = id.to_string();
        parts.room(id.len()).removed_tasks.push(id);
    }
    let tables = v1::TablesDiff::from(assignments.tables);
    if let Some(pools) = tables.pools {
        let bytes = pools.encoded_len();
        parts.tables(bytes).pools = Some(pools);
    }
    for network in tables.networks {
        parts.tables(network.encoded_len()).networks.push(network);
    }
    for service in tables.services {
        parts.tables(service.encoded_len()).services.push(service);
    }
    for endpoint in tables.endpoints {
        parts.tables(endpoint.encoded_len()).endpoints.push(endpoint);
    }
    parts.finish()
}

/// The parts so far, the last of which is being filled.
struct Parts {
    empty: v1::Assignments,
    full: Vec<v1::Assignments>,
    last: v1::Assignments,
    bytes: usize,
}

/// What a field's tag and length take beside it, at most: for lengths below 2 MiB.
const FRAMING_BYTES: usize = 4;

impl Parts {
    fn new(empty: v1::Assignments) -> Self {
        Self {
            last: empty.clone(),
            empty,
            full: Vec::new(),
            bytes: 0,
        }
    }

    /// The part that has room for so many bytes more; a thing larger than a part gets one of its own.
    fn room(&mut self, bytes: usize) -> &mut v1::Assignments {
        let bytes = bytes + FRAMING_BYTES;
        if self.bytes > 0 && self.bytes + bytes > limits::BATCH_BYTES {
            self.full.push(mem::replace(&mut self.last, self.empty.clone()));
            self.bytes = 0;
        }
        self.bytes += bytes;
        &mut self.last
    }

    fn tables(&mut self, bytes: usize) -> &mut v1::TablesDiff {
        self.room(bytes).tables.get_or_insert_default()
    }

    fn finish(mut self) -> Vec<v1::Assignments> {
        self.last.last = true;
        self.full.push(self.last);
        self.full
    }
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
                tables: TablesDiff::default(),
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
        if let Some(tables) = part.tables {
            let TablesDiff {
                pools,
                networks,
                services,
                endpoints,
            } = required(Some(tables), "tables")?;
            whole.tables.pools = pools.or(whole.tables.pools);
            whole.tables.networks.extend(networks);
            whole.tables.services.extend(services);
            whole.tables.endpoints.extend(endpoints);
        }
        if part.last {
            return Ok(Some(whole));
        }
        self.begun = Some((whole, parts + 1));
        Ok(None)
    }
}
