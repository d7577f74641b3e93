//! Global services: one slot on every node that fits.
//!
//! A task of a global service is born with its node; the scheduler only checks that it fits there now.

use crate::{
    constraint,
    model::{Availability, Mode, NodeId, NodeState, Service, ServiceId, Slot},
    store::StoreView,
};

/// Shall the service have a task on this node? A paused node takes none that it does not have.
pub(crate) fn wants(view: &StoreView, service: &Service, node: &NodeId) -> bool {
    let Some(node) = view.node(node) else {
        return false;
    };
    let open = matches!(
        (node.status.state, node.spec.availability),
        (NodeState::Ready, Availability::Active)
    );
    open && constraint::parse_all(&service.spec.task.placement.constraints)
        .iter()
        .all(|constraint| constraint.matches(node))
}

/// Every slot that the service has or may want.
pub(crate) fn slots(view: &StoreView, service: &ServiceId) -> Vec<Slot> {
    let mut slots: Vec<Slot> = view.nodes().map(|node| Slot::Node(node.id.clone())).collect();
    slots.extend(view.tasks_of_service(service).map(|task| task.slot.clone()));
    slots.sort();
    slots.dedup();
    slots
}

pub(crate) fn is_global(service: &Service) -> bool {
    matches!(service.spec.mode, Mode::Global)
}
