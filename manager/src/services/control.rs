//! The control service: one RPC per verb and noun. Reading is in `read`, writing in `write`.
//!
//! Images are resolved in `images` before a write is proposed. Who may call was checked before.

mod images;
mod network;
mod read;
mod write;

use super::{refused, write_failed};
use images::Images;
use read::{listed, service_summary, stack_summary};

use crate::{driver::Handle, resolver::ImageResolver};
use shoal_api::{
    limits::{API_VERSION, MIN_API_VERSION},
    v1::{self, control_server::Control},
};
use shoal_core::{dispatcher::Position, model::NodeId, resolve};
use std::{pin::Pin, sync::Arc};
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

type Answer<T> = Result<Response<T>, Status>;
type List<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What this manager says of itself.
#[derive(Clone, Debug)]
pub struct Facts {
    pub node: NodeId,
    /// Of `shoald`.
    pub version: String,
    /// Of the operating system's kernel, as `uname -r` has it.
    pub kernel: String,
}

#[derive(Debug)]
pub struct ControlService {
    handle: Handle,
    images: Images,
    facts: Facts,
}

impl ControlService {
    pub fn new(handle: Handle, resolver: Arc<dyn ImageResolver>, facts: Facts) -> Self {
        Self {
            handle,
            images: Images::new(resolver),
            facts,
        }
    }
}

#[tonic::async_trait]
impl Control for ControlService {
    async fn create_service(
        &self,
        request: Request<v1::CreateServiceRequest>,
    ) -> Answer<v1::CreateServiceResponse> {
        self.create(request.into_inner()).await.map(Response::new)
    }

    async fn update_service(
        &self,
        request: Request<v1::UpdateServiceRequest>,
    ) -> Answer<v1::UpdateServiceResponse> {
        self.update(request.into_inner()).await.map(Response::new)
    }

    async fn get_service(&self, request: Request<v1::GetServiceRequest>) -> Answer<v1::GetServiceResponse> {
        let view = self.handle.view();
        let service = resolve::service(&view, &request.into_inner().reference).map_err(refused)?;
        Ok(Response::new(v1::GetServiceResponse {
            service: Some(service_summary(&view, service)),
            position: Some(Position::of(&view).into()),
        }))
    }

    type ListServicesStream = List<v1::ListServicesResponse>;

    async fn list_services(
        &self,
        request: Request<v1::ListServicesRequest>,
    ) -> Answer<Self::ListServicesStream> {
        let view = self.handle.view();
        let stack = request.into_inner().stack;
        let services: Vec<_> = if stack.is_empty() {
            view.services().cloned().collect()
        } else {
            let stack = resolve::stack(&view, &stack).map_err(refused)?;
            view.services_of_stack(&stack.id).cloned().collect()
        };
        let of = view.clone();
        let items = services
            .into_iter()
            .map(move |service| service_summary(&of, &service));
        let answer = |services, position| v1::ListServicesResponse { services, position };
        Ok(Response::new(Box::pin(listed(&view, items, answer))))
    }

    async fn remove_service(
        &self,
        request: Request<v1::RemoveServiceRequest>,
    ) -> Answer<v1::RemoveServiceResponse> {
        self.remove(request.into_inner()).await.map(Response::new)
    }

    async fn scale_services(
        &self,
        request: Request<v1::ScaleServicesRequest>,
    ) -> Answer<v1::ScaleServicesResponse> {
        self.scale(request.into_inner()).await.map(Response::new)
    }

    async fn service_why(&self, request: Request<v1::ServiceWhyRequest>) -> Answer<v1::ServiceWhyResponse> {
        self.why(&request.into_inner().reference).map(Response::new)
    }

    async fn deploy_stack(
        &self,
        request: Request<v1::DeployStackRequest>,
    ) -> Answer<v1::DeployStackResponse> {
        self.deploy(request.into_inner()).await.map(Response::new)
    }

    async fn get_stack(&self, request: Request<v1::GetStackRequest>) -> Answer<v1::GetStackResponse> {
        let view = self.handle.view();
        let stack = resolve::stack(&view, &request.into_inner().reference).map_err(refused)?;
        let services = view.services_of_stack(&stack.id);
        Ok(Response::new(v1::GetStackResponse {
            services: services.map(|service| service_summary(&view, service)).collect(),
            networks: Self::networks_of_stack(&view, &stack.id),
            stack: Some(stack.as_ref().clone().into()),
            position: Some(Position::of(&view).into()),
        }))
    }

    type ListStacksStream = List<v1::ListStacksResponse>;

    async fn list_stacks(&self, _request: Request<v1::ListStacksRequest>) -> Answer<Self::ListStacksStream> {
        let view = self.handle.view();
        let stacks: Vec<_> = view.stacks().cloned().collect();
        let of = view.clone();
        let items = stacks.into_iter().map(move |stack| stack_summary(&of, &stack));
        let answer = |stacks, position| v1::ListStacksResponse { stacks, position };
        Ok(Response::new(Box::pin(listed(&view, items, answer))))
    }

