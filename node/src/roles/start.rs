//! Starting and stopping the roles of a member.
//!
//! Called by `roles`; never leaves one half running when the other does not start.

use super::{InitSpec, NodeStatus, Roles, RolesError};
use crate::identity::{Identity, Membership};
use crate::renewal::keep_renewed;
use crate::resolver::NodeResolver;
use crate::routes::host_routes;
use shoal_api::identity::{JoinToken, LiveCredentials, client_config, server_name_of};
use shoal_core::model::{AddressPools, Role};
use shoal_manager::driver::Handle;
use shoal_manager::{FoundConfig, Manager, ManagerConfig, PoolsAsked};
use shoal_worker::dial::{Dial, Dialer};
use shoal_worker::local::NodeFacts;
use shoal_worker::network::NodeSide;
use shoal_worker::{Worker, WorkerConfig};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// The name of a cluster whose founder gave none, as in Swarm.
const DEFAULT_NAME: &str = "default";

/// A bound listener and where it is.
pub(super) type Bound = (TcpListener, SocketAddr);

/// The roles of a member, running.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) membership: Membership,
    listen: Option<SocketAddr>,
    manager: Option<RunningManager>,
    worker: Worker,
    _renewal: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct RunningManager {
    handle: Handle,
    tokens: (String, String),
    shutdown: CancellationToken,
    ended: JoinHandle<()>,
}

impl Roles {
    /// Makes a cluster on disk, and this node its first member.
    pub(super) async fn found(&self, spec: InitSpec) -> Result<(Identity, AddressPools, Bound), RolesError> {
        let listen = spec.listen.unwrap_or(self.config.listen);
        let bound = bind(listen).await?;
        let advertise = spec.advertise.clone().or_else(|| self.config.advertise.clone());
        let name = if spec.name.is_empty() {
            DEFAULT_NAME.to_owned()
        } else {
            spec.name
        };
        let founded = Manager::bootstrap(FoundConfig {
            folder: self.config.state("raft"),
            name,
            address: with_port(advertise, bound.1),
            availability: spec.availability,
            pools: Some(spec.pools)
                .filter(|asked| *asked != PoolsAsked::default())
                .unwrap_or_else(|| self.config.pools.clone()),
            routes: host_routes(),
        })
        .await?;
        let identity = Identity {
            membership: Membership {
                listen: spec.listen,
                ..Membership::new(founded.cluster, founded.node, Role::Manager)
            },
            credentials: founded.credentials,
        };
        identity.save(&self.config.state("node"))?;
        Ok((identity, founded.pools, bound))
    }

    /// The manager's listener, for a member that is one.
    pub(super) async fn listen(&self, membership: &Membership) -> Result<Option<Bound>, RolesError> {
        match membership.role {
            Role::Manager => bind(membership.listen.unwrap_or(self.config.listen))
                .await
                .map(Some),
            Role::Worker => Ok(None),
        }
    }

    /// Starts the roles of an identity: a manager where there is a listener, and a worker.
    pub(super) async fn start(
        &self,
        identity: Identity,
        listener: Option<Bound>,
    ) -> Result<Running, RolesError> {
        let live = LiveCredentials::new(&identity.credentials)?;
        let mut managers = identity.membership.managers.clone();
        let (mut manager, mut listen) = (None, None);
        if let Some((listener, address)) = listener {
            managers = vec![own_address(address).to_string()];
            manager = Some(self.start_manager(&identity, &live, listener).await?);
            listen = Some(address);
        }
        let name = server_name_of(&identity.membership.cluster);
        let dial: Arc<dyn Dial> = Arc::new(Dialer::new(managers, client_config(&live)?, name));
        let worker = self
            .start_worker(&identity.membership, listen, Arc::clone(&dial))
            .await?;
        self.worker.send_replace(Some(worker.view()));
        let membership = identity.membership.clone();
        let renewal = keep_renewed(identity, self.config.state("node"), live, dial);
        Ok(Running {
            membership,
            listen,
            manager,
            worker,
            _renewal: AbortOnDropHandle::new(tokio::spawn(renewal)),
        })
    }

