//! The one hand on the node's network: keeps the tables, puts them in force, attaches and detaches tasks.
//!
//! Shared by the supervisor and the keepers. Whoever has changed the tables waits until they are in force, but never
//! longer than a bound: a stop must not hang on a network that does not answer. Changes that come while others are
//! being put in force go together.

use super::node_side::NodeSide;
use super::overlay::Overlay;
use super::translation::{Standing, Translation, difference};
use crate::assignment::{AssignedTask, Position};
use crate::keeper::chain;
use crate::task::{AttachFailure, Failure};
use futures::future::BoxFuture;
use shoal_agent_runtime::ContainerId;
use shoal_core::dispatcher::{NetworkTables, TablesDiff};
use shoal_core::model::{NodeId, TaskId};
use shoal_overlay_net::desired::{Attachment, Desired, Endpoint, EndpointId, ResolverSpec};
use shoal_overlay_net::{AttachError, NetStatus, OpenError};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// A network that has not taken new tables by then is gone past: what waits for them may be a stop.
const APPLY_LIMIT: Duration = Duration::from_secs(3);
/// Attaching takes milliseconds, on a machine short of memory seconds.
const ATTACH_LIMIT: Duration = Duration::from_secs(10);

/// What a hub is opened with.
pub(crate) struct Opening<'a> {
    pub(crate) node: NodeId,
    pub(crate) side: NodeSide,
    pub(crate) tables: &'a NetworkTables,
    pub(crate) at: Position,
    /// Tasks that are about to be stopped again: they get no connections meanwhile.
    pub(crate) failing: Vec<TaskId>,
    /// Containers that are there, and where their namespaces are.
    pub(crate) attached: Vec<(&'a AssignedTask, ContainerId, PathBuf)>,
}

/// See the module.
pub(crate) struct NetworkHub {
    overlay: Arc<dyn Overlay>,
    state: Mutex<State>,
    /// The changes that are in force. Held while others are being put there.
    in_force: tokio::sync::Mutex<u64>,
}

struct State {
    translation: Translation,
    /// Counts the changes of the translation's tables.
    changes: u64,
}

impl std::fmt::Debug for NetworkHub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NetworkHub").finish_non_exhaustive()
    }
}

