//! A container of this node as a row of `ps`.
//!
//! Times are the node's own; `now` is the caller's.

use super::{ellipsis, short_id};
use crate::{
    output::{Column, Listing},
    spec::ports_text,
    units::{ago, docker_time, human_duration, since},
};
use shoal_api::v1::{Container, TaskState, slot::Slot};
use shoal_core::model::WallTime;

const COLUMNS: &[Column] = &[
    Column::new("ID", "CONTAINER ID"),
    Column::new("Image", "IMAGE"),
    Column::new("Command", "COMMAND"),
    Column::new("RunningFor", "CREATED"),
    Column::new("Status", "STATUS"),
    Column::new("Ports", "PORTS"),
    Column::new("Names", "NAMES"),
    Column::hidden("State", "STATE"),
    Column::hidden("CreatedAt", "CREATED AT"),
    Column::hidden("Task", "TASK"),
    Column::hidden("Service", "SERVICE"),
    Column::hidden("Pid", "PID"),
    Column::hidden("ExitCode", "EXIT CODE"),
];

/// Widest command in a table, as in Docker.
const COMMAND_WIDTH: usize = 20;

pub(crate) fn listing(containers: &[Container], whole: bool, now: WallTime) -> Listing {
    let mut containers: Vec<_> = containers.iter().collect();
    containers.sort_by(|a, b| b.created_at.cmp(&a.created_at).then_with(|| a.id.cmp(&b.id)));
    let mut listing = Listing::new(COLUMNS);
    for container in containers {
        let command = container.command.join(" ");
        listing.push(vec![
            short_id(&container.id, whole).into(),
            container.image.as_str().into(),
            format!("\"{}\"", ellipsis(&command, COMMAND_WIDTH, whole)).into(),
            ago(WallTime(container.created_at), now).into(),
            status(container, now).into(),
            ports(container).into(),
            name(container).into(),
            state(container).into(),
            docker_time(WallTime(container.created_at)).into(),
            container.task.as_str().into(),
            container.service_name.as_str().into(),
            container.pid.unwrap_or(0).into(),
            container.exit_code.map_or(serde_json::Value::Null, Into::into),
        ]);
    }
    listing
}

/// What cannot be read is not shown: the list is of containers.
fn ports(container: &Container) -> String {
    let ports = container.ports.iter().cloned();
    let ports: Vec<_> = ports.filter_map(|port| port.try_into().ok()).collect();
    ports_text(&ports)
}

/// `<service>.<slot or node>.<task id>`, as Swarm names containers.
pub(crate) fn name(container: &Container) -> String {
    let slot = match container.slot.as_ref().and_then(|slot| slot.slot.as_ref()) {
        Some(Slot::Replica(number)) => number.to_string(),
        Some(Slot::Node(node)) => node.clone(),
        None => String::new(),
    };
    format!("{}.{slot}.{}", container.service_name, container.task)
}

fn state(container: &Container) -> &'static str {
    match container.state() {
        TaskState::Running => "running",
        TaskState::Unspecified
        | TaskState::New
        | TaskState::Pending
        | TaskState::Assigned
        | TaskState::Accepted
        | TaskState::Preparing
        | TaskState::Ready
        | TaskState::Starting => "created",
        TaskState::Complete
        | TaskState::Shutdown
        | TaskState::Failed
        | TaskState::Rejected
        | TaskState::Remove
        | TaskState::Orphaned => "exited",
    }
}

fn status(container: &Container, now: WallTime) -> String {
    match state(container) {
        "running" => {
            let up = human_duration(since(WallTime(container.started_at), now));
            match container.health.as_str() {
                "" => format!("Up {up}"),
                "starting" => format!("Up {up} (health: starting)"),
                health => format!("Up {up} ({health})"),
            }
        }
        "exited" => {
            // Nobody saw the end of what a reboot killed: that is not an exit with 0.
            let code = container
                .exit_code
                .map_or_else(|| "unknown".to_owned(), |code| code.to_string());
            format!("Exited ({code}) {}", ago(WallTime(container.finished_at), now))
        }
        _ => "Created".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn ended(exit_code: Option<i32>) -> Container {
        Container {
            state: TaskState::Failed.into(),
            exit_code,
            created_at: 10 * SECOND,
            finished_at: 60 * SECOND,
            ..Container::default()
        }
    }

    #[test]
    fn an_exit_that_nobody_saw_has_no_code() {
        for (exit_code, expect) in [
            (None, "Exited (unknown) 5 seconds ago"),
            (Some(0), "Exited (0) 5 seconds ago"),
            (Some(137), "Exited (137) 5 seconds ago"),
        ] {
            let status = status(&ended(exit_code), WallTime(65 * SECOND));
            assert_eq!(status, expect);
        }
    }
}
