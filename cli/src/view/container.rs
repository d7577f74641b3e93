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
    containers.sort_by(|a, b| age_key(b).cmp(&age_key(a)).then_with(|| a.id.cmp(&b.id)));
    let mut listing = Listing::new(COLUMNS);
    for container in containers {
        let command = container.command.join(" ");
        let created = Some(WallTime(container.created_at)).filter(|at| at.0 > 0);
        listing.push(vec![
            short_id(&container.id, whole).into(),
            container.image.as_str().into(),
            format!("\"{}\"", ellipsis(&command, COMMAND_WIDTH, whole)).into(),
            created.map_or_else(String::new, |at| ago(at, now)).into(),
            status(container, now).into(),
            ports(container).into(),
            name(container).into(),
            state(container).into(),
            created.map_or_else(String::new, docker_time).into(),
            container.task.as_str().into(),
            container.service_name.as_str().into(),
            container.pid.unwrap_or(0).into(),
            container.exit_code.map_or(serde_json::Value::Null, Into::into),
        ]);
    }
    listing
}

/// Newest first. Without a time of its making it either ended unmade, or is still to be made and newest of all.
fn age_key(container: &Container) -> i64 {
    let times = [container.created_at, container.finished_at];
    times.into_iter().find(|at| *at > 0).unwrap_or(i64::MAX)
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
    use crate::output::ListArgs;

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

    #[test]
    fn the_time_of_making_is_that_or_none() {
        let mut unmade = ended(None);
        unmade.created_at = 0;
        unmade.id = "unmade".to_owned();
        let made = Container {
            id: "made".to_owned(),
            ..ended(None)
        };
        let listing = listing(&[made, unmade], true, WallTime(65 * SECOND));
        let shown = listing.render(&ListArgs {
            format: Some("{{.ID}} {{.RunningFor}}|{{.CreatedAt}}|".parse().unwrap()),
            ..ListArgs::default()
        });
        assert_eq!(
            shown.unwrap(),
            "unmade ||\nmade 55 seconds ago|1970-01-01 00:00:10 +0000 UTC|\n"
        );
    }
}
