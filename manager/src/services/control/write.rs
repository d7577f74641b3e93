//! The writing half of the control service: from a message to a request to its outcome.
//!
//! A retry of a write that took effect is answered with what is remembered of it: what it created, or
//! `Done`. The rest of such an answer comes from the state.

use super::{ControlService, refused, write_failed};
use shoal_api::{convert::Malformed, v1};
use shoal_core::{
    dispatcher::Position,
    model::{ClusterSpec, IdGen, NodeSpec, RequestId, Service, ServiceSpec, StackSpec, Version},
    request::{self, Request, RequestContext, Response},
    resolve,
};
use tonic::Status;

/// The spec of a write, which must be there.
pub(super) fn spec<Wire, Core>(wire: Option<Wire>) -> Result<Core, Status>
where
    Core: TryFrom<Wire, Error = Malformed>,
{
    let wire = wire.ok_or_else(|| Malformed::new("spec", "is missing"))?;
    Ok(Core::try_from(wire)?)
}

fn request_id(text: &str) -> Result<Option<RequestId>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse() {
        Ok(id) => Ok(Some(id)),
        Err(error) => Err(Malformed::new("request_id", error).into()),
    }
}

/// An answer that does not fit its request: the machine never gives one.
pub(super) fn unexpected(response: &Response) -> Status {
    Status::internal(format!("unexpected response {response:?}"))
}

/// A registry may take seconds to answer, in which an update that goes on notes more than once how far it is. That is no
/// change of what the caller read: what was made from the version before it is made from the one after it.
fn carried(version: Version, old: &Service, new: &Service) -> Version {
    if version == old.meta.version && old.spec == new.spec {
        new.meta.version
    } else {
        version
    }
}

impl ControlService {
    pub(super) async fn propose(&self, request: Request, id: &str) -> Result<Response, Status> {
        self.handle
            .propose(request, request_id(id)?)
            .await
            .map_err(write_failed)
    }

    /// At or after the entry of the write that was just answered.
    pub(super) fn position(&self) -> Option<v1::Position> {
        Some(Position::of(&self.handle.view()).into())
    }

    pub(super) async fn create(
        &self,
        message: v1::CreateServiceRequest,
    ) -> Result<v1::CreateServiceResponse, Status> {
        let mut spec: ServiceSpec = spec(message.spec)?;
        if !message.no_resolve_image {
            self.images.pin(&mut spec, None).await?;
        }
        match self
            .propose(Request::CreateService { spec }, &message.request_id)
            .await?
        {
            Response::Service { id, warnings } => Ok(v1::CreateServiceResponse {
                id: id.to_string(),
                position: self.position(),
                warnings,
            }),
            other => Err(unexpected(&other)),
        }
    }

    pub(super) async fn update(
        &self,
        message: v1::UpdateServiceRequest,
    ) -> Result<v1::UpdateServiceResponse, Status> {
        let mut spec: ServiceSpec = spec(message.spec)?;
        let mut version = Version(message.version);
        if !message.no_resolve_image {
            let view = self.handle.view();
            let old = resolve::service(&view, &message.reference).map_err(refused)?;
            self.images.pin(&mut spec, Some(&old.spec)).await?;
            if let Some(new) = self.handle.view().service(&old.id) {
                version = carried(version, old, new);
            }
        }
        let request = Request::UpdateService {
            reference: message.reference,
            version,
            spec,
            force: message.force,
        };
        let warnings = match self.propose(request, &message.request_id).await? {
            Response::Service { warnings, .. } => warnings,
            Response::Done => Vec::new(),
            other => return Err(unexpected(&other)),
        };
        Ok(v1::UpdateServiceResponse {
            position: self.position(),
            warnings,
        })
    }

    pub(super) async fn remove(
        &self,
        message: v1::RemoveServiceRequest,
    ) -> Result<v1::RemoveServiceResponse, Status> {
        let request = Request::RemoveService {
            reference: message.reference,
        };
        let id = match self.propose(request, &message.request_id).await? {
            Response::Service { id, .. } => id.to_string(),
            Response::Done => String::new(),
            other => return Err(unexpected(&other)),
        };
        Ok(v1::RemoveServiceResponse {
            position: self.position(),
            id,
        })
    }

    pub(super) async fn scale(
        &self,
        message: v1::ScaleServicesRequest,
    ) -> Result<v1::ScaleServicesResponse, Status> {
        let scales: Vec<(String, u32)> = message
            .scales
            .into_iter()
            .map(|scale| (scale.reference, scale.replicas))
            .collect();
        let request = Request::ScaleServices {
            scales: scales.clone(),
        };
        let ids = match self.propose(request, &message.request_id).await? {
            Response::Scaled { ids } => ids,
            Response::Done => {
                let view = self.handle.view();
                let id = |reference: &str| resolve::service(&view, reference).map(|found| found.id.clone());
                scales
                    .iter()
                    .filter_map(|(reference, _)| id(reference).ok())
                    .collect()
            }
            other => return Err(unexpected(&other)),
        };
        Ok(v1::ScaleServicesResponse {
            position: self.position(),
            ids: ids.iter().map(ToString::to_string).collect(),
        })
    }