impl NetworkHub {
    /// Opens the network with what was kept: what runs stays attached, and nothing of it is changed.
    pub(crate) async fn open<F>(opening: Opening<'_>, open: F) -> Result<Self, OpenError>
    where
        F: FnOnce(Desired) -> BoxFuture<'static, Result<Arc<dyn Overlay>, OpenError>>,
    {
        let mut translation = Translation::new(opening.node, opening.side, opening.tables, opening.at);
        for task in &opening.failing {
            translation.stand(task, Some(Standing::Draining));
        }
        let attached = opening.attached.into_iter();
        let endpoints = attached.filter_map(|(task, container, namespace)| {
            let endpoint = endpoint(task, &container, namespace).ok()?;
            Some((endpoint.id.clone(), Arc::new(endpoint)))
        });
        let desired = Desired {
            tables: translation.tables(),
            endpoints: endpoints.collect(),
        };
        Ok(Self {
            overlay: open(desired).await?,
            state: Mutex::new(State {
                translation,
                changes: 0,
            }),
            in_force: tokio::sync::Mutex::new(0),
        })
    }

    pub(crate) fn status(&self) -> watch::Receiver<NetStatus> {
        self.overlay.status()
    }

    /// What a message changes of the tables that are held; of a full one, what is different in it.
    pub(crate) fn change(&self, tables: TablesDiff, full: bool) -> TablesDiff {
        if full {
            difference(self.state().translation.known(), &tables)
        } else {
            tables
        }
    }

    /// The managers' tables of a position, which are on disk; returns when they are in force, or late.
    pub(crate) async fn update(&self, at: Position, diff: &TablesDiff) {
        self.put_in_force(|translation| translation.update(at, diff))
            .await;
    }

    /// Tasks of this node get no new connections from here on: they are about to be stopped.
    pub(crate) async fn withdraw(&self, tasks: &[TaskId]) {
        let drain = |translation: &mut Translation| {
            let mut changed = false;
            for task in tasks {
                if translation.standing(task).is_none() {
                    changed |= translation.stand(task, Some(Standing::Draining));
                }
            }
            changed
        };
        self.put_in_force(drain).await;
    }

    /// A task runs (again): what the managers say of it counts.
    pub(crate) async fn restore(&self, task: &TaskId) {
        self.put_in_force(|translation| translation.stand(task, None))
            .await;
    }

    /// A task is no longer this node's.
    pub(crate) fn forget(&self, task: &TaskId) {
        let mut state = self.state();
        if state.translation.stand(task, None) {
            // Nobody waits: the next change takes it along.
            state.changes += 1;
        }
    }

    /// Gives a task's container its links and names.
    pub(crate) async fn attach(
        &self,
        task: &AssignedTask,
        container: &ContainerId,
        namespace: PathBuf,
    ) -> Result<(), AttachFailure> {
        let endpoint = endpoint(task, container, namespace)?;
        let attached = tokio::time::timeout(ATTACH_LIMIT, self.overlay.attach(endpoint)).await;
        match attached {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error @ (AttachError::Gone { .. } | AttachError::Kernel { .. }))) => {
                Err(AttachFailure::Refused(Failure::new(chain(&error))))
            }
            Ok(Err(error @ (AttachError::Names { .. } | AttachError::Closed))) => {
                Err(AttachFailure::NotReady(chain(&error)))
            }
            Err(_late) => Err(AttachFailure::NotReady(format!(
                "the node's network did not answer within {ATTACH_LIMIT:?}"
            ))),
        }
    }

    /// A task's container has ended, or is about to be removed: its address leaves this node's tables at once.
    pub(crate) async fn detach(&self, task: &TaskId, container: &ContainerId) {
        self.put_in_force(|translation| translation.stand(task, Some(Standing::Gone)))
            .await;
        let Ok(id) = container.as_str().parse::<EndpointId>() else {
            return;
        };
        match tokio::time::timeout(APPLY_LIMIT, self.overlay.detach(id)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%task, error = %chain(&error), "what an ended container had in the network stays for now");
            }
            Err(_late) => {
                tracing::warn!(%task, "the network does not answer; an ended container is left to it");
            }
        }
    }

    async fn put_in_force(&self, change: impl FnOnce(&mut Translation) -> bool) {
        let wanted = {
            let mut state = self.state();
            if !change(&mut state.translation) {
                return;
            }
            state.changes += 1;
            state.changes
        };
        if tokio::time::timeout(APPLY_LIMIT, self.reach(wanted))
            .await
            .is_err()
        {
            tracing::warn!("the network does not take new tables; going on without them");
        }
    }

    async fn reach(&self, wanted: u64) {
        let mut in_force = self.in_force.lock().await;
        if *in_force >= wanted {
            return;
        }
        let (tables, changes) = {
            let state = self.state();
            (state.translation.tables(), state.changes)
        };
        match self.overlay.apply(tables).await {
            Ok(()) => {}
            // The overlay has them and goes on trying by itself.
            Err(error) => tracing::warn!(error = %chain(&error), "new tables are not wholly in force"),
        }
        *in_force = changes;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A change is complete in itself or has not begun, so a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn endpoint(
    task: &AssignedTask,
    container: &ContainerId,
    namespace: PathBuf,
) -> Result<Endpoint, AttachFailure> {
    let refused = |error: &dyn std::error::Error| AttachFailure::Refused(Failure::new(chain(error)));
    if task.attachments.is_empty() {
        let message = "the managers gave this task no address; update the service to have it made anew";
        return Err(AttachFailure::Refused(Failure::new(message)));
    }
    let id = container.as_str().parse().map_err(|error| refused(&error))?;
    let mut attachments = Vec::with_capacity(task.attachments.len());
    for attachment in &task.attachments {
        attachments.push(Attachment {
            network: attachment
                .network
                .as_str()
                .parse()
                .map_err(|error| refused(&error))?,
            addresses: attachment.addresses.iter().collect(),
        });
    }
    Ok(Endpoint {
        id,
        namespace,
        attachments,
        resolver: ResolverSpec {
            servers: task.spec.container.dns.servers.clone(),
        },
    })
}

#[cfg(test)]
mod tests;
