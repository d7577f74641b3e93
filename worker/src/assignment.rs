//! What the managers assigned to this node: the set, and the rules by which an update may change it.
//!
//! Pure. The session feeds it updates, the disk keeps a copy, `reconcile` reads it. An update that is
//! older than what is held is refused, one that does not follow on asks for the whole set again: the
//! worker never guesses what it missed.

use serde::{Deserialize, Serialize};
use shoal_core::dispatcher::TablesDiff;
use shoal_core::model::{
    Attachment, DesiredState, Labels, PublishedPort, ServiceId, Slot, TaskId, TaskSpec, TaskState,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// One task as this node has to carry it out: the task and the revision it names, in one piece.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssignedTask {
    pub id: TaskId,
    pub service: ServiceId,
    /// As it was when last heard of: it stays when the service is gone.
    pub service_name: String,
    pub stack_name: String,
    pub service_labels: Labels,
    pub slot: Slot,
    pub desired: DesiredState,
    pub spec: TaskSpec,
    pub ports: Vec<PublishedPort>,
    /// Its addresses in its networks; the first network has the way out.
    #[serde(default)]
    pub attachments: Vec<Attachment>,
    /// How long the task stays at `ready` (a restart's delay), counted from when this arrived.
    pub hold: Duration,
    /// How far the managers knew it to be when they sent this.
    pub known: Known,
}

/// An attempt of a task and how far it came: what reports are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Known {
    pub attempt: u32,
    pub state: TaskState,
}

impl AssignedTask {
    /// The task's name as users see it: `web.3`, or `web.<node id>` for a global service.
    pub fn name(&self) -> String {
        match &self.slot {
            Slot::Replica(number) => format!("{}.{number}", self.service_name),
            Slot::Node(node) => format!("{}.{node}", self.service_name),
        }
    }
}

/// Orders everything the managers say: the epoch first, then the Raft index within it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    pub epoch: u64,
    pub index: u64,
}

/// What a manager sends down the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AssignmentUpdate {
    /// Everything, replacing what is held.
    Full {
        at: Position,
        tasks: Vec<AssignedTask>,
        /// Every key.
        tables: TablesDiff,
    },
    /// What changed since `prev`.
    Diff {
        prev: Position,
        at: Position,
        changed: Vec<AssignedTask>,
        removed: Vec<TaskId>,
        tables: TablesDiff,
    },
}

/// Why an update was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpdateRefusal {
    /// A manager that lags behind the one spoken to before; taking it would bring back the past.
    #[error("assignments at {offered:?} are older than {held:?}")]
    Older { held: Position, offered: Position },
    /// Something in between was missed: the session asks for the whole set.
    #[error("assignments follow on {prev:?}, held is {held:?}")]
    Gap { held: Position, prev: Position },
}

/// The tasks assigned to this node and where in the managers' history that was true.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AssignmentSet {
    pub at: Position,
    pub tasks: BTreeMap<TaskId, AssignedTask>,
}

/// What an accepted update touched, for the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    pub put: Vec<TaskId>,
    pub removed: Vec<TaskId>,
}

impl AssignmentUpdate {
    /// What it says of networks, and whether that is everything.
    pub fn take_tables(&mut self) -> (TablesDiff, bool) {
        match self {
            Self::Full { tables, .. } => (std::mem::take(tables), true),
            Self::Diff { tables, .. } => (std::mem::take(tables), false),
        }
    }
}

impl AssignmentSet {
    /// Takes an update, or says why not and changes nothing.
    ///
    /// # Errors
    /// `Older` for an update from before what is held, `Gap` for one that does not follow on it.
    pub fn apply(&mut self, update: AssignmentUpdate) -> Result<Touched, UpdateRefusal> {
        match update {
            AssignmentUpdate::Full { at, tasks, .. } => {
                self.refuse_older(at)?;
                Ok(self.replace(at, tasks))
            }
            AssignmentUpdate::Diff {
                prev,
                at,
                changed,
                removed,
                ..
            } => {
                self.refuse_older(at)?;
                if prev != self.at {
                    return Err(UpdateRefusal::Gap { held: self.at, prev });
                }
                Ok(self.patch(at, changed, removed))
            }
        }
    }

    fn refuse_older(&self, offered: Position) -> Result<(), UpdateRefusal> {
        if offered < self.at {
            Err(UpdateRefusal::Older {
                held: self.at,
                offered,
            })
        } else {
            Ok(())
        }
    }

