//! Adding, changing and removing nodes.
//!
//! A node's role decides on its membership in Raft, which is not a write of this kind: changing it is
//! refused here.

use super::{
    Response, check_version,
    transaction::{Planned, Transaction},
};
use crate::{
    model::{Node, NodeSpec, NodeState, Version},
    refusal::{Refusal, RefusalCode},
    resolve,
    store::ObjectKey,
    validate,
};

pub(super) fn update(
    tx: &mut Transaction<'_>,
    reference: &str,
    version: Version,
    spec: &NodeSpec,
) -> Planned<Response> {
    let node = resolve::node(tx.base(), reference)?;
    check_version("node", reference, version, node.meta.version)?;
    if let Some(refusal) = Refusal::of_faults(validate::node(spec)) {
        return Err(refusal);
    }
    if spec.role != node.spec.role {
        return Err(
            Refusal::new(RefusalCode::Unsupported, "a node's role cannot be changed yet").with_field("role"),
        );
    }
    let response = Response::Node { id: node.id.clone() };
    if *spec != node.spec {
        tx.put(Node {
            spec: spec.clone(),
            ..Node::clone(node)
        });
    }
    Ok(response)
}

pub(super) fn remove(tx: &mut Transaction<'_>, reference: &str) -> Planned<Response> {
    let node = resolve::node(tx.base(), reference)?;
    let in_use = |message: String, hint: &str| Err(Refusal::new(RefusalCode::InUse, message).with_hint(hint));
    if node.manager.is_some() {
        return in_use(
            format!("node {reference:?} is a manager"),
            "it must stop being one before it can be removed",
        );
    }
    match node.status.state {
        NodeState::Down => {}
        NodeState::Unknown | NodeState::Ready => {
            return in_use(
                format!("node {reference:?} is not down"),
                "stop shoald on it first, so that nothing runs there unseen",
            );
        }
    }
    let id = node.id.clone();
    tx.delete(ObjectKey::Node(id.clone()));
    Ok(Response::Node { id })
}

pub(super) fn add(tx: &mut Transaction<'_>, node: &Node) -> Response {
    if tx.view.node(&node.id).is_none() {
        tx.put(node.clone());
    }
    Response::Node { id: node.id.clone() }
}
