//! A run of events as the sessions see them: what each object was before the first of them.
//!
//! With the view after the last one, that is all it takes to say what a node must hear, whoever it is.

use crate::{
    model::{Network, NetworkId, Service, ServiceId, Task, TaskId},
    store::{Event, EventKind, Object, StoreView},
};
use std::{collections::BTreeMap, sync::Arc};

#[derive(Debug, Default)]
pub(super) struct Batch {
    tasks: BTreeMap<TaskId, Option<Arc<Task>>>,
    services: BTreeMap<ServiceId, Option<Arc<Service>>>,
    networks: BTreeMap<NetworkId, Option<Arc<Network>>>,
    /// The pools are others: the cluster was made, which a member that is behind hears of with sessions open, or was
    /// brought up from a version that had none.
    pub(super) pools: bool,
}

impl Batch {
    pub(super) fn of(events: &[Event]) -> Self {
        let mut batch = Self::default();
        for event in events {
            // One that was removed is shown as it was; one that was created was not there.
            let before = match event.kind {
                EventKind::Removed => Some(&event.object),
                EventKind::Created | EventKind::Updated => event.old.as_ref(),
            };
            match &event.object {
                Object::Task(task) => {
                    let before = before.and_then(|object| match object {
                        Object::Task(task) => Some(task.clone()),
                        _ => None,
                    });
                    batch.tasks.entry(task.id.clone()).or_insert(before);
                }
                Object::Service(service) => {
                    let before = before.and_then(|object| match object {
                        Object::Service(service) => Some(service.clone()),
                        _ => None,
                    });
                    batch.services.entry(service.id.clone()).or_insert(before);
                }
                Object::Network(network) => {
                    let before = before.and_then(|object| match object {
                        Object::Network(network) => Some(network.clone()),
                        _ => None,
                    });
                    batch.networks.entry(network.id.clone()).or_insert(before);
                }
                Object::Cluster(cluster) => {
                    batch.pools |= !matches!(before, Some(Object::Cluster(before)) if before.spec.pools == cluster.spec.pools);
                }
                Object::Node(_) | Object::Revision(_) | Object::Stack(_) => {}
            }
        }
        batch
    }

    /// The tasks that changed, as they were.
    pub(super) fn tasks(&self) -> impl Iterator<Item = (&TaskId, Option<&Task>)> {
        self.tasks.iter().map(|(id, before)| (id, before.as_deref()))
    }

    pub(super) fn services(&self) -> impl Iterator<Item = (&ServiceId, Option<&Service>)> {
        self.services.iter().map(|(id, before)| (id, before.as_deref()))
    }

    pub(super) fn networks(&self) -> impl Iterator<Item = (&NetworkId, Option<&Network>)> {
        self.networks.iter().map(|(id, before)| (id, before.as_deref()))
    }

    /// A task as it was before the events.
    pub(super) fn task<'a>(&'a self, view: &'a StoreView, id: &TaskId) -> Option<&'a Task> {
        match self.tasks.get(id) {
            Some(before) => before.as_deref(),
            None => view.task(id).map(AsRef::as_ref),
        }
    }

    pub(super) fn service<'a>(&'a self, view: &'a StoreView, id: &ServiceId) -> Option<&'a Service> {
        match self.services.get(id) {
            Some(before) => before.as_deref(),
            None => view.service(id).map(AsRef::as_ref),
        }
    }

    pub(super) fn network<'a>(&'a self, view: &'a StoreView, id: &NetworkId) -> Option<&'a Network> {
        match self.networks.get(id) {
            Some(before) => before.as_deref(),
            None => view.network(id).map(AsRef::as_ref),
        }
    }
}
