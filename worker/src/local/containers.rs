//! `ps`: the containers of this node.
//!
//! Called on the local socket; shows what this node runs and never asks a manager.

use super::{LocalService, refuse};
use crate::board::Posted;
use crate::clock;
use crate::health::Verdict;
use crate::name::task_of;
use shoal_agent_runtime::{ContainerState, ContainerStatus};
use shoal_api::v1::{self, ErrorCode};
use std::collections::BTreeMap;
use tonic::Status;

impl LocalService {
    pub(super) async fn list_containers(
        &self,
        request: &v1::ContainerListRequest,
    ) -> Result<v1::ContainerListResponse, Status> {
        let listed = self
            .runtime
            .list()
            .await
            .map_err(|error| refuse(ErrorCode::Internal, &error))?;
        let posted = self.board().map(|board| board.all()).unwrap_or_default();
        let mut found: BTreeMap<String, ContainerStatus> = listed
            .into_iter()
            .map(|status| (status.id.to_string(), status))
            .collect();
        let mut containers: Vec<v1::Container> = posted
            .iter()
            .map(|posted| of_task(posted, found.remove(posted.container.as_str()).as_ref()))
            .collect();
        containers.extend(found.values().map(stray));
        if !request.all {
            containers.retain(|container| container.pid.is_some());
        }
        Ok(v1::ContainerListResponse { containers })
    }
}

fn of_task(posted: &Posted, found: Option<&ContainerStatus>) -> v1::Container {
    let (task, report) = (&posted.task, &posted.report);
    let wanted = &task.spec.container;
    let command = wanted
        .command
        .iter()
        .chain(&wanted.args)
        .flatten()
        .cloned()
        .collect();
    let started = found.and_then(|status| status.started_at).map(clock::wall_of);
    let health = posted.health.map_or("", |verdict| match verdict {
        Verdict::Starting => "starting",
        Verdict::Healthy => "healthy",
        Verdict::Unhealthy => "unhealthy",
    });
    v1::Container {
        id: posted.container.to_string(),
        task: task.id.to_string(),
        service_name: task.service_name.clone(),
        slot: Some(task.slot.clone().into()),
        image: wanted.image.clone(),
        command,
        // Unknown where none was made.
        created_at: report.created.or(started).map_or(0, |wall| wall.0),
        state: v1::TaskState::from(report.state).into(),
        pid: found.and_then(|status| status.pid),
        exit_code: report.exit_code,
        started_at: started.map_or(0, |wall| wall.0),
        finished_at: if report.state.is_terminal() {
            posted.wall.0
        } else {
            0
        },
        ports: task.ports.iter().copied().map(Into::into).collect(),
        health: health.to_owned(),
    }
}

/// A container of no task: one that is about to be swept away.
fn stray(status: &ContainerStatus) -> v1::Container {
    let label = |name: &str| status.labels.get(name).cloned().unwrap_or_default();
    let state = match status.state {
        ContainerState::Created => v1::TaskState::Ready,
        ContainerState::Running => v1::TaskState::Running,
        ContainerState::Exited(_) => v1::TaskState::Remove,
    };
    let started = status.started_at.map_or(0, |at| clock::wall_of(at).0);
    v1::Container {
        id: status.id.to_string(),
        task: task_of(&status.id)
            .map(|(task, _)| task.to_string())
            .unwrap_or_default(),
        service_name: label("shoal.service.name"),
        state: state.into(),
        pid: status.pid,
        created_at: started,
        started_at: started,
        ..v1::Container::default()
    }
}