    async fn remove_stack(
        &self,
        request: Request<v1::RemoveStackRequest>,
    ) -> Answer<v1::RemoveStackResponse> {
        self.remove_stack_named(request.into_inner())
            .await
            .map(Response::new)
    }

    async fn create_network(
        &self,
        request: Request<v1::CreateNetworkRequest>,
    ) -> Answer<v1::CreateNetworkResponse> {
        self.make_network(request.into_inner()).await.map(Response::new)
    }

    async fn get_network(&self, request: Request<v1::GetNetworkRequest>) -> Answer<v1::GetNetworkResponse> {
        self.network(&request.into_inner().reference).map(Response::new)
    }

    type ListNetworksStream = List<v1::ListNetworksResponse>;

    async fn list_networks(
        &self,
        request: Request<v1::ListNetworksRequest>,
    ) -> Answer<Self::ListNetworksStream> {
        let view = self.handle.view();
        let items = Self::networks(&view, &request.into_inner().stack)?;
        let answer = |networks, position| v1::ListNetworksResponse { networks, position };
        Ok(Response::new(Box::pin(listed(&view, items.into_iter(), answer))))
    }

    async fn remove_network(
        &self,
        request: Request<v1::RemoveNetworkRequest>,
    ) -> Answer<v1::RemoveNetworkResponse> {
        self.drop_network(request.into_inner()).await.map(Response::new)
    }

    async fn get_task(&self, request: Request<v1::GetTaskRequest>) -> Answer<v1::GetTaskResponse> {
        let view = self.handle.view();
        let task = resolve::task(&view, &request.into_inner().reference).map_err(refused)?;
        let revision = view.revision(&task.revision_key());
        Ok(Response::new(v1::GetTaskResponse {
            task: Some(self.summaries().task(&view, task)),
            revision: revision.map(|it| it.as_ref().clone().into()),
            position: Some(Position::of(&view).into()),
        }))
    }

    type ListTasksStream = List<v1::ListTasksResponse>;

    async fn list_tasks(&self, request: Request<v1::ListTasksRequest>) -> Answer<Self::ListTasksStream> {
        let message = request.into_inner();
        let view = self.handle.view();
        let tasks = Self::tasks_of(&view, &message, &self.node_reference(&message.node))?;
        let (of, summaries) = (view.clone(), self.summaries());
        let items = tasks.into_iter().map(move |task| summaries.task(&of, &task));
        let answer = |tasks, position| v1::ListTasksResponse { tasks, position };
        Ok(Response::new(Box::pin(listed(&view, items, answer))))
    }

    async fn get_node(&self, request: Request<v1::GetNodeRequest>) -> Answer<v1::GetNodeResponse> {
        let view = self.handle.view();
        let reference = self.node_reference(&request.into_inner().reference);
        let node = resolve::node(&view, &reference).map_err(refused)?;
        Ok(Response::new(v1::GetNodeResponse {
            node: Some(self.summaries().node(&view, node)),
            position: Some(Position::of(&view).into()),
        }))
    }

    type ListNodesStream = List<v1::ListNodesResponse>;

    async fn list_nodes(&self, _request: Request<v1::ListNodesRequest>) -> Answer<Self::ListNodesStream> {
        let view = self.handle.view();
        let nodes: Vec<_> = view.nodes().cloned().collect();
        let (of, summaries) = (view.clone(), self.summaries());
        let items = nodes.into_iter().map(move |node| summaries.node(&of, &node));
        let answer = |nodes, position| v1::ListNodesResponse { nodes, position };
        Ok(Response::new(Box::pin(listed(&view, items, answer))))
    }

    async fn update_node(&self, request: Request<v1::UpdateNodeRequest>) -> Answer<v1::UpdateNodeResponse> {
        self.change_node(request.into_inner()).await.map(Response::new)
    }

    async fn remove_node(&self, request: Request<v1::RemoveNodeRequest>) -> Answer<v1::RemoveNodeResponse> {
        self.drop_node(request.into_inner()).await.map(Response::new)
    }

    async fn update_cluster(
        &self,
        request: Request<v1::UpdateClusterRequest>,
    ) -> Answer<v1::UpdateClusterResponse> {
        self.change_cluster(request.into_inner()).await.map(Response::new)
    }

    async fn get_cluster(&self, _request: Request<v1::GetClusterRequest>) -> Answer<v1::GetClusterResponse> {
        self.cluster().map(Response::new)
    }

    async fn resolve_image(
        &self,
        request: Request<v1::ResolveImageRequest>,
    ) -> Answer<v1::ResolveImageResponse> {
        let digest = self.images.digest(&request.into_inner().reference).await?;
        Ok(Response::new(v1::ResolveImageResponse { digest }))
    }

    async fn version(&self, _request: Request<v1::VersionRequest>) -> Answer<v1::VersionResponse> {
        Ok(Response::new(v1::VersionResponse {
            version: self.facts.version.clone(),
            api_version: API_VERSION,
            min_api_version: MIN_API_VERSION,
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            kernel: self.facts.kernel.clone(),
            node_id: self.facts.node.to_string(),
        }))
    }
}
