//! What a task leaves behind: forgotten in order, and after a crash in the midst of that, all the same.
//!
//! Called by the supervisor. A report whose task is not assigned any more, a log that nobody noted, and a container of
//! no task are what such a crash leaves.

use super::Supervisor;
use crate::clock;
use crate::crash;
use crate::keeper::chain;
use crate::name::{container_of, task_of};
use crate::runtime::TaskRuntime;
use shoal_agent_runtime::ContainerId;
use shoal_core::model::TaskId;
use std::sync::Arc;

impl<R: TaskRuntime> Supervisor<R> {
    /// A task is gone: its report goes, and its logs begin to age.
    pub(super) async fn retire(&mut self, id: &TaskId) {
        let posted = self.shared.board.get(id);
        let attempt = posted.map_or(0, |posted| posted.report.attempt);
        let containers = containers_of(id, attempt);
        let now = clock::wall();
        if let Err(error) = self.shared.disk.retire(id, &containers, now).await {
            tracing::warn!(task = %id, error = %chain(&error), "a task's end is not on disk");
        }
        crash::reached("worker.forget.2-on-disk");
        self.logs
            .extend(containers.into_iter().map(|container| (container, now)));
        self.shared.board.forget(id);
        self.shared.network.forget(id);
        self.shared.clients.forget(id);
        self.entries.remove(id);
        crash::reached("worker.forget.3-off-the-board");
    }

    /// Reports on disk of tasks that are not: their assignments went, and then the daemon did. Assignments are on disk
    /// before the first report of them, so these are never of a task that is yet to come.
    pub(super) async fn retire_unassigned(&mut self) {
        let assigned = &self.set.tasks;
        let unassigned = self.reports.iter().filter(|(id, _)| !assigned.contains_key(*id));
        let unassigned: Vec<_> = unassigned
            .map(|(id, report)| (id.clone(), report.attempt))
            .collect();
        for (id, attempt) in unassigned {
            tracing::debug!(task = %id, "forgetting a task that is not assigned any more");
            self.reports.remove(&id);
            let containers = containers_of(&id, attempt);
            let now = clock::wall();
            if let Err(error) = self.shared.disk.retire(&id, &containers, now).await {
                tracing::warn!(task = %id, error = %chain(&error), "a task's end is not on disk");
            }
            for container in &containers {
                // Those that are there are swept once everything that is assigned is known.
                if !self.found.contains_key(container) {
                    self.remove(container.clone());
                }
            }
            self.logs
                .extend(containers.into_iter().map(|container| (container, now)));
        }
    }

    /// Logs that belong to no task and are not ageing yet begin to. Only once everything that is assigned is known.
    pub(super) async fn note_stray_logs(&mut self) {
        let logged = self.shared.runtime.logged().await;
        let strays: Vec<ContainerId> = logged
            .into_iter()
            .filter(|container| !self.logs.contains_key(container) && !self.is_known(container))
            .collect();
        if strays.is_empty() {
            return;
        }
        let now = clock::wall();
        if let Err(error) = self.shared.disk.note_logs(&strays, now).await {
            tracing::warn!(error = %chain(&error), "logs of no task are not noted on disk");
        }
        self.logs
            .extend(strays.into_iter().map(|container| (container, now)));
    }

    fn is_known(&self, container: &ContainerId) -> bool {
        task_of(container)
            .is_some_and(|(task, _)| self.set.tasks.contains_key(&task) || self.entries.contains_key(&task))
    }

    pub(super) fn remove_orphan(&self, container: ContainerId) {
        tracing::info!(%container, "removing a container of no task");
        self.remove(container);
    }

    /// Its anonymous volumes too, whether it is there or not.
    fn remove(&self, container: ContainerId) {
        let runtime = Arc::clone(&self.shared.runtime);
        tokio::spawn(async move {
            if let Err(failure) = runtime.remove(&container, None).await {
                tracing::warn!(%container, reason = failure.message, "a container of no task stays");
            }
        });
    }
}

fn containers_of(task: &TaskId, attempt: u32) -> Vec<ContainerId> {
    (0..=attempt)
        .filter_map(|attempt| container_of(task, attempt))
        .collect()
}
