//! From the service to a task that can be attached to, or whose program was started.
//!
//! What stands in the way is said when it lasts; a task that ended before says why.

use super::waiting::{Teller, Waiting};
use crate::{
    connect::Connection,
    failure::Exit,
    output::note,
    progress::Seen,
    signals::Endings,
    wire::{refused, seen_of},
};
use anyhow::{Result, bail};
use shoal_api::v1;
use shoal_core::model::{Task, TaskState, TaskStatus};
use tokio::time::Instant;
use tokio_stream::StreamExt;

/// As Docker's: the container was never run, or its program could not be.
const NOT_RUN: u8 = 125;
const NOT_EXECUTABLE: i32 = 126;
const NOT_FOUND: i32 = 127;

/// The id of the service's task, once it waits for its caller.
pub(super) async fn until_ready(connection: &Connection, service: &str) -> Result<String> {
    match until(connection, service, |task| task.status.state >= TaskState::Ready).await? {
        Outcome::There(task) if !task.status.state.is_terminal() => Ok(task.id.to_string()),
        Outcome::There(task) => Err(not_started(&task)),
        Outcome::Removed => bail!("the service was removed before its container was there"),
    }
}

/// Until the program runs, or has run and ended.
pub(super) async fn until_started(connection: &Connection, service: &str) -> Result<()> {
    let started = |task: &Task| task.status.state >= TaskState::Running || has_run(&task.status);
    match until(connection, service, started).await? {
        Outcome::There(task) if task.status.state.is_terminal() && !has_run(&task.status) => {
            Err(not_started(&task))
        }
        Outcome::There(_) => Ok(()),
        Outcome::Removed => bail!("the service was removed before its program was started"),
    }
}

/// Was there ever a process? One that ends at once may have ended before anybody heard that it ran, and then only its id
/// says so.
fn has_run(status: &TaskStatus) -> bool {
    status.started.is_some() || status.pid.is_some()
}

enum Outcome {
    /// As far as was asked, or ended.
    There(Box<Task>),
    /// The service is gone.
    Removed,
}

async fn until(connection: &Connection, service: &str, reached: impl Fn(&Task) -> bool) -> Result<Outcome> {
    let request = v1::WatchRequest {
        kinds: vec![v1::Kind::Service.into(), v1::Kind::Task.into()],
        services: vec![service.to_owned()],
        snapshot: true,
        ..v1::WatchRequest::default()
    };
    let mut events = connection
        .watch()
        .watch(request)
        .await
        .map_err(refused)?
        .into_inner();
    let mut found = Found::default();
    let mut waiting = Waiting::default();
    let mut teller = Teller::default();
    let mut endings = Endings::listen()?;
    loop {
        let response = tokio::select! {
            response = events.next() => response,
            () = waiting.lasts() => {
                teller.tell(waiting.told());
                continue;
            }
            // There is no program yet that could be told.
            exit = endings.next() => return Err(exit.into()),
        };
        let Some(response) = response else {
            bail!("the manager ended the watch before the container was there");
        };
        for seen in seen_of(response.map_err(refused)?)? {
            let Some(task) = found.take(seen) else { continue };
            if reached(&task) || task.status.state.is_terminal() {
                return Ok(Outcome::There(task));
            }
            if waiting.take(task.wait, Instant::now()) {
                teller.tell(waiting.told());
            }
        }
        if found.is_gone() {
            return Ok(Outcome::Removed);
        }
    }
}

/// Whether the service is there at all; nothing is known before the snapshot is whole.
#[derive(Debug, Default)]
struct Found {
    service: bool,
    whole: bool,
}

impl Found {
    /// The task that is told of.
    fn take(&mut self, seen: Seen) -> Option<Box<Task>> {
        match seen {
            Seen::Task(task) => return Some(task),
            Seen::Service(_) => self.service = true,
            Seen::ServiceRemoved(_) => self.service = false,
            Seen::Reset => *self = Self::default(),
            Seen::SnapshotEnd => self.whole = true,
            Seen::TaskRemoved(_) => {}
        }
        None
    }

    fn is_gone(&self) -> bool {
        self.whole && !self.service
    }
}

/// Says why, and ends with the code that says it to a script.
fn not_started(task: &Task) -> anyhow::Error {
    note(&format!("shoal: the container did not start: {}", reason(task)));
    Exit(code(task.status.exit_code)).into()
}

fn code(exit_code: Option<i32>) -> u8 {
    match exit_code {
        Some(code @ (NOT_EXECUTABLE | NOT_FOUND)) => u8::try_from(code).unwrap_or(NOT_RUN),
        _ => NOT_RUN,
    }
}

fn reason(task: &Task) -> &str {
    let error = task.status.error.as_deref().unwrap_or_default();
    if error.is_empty() {
        &task.status.message
    } else {
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_core::model::{Timestamp, WallTime};

    #[test]
    fn a_service_that_is_gone_is_known_once_the_snapshot_is_whole() {
        let mut found = Found::default();
        assert!(!found.is_gone());
        found.take(Seen::SnapshotEnd);
        assert!(found.is_gone(), "it was removed before anybody looked");
        found.service = true;
        assert!(!found.is_gone());
        found.take(Seen::Reset);
        assert!(!found.is_gone(), "a new snapshot follows");
    }

    #[test]
    fn what_ended_at_once_has_run() {
        let ended = |started: Option<Timestamp>, pid: Option<u32>| TaskStatus {
            state: TaskState::Complete,
            attempt: 0,
            message: String::new(),
            error: None,
            exit_code: Some(0),
            container: None,
            pid,
            at: Timestamp(1),
            wall: WallTime(1),
            started,
        };
        assert!(has_run(&ended(Some(Timestamp(1)), None)));
        assert!(has_run(&ended(None, Some(7))));
        assert!(!has_run(&ended(None, None)));
    }

    #[test]
    fn codes_are_dockers() {
        for (exit_code, expect) in [(None, 125), (Some(126), 126), (Some(127), 127), (Some(1), 125)] {
            assert_eq!(code(exit_code), expect, "{exit_code:?}");
        }
    }
}
