//! The roles that this node plays: started when it is a member, or made one by `cluster init` or `--dev`.
//!
//! Manager and worker are given nothing of each other but an address: the worker comes in through the
//! listener, with the node's certificate.

mod start;

use crate::config::NodeConfig;
use crate::gate::Gate;
use crate::identity::{Identity, IdentityError, Membership};
use shoal_agent_runtime::Runtime;
use shoal_api::limits::MAX_MESSAGE_BYTES;
use shoal_api::v1::{bootstrap_server::BootstrapServer, local_server::LocalServer};
use shoal_core::model::{AddressPools, Availability, ClusterId, NodeId};
use shoal_manager::{FoundError, PoolsAsked, StartError};
use shoal_overlay_net::NetConfig;
use shoal_worker::WorkerError;
use shoal_worker::local::{LocalService, WorkerView};
use start::Running;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::UnixListener;
use tokio::sync::{Mutex, watch};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;

/// How a cluster shall begin.
#[derive(Clone, Debug)]
pub(crate) struct InitSpec {
    pub name: String,
    pub listen: Option<SocketAddr>,
    pub advertise: Option<String>,
    pub availability: Availability,
    pub pools: PoolsAsked,
}

/// A cluster that has begun.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub cluster: ClusterId,
    pub node: NodeId,
    pub worker_token: String,
    pub manager_token: String,
    pub pools: AddressPools,
}

/// How far the node is.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeStatus {
    pub membership: Option<Membership>,
    pub listen: Option<SocketAddr>,
    pub problems: Vec<String>,
    pub ready: bool,
}

/// A role could not be started, or a cluster not made.
#[derive(Debug, thiserror::Error)]
pub enum RolesError {
    #[error("this node already belongs to cluster {cluster}")]
    Member { cluster: ClusterId },
    #[error("a cluster is being made here already")]
    Busy,
    #[error(transparent)]
    Disk(#[from] IdentityError),
    #[error("making the cluster's identity")]
    Identity(#[from] shoal_api::identity::IdentityError),
    #[error("listening on {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("making a cluster")]
    Found(#[from] FoundError),
    #[error("starting the manager")]
    Manager(#[from] StartError),
    #[error("the manager ended before it served: {0}")]
    Ended(String),
    #[error("starting the worker")]
    Worker(#[from] WorkerError),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Roles {
    config: Arc<NodeConfig>,
    runtime: Runtime,
    net: NetConfig,
    running: Mutex<Option<Running>>,
    routes: watch::Sender<Option<Routes>>,
    worker: watch::Sender<Option<WorkerView>>,
    /// Why a role ended by itself.
    broken: watch::Sender<Option<String>>,
}

impl Roles {
    pub(crate) fn new(config: Arc<NodeConfig>, runtime: Runtime, net: NetConfig) -> Self {
        Self {
            config,
            runtime,
            net,
            running: Mutex::new(None),
            routes: watch::Sender::new(None),
            worker: watch::Sender::new(None),
            broken: watch::Sender::new(None),
        }
    }

    pub(crate) fn config(&self) -> &NodeConfig {
        &self.config
    }

    /// Starts what the identity on disk says; with `--dev` makes one if there is none.
    pub(crate) async fn take_up(self: &Arc<Self>) -> Result<(), RolesError> {
        if let Some(identity) = Identity::load(&self.config.state("node"))? {
            let mut running = self.running.lock().await;
            let listener = self.listen(&identity.membership).await?;
            *running = Some(self.start(identity, listener).await?);
            return Ok(());
        }
        if self.config.dev {
            let spec = InitSpec {
                name: String::new(),
                listen: None,
                advertise: None,
                availability: Availability::Active,
                pools: PoolsAsked::default(),
            };
            self.init(spec).await?;
        }
        Ok(())
    }

    /// Makes a cluster with this node as its first manager.
    ///
    /// The cluster exists once the identity is written: a crash before leaves nothing that the next try minds.
    pub(crate) async fn init(self: &Arc<Self>, spec: InitSpec) -> Result<Made, RolesError> {
        let mut running = self.running.try_lock().or(Err(RolesError::Busy))?;
        if let Some(running) = running.as_ref() {
            let cluster = running.membership.cluster.clone();
            return Err(RolesError::Member { cluster });
        }
        let (identity, pools, listener) = self.found(spec).await?;
        let membership = identity.membership.clone();
        let started = self.start(identity, Some(listener)).await?;
        let (worker_token, manager_token) = started.tokens();
        *running = Some(started);
        tracing::info!(cluster = %membership.cluster, node = %membership.node, "a cluster was made");
        Ok(Made {
            cluster: membership.cluster,
            node: membership.node,
            worker_token,
            manager_token,
            pools,
        })
    }

    /// Serves the local socket until told to stop.
    pub(crate) fn serve_socket(
        &self,
        listener: UnixListener,
        bootstrap: crate::bootstrap::BootstrapService,
        stop: CancellationToken,
    ) -> impl Future<Output = Result<(), tonic::transport::Error>> + Send + 'static {
        let local = LocalService::new(self.runtime.clone(), self.worker.subscribe());
        let local = LocalServer::new(local)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let mut own = Routes::builder();
        own.add_service(local)
            .add_service(BootstrapServer::new(bootstrap));
        let routes = Gate::before(own.routes(), self.routes.subscribe());
        let incoming = UnixListenerStream::new(listener);
        async move {
            Server::builder()
                .add_routes(routes)
                .serve_with_incoming_shutdown(incoming, stop.cancelled_owned())
                .await
        }
    }

    /// How far the node is.
    pub(crate) async fn status(&self) -> NodeStatus {
        match self.running.lock().await.as_ref() {
            None => NodeStatus::default(),
            Some(running) => running.status(),
        }
    }

    /// Returns when a role has ended by itself.
    pub(crate) async fn broken(&self) -> String {
        let mut broken = self.broken.subscribe();
        let ended = broken.wait_for(Option::is_some).await;
        ended.map_or_else(
            |_closed| String::new(),
            |reason| reason.clone().unwrap_or_default(),
        )
    }

    /// Ends the roles, the worker first. Containers go on.
    pub(crate) async fn stop(&self) {
        if let Some(running) = self.running.lock().await.take() {
            running.stop().await;
        }
        self.routes.send_replace(None);
    }
}
