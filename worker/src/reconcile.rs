//! Desired against observed: what the worker has to begin, steer, give up and sweep away.
//!
//! Pure. Called after every change of the assignments, and with the runtime's containers when all that was
//! assigned is known for certain; only then is a container without a task an orphan.

use crate::assignment::AssignedTask;
use crate::name::{container_of, task_of};
use shoal_agent_runtime::ContainerId;
use shoal_core::model::{DesiredState, TaskId};
use std::collections::BTreeMap;
use std::time::Duration;

/// A task that has a keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    pub desired: DesiredState,
    pub hold: Duration,
    pub attempt: u32,
    /// It is being given up.
    pub leaving: bool,
}

/// What the worker sees.
#[derive(Debug)]
pub struct Observed<'a> {
    pub kept: &'a BTreeMap<TaskId, Kept>,
    /// The containers of this node; absent while an orphan could not be told from a task not yet heard of.
    pub containers: Option<&'a [ContainerId]>,
}

/// One thing to do; each may be done twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Give the task a keeper.
    Take(TaskId),
    /// Tell its keeper what is wanted now.
    Steer(TaskId, DesiredState, Duration),
    /// It is no longer assigned: stop it, remove its container, forget it.
    Leave(TaskId),
    /// Remove a container that belongs to no task.
    Sweep(ContainerId),
}

/// What brings the observed to the desired.
pub fn reconcile(desired: &BTreeMap<TaskId, AssignedTask>, observed: &Observed<'_>) -> Vec<Action> {
    let wanted = desired
        .iter()
        .filter_map(|(id, task)| match observed.kept.get(id) {
            None => Some(Action::Take(id.clone())),
            // It comes back when its keeper is gone.
            Some(kept) if kept.leaving => None,
            Some(kept) if kept.desired < task.desired || kept.hold != task.hold => {
                Some(Action::Steer(id.clone(), task.desired, task.hold))
            }
            Some(_) => None,
        });
    let left = observed
        .kept
        .iter()
        .filter(|(id, kept)| !kept.leaving && !desired.contains_key(id))
        .map(|(id, _)| Action::Leave(id.clone()));
    let orphans = observed
        .containers
        .unwrap_or_default()
        .iter()
        .filter(|container| is_orphan(container, desired, observed.kept))
        .map(|container| Action::Sweep((*container).clone()));
    wanted.chain(left).chain(orphans).collect()
}

fn is_orphan(
    container: &ContainerId,
    desired: &BTreeMap<TaskId, AssignedTask>,
    kept: &BTreeMap<TaskId, Kept>,
) -> bool {
    let Some((task, attempt)) = task_of(container) else {
        return true;
    };
    match kept.get(&task) {
        // An earlier attempt's container is nobody's; a later one cannot be.
        Some(kept) => {
            container_of(&task, kept.attempt).as_ref() != Some(container) && attempt <= kept.attempt
        }
        None => !desired.contains_key(&task),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assigned;

    fn kept(desired: DesiredState) -> Kept {
        Kept {
            desired,
            hold: Duration::ZERO,
            attempt: 1,
            leaving: false,
        }
    }

    fn desired(tasks: &[AssignedTask]) -> BTreeMap<TaskId, AssignedTask> {
        tasks.iter().map(|task| (task.id.clone(), task.clone())).collect()
    }

    #[test]
    fn tasks_are_taken_steered_forwards_and_left() {
        let mut stopped = assigned(2);
        stopped.desired = DesiredState::Shutdown;
        let set = desired(&[assigned(1), stopped.clone(), assigned(4)]);
        let mut observed = BTreeMap::from([
            (assigned(2).id, kept(DesiredState::Running)),
            (assigned(3).id, kept(DesiredState::Running)),
            (assigned(4).id, kept(DesiredState::Shutdown)),
        ]);
        let mut actions = reconcile(
            &set,
            &Observed {
                kept: &observed,
                containers: None,
            },
        );
        actions.sort_by_key(|action| format!("{action:?}"));
        assert_eq!(
            actions,
            [
                Action::Leave(assigned(3).id),
                Action::Steer(stopped.id, DesiredState::Shutdown, Duration::ZERO),
                Action::Take(assigned(1).id),
            ]
        );
        for kept in observed.values_mut() {
            kept.leaving = true;
        }
        let again = reconcile(
            &set,
            &Observed {
                kept: &observed,
                containers: None,
            },
        );
        assert_eq!(again, [Action::Take(assigned(1).id)]);
    }

    #[test]
    fn a_container_is_an_orphan_only_when_all_tasks_are_known() {
        let of = |number, attempt| container_of(&assigned(number).id, attempt).unwrap();
        let strange: ContainerId = "ab".repeat(32).parse().unwrap();
        let containers = [of(1, 0), of(1, 1), of(2, 0), of(3, 0), strange.clone()];
        let set = desired(&[assigned(1), assigned(2)]);
        let kept = BTreeMap::from([(assigned(1).id, kept(DesiredState::Running))]);
        let sweeps = |containers| {
            let mut actions = reconcile(
                &set,
                &Observed {
                    kept: &kept,
                    containers,
                },
            );
            actions.retain(|action| matches!(action, Action::Sweep(_)));
            actions
        };
        assert_eq!(sweeps(None), []);
        assert_eq!(
            sweeps(Some(&containers)),
            [
                Action::Sweep(of(1, 0)),
                Action::Sweep(of(3, 0)),
                Action::Sweep(strange)
            ]
        );
    }
}
