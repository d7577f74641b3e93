//! Nodes, and the resources that tasks reserve on them.
//!
//! Both directions; nothing is judged here.

use super::{Malformed, enumerated, optional, parsed, parsed_list, required, same_variants, texts};
use crate::v1;
use shoal_core::model::{
    Availability, Bytes, CpuNanos, ManagerStatus, Node, NodeDescription, NodeProblem, NodeSpec, NodeState,
    NodeStatus, Platform, Resources, Role, Timestamp, WallTime,
};

same_variants!(Role, v1::Role, Worker, Manager);
same_variants!(Availability, v1::Availability, Active, Pause, Drain);
same_variants!(NodeState, v1::NodeState, Unknown, Ready, Down);

impl From<Resources> for v1::Resources {
    fn from(resources: Resources) -> Self {
        Self {
            cpu_nanos: resources.cpu.0,
            memory_bytes: resources.memory.0,
        }
    }
}

impl From<v1::Resources> for Resources {
    fn from(resources: v1::Resources) -> Self {
        Self {
            cpu: CpuNanos(resources.cpu_nanos),
            memory: Bytes(resources.memory_bytes),
        }
    }
}

impl From<Platform> for v1::Platform {
    fn from(platform: Platform) -> Self {
        Self {
            os: platform.os,
            arch: platform.arch,
        }
    }
}

impl From<v1::Platform> for Platform {
    fn from(platform: v1::Platform) -> Self {
        Self {
            os: platform.os,
            arch: platform.arch,
        }
    }
}

impl From<Node> for v1::Node {
    fn from(node: Node) -> Self {
        Self {
            id: node.id.to_string(),
            meta: Some(node.meta.into()),
            spec: Some(node.spec.into()),
            description: node.description.map(Into::into),
            status: Some(node.status.into()),
            manager: node.manager.map(Into::into),
        }
    }
}

impl TryFrom<v1::Node> for Node {
    type Error = Malformed;

    fn try_from(node: v1::Node) -> Result<Self, Malformed> {
        Ok(Self {
            id: parsed(&node.id, "id")?,
            meta: node.meta.unwrap_or_default().into(),
            spec: required(node.spec, "spec")?,
            description: optional(node.description, "description")?,
            status: required(node.status, "status")?,
            manager: node.manager.map(Into::into),
        })
    }
}

impl From<NodeSpec> for v1::NodeSpec {
    fn from(spec: NodeSpec) -> Self {
        Self {
            labels: spec.labels,
            role: v1::Role::from(spec.role).into(),
            availability: v1::Availability::from(spec.availability).into(),
        }
    }
}

impl TryFrom<v1::NodeSpec> for NodeSpec {
    type Error = Malformed;

    fn try_from(spec: v1::NodeSpec) -> Result<Self, Malformed> {
        Ok(Self {
            labels: spec.labels,
            role: enumerated::<v1::Role, _>(spec.role, "role")?,
            availability: enumerated::<v1::Availability, _>(spec.availability, "availability")?,
        })
    }
}

impl From<NodeDescription> for v1::NodeDescription {
    fn from(description: NodeDescription) -> Self {
        Self {
            hostname: description.hostname,
            os: description.platform.os,
            arch: description.platform.arch,
            resources: Some(description.resources.into()),
            engine_version: description.engine_version,
            engine_labels: description.engine_labels,
            address: description.address,
            routes: texts(&description.routes),
            problems: description.problems.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::NodeDescription> for NodeDescription {
    type Error = Malformed;

    fn try_from(description: v1::NodeDescription) -> Result<Self, Malformed> {
        Ok(Self {
            hostname: description.hostname,
            platform: Platform {
                os: description.os,
                arch: description.arch,
            },
            resources: description.resources.unwrap_or_default().into(),
            engine_version: description.engine_version,
            engine_labels: description.engine_labels,
            address: description.address,
            routes: parsed_list(&description.routes, "routes")?,
            problems: description.problems.into_iter().map(Into::into).collect(),
        })
    }
}

impl From<NodeProblem> for v1::NodeProblem {
    fn from(problem: NodeProblem) -> Self {
        Self {
            what: problem.what,
            remedy: problem.remedy,
        }
    }
}

impl From<v1::NodeProblem> for NodeProblem {
    fn from(problem: v1::NodeProblem) -> Self {
        Self {
            what: problem.what,
            remedy: problem.remedy,
        }
    }
}

impl From<NodeStatus> for v1::NodeStatus {
    fn from(status: NodeStatus) -> Self {
        Self {
            state: v1::NodeState::from(status.state).into(),
            message: status.message,
            since: status.since.0,
            at: status.at.0,
        }
    }
}

impl TryFrom<v1::NodeStatus> for NodeStatus {
    type Error = Malformed;

    fn try_from(status: v1::NodeStatus) -> Result<Self, Malformed> {
        Ok(Self {
            state: enumerated::<v1::NodeState, _>(status.state, "state")?,
            message: status.message,
            since: WallTime(status.since),
            at: Timestamp(status.at),
        })
    }
}

impl From<ManagerStatus> for v1::ManagerStatus {
    fn from(status: ManagerStatus) -> Self {
        Self {
            raft_id: status.raft_id,
            address: status.address,
        }
    }
}

impl From<v1::ManagerStatus> for ManagerStatus {
    fn from(status: v1::ManagerStatus) -> Self {
        Self {
            raft_id: status.raft_id,
            address: status.address,
        }
    }
}
