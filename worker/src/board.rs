//! The board: the latest report of every task of this node, and which of them the managers have not heard.
//!
//! Keepers post, the session collects, the local verbs read. One report a task, so it is bounded by the
//! assignments; what was sent counts as unheard again until the managers answered that it is durable.

use crate::assignment::{AssignedTask, AssignmentSet, Known};
use crate::health::Verdict;
use crate::task::Report;
use shoal_agent_runtime::ContainerId;
use shoal_core::model::{TaskId, WallTime};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Reports in one message: a few hundred bytes each, well below the message limit.
const BATCH: usize = 500;

/// What is known of one task.
#[derive(Clone, Debug)]
pub struct Posted {
    pub task: Arc<AssignedTask>,
    pub container: ContainerId,
    pub report: Report,
    /// When the state was reached.
    pub wall: WallTime,
    /// When it was posted running for the first time in its attempt.
    pub health: Option<Verdict>,
}

#[derive(Debug, Default)]
struct State {
    tasks: BTreeMap<TaskId, Posted>,
    unheard: BTreeSet<TaskId>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Board {
    state: Mutex<State>,
    news: Notify,
}

impl Board {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change below is complete in itself, so a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Posts a report; wakes the session if it says anything new.
    pub fn post(&self, posted: Posted) {
        let mut state = self.state();
        let id = posted.task.id.clone();
        let said = state.tasks.get(&id).map(|old| &old.report) == Some(&posted.report);
        state.tasks.insert(id.clone(), posted);
        if !said {
            state.unheard.insert(id);
            drop(state);
            self.news.notify_one();
        }
    }

    /// Takes a task off the board.
    pub fn forget(&self, id: &TaskId) {
        let mut state = self.state();
        state.tasks.remove(id);
        state.unheard.remove(id);
    }

    /// Everything, by task.
    pub fn all(&self) -> Vec<Posted> {
        self.state().tasks.values().cloned().collect()
    }

    /// One task.
    pub fn get(&self, id: &TaskId) -> Option<Posted> {
        self.state().tasks.get(id).cloned()
    }

    /// Takes a batch of what the managers have not heard; empty if there is nothing.
    pub fn take_unheard(&self) -> Vec<(TaskId, Posted)> {
        let mut state = self.state();
        let ids: Vec<TaskId> = state.unheard.iter().take(BATCH).cloned().collect();
        ids.into_iter()
            .filter_map(|id| {
                state.unheard.remove(&id);
                let posted = state.tasks.get(&id)?.clone();
                Some((id, posted))
            })
            .collect()
    }

    /// Waits until something was posted.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// What was sent did not become durable: it is to be said again.
    pub fn unsay(&self, ids: impl IntoIterator<Item = TaskId>) {
        let mut state = self.state();
        for id in ids {
            if state.tasks.contains_key(&id) {
                state.unheard.insert(id);
            }
        }
        drop(state);
        self.news.notify_one();
    }

    /// The managers sent everything they know: what they lag behind in is said again.
    pub fn compare(&self, set: &AssignmentSet) {
        let mut state = self.state();
        let behind: Vec<TaskId> = state
            .tasks
            .iter()
            .filter(|(id, posted)| {
                let own = Known {
                    attempt: posted.report.attempt,
                    state: posted.report.state,
                };
                set.tasks.get(*id).is_some_and(|task| task.known < own)
            })
            .map(|(id, _)| id.clone())
            .collect();
        state.unheard.extend(behind);
        drop(state);
        self.news.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{name::container_of, task::Origin, testing::assigned};

    fn posted(number: u32, message: &str) -> Posted {
        let task = assigned(number);
        Posted {
            container: container_of(&task.id, 0).unwrap(),
            report: Report {
                message: message.to_owned(),
                ..Report::new(&Origin::Fresh)
            },
            task: Arc::new(task),
            wall: WallTime(0),
            health: None,
        }
    }

    #[test]
    fn only_the_latest_is_said_and_again_if_it_was_lost() {
        let board = Board::default();
        board.post(posted(1, "a"));
        board.post(posted(1, "b"));
        board.post(posted(2, "c"));
        let batch = board.take_unheard();
        assert_eq!(batch.len(), 2);
        assert!(batch.iter().any(|(_, posted)| posted.report.message == "b"));
        board.post(posted(1, "b"));
        assert!(board.take_unheard().is_empty(), "nothing new was posted");
        board.unsay([assigned(1).id, assigned(9).id]);
        assert_eq!(board.take_unheard().len(), 1);
        board.forget(&assigned(1).id);
        assert!(board.get(&assigned(1).id).is_none());
        let set = AssignmentSet {
            tasks: BTreeMap::from([(assigned(2).id, assigned(2))]),
            ..AssignmentSet::default()
        };
        board.compare(&set);
        assert_eq!(
            board.take_unheard().len(),
            1,
            "the managers know less than was posted"
        );
    }
}
