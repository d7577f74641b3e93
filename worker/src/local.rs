//! The node-local verbs: images, volumes, containers and facts of this machine, on the local socket.
//!
//! One file a noun. Answers come from the runtime and the board; nothing here reaches a manager.

mod containers;
mod images;
mod info;
mod progress;
mod volumes;

use crate::board::Board;
use shoal_agent_runtime::Runtime;
use shoal_api::convert::{Details, status};
use shoal_api::v1::{self, ErrorCode, local_server::Local};
use shoal_core::model::NodeDescription;
use shoal_overlay_net::NetStatus;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// What the node is, for `info`.
#[derive(Clone, Debug)]
pub struct NodeFacts {
    pub node_id: String,
    pub cluster_id: String,
    pub manager: bool,
    pub version: String,
    pub state_dir: PathBuf,
    pub run_dir: PathBuf,
}

/// The service; cheap to clone.
#[derive(Clone)]
pub struct LocalService {
    runtime: Runtime,
    /// Absent until the node is a member of a cluster: images can be loaded before.
    worker: watch::Receiver<Option<WorkerView>>,
}

/// What the local service sees of a running worker.
#[derive(Clone, Debug)]
pub struct WorkerView {
    pub(crate) board: Arc<Board>,
    pub(crate) facts: Arc<NodeFacts>,
    pub(crate) description: watch::Receiver<NodeDescription>,
    pub(crate) manager: watch::Receiver<String>,
    pub(crate) network: watch::Receiver<NetStatus>,
}

impl std::fmt::Debug for LocalService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalService").finish_non_exhaustive()
    }
}

impl LocalService {
    pub fn new(runtime: Runtime, worker: watch::Receiver<Option<WorkerView>>) -> Self {
        Self { runtime, worker }
    }

    fn board(&self) -> Option<Arc<Board>> {
        self.worker
            .borrow()
            .as_ref()
            .map(|worker| Arc::clone(&worker.board))
    }
}

/// A refusal with its causes on one line.
fn refuse(code: ErrorCode, error: &dyn std::error::Error) -> Status {
    status(Details::of(code, crate::keeper::chain(error)))
}

type Progress = ReceiverStream<Result<v1::ImageProgress, Status>>;

#[tonic::async_trait]
impl Local for LocalService {
    type ImageLoadStream = Progress;
    type ImageImportStream = Progress;
    type ImagePullStream = Progress;

    async fn image_load(
        &self,
        request: Request<Streaming<v1::ImageLoadRequest>>,
    ) -> Result<Response<Progress>, Status> {
        Ok(Response::new(self.load(request.into_inner())))
    }

    async fn image_import(
        &self,
        request: Request<Streaming<v1::ImageImportRequest>>,
    ) -> Result<Response<Progress>, Status> {
        self.import(request.into_inner()).await.map(Response::new)
    }

    async fn image_pull(&self, request: Request<v1::ImagePullRequest>) -> Result<Response<Progress>, Status> {
        self.pull(&request.into_inner()).map(Response::new)
    }

    async fn image_list(
        &self,
        request: Request<v1::ImageListRequest>,
    ) -> Result<Response<v1::ImageListResponse>, Status> {
        self.list_images(&request.into_inner()).await.map(Response::new)
    }

    async fn image_inspect(
        &self,
        request: Request<v1::ImageInspectRequest>,
    ) -> Result<Response<v1::ImageInspectResponse>, Status> {
        self.inspect_image(&request.into_inner()).await.map(Response::new)
    }

    async fn image_remove(
        &self,
        request: Request<v1::ImageRemoveRequest>,
    ) -> Result<Response<v1::ImageRemoveResponse>, Status> {
        self.remove_image(&request.into_inner()).await.map(Response::new)
    }

    async fn volume_list(
        &self,
        _: Request<v1::VolumeListRequest>,
    ) -> Result<Response<v1::VolumeListResponse>, Status> {
        self.list_volumes().await.map(Response::new)
    }

    async fn volume_remove(
        &self,
        request: Request<v1::VolumeRemoveRequest>,
    ) -> Result<Response<v1::VolumeRemoveResponse>, Status> {
        self.remove_volume(&request.into_inner()).await.map(Response::new)
    }

    async fn container_list(
        &self,
        request: Request<v1::ContainerListRequest>,
    ) -> Result<Response<v1::ContainerListResponse>, Status> {
        self.list_containers(&request.into_inner())
            .await
            .map(Response::new)
    }

    async fn info(&self, _: Request<v1::InfoRequest>) -> Result<Response<v1::InfoResponse>, Status> {
        self.node_info().await.map(Response::new)
    }
}
