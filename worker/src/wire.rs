//! Between the cluster's values and the worker's own. The wire's messages are converted by `shoal_api`.
//!
//! Used by the session; never checks what a conversion has already checked.

use crate::assignment::{AssignedTask, AssignmentUpdate, Known, Position};
use crate::board::Posted;
use shoal_core::dispatcher::{self, Assignments, TaskAssignment, TaskReport};
use shoal_core::model::{TaskStatus, Timestamp, Wait};

pub(crate) fn position(position: dispatcher::Position) -> Position {
    Position {
        epoch: position.epoch,
        index: position.index,
    }
}

pub(crate) fn update(assignments: Assignments) -> AssignmentUpdate {
    let at = position(assignments.position);
    let tasks = assignments.tasks.into_iter().map(assigned).collect();
    let tables = assignments.tables;
    match assignments.prev {
        None => AssignmentUpdate::Full { at, tasks, tables },
        Some(prev) => AssignmentUpdate::Diff {
            prev: position(prev),
            at,
            changed: tasks,
            removed: assignments.removed,
            tables,
        },
    }
}

fn assigned(assignment: TaskAssignment) -> AssignedTask {
    let task = assignment.task;
    AssignedTask {
        id: task.id,
        service: task.service,
        service_name: assignment.service_name,
        stack_name: assignment.stack_name,
        service_labels: assignment.service_labels,
        slot: task.slot,
        desired: task.desired,
        spec: assignment.spec,
        ports: assignment.ports,
        attachments: task.attachments,
        hold: assignment.hold,
        known: Known {
            attempt: task.status.attempt,
            state: task.status.state,
        },
    }
}

pub(crate) fn report(posted: &Posted) -> TaskReport {
    let report = &posted.report;
    let status = TaskStatus {
        state: report.state,
        attempt: report.attempt,
        message: report.message.clone(),
        error: report.error.clone(),
        exit_code: report.exit_code,
        container: Some(posted.container.to_string()),
        pid: report.pid,
        // The managers set both.
        at: Timestamp::ZERO,
        started: None,
        wall: posted.wall,
    };
    let wait = report.wait.map(|code| Wait {
        code,
        since: Timestamp::ZERO,
        detail: report.message.clone(),
    });
    TaskReport {
        task: posted.task.id.clone(),
        status,
        wait,
    }
}