    fn replace(&mut self, at: Position, tasks: Vec<AssignedTask>) -> Touched {
        let mut next: BTreeMap<_, _> = tasks.into_iter().map(|task| (task.id.clone(), task)).collect();
        for (id, task) in &mut next {
            if let Some(old) = self.tasks.get(id) {
                keep_names(task, old);
            }
        }
        let put = next
            .iter()
            .filter(|(id, task)| self.tasks.get(id) != Some(task))
            .map(|(id, _)| id.clone())
            .collect();
        let removed = self
            .tasks
            .keys()
            .filter(|id| !next.contains_key(id))
            .cloned()
            .collect();
        *self = Self { at, tasks: next };
        Touched { put, removed }
    }

    fn patch(&mut self, at: Position, changed: Vec<AssignedTask>, removed: Vec<TaskId>) -> Touched {
        self.at = at;
        let put = changed.iter().map(|task| task.id.clone()).collect();
        for mut task in changed {
            if let Some(old) = self.tasks.get(&task.id) {
                keep_names(&mut task, old);
            }
            self.tasks.insert(task.id.clone(), task);
        }
        let removed = removed
            .into_iter()
            .filter(|id| self.tasks.remove(id).is_some())
            .collect();
        Touched { put, removed }
    }
}

/// A removed service has no name any more, but its last tasks are still shown by it.
fn keep_names(task: &mut AssignedTask, old: &AssignedTask) {
    if task.service_name.is_empty() {
        task.service_name.clone_from(&old.service_name);
        task.stack_name.clone_from(&old.stack_name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assigned;

    fn at(epoch: u64, index: u64) -> Position {
        Position { epoch, index }
    }

    fn held() -> AssignmentSet {
        let mut set = AssignmentSet::default();
        let first = AssignmentUpdate::Full {
            at: at(1, 10),
            tasks: vec![assigned(1), assigned(2)],
            tables: TablesDiff::default(),
        };
        set.apply(first).unwrap();
        set
    }

    #[test]
    fn a_diff_that_follows_on_is_taken() {
        let mut set = held();
        let touched = set
            .apply(AssignmentUpdate::Diff {
                prev: at(1, 10),
                at: at(1, 12),
                changed: vec![assigned(3)],
                removed: vec![assigned(1).id, assigned(9).id],
                tables: TablesDiff::default(),
            })
            .unwrap();
        assert_eq!(touched.put, vec![assigned(3).id]);
        assert_eq!(
            touched.removed,
            vec![assigned(1).id],
            "an unknown task is no removal"
        );
        assert_eq!(set.at, at(1, 12));
        assert!(set.tasks.contains_key(&assigned(2).id));
    }

    #[test]
    fn a_gap_an_older_index_and_a_foreign_epoch_are_refused_unchanged() {
        let diff = |prev, position| AssignmentUpdate::Diff {
            prev,
            at: position,
            changed: vec![],
            removed: vec![assigned(1).id],
            tables: TablesDiff::default(),
        };
        for (update, expect) in [
            (
                diff(at(1, 11), at(1, 12)),
                UpdateRefusal::Gap {
                    held: at(1, 10),
                    prev: at(1, 11),
                },
            ),
            (
                diff(at(2, 10), at(2, 12)),
                UpdateRefusal::Gap {
                    held: at(1, 10),
                    prev: at(2, 10),
                },
            ),
            (
                diff(at(1, 8), at(1, 9)),
                UpdateRefusal::Older {
                    held: at(1, 10),
                    offered: at(1, 9),
                },
            ),
            (
                AssignmentUpdate::Full {
                    at: at(0, 99),
                    tasks: vec![],
                    tables: TablesDiff::default(),
                },
                UpdateRefusal::Older {
                    held: at(1, 10),
                    offered: at(0, 99),
                },
            ),
        ] {
            let mut set = held();
            assert_eq!(set.apply(update), Err(expect));
            assert_eq!(set, held());
        }
    }

    #[test]
    fn a_full_set_replaces_and_names_only_what_differs() {
        let mut set = held();
        let mut second = assigned(2);
        second.desired = DesiredState::Shutdown;
        let touched = set
            .apply(AssignmentUpdate::Full {
                at: at(1, 10),
                tasks: vec![second.clone(), assigned(3)],
                tables: TablesDiff::default(),
            })
            .unwrap();
        assert_eq!(touched.put.len(), 2);
        assert_eq!(touched.removed, vec![assigned(1).id]);
        let again = set.apply(AssignmentUpdate::Full {
            at: at(2, 1),
            tasks: vec![second, assigned(3)],
            tables: TablesDiff::default(),
        });
        assert_eq!(
            again,
            Ok(Touched::default()),
            "a new epoch with the same tasks touches none"
        );
    }
}
