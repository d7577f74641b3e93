//! The gRPC services of a manager, one file each, all built alike: a struct that holds a driver's handle.
//!
//! Each converts at its border, asks the handle and converts back; none decides anything. Who may call
//! what was checked before a request comes here.

pub mod ca;
pub mod control;
pub mod dispatcher;
#[cfg(test)]
mod tests;
pub mod watch;

use crate::{driver::WriteError, machine::ProposeError};
use shoal_api::{
    convert::{Details, HINT_RETRY, refusal_details, status},
    v1::ErrorCode,
};
use shoal_core::{
    model::{Cluster, ClusterStatus},
    refusal::Refusal,
    store::Object,
};
use std::sync::Arc;
use tonic::Status;

fn refused(refusal: Refusal) -> Status {
    status(refusal_details(refusal))
}

fn write_failed(error: WriteError) -> Status {
    use ErrorCode as E;
    let text = error.to_string();
    let (code, hint) = match error {
        WriteError::Propose(ProposeError::Refused(refusal)) => return refused(refusal),
        WriteError::Propose(ProposeError::NotLeader { .. }) => (E::NotLeader, "ask the leader"),
        WriteError::Propose(ProposeError::OutcomeUnknown) => (
            E::OutcomeUnknown,
            "ask again with the same request id: it is carried out at most once",
        ),
        WriteError::Propose(ProposeError::Busy { .. }) => (E::Busy, HINT_RETRY),
        WriteError::Propose(ProposeError::DiskFull) | WriteError::DiskFull(_) => (
            E::Disk,
            "make room on that disk: the manager goes on by itself, nothing acknowledged is lost",
        ),
        WriteError::Propose(ProposeError::Stopping) | WriteError::Stopped => (E::Unavailable, HINT_RETRY),
    };
    status(Details::of(code, text).with_hint(hint))
}

/// The cluster without what only managers may know: the root's key and the join secrets.
fn public_cluster(cluster: &Cluster) -> Cluster {
    Cluster {
        status: ClusterStatus {
            sealed_root_key: Vec::new(),
            join_tokens: shoal_core::model::JoinTokens::default(),
            ..cluster.status.clone()
        },
        ..cluster.clone()
    }
}

/// An object as clients may see it.
fn public(object: Object) -> Object {
    match object {
        Object::Cluster(cluster) => Object::Cluster(Arc::new(public_cluster(&cluster))),
        Object::Node(_)
        | Object::Service(_)
        | Object::Revision(_)
        | Object::Task(_)
        | Object::Stack(_)
        | Object::Network(_) => object,
    }
}