    pub(super) async fn deploy(
        &self,
        message: v1::DeployStackRequest,
    ) -> Result<v1::DeployStackResponse, Status> {
        let mut spec: StackSpec = spec(message.spec)?;
        if !message.no_resolve_image {
            self.images.pin_stack(&mut spec).await?;
        }
        let name = spec.name.clone();
        let request = Request::DeployStack {
            spec,
            prune: message.prune,
        };
        let response = if message.plan {
            self.plan_only(&request)?
        } else {
            self.propose(request, &message.request_id).await?
        };
        match response {
            Response::Stack {
                id,
                networks,
                changes,
                warnings,
            } => Ok(v1::DeployStackResponse {
                // A stack that would be created has no id yet.
                id: if message.plan {
                    String::new()
                } else {
                    id.to_string()
                },
                position: self.position(),
                changes: changes.into_iter().map(Into::into).collect(),
                warnings,
                networks: networks.into_iter().map(Into::into).collect(),
            }),
            // A retry.
            Response::Done | Response::Service { .. } | Response::Network { .. } => {
                Ok(v1::DeployStackResponse {
                    id: self
                        .handle
                        .view()
                        .stack_by_name(&name)
                        .map(|stack| stack.id.to_string())
                        .unwrap_or_default(),
                    position: self.position(),
                    ..v1::DeployStackResponse::default()
                })
            }
            other => Err(unexpected(&other)),
        }
    }

    /// What a request would do now, with nothing proposed. The ids it mints are thrown away.
    fn plan_only(&self, request: &Request) -> Result<Response, Status> {
        let mut ids = IdGen::new(rand::random());
        let mut ctx = RequestContext {
            ids: &mut ids,
            now: self.handle.now(),
            wall: crate::driver::wall_now(),
        };
        let (_, response) = request::plan(&self.handle.view(), request, &mut ctx).map_err(refused)?;
        Ok(response)
    }

    pub(super) async fn remove_stack_named(
        &self,
        message: v1::RemoveStackRequest,
    ) -> Result<v1::RemoveStackResponse, Status> {
        let request = Request::RemoveStack {
            reference: message.reference,
        };
        match self.propose(request, &message.request_id).await? {
            Response::Stack {
                id,
                changes,
                networks,
                ..
            } => Ok(v1::RemoveStackResponse {
                position: self.position(),
                id: id.to_string(),
                services: changes.into_iter().map(|change| change.service).collect(),
                networks: networks.into_iter().map(|change| change.network).collect(),
            }),
            Response::Done => Ok(v1::RemoveStackResponse {
                position: self.position(),
                ..v1::RemoveStackResponse::default()
            }),
            other => Err(unexpected(&other)),
        }
    }

    pub(super) async fn change_node(
        &self,
        message: v1::UpdateNodeRequest,
    ) -> Result<v1::UpdateNodeResponse, Status> {
        let spec: NodeSpec = spec(message.spec)?;
        let request = Request::UpdateNode {
            reference: self.node_reference(&message.reference),
            version: Version(message.version),
            spec,
        };
        self.propose(request, &message.request_id).await?;
        Ok(v1::UpdateNodeResponse {
            position: self.position(),
        })
    }

    pub(super) async fn drop_node(
        &self,
        message: v1::RemoveNodeRequest,
    ) -> Result<v1::RemoveNodeResponse, Status> {
        let request = Request::RemoveNode {
            reference: self.node_reference(&message.reference),
        };
        let id = match self.propose(request, &message.request_id).await? {
            Response::Node { id } => id.to_string(),
            Response::Done => String::new(),
            other => return Err(unexpected(&other)),
        };
        Ok(v1::RemoveNodeResponse {
            position: self.position(),
            id,
        })
    }

    pub(super) async fn change_cluster(
        &self,
        message: v1::UpdateClusterRequest,
    ) -> Result<v1::UpdateClusterResponse, Status> {
        let pools_given = message.spec.as_ref().is_some_and(|spec| spec.pools.is_some());
        let mut spec: ClusterSpec = spec(message.spec)?;
        // A client that does not know of pools does not change them.
        if let (false, Some(cluster)) = (pools_given, self.handle.view().cluster()) {
            spec.pools.clone_from(&cluster.spec.pools);
        }
        let request = Request::UpdateCluster {
            version: Version(message.version),
            spec,
        };
        self.propose(request, &message.request_id).await?;
        Ok(v1::UpdateClusterResponse {
            position: self.position(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_core::model::{
        EndpointMode, Meta, Mode, ServiceEndpoint, ServiceId, TaskSpec, UpdateConfig, WallTime,
    };

    fn service(version: u64, replicas: u32) -> Service {
        Service {
            id: ServiceId::mint(&mut IdGen::from_number(1)),
            meta: Meta {
                version: Version(version),
                created_at: WallTime(0),
                updated_at: WallTime(0),
            },
            spec: ServiceSpec {
                name: "web".to_owned(),
                labels: std::collections::BTreeMap::new(),
                mode: Mode::Replicated { replicas },
                task: TaskSpec::default(),
                ports: Vec::new(),
                endpoint_mode: EndpointMode::default(),
                update: UpdateConfig::default(),
            },
            revision: 1,
            stack: None,
            endpoint: ServiceEndpoint::default(),
            update: None,
        }
    }

    #[test]
    fn only_what_the_system_noted_meanwhile_is_passed_over() {
        for (made_from, replicas, expect, why) in [
            (7, 3, 9, "a status was noted"),
            (7, 4, 7, "somebody scaled it: stale"),
            (6, 3, 6, "it was stale before"),
        ] {
            let found = carried(Version(made_from), &service(7, 3), &service(9, replicas));
            assert_eq!(found, Version(expect), "{why}");
        }
    }
}
