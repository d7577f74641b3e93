//! Waits on the watch until nothing of removed services is left.
//!
//! Called by `service rm` and `stack rm`, which by themselves return as soon as the removal is stored.

use super::Seen;
use crate::{
    connect::Connection,
    failure::{Exit, hinted},
    output::note,
    wire::{refused, seen_of},
};
use anyhow::Result;
use shoal_api::v1;
use std::collections::BTreeSet;
use tokio_stream::StreamExt;

/// The flag of verbs that remove; as Docker's `stack rm` they do not wait unless told to.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct GoneArgs {
    /// Return when the removal is stored; with --detach=false when the containers have ended
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) detach: bool,
}

/// Waits until no task of these services (ids) is left.
pub(crate) async fn until_gone(connection: &Connection, services: Vec<String>) -> Result<()> {
    if services.is_empty() {
        return Ok(());
    }
    let request = v1::WatchRequest {
        kinds: vec![v1::Kind::Task.into()],
        services,
        snapshot: true,
        ..v1::WatchRequest::default()
    };
    let watch = connection.watch().watch(request).await;
    let mut events = watch.map_err(refused)?.into_inner();
    let mut left = Left::default();
    while !left.nothing() {
        let response = tokio::select! {
            response = events.next() => response,
            _ = tokio::signal::ctrl_c() => {
                note("Interrupted: the cluster goes on removing.");
                return Err(Exit(130).into());
            }
        };
        let Some(response) = response else {
            return Err(hinted(
                "the manager ended the watch",
                "The removal is stored and goes on.",
            ));
        };
        seen_of(response.map_err(refused)?)?
            .into_iter()
            .for_each(|seen| left.take(seen));
    }
    Ok(())
}

/// The tasks that are still there; nothing is known before the snapshot is whole.
#[derive(Debug, Default)]
struct Left {
    tasks: BTreeSet<String>,
    whole: bool,
}

impl Left {
    fn take(&mut self, seen: Seen) {
        match seen {
            Seen::Task(task) => drop(self.tasks.insert(task.id.to_string())),
            Seen::TaskRemoved(task) => drop(self.tasks.remove(task.id.as_str())),
            Seen::Reset => *self = Self::default(),
            Seen::SnapshotEnd => self.whole = true,
            Seen::Service(_) | Seen::ServiceRemoved(_) => {}
        }
    }

    fn nothing(&self) -> bool {
        self.whole && self.tasks.is_empty()
    }
}