    async fn start_manager(
        &self,
        identity: &Identity,
        live: &Arc<LiveCredentials>,
        listener: TcpListener,
    ) -> Result<RunningManager, RolesError> {
        let config = ManagerConfig {
            folder: self.config.state("raft"),
            credentials: identity.credentials.clone(),
            live: Arc::clone(live),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: self.runtime.facts().kernel.clone(),
        };
        let shutdown = CancellationToken::new();
        let resolver = Arc::new(NodeResolver::new(self.runtime.images().clone()));
        let manager = Manager::start(config, listener, resolver, shutdown.clone()).await?;
        if !manager.serving().await {
            return Err(RolesError::Ended(format!("{:?}", manager.ended().await)));
        }
        self.routes.send_replace(Some(manager.local_routes()));
        let text = |token: JoinToken| token.to_string();
        let tokens = manager
            .tokens()
            .map(|(worker, manager)| (text(worker), text(manager)));
        let handle = manager.handle().clone();
        let (broken, stopped) = (self.broken.clone(), shutdown.clone());
        let ended = tokio::spawn(async move {
            let ended = manager.ended().await;
            if !stopped.is_cancelled() {
                broken.send_replace(Some(format!("{ended:?}")));
            }
        });
        Ok(RunningManager {
            handle,
            tokens: tokens.unwrap_or_default(),
            shutdown,
            ended,
        })
    }

    async fn start_worker(
        &self,
        membership: &Membership,
        listen: Option<SocketAddr>,
        dial: Arc<dyn Dial>,
    ) -> Result<Worker, RolesError> {
        let facts = NodeFacts {
            node_id: membership.node.to_string(),
            cluster_id: membership.cluster.to_string(),
            manager: membership.role == Role::Manager,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            state_dir: self.config.state_dir.clone(),
            run_dir: self.config.run_dir.clone(),
        };
        let reachable = listen
            .map(|address| address.ip())
            .filter(|ip| !ip.is_unspecified() && !ip.is_loopback());
        let config = WorkerConfig {
            state_dir: self.config.state("worker"),
            facts,
            address: reachable.map(|ip| ip.to_string()).unwrap_or_default(),
            node: membership.node.clone(),
            side: NodeSide {
                tag: self.net.tag.clone(),
                open_host_ports: self.config.open_host_ports.clone(),
            },
            net: self.net.clone(),
        };
        Ok(Worker::start(config, self.runtime.clone(), dial).await?)
    }
}

/// Where this machine reaches its own listener.
fn own_address(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// `host:port`, with the listener's port where none is said, and its address where nothing is.
fn with_port(advertise: Option<String>, bound: SocketAddr) -> String {
    match advertise {
        None => own_address(bound).to_string(),
        Some(text) if text.parse::<SocketAddr>().is_ok() => text,
        Some(text) => match text.parse::<IpAddr>() {
            Ok(ip) => SocketAddr::new(ip, bound.port()).to_string(),
            Err(_name) if text.contains(':') => text,
            Err(_name) => format!("{text}:{}", bound.port()),
        },
    }
}

async fn bind(address: SocketAddr) -> Result<Bound, RolesError> {
    let fail = |source| RolesError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(fail)?;
    let bound = listener.local_addr().map_err(fail)?;
    Ok((listener, bound))
}

impl Running {
    pub(super) fn tokens(&self) -> (String, String) {
        self.manager
            .as_ref()
            .map(|manager| manager.tokens.clone())
            .unwrap_or_default()
    }

    pub(super) fn status(&self) -> NodeStatus {
        let mut problems = Vec::new();
        if self.manager.as_ref().is_some_and(|manager| !manager.is_serving()) {
            problems.push("the manager has no leader yet".to_owned());
        }
        if !self.worker.in_session() {
            problems.push("the worker is in no session with a manager".to_owned());
        }
        NodeStatus {
            membership: Some(self.membership.clone()),
            listen: self.listen,
            ready: problems.is_empty(),
            problems,
        }
    }

    pub(super) async fn stop(self) {
        self.worker.stop().await;
        if let Some(manager) = self.manager {
            manager.shutdown.cancel();
            if manager.ended.await.is_err() {
                tracing::error!("the manager panicked while it stopped");
            }
        }
    }
}

impl RunningManager {
    fn is_serving(&self) -> bool {
        self.handle.leader().borrow().established && self.handle.view().cluster().is_some()
    }
}
