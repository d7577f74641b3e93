//! The write side of a view: putting and deleting objects with their indexes, and fencing.
//!
//! Called by `Store::apply` on the applied state and by the machine on its overlay of what is in flight,
//! so that both can never differ. Deterministic; cannot fail.

use super::{
    entry::{Applied, DropReason, ENTRY_VERSION, Entry, Event, EventKind, RequestOutcome},
    object::{Change, Object, ObjectKey},
    view::StoreView,
};
use crate::model::{Meta, RequestId, Service, Task, Version, WallTime};
use std::sync::Arc;

/// How many requests are remembered. A client retries within seconds; this is minutes of user writes.
pub const REQUESTS_KEPT: usize = 4096;

impl StoreView {
    /// Carries out one entry, if its fences hold. `index` and `raft_term` are those of the Raft entry.
    pub fn apply(&mut self, index: u64, raft_term: u64, entry: &Entry) -> Applied {
        if entry.min_version > ENTRY_VERSION {
            return Applied::TooNew {
                min_version: entry.min_version,
            };
        }
        self.header.index = index;
        if let Some(reason) = self.fence(raft_term, entry) {
            return Applied::Dropped(reason);
        }
        self.header.epoch = entry.epoch;
        self.header.last_effective = index;
        self.header.now = self.header.now.max(entry.at);
        let events: Vec<Event> = entry
            .changes
            .iter()
            .filter_map(|change| self.change(index, entry.wall, change))
            .collect();
        self.remember_request(index, entry, &events);
        Applied::Took(events)
    }

    /// Passes a Raft entry that carries no transaction (a leader's empty one, a membership change).
    pub fn skip(&mut self, index: u64) {
        self.header.index = index;
    }

    fn fence(&self, raft_term: u64, entry: &Entry) -> Option<DropReason> {
        if entry.epoch < self.header.epoch {
            Some(DropReason::EpochEnded)
        } else if entry.term != raft_term {
            Some(DropReason::TermDiffers)
        } else if entry.planned_after != self.header.last_effective {
            Some(DropReason::PlannedAfterDiffers)
        } else if entry
            .request
            .as_ref()
            .is_some_and(|request| self.requests.contains_key(request))
        {
            Some(DropReason::RequestSeen)
        } else {
            None
        }
    }

    fn remember_request(&mut self, index: u64, entry: &Entry, events: &[Event]) {
        let Some(request) = entry.request.clone() else {
            return;
        };
        let created = events
            .iter()
            .filter(|event| event.kind == EventKind::Created)
            .map(|event| event.object.key())
            .find(|key| {
                matches!(
                    key,
                    ObjectKey::Service(_) | ObjectKey::Stack(_) | ObjectKey::Node(_) | ObjectKey::Network(_)
                )
            });
        self.insert_request(request, RequestOutcome { index, created });
    }

    pub(super) fn insert_request(&mut self, request: RequestId, outcome: RequestOutcome) {
        self.indexes
            .requests_by_age
            .insert(outcome.index, request.clone());
        self.requests.insert(request, outcome);
        while self.requests.len() > REQUESTS_KEPT {
            let Some((oldest, request)) = self.indexes.requests_by_age.get_min().cloned() else {
                break;
            };
            self.indexes.requests_by_age.remove(&oldest);
            self.requests.remove(&request);
        }
    }

    fn change(&mut self, index: u64, wall: WallTime, change: &Change) -> Option<Event> {
        match change {
            Change::Put(object) => {
                let old = self.get(&object.key());
                let created_at = old.as_ref().map_or(wall, |old| old.meta().created_at);
                let meta = Meta {
                    version: Version(index),
                    created_at,
                    updated_at: wall,
                };
                let object = object.clone().with_meta(meta);
                self.put(object.clone());
                let kind = if old.is_some() {
                    EventKind::Updated
                } else {
                    EventKind::Created
                };
                Some(Event {
                    index,
                    wall,
                    kind,
                    object,
                    old,
                })
            }
            Change::Delete(key) => {
                let object = self.delete(key)?;
                Some(Event {
                    index,
                    wall,
                    kind: EventKind::Removed,
                    object,
                    old: None,
                })
            }
        }
    }

