//! A plan being written: the view it is made against with the plan's own changes already in it.
//!
//! Every component reads and writes through it, so that the scheduler sees the task that the orchestrator
//! has just made. Several changes of one object become one. It decides nothing.

use crate::{
    allocator::{Lack, Numbers},
    model::{
        Attachment, IdGen, Network, NetworkId, Node, ResolvedUse, Service, Task, TaskId, Timestamp, WallTime,
    },
    orchestrator::tasks::is_unassigned,
    store::{Change, Object, ObjectKey, StoreView, held_by_task},
};
use std::{collections::BTreeMap, sync::Arc};

/// A task before and after a change; one side is absent where it was created or deleted.
#[derive(Clone, Debug)]
pub(crate) struct Touched {
    pub(crate) old: Option<Arc<Task>>,
    pub(crate) new: Option<Arc<Task>>,
}

#[derive(Debug)]
pub(crate) struct Draft<'a> {
    base: &'a StoreView,
    view: StoreView,
    changes: BTreeMap<ObjectKey, Change>,
    touched: Vec<Touched>,
    numbers: Numbers,
    pub(crate) ids: &'a mut IdGen,
    pub(crate) now: Timestamp,
    pub(crate) wall: WallTime,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(base: &'a StoreView, ids: &'a mut IdGen, now: Timestamp, wall: WallTime) -> Self {
        Self {
            base,
            view: base.clone(),
            changes: BTreeMap::new(),
            touched: Vec::new(),
            numbers: Numbers::default(),
            ids,
            now,
            wall,
        }
    }

    /// The state as the plan so far leaves it.
    pub(crate) fn view(&self) -> &StoreView {
        &self.view
    }

    /// Stores a task; nothing happens if it is stored like that already.
    pub(crate) fn put_task(&mut self, task: Task) {
        let old = self.view.task(&task.id).cloned();
        if old.as_deref() == Some(&task) {
            return;
        }
        let new = Arc::new(task);
        self.put(new.clone().into());
        if let Some(old) = &old
            && held_by_task(&new).is_empty()
        {
            self.give_back(old);
        }
        self.touched.push(Touched { old, new: Some(new) });
    }

    pub(crate) fn delete_task(&mut self, id: &TaskId) {
        let Some(old) = self.view.task(id).cloned() else {
            return;
        };
        self.delete(ObjectKey::Task(id.clone()));
        self.give_back(&old);
        self.touched.push(Touched {
            old: Some(old),
            new: None,
        });
    }

    /// An address in each network, or none at all. They are the task's that is put with them next.
    ///
    /// Networks with a way out come first, since the first of a container's links is its way out; otherwise they stand
    /// as the user named them.
    pub(crate) fn addresses(&mut self, networks: &[ResolvedUse]) -> Result<Vec<Attachment>, Lack> {
        let mut networks: Vec<_> = networks.iter().map(|used| &used.network).collect();
        let internal = |id: &NetworkId| self.view.network(id).is_some_and(|network| network.spec.internal);
        networks.sort_by_cached_key(|id| internal(id));
        self.numbers.give(&self.view, networks.into_iter(), self.now)
    }

    /// When the last address that was given back in a network has rested.
    pub(crate) fn resting_until(&self, network: &Network) -> Option<Timestamp> {
        self.numbers.resting_until(network, self.now)
    }

    /// What a task held is free: after a rest, if any node was told of it.
    fn give_back(&mut self, task: &Task) {
        let held = held_by_task(task);
        if is_unassigned(task) {
            self.numbers.unused(held);
        } else {
            self.numbers.rest(&self.view, held, self.now);
        }
    }

    pub(crate) fn put_service(&mut self, service: Service) {
        if self.view.service(&service.id).map(AsRef::as_ref) != Some(&service) {
            self.put(service.into());
        }
    }

    /// Its addresses rest; its tasks stay to be stopped and forgotten.
    pub(crate) fn delete_service(&mut self, service: &Service) {
        self.numbers.rest(&self.view, &service.endpoint.vips, self.now);
        self.delete(ObjectKey::Service(service.id.clone()));
    }

    pub(crate) fn put_node(&mut self, node: Node) {
        if self.view.node(&node.id).map(AsRef::as_ref) != Some(&node) {
            self.put(node.into());
        }
    }

    pub(crate) fn delete(&mut self, key: ObjectKey) {
        self.view.delete(&key);
        if self.base.get(&key).is_some() {
            self.changes.insert(key.clone(), Change::Delete(key));
        } else {
            // Made and deleted by this plan: nobody need ever hear of it.
            self.changes.remove(&key);
        }
    }

    fn put(&mut self, object: Object) {
        self.view.put(object.clone());
        self.changes.insert(object.key(), Change::Put(object));
    }

    /// The tasks changed since this was last called.
    pub(crate) fn take_touched(&mut self) -> Vec<Touched> {
        std::mem::take(&mut self.touched)
    }

    /// How many changes the plan holds.
    pub(crate) fn len(&self) -> usize {
        self.changes.len()
    }

    /// The finished plan, sorted by kind and id.
    pub(crate) fn finish(mut self) -> Vec<Change> {
        for network in self.numbers.changed(&self.view, self.now) {
            self.put(network.into());
        }
        self.changes.into_values().collect()
    }
}
