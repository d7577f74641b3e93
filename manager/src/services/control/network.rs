//! Networks: made, shown and removed; who uses them stands beside them in every answer.
//!
//! Tasks of a network come as a list of tasks: there may be more of them than one answer holds.

use super::{
    ControlService, refused,
    write::{spec, unexpected},
};
use shoal_api::v1;
use shoal_core::{
    dispatcher::Position,
    explain,
    model::{Network, NetworkId, Service, StackId, Task},
    request::{Request, Response},
    resolve,
    store::StoreView,
};
use std::{collections::BTreeMap, sync::Arc};
use tonic::Status;

/// The networks that a stack owns.
pub(super) fn networks_of<'a>(
    view: &'a StoreView,
    stack: &'a StackId,
) -> impl Iterator<Item = &'a Arc<Network>> {
    let owned = move |network: &&Arc<Network>| network.stack.as_ref() == Some(stack);
    view.networks().filter(is_there).filter(owned)
}

/// Not one whose name is free again, and whose numbers only rest.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that a filter has")]
fn is_there(network: &&Arc<Network>) -> bool {
    !network.status.removed
}

pub(super) fn has_address(task: &Task, network: &NetworkId) -> bool {
    task.attachments.iter().any(|held| held.network == *network)
}

/// Services and tasks of each network, counted in one pass.
#[derive(Debug, Default)]
struct Counts(BTreeMap<NetworkId, (u32, u32)>);

impl Counts {
    fn of(view: &StoreView) -> Self {
        let mut counts = Self::default();
        for joined in view.services().flat_map(|service| &service.endpoint.networks) {
            counts.0.entry(joined.network.clone()).or_default().0 += 1;
        }
        for task in view.tasks().filter(|task| !task.status.state.is_terminal()) {
            for held in &task.attachments {
                counts.0.entry(held.network.clone()).or_default().1 += 1;
            }
        }
        counts
    }

    fn summary(&self, view: &StoreView, network: &Network) -> v1::NetworkSummary {
        let (services, tasks) = self.0.get(&network.id).copied().unwrap_or_default();
        let stack = network.stack.as_ref().and_then(|id| view.stack(id));
        v1::NetworkSummary {
            network: Some(network.clone().into()),
            stack_name: stack.map(|stack| stack.spec.name.clone()).unwrap_or_default(),
            services,
            tasks,
        }
    }
}

fn network_service(view: &StoreView, service: &Service, network: &NetworkId) -> v1::NetworkService {
    let (running, desired) = explain::counts(view, service);
    let endpoint = &service.endpoint;
    let joined = endpoint.networks.iter().find(|it| it.network == *network);
    let vip = endpoint.vips.iter().find(|vip| vip.network == *network);
    v1::NetworkService {
        id: service.id.to_string(),
        name: service.spec.name.clone(),
        vip: vip.map(|vip| vip.addresses.into()),
        aliases: joined.map(|joined| joined.aliases.clone()).unwrap_or_default(),
        running,
        desired,
    }
}

impl ControlService {
    pub(super) fn network(&self, reference: &str) -> Result<v1::GetNetworkResponse, Status> {
        let view = self.handle.view();
        let network = resolve::network(&view, reference).map_err(refused)?;
        let mut services: Vec<_> = view
            .services_of_network(&network.id)
            .map(|service| network_service(&view, service, &network.id))
            .collect();
        services.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(v1::GetNetworkResponse {
            network: Some(Counts::of(&view).summary(&view, network)),
            services,
            position: Some(Position::of(&view).into()),
        })
    }

    pub(super) fn networks(view: &StoreView, stack: &str) -> Result<Vec<v1::NetworkSummary>, Status> {
        if !stack.is_empty() {
            let stack = resolve::stack(view, stack).map_err(refused)?;
            return Ok(Self::networks_of_stack(view, &stack.id));
        }
        let counts = Counts::of(view);
        let there = view.networks().filter(is_there);
        Ok(there.map(|network| counts.summary(view, network)).collect())
    }

    pub(super) fn networks_of_stack(view: &StoreView, stack: &StackId) -> Vec<v1::NetworkSummary> {
        let counts = Counts::of(view);
        networks_of(view, stack)
            .map(|network| counts.summary(view, network))
            .collect()
    }

    pub(super) async fn make_network(
        &self,
        message: v1::CreateNetworkRequest,
    ) -> Result<v1::CreateNetworkResponse, Status> {
        let request = Request::CreateNetwork {
            spec: spec(message.spec)?,
        };
        match self.propose(request, &message.request_id).await? {
            Response::Network { id, warnings } => Ok(v1::CreateNetworkResponse {
                id: id.to_string(),
                position: self.position(),
                warnings,
            }),
            other => Err(unexpected(&other)),
        }
    }

    pub(super) async fn drop_network(
        &self,
        message: v1::RemoveNetworkRequest,
    ) -> Result<v1::RemoveNetworkResponse, Status> {
        let request = Request::RemoveNetwork {
            reference: message.reference,
        };
        let id = match self.propose(request, &message.request_id).await? {
            Response::Network { id, .. } => id.to_string(),
            Response::Done => String::new(),
            other => return Err(unexpected(&other)),
        };
        Ok(v1::RemoveNetworkResponse {
            position: self.position(),
            id,
        })
    }
}
