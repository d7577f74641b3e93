//! Adding, changing and removing nodes.
//!
//! A node's role decides on its membership in Raft, which is not a write of this kind: changing it is
//! refused here.

use super::{Response, check_version};
use crate::{
    model::{Node, NodeSpec, NodeState, Version},
    refusal::{Refusal, RefusalCode},
    resolve,
    store::{Change, ObjectKey, StoreView},
    validate,
};

type Planned = Result<(Vec<Change>, Response), Refusal>;

pub(super) fn update(view: &StoreView, reference: &str, version: Version, spec: &NodeSpec) -> Planned {
    let node = resolve::node(view, reference)?;
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
    if *spec == node.spec {
        return Ok((Vec::new(), response));
    }
    let next = Node {
        spec: spec.clone(),
        ..Node::clone(node)
    };
    Ok((vec![next.into()], response))
}

pub(super) fn remove(view: &StoreView, reference: &str) -> Planned {
    let node = resolve::node(view, reference)?;
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
    Ok((
        vec![Change::Delete(ObjectKey::Node(id.clone()))],
        Response::Node { id },
    ))
}

pub(super) fn add(view: &StoreView, node: &Node) -> Planned {
    let response = Response::Node { id: node.id.clone() };
    if view.node(&node.id).is_some() {
        return Ok((Vec::new(), response));
    }
    Ok((vec![node.clone().into()], response))
}
