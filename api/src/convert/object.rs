//! Objects of any kind, their keys and kinds, events, and places in history.
//!
//! Used by watches on the wire and by entries and snapshots on the disk.

use super::{Malformed, enumerated, optional, parsed, required, same_variants};
use crate::v1;
use shoal_core::{
    dispatcher::Position,
    model::{Cluster, Network, Node, Revision, Service, Stack, Task, WallTime},
    store::{Event, EventKind, Kind, Object, ObjectKey},
};
use std::sync::Arc;

same_variants!(
    Kind,
    v1::Kind,
    Cluster,
    Node,
    Service,
    Revision,
    Task,
    Stack,
    Network
);
same_variants!(EventKind, v1::EventKind, Created, Updated, Removed);

impl From<Position> for v1::Position {
    fn from(position: Position) -> Self {
        Self {
            epoch: position.epoch,
            index: position.index,
        }
    }
}

impl From<v1::Position> for Position {
    fn from(position: v1::Position) -> Self {
        Self {
            epoch: position.epoch,
            index: position.index,
        }
    }
}

impl From<Object> for v1::Object {
    fn from(object: Object) -> Self {
        use v1::object::Object as Wire;
        let wire = match object {
            Object::Cluster(it) => Wire::Cluster(Arc::unwrap_or_clone(it).into()),
            Object::Node(it) => Wire::Node(Arc::unwrap_or_clone(it).into()),
            Object::Service(it) => Wire::Service(Arc::unwrap_or_clone(it).into()),
            Object::Revision(it) => Wire::Revision(Arc::unwrap_or_clone(it).into()),
            Object::Task(it) => Wire::Task(Arc::unwrap_or_clone(it).into()),
            Object::Stack(it) => Wire::Stack(Arc::unwrap_or_clone(it).into()),
            Object::Network(it) => Wire::Network(Arc::unwrap_or_clone(it).into()),
        };
        Self { object: Some(wire) }
    }
}

impl TryFrom<v1::Object> for Object {
    type Error = Malformed;

    fn try_from(object: v1::Object) -> Result<Self, Malformed> {
        use v1::object::Object as Wire;
        match object.object {
            Some(Wire::Cluster(it)) => Cluster::try_from(it)
                .map(Self::from)
                .map_err(|e| e.within("cluster")),
            Some(Wire::Node(it)) => Node::try_from(it).map(Self::from).map_err(|e| e.within("node")),
            Some(Wire::Service(it)) => Service::try_from(it)
                .map(Self::from)
                .map_err(|e| e.within("service")),
            Some(Wire::Revision(it)) => Revision::try_from(it)
                .map(Self::from)
                .map_err(|e| e.within("revision")),
            Some(Wire::Task(it)) => Task::try_from(it).map(Self::from).map_err(|e| e.within("task")),
            Some(Wire::Stack(it)) => Stack::try_from(it).map(Self::from).map_err(|e| e.within("stack")),
            Some(Wire::Network(it)) => Network::try_from(it)
                .map(Self::from)
                .map_err(|e| e.within("network")),
            None => Err(Malformed::new("object", "is of a kind not known here")),
        }
    }
}

impl From<ObjectKey> for v1::ObjectKey {
    fn from(key: ObjectKey) -> Self {
        use v1::object_key::Key;
        let key = match key {
            ObjectKey::Cluster => Key::Cluster(v1::ClusterKey {}),
            ObjectKey::Node(id) => Key::Node(id.to_string()),
            ObjectKey::Service(id) => Key::Service(id.to_string()),
            ObjectKey::Revision(key) => Key::Revision(key.into()),
            ObjectKey::Task(id) => Key::Task(id.to_string()),
            ObjectKey::Stack(id) => Key::Stack(id.to_string()),
            ObjectKey::Network(id) => Key::Network(id.to_string()),
        };
        Self { key: Some(key) }
    }
}

impl TryFrom<v1::ObjectKey> for ObjectKey {
    type Error = Malformed;

    fn try_from(key: v1::ObjectKey) -> Result<Self, Malformed> {
        use v1::object_key::Key;
        match key.key {
            Some(Key::Cluster(_)) => Ok(Self::Cluster),
            Some(Key::Node(id)) => Ok(Self::Node(parsed(&id, "node")?)),
            Some(Key::Service(id)) => Ok(Self::Service(parsed(&id, "service")?)),
            Some(Key::Revision(key)) => Ok(Self::Revision(required(Some(key), "revision")?)),
            Some(Key::Task(id)) => Ok(Self::Task(parsed(&id, "task")?)),
            Some(Key::Stack(id)) => Ok(Self::Stack(parsed(&id, "stack")?)),
            Some(Key::Network(id)) => Ok(Self::Network(parsed(&id, "network")?)),
            None => Err(Malformed::new("key", "is of a kind not known here")),
        }
    }
}

impl From<Event> for v1::Event {
    fn from(event: Event) -> Self {
        Self {
            kind: v1::EventKind::from(event.kind).into(),
            object: Some(event.object.into()),
            old: event.old.map(Into::into),
        }
    }
}

/// The events of one batch, with the index and time that the batch carries.
pub fn events_from_wire(batch: v1::EventBatch) -> Result<Vec<Event>, Malformed> {
    let index = batch.position.unwrap_or_default().index;
    let core = |event: v1::Event| -> Result<Event, Malformed> {
        Ok(Event {
            index,
            wall: WallTime(batch.wall),
            kind: enumerated::<v1::EventKind, _>(event.kind, "kind")?,
            object: required(event.object, "object")?,
            old: optional(event.old, "old")?,
        })
    };
    batch.events.into_iter().map(core).collect()
}
