//! What the store holds: one enum over the nouns, their keys, and changes to them.
//!
//! A change puts or deletes a whole object, nothing finer. Planners make changes, `apply` carries them
//! out; nobody else builds an `Object` but the codec that reads entries and snapshots.

use crate::model::{
    Cluster, Meta, Network, NetworkId, Node, NodeId, Revision, RevisionKey, Service, ServiceId, Stack,
    StackId, Task, TaskId,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A stored object of any kind. Cloning shares it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Object {
    Cluster(Arc<Cluster>),
    Node(Arc<Node>),
    Service(Arc<Service>),
    Revision(Arc<Revision>),
    Task(Arc<Task>),
    Stack(Arc<Stack>),
    Network(Arc<Network>),
}

/// Names an object of any kind; there is one cluster, so that it needs no name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ObjectKey {
    Cluster,
    Node(NodeId),
    Service(ServiceId),
    Revision(RevisionKey),
    Task(TaskId),
    Stack(StackId),
    Network(NetworkId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    Cluster,
    Node,
    Service,
    Revision,
    Task,
    Stack,
    Network,
}

/// One step of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Creates or replaces. The object's `meta` is ignored: `apply` sets it.
    Put(Object),
    /// Removes; nothing happens if it is not there.
    Delete(ObjectKey),
}

impl Object {
    pub fn key(&self) -> ObjectKey {
        match self {
            Self::Cluster(_) => ObjectKey::Cluster,
            Self::Node(node) => ObjectKey::Node(node.id.clone()),
            Self::Service(service) => ObjectKey::Service(service.id.clone()),
            Self::Revision(revision) => ObjectKey::Revision(revision.key.clone()),
            Self::Task(task) => ObjectKey::Task(task.id.clone()),
            Self::Stack(stack) => ObjectKey::Stack(stack.id.clone()),
            Self::Network(network) => ObjectKey::Network(network.id.clone()),
        }
    }

    pub fn kind(&self) -> Kind {
        match self {
            Self::Cluster(_) => Kind::Cluster,
            Self::Node(_) => Kind::Node,
            Self::Service(_) => Kind::Service,
            Self::Revision(_) => Kind::Revision,
            Self::Task(_) => Kind::Task,
            Self::Stack(_) => Kind::Stack,
            Self::Network(_) => Kind::Network,
        }
    }

    pub fn meta(&self) -> Meta {
        match self {
            Self::Cluster(cluster) => cluster.meta,
            Self::Node(node) => node.meta,
            Self::Service(service) => service.meta,
            Self::Revision(revision) => revision.meta,
            Self::Task(task) => task.meta,
            Self::Stack(stack) => stack.meta,
            Self::Network(network) => network.meta,
        }
    }

    /// The same object with another `meta`; copies it only if it is shared.
    #[must_use]
    pub fn with_meta(mut self, meta: Meta) -> Self {
        match &mut self {
            Self::Cluster(cluster) => Arc::make_mut(cluster).meta = meta,
            Self::Node(node) => Arc::make_mut(node).meta = meta,
            Self::Service(service) => Arc::make_mut(service).meta = meta,
            Self::Revision(revision) => Arc::make_mut(revision).meta = meta,
            Self::Task(task) => Arc::make_mut(task).meta = meta,
            Self::Stack(stack) => Arc::make_mut(stack).meta = meta,
            Self::Network(network) => Arc::make_mut(network).meta = meta,
        }
        self
    }
}

impl ObjectKey {
    pub fn kind(&self) -> Kind {
        match self {
            Self::Cluster => Kind::Cluster,
            Self::Node(_) => Kind::Node,
            Self::Service(_) => Kind::Service,
            Self::Revision(_) => Kind::Revision,
            Self::Task(_) => Kind::Task,
            Self::Stack(_) => Kind::Stack,
            Self::Network(_) => Kind::Network,
        }
    }
}

impl Change {
    pub fn key(&self) -> ObjectKey {
        match self {
            Self::Put(object) => object.key(),
            Self::Delete(key) => key.clone(),
        }
    }
}

macro_rules! object_from {
    ($($noun:ident),*) => {$(
        impl From<$noun> for Object {
            fn from(noun: $noun) -> Self {
                Self::$noun(Arc::new(noun))
            }
        }

        impl From<Arc<$noun>> for Object {
            fn from(noun: Arc<$noun>) -> Self {
                Self::$noun(noun)
            }
        }

        impl From<$noun> for Change {
            fn from(noun: $noun) -> Self {
                Self::Put(noun.into())
            }
        }
    )*};
}

object_from!(Cluster, Node, Service, Revision, Task, Stack, Network);