    pub(crate) fn put(&mut self, object: Object) {
        match object {
            Object::Cluster(cluster) => self.cluster = Some(cluster),
            Object::Node(node) => {
                self.nodes.insert(node.id.clone(), node);
            }
            Object::Revision(revision) => {
                self.revisions.insert(revision.key.clone(), revision);
            }
            Object::Service(service) => {
                let old = self.services.insert(service.id.clone(), service.clone());
                self.indexes
                    .numbers
                    .service(&service.id, old.as_deref(), Some(&service));
                if let Some(old) = old {
                    self.unindex_service(&old);
                }
                self.index_service(service);
            }
            Object::Task(task) => {
                let old = self.tasks.insert(task.id.clone(), task.clone());
                self.indexes.numbers.task(&task.id, old.as_deref(), Some(&task));
                match old {
                    // Equal keys are overwritten below; unequal ones would be left behind.
                    Some(old)
                        if old.slot != task.slot || old.node != task.node || old.service != task.service =>
                    {
                        self.unindex_task(&old);
                    }
                    Some(_) | None => {}
                }
                self.index_task(task);
            }
            Object::Network(network) => {
                if let Some(old) = self.networks.insert(network.id.clone(), network.clone()) {
                    let name = (old.spec.name.clone(), old.id.clone());
                    self.indexes.network_names.remove(&name);
                }
                if !network.status.removed {
                    let name = (network.spec.name.clone(), network.id.clone());
                    self.indexes.network_names.insert(name, network);
                }
            }
            Object::Stack(stack) => {
                if let Some(old) = self.stacks.insert(stack.id.clone(), stack.clone()) {
                    self.indexes
                        .stack_names
                        .remove(&(old.spec.name.clone(), old.id.clone()));
                }
                self.indexes
                    .stack_names
                    .insert((stack.spec.name.clone(), stack.id.clone()), stack);
            }
        }
    }

    pub(crate) fn delete(&mut self, key: &ObjectKey) -> Option<Object> {
        match key {
            ObjectKey::Cluster => self.cluster.take().map(Object::Cluster),
            ObjectKey::Node(id) => self.nodes.remove(id).map(Object::Node),
            ObjectKey::Revision(key) => self.revisions.remove(key).map(Object::Revision),
            ObjectKey::Service(id) => {
                let service = self.services.remove(id)?;
                self.indexes.numbers.service(id, Some(&service), None);
                self.unindex_service(&service);
                Some(Object::Service(service))
            }
            ObjectKey::Task(id) => {
                let task = self.tasks.remove(id)?;
                self.indexes.numbers.task(id, Some(&task), None);
                self.unindex_task(&task);
                Some(Object::Task(task))
            }
            ObjectKey::Network(id) => {
                let network = self.networks.remove(id)?;
                let name = (network.spec.name.clone(), network.id.clone());
                self.indexes.network_names.remove(&name);
                Some(Object::Network(network))
            }
            ObjectKey::Stack(id) => {
                let stack = self.stacks.remove(id)?;
                self.indexes
                    .stack_names
                    .remove(&(stack.spec.name.clone(), stack.id.clone()));
                Some(Object::Stack(stack))
            }
        }
    }

    fn index_service(&mut self, service: Arc<Service>) {
        let id = service.id.clone();
        if let Some(stack) = service.stack.clone() {
            self.indexes
                .stack_services
                .insert((stack, id.clone()), service.clone());
        }
        for network in &service.endpoint.networks {
            self.indexes
                .network_services
                .insert((network.network.clone(), id.clone()), service.clone());
        }
        for port in &service.endpoint.ports {
            self.indexes
                .ports
                .insert((port.protocol, port.published, id.clone()));
        }
        self.indexes
            .service_names
            .insert((service.spec.name.clone(), id), service);
    }

    fn unindex_service(&mut self, service: &Service) {
        let id = service.id.clone();
        if let Some(stack) = service.stack.clone() {
            self.indexes.stack_services.remove(&(stack, id.clone()));
        }
        for network in &service.endpoint.networks {
            self.indexes
                .network_services
                .remove(&(network.network.clone(), id.clone()));
        }
        for port in &service.endpoint.ports {
            self.indexes
                .ports
                .remove(&(port.protocol, port.published, id.clone()));
        }
        self.indexes
            .service_names
            .remove(&(service.spec.name.clone(), id));
    }

    fn index_task(&mut self, task: Arc<Task>) {
        if let Some(node) = task.node.clone() {
            self.indexes
                .node_tasks
                .insert((node, task.id.clone()), task.clone());
        }
        let key = (task.service.clone(), task.slot.clone(), task.id.clone());
        self.indexes.slot_tasks.insert(key, task);
    }

    fn unindex_task(&mut self, task: &Task) {
        if let Some(node) = task.node.clone() {
            self.indexes.node_tasks.remove(&(node, task.id.clone()));
        }
        let key = (task.service.clone(), task.slot.clone(), task.id.clone());
        self.indexes.slot_tasks.remove(&key);
    }

    /// The same view with its indexes made anew from its tables.
    #[cfg(test)]
    pub(super) fn reindexed(&self) -> Self {
        let mut fresh = Self {
            header: self.header,
            ..Self::default()
        };
        for object in self.objects() {
            fresh.put(object);
        }
        fresh.requests = self.requests.clone();
        fresh.indexes.requests_by_age = self
            .requests
            .iter()
            .map(|(request, outcome)| (outcome.index, request.clone()))
            .collect();
        fresh
    }
}
