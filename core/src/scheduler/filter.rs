//! The filters of the scheduler, and how a refusal is told.
//!
//! They stand in the order in which a user would think of them: a node of the wrong kind is refused for
//! that, before anybody asks what room it has. The code of a group that found no node is that of the
//! last filter any node came to: what was nearest to success.

use super::{Demand, table::Entry};
use crate::{
    constraint::normal_arch,
    model::{CpuNanos, NodeId, Platform, Resources, WaitCode},
};
use std::collections::{BTreeMap, BTreeSet};

/// In the order of their application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Filter {
    Ready,
    Platform,
    Constraint,
    Resources,
    HostPort,
    MaxReplicas,
}

/// May a task with this demand go to the node now?
pub(crate) fn check(entry: &Entry, demand: &Demand) -> Result<(), Filter> {
    let node = &entry.node;
    if !entry.is_open() {
        return Err(Filter::Ready);
    }
    let platform = node.description.as_ref().map(|described| &described.platform);
    if !demand.platforms.is_empty() && !demand.platforms.iter().any(|p| runs(platform, p)) {
        return Err(Filter::Platform);
    }
    if !demand
        .constraints
        .iter()
        .all(|constraint| constraint.matches(node))
    {
        return Err(Filter::Constraint);
    }
    if demand.resources.cpu > entry.free.cpu || demand.resources.memory > entry.free.memory {
        return Err(Filter::Resources);
    }
    if demand.ports.iter().any(|port| entry.has_port(port)) {
        return Err(Filter::HostPort);
    }
    if demand.max_replicas != 0 && entry.tasks_of(&demand.key.service) >= demand.max_replicas {
        return Err(Filter::MaxReplicas);
    }
    Ok(())
}

/// An image without an architecture or a system runs on any, as in Swarm.
fn runs(node: Option<&Platform>, image: &Platform) -> bool {
    let same = |found: &str, wanted: &str| wanted.is_empty() || found.eq_ignore_ascii_case(wanted);
    node.is_some_and(|node| {
        same(&node.os, &image.os) && same(normal_arch(&node.arch), normal_arch(&image.arch))
    })
}

/// How many nodes each filter refused, and which came furthest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refused {
    nodes: BTreeMap<Filter, usize>,
    nearest: BTreeSet<NodeId>,
}

impl Refused {
    pub(crate) fn add(&mut self, filter: Filter, node: &NodeId) {
        let furthest = self.furthest();
        if furthest < Some(filter) {
            self.nearest.clear();
        }
        if furthest <= Some(filter) {
            self.nearest.insert(node.clone());
        }
        *self.nodes.entry(filter).or_default() += 1;
    }

    /// Adds nodes that are not open.
    pub(crate) fn add_closed(&mut self, count: usize) {
        if count > 0 {
            *self.nodes.entry(Filter::Ready).or_default() += count;
        }
    }

    /// The last filter that any node came to.
    fn furthest(&self) -> Option<Filter> {
        self.nodes.last_key_value().map(|(filter, _)| *filter)
    }

    /// A node is now refused by `filter`, or gone. Does that change what is nearest to success?
    pub(crate) fn moves(&mut self, node: &NodeId, filter: Option<Filter>) -> bool {
        let furthest = self.furthest();
        if filter > furthest {
            return true;
        }
        if filter == furthest {
            self.nearest.insert(node.clone());
            return false;
        }
        self.nearest.remove(node) && self.nearest.is_empty()
    }

    pub(crate) fn code(&self) -> WaitCode {
        match self.furthest() {
            None | Some(Filter::Ready) => WaitCode::NoReadyNode,
            Some(Filter::Platform | Filter::Constraint) => WaitCode::ConstraintUnmet,
            Some(Filter::Resources) => WaitCode::InsufficientResources,
            Some(Filter::HostPort) => WaitCode::HostPortTaken,
            Some(Filter::MaxReplicas) => WaitCode::MaxReplicasReached,
        }
    }
}

impl Refused {
    /// Which filter refused how many nodes, and what of the demand it was: a user must find in it what to change.
    pub(crate) fn tell(&self, demand: &Demand) -> String {
        if self.nodes.is_empty() {
            return "the cluster has no nodes".to_owned();
        }
        let parts: Vec<String> = self
            .nodes
            .iter()
            .rev()
            .map(|(filter, count)| {
                let nodes = if *count == 1 { "node" } else { "nodes" };
                format!("{} on {count} {nodes}", what(*filter, demand))
            })
            .collect();
        parts.join("; ")
    }
}

fn what(filter: Filter, demand: &Demand) -> String {
    match filter {
        Filter::Ready => "not ready and active".to_owned(),
        Filter::Platform => {
            let platforms = demand
                .platforms
                .iter()
                .map(|platform| format!("{}/{}", platform.os, platform.arch));
            format!("not a platform of the image ({})", listed(platforms))
        }
        Filter::Constraint => {
            format!(
                "placement constraints not met ({})",
                listed(demand.constraints.iter().map(ToString::to_string))
            )
        }
        Filter::Resources => {
            let Resources { cpu, memory } = demand.resources;
            let cpu = (cpu.0 > 0).then(|| format!("{} cpus", cores(cpu)));
            let memory = (memory.0 > 0).then(|| format!("memory {memory}"));
            format!(
                "insufficient resources ({} to be reserved)",
                listed(cpu.into_iter().chain(memory))
            )
        }
        Filter::HostPort => {
            let ports = demand
                .ports
                .iter()
                .map(|port| format!("{}/{}", port.published, port.protocol.name()));
            format!("host port already in use ({})", listed(ports))
        }
        Filter::MaxReplicas => format!("maximum of {} replicas per node reached", demand.max_replicas),
    }
}

fn listed(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

/// Thousandths of a core are as fine as anybody reserves.
fn cores(cpu: CpuNanos) -> String {
    let thousandths = cpu.0 / 1_000_000;
    let text = format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
