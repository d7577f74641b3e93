//! What tasks of one revision ask of a node, read once for all of them. Made by the scheduler for each
//! group, and by `explain`; it compares nothing.

use crate::{
    constraint::{self, Constraint},
    model::{Platform, PortMode, Preference, PublishedPort, Resources, Revision, RevisionKey},
};

#[derive(Clone, Debug)]
pub(crate) struct Demand {
    pub(crate) key: RevisionKey,
    pub(crate) resources: Resources,
    pub(crate) constraints: Vec<Constraint>,
    pub(crate) platforms: Vec<Platform>,
    /// Published on the node itself.
    pub(crate) ports: Vec<PublishedPort>,
    /// 0 is no limit.
    pub(crate) max_replicas: u32,
    pub(crate) preferences: Vec<Preference>,
}

impl Demand {
    pub(crate) fn of(revision: &Revision) -> Self {
        let placement = &revision.task.placement;
        Self {
            key: revision.key.clone(),
            resources: revision.task.reservations,
            constraints: constraint::parse_all(&placement.constraints),
            platforms: placement.platforms.clone(),
            ports: host_ports(revision).collect(),
            max_replicas: placement.max_replicas_per_node,
            preferences: placement.preferences.clone(),
        }
    }
}

pub(super) fn host_ports(revision: &Revision) -> impl Iterator<Item = PublishedPort> {
    revision
        .ports
        .iter()
        .filter(|port| port.mode == PortMode::Host && port.published != 0)
        .copied()
}
