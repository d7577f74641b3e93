//! Clients that have attached to tasks, for the tasks that are not started before one has.
//!
//! Streams say who came, keepers watch, the supervisor forgets. Bounded by the tasks of the node.

use shoal_core::model::TaskId;
use std::collections::BTreeSet;
use tokio::sync::watch;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    came: watch::Sender<BTreeSet<TaskId>>,
}

impl Clients {
    /// A client is at the task's streams: nothing that it writes is missed any more.
    pub(crate) fn came(&self, task: &TaskId) {
        self.came.send_if_modified(|came| came.insert(task.clone()));
    }

    pub(crate) fn forget(&self, task: &TaskId) {
        // Nobody waits for that.
        self.came.send_if_modified(|came| {
            came.remove(task);
            false
        });
    }

    pub(crate) fn watch(&self) -> watch::Receiver<BTreeSet<TaskId>> {
        self.came.subscribe()
    }
}
