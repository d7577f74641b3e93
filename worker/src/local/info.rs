//! `info`: what this node is and what its host lacks.
//!
//! Called on the local socket; never changes anything.

use super::{LocalService, refuse};
use crate::network::{host_problems, notes};
use shoal_agent_runtime::{CgroupVersion, HostFacts};
use shoal_api::v1::{self, ErrorCode};
use tonic::Status;

/// Controllers that limits need.
const CONTROLLERS: [(&str, &str); 3] = [
    ("memory", "memory limits are not enforced"),
    ("cpu", "cpu limits are not enforced"),
    ("pids", "limits on processes are not enforced"),
];

impl LocalService {
    pub(super) async fn node_info(&self) -> Result<v1::InfoResponse, Status> {
        let containers = self
            .runtime
            .list()
            .await
            .map_err(|error| refuse(ErrorCode::Internal, &error))?;
        let images = self.runtime.images().list().await;
        let images = images.map_err(|error| refuse(ErrorCode::Internal, &error))?;
        let running = containers.iter().filter(|status| status.pid.is_some()).count();
        let facts = self.runtime.facts();
        let mut response = v1::InfoResponse {
            images: count(images.len()),
            containers: count(containers.len()),
            containers_running: count(running),
            kernel: facts.kernel.clone(),
            cgroup: cgroup(facts).to_owned(),
            snapshotter: "overlayfs".to_owned(),
            warnings: warnings(facts),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..v1::InfoResponse::default()
        };
        let host = host_problems(&self.runtime).await;
        let worker = self.worker.borrow().clone();
        let network = worker.as_ref().map(|worker| worker.network.borrow().clone());
        response
            .warnings
            .extend(notes(&host, &network.unwrap_or_default()));
        if let Some(worker) = worker {
            let node = &worker.facts;
            response.node_id.clone_from(&node.node_id);
            response.cluster_id.clone_from(&node.cluster_id);
            response.version.clone_from(&node.version);
            response.role = if node.manager {
                v1::Role::Manager
            } else {
                v1::Role::Worker
            }
            .into();
            response.state_directory = node.state_dir.display().to_string();
            response.run_directory = node.run_dir.display().to_string();
            response.description = Some(worker.description.borrow().clone().into());
            response.manager_address.clone_from(&worker.manager.borrow());
        }
        Ok(response)
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn cgroup(facts: &HostFacts) -> &'static str {
    match facts.cgroups.version {
        CgroupVersion::V1 => "v1",
        CgroupVersion::V2 => "v2",
        CgroupVersion::Hybrid => "hybrid",
    }
}

fn warnings(facts: &HostFacts) -> Vec<String> {
    CONTROLLERS
        .iter()
        .filter(|(controller, _)| !facts.cgroups.has(controller))
        .map(|(controller, effect)| format!("the host has no {controller} cgroup controller: {effect}"))
        .collect()
}
