//! From the service to a task that can be attached to.
//!
//! What stands in the way is said when it lasts; a task that ended before says why.

use crate::{
    connect::Connection,
    failure::Exit,
    output::note,
    progress::Seen,
    wire::{refused, seen_of},
};
use anyhow::{Result, bail};
use shoal_api::v1;
use shoal_core::model::{Task, TaskState, Wait};
use std::time::Duration;
use tokio::time::Instant;
use tokio_stream::StreamExt;

/// A wait that lasts longer is something that the caller wants to know.
const PATIENCE: Duration = Duration::from_secs(1);

/// As Docker's: the container was never run.
const NOT_RUN: u8 = 125;

/// The id of the service's task, once it waits for its caller.
pub(super) async fn until_ready(connection: &Connection, service: &str) -> Result<String> {
    let request = v1::WatchRequest {
        kinds: vec![v1::Kind::Task.into()],
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
    let (mut waits, mut told): (Option<Wait>, bool) = (None, false);
    let said = tokio::time::sleep(PATIENCE);
    tokio::pin!(said);
    loop {
        let response = tokio::select! {
            response = events.next() => response,
            () = &mut said, if !told => {
                told = true;
                if let Some(wait) = &waits {
                    note(&format!("Waiting: {}: {}", wait.code.name(), wait.detail));
                }
                continue;
            }
            // There is no program yet that could be told.
            _ = tokio::signal::ctrl_c() => return Err(Exit(130).into()),
        };
        let Some(response) = response else {
            bail!("the manager ended the watch before the container was there");
        };
        for seen in seen_of(response.map_err(refused)?)? {
            let Seen::Task(task) = seen else { continue };
            let state = task.status.state;
            if state.is_terminal() {
                note(&format!("shoal: the container did not start: {}", reason(&task)));
                return Err(Exit(NOT_RUN).into());
            }
            if state >= TaskState::Ready {
                return Ok(task.id.to_string());
            }
            if waits.as_ref().map(|wait| wait.code) != task.wait.as_ref().map(|wait| wait.code) {
                said.as_mut().reset(Instant::now() + PATIENCE);
                told = false;
                waits = task.wait;
            }
        }
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
