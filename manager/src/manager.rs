//! A running manager, as `shoald` starts and stops it.
//!
//! The caller owns the TCP listener, the local socket and the signals. Start restores the log, serves at
//! once, and returns; the manager then runs until it is told to stop or its disk or log gives out.

#[cfg(test)]
mod tests;

use crate::{
    access::{Guard, caller_node, guarded},
    authority::Authority,
    codec::ProtobufCodec,
    driver::{self, DriverConfig, Ended, Handle},
    found::{self, FoundConfig, FoundError, Founded, MEMBER_FILE, MEMBER_VERSION, Member},
    machine::{CorePlanning, MachineConfig},
    resolver::ImageResolver,
    server,
    services::{
        ca::CaService,
        control::{ControlService, Facts},
        dispatcher::DispatcherService,
        watch::WatchService,
    },
    storage::{ClusterKey, LOG_FILE, Owner, Storage, StorageError, WrappingKey},
    streams::{Broker, ExecService, LogsService, StreamsService},
};
use shoal_api::{
    identity::{Credentials, IdentityError, JoinToken, LiveCredentials, Party, server_config},
    limits::MAX_MESSAGE_BYTES,
    v1::{
        ca_server::CaServer, control_server::ControlServer, dispatcher_server::DispatcherServer,
        exec_server::ExecServer, logs_server::LogsServer, streams_server::StreamsServer,
        watch_server::WatchServer,
    },
};
use shoal_core::model::{ClusterId, IdGen, NodeId};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{net::TcpListener, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::{service::Routes, transport::Server};

/// Calls that are still answered after the manager was told to stop. Streams end by themselves at once.
const DRAIN: Duration = Duration::from_secs(3);

/// Streams of one connection: a node's session and the log and exec streams that it dials back.
const STREAMS_PER_CONNECTION: u32 = 1024;

/// A token and a certificate request: two kilobytes.
const MAX_CA_BYTES: usize = 64 << 10;

/// A silent connection is asked for a sign of life after this, and dropped if none comes for as long.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// What a manager is started with; validated by its maker.
#[derive(Clone, Debug)]
pub struct ManagerConfig {
    /// `<state>/raft`.
    pub folder: PathBuf,
    /// The node's own; their key unwraps the folder's keys.
    pub credentials: Credentials,
    /// The same, as connections show them: replaced by whoever renews them.
    pub live: Arc<LiveCredentials>,
    /// Of `shoald`.
    pub version: String,
    /// As `uname -r` has it.
    pub kernel: String,
}

/// Why a manager did not start. Nothing of it is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the node's certificate is no manager's: it is {found}")]
    NotAManager { found: String },
    #[error("cannot {action} {path}")]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} does not say which member of a cluster it belongs to: {reason}")]
    Member { path: PathBuf, reason: String },
    #[error("{path} belongs to cluster {found}, the node's certificate to {expected}")]
    OtherCluster {
        path: PathBuf,
        found: ClusterId,
        expected: ClusterId,
    },
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Driver(#[from] driver::StartError),
}

/// A manager that runs.
#[derive(Debug)]
pub struct Manager {
    handle: Handle,
    routes: Routes,
    shutdown: CancellationToken,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
    driver: JoinHandle<Ended>,
}

impl Manager {
    /// Founds a cluster: see `found`.
    pub async fn bootstrap(config: FoundConfig) -> Result<Founded, FoundError> {
        found::found(config).await
    }

    /// Restores the manager from its folder and serves on `listener`, and on whatever the caller mounts
    /// `local_routes` on, until `shutdown`.
    pub async fn start(
        config: ManagerConfig,
        listener: TcpListener,
        resolver: Arc<dyn ImageResolver>,
        shutdown: CancellationToken,
    ) -> Result<Self, StartError> {
        let (cluster, node) = own_identity(&config.credentials)?;
        let (folder, credentials) = (config.folder.clone(), config.credentials.clone());
        let expected = cluster.clone();
        // Opening syncs and may replay a log: not on a thread that serves.
        let opened = tokio::task::spawn_blocking(move || open(&folder, &credentials, &expected)).await;
        let opened = match opened {
            Ok(opened) => opened?,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        let tls = server_config(&config.live)?;
        let (handle, driver) = driver::start(DriverConfig {
            machine: MachineConfig::new(opened.raft_id, rand::random(), IdGen::new(rand::random())),
            first_voters: vec![opened.raft_id],
            codec: || Box::new(ProtobufCodec),
            planning: Box::new(CorePlanning::new()),
            storage: opened.storage,
        })?;
        let authority = Authority::new(handle.clone(), opened.cluster_key);
        let facts = Facts {
            node,
            version: config.version,
            kernel: config.kernel,
        };
        let streaming = shutdown.child_token();
        let routes = services(&handle, authority, resolver, facts, &streaming);
        let routes = guarded(routes, Guard::new(cluster, handle.clone()));
        let connections = server::accept(listener, tls, shutdown.child_token());
        let serving = Server::builder()
            .max_concurrent_streams(Some(STREAMS_PER_CONNECTION))
            .http2_keepalive_interval(Some(KEEP_ALIVE))
            .http2_keepalive_timeout(Some(KEEP_ALIVE))
            .add_routes(routes.clone())
            .serve_with_incoming_shutdown(connections, shutdown.clone().cancelled_owned());
        Ok(Self {
            handle,
            routes,
            shutdown,
            server: tokio::spawn(serving),
            driver,
        })
    }

    /// Every service of the manager, for the local socket: whoever can open it is an administrator. Mount
    /// it with tonic's own unix stream, whose connect info the guard reads.
    pub fn local_routes(&self) -> Routes {
        self.routes.clone()
    }

    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Does it answer, and is there a leader who has caught up?
    pub fn is_serving(&self) -> bool {
        let leader = *self.handle.leader().borrow();
        leader.established && self.handle.view().cluster().is_some()
    }

    /// Waits until `is_serving`; false if the manager ended instead.
    pub async fn serving(&self) -> bool {
        self.handle
            .leader()
            .wait_for(|leader| leader.established)
            .await
            .is_ok()
    }

    /// The join tokens in force: a worker's and a manager's.
    pub fn tokens(&self) -> Option<(JoinToken, JoinToken)> {
        let view = self.handle.view();
        let status = &view.cluster()?.status;
        let token = |secret: &str| JoinToken::new(&status.root_certificate, secret).ok();
        Some((
            token(&status.join_tokens.worker)?,
            token(&status.join_tokens.manager)?,
        ))
    }

    /// Waits for the end: after `shutdown`, or because the manager cannot go on. Calls under way are
    /// answered, streams are told to come back, leadership is handed over; only then is the log closed.
    pub async fn ended(mut self) -> Ended {
        let early = tokio::select! {
            () = self.shutdown.cancelled() => None,
            ended = &mut self.driver => Some(ended),
        };
        self.shutdown.cancel();
        if timeout(DRAIN, &mut self.server).await.is_err() {
            tracing::debug!("calls that did not end were cut off");
            self.server.abort();
        }
        let ended = match early {
            Some(ended) => ended,
            None => {
                self.handle.stop().await;
                (&mut self.driver).await
            }
        };
        match ended {
            Ok(ended) => ended,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
}

fn own_identity(credentials: &Credentials) -> Result<(ClusterId, NodeId), StartError> {
    let identity = credentials.identity()?;
    match identity.party {
        Party::Node {
            id,
            role: shoal_core::model::Role::Manager,
        } => Ok((identity.cluster, id)),
        other => Err(StartError::NotAManager {
            found: format!("{other:?}"),
        }),
    }
}

struct Opened {
    raft_id: u64,
    cluster_key: ClusterKey,
    storage: Storage,
}

fn open(folder: &Path, credentials: &Credentials, cluster: &ClusterId) -> Result<Opened, StartError> {
    finish_founding(folder)?;
    let path = folder.join(MEMBER_FILE);
    let text = fs::read(&path).map_err(failed("read", &path))?;
    let unreadable = |reason: String| StartError::Member {
        path: path.clone(),
        reason,
    };
    let member: Member = serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))?;
    if member.version != MEMBER_VERSION {
        return Err(unreadable(format!(
            "it has version {}, this is {MEMBER_VERSION}: upgrade shoald",
            member.version
        )));
    }
    if member.cluster != *cluster {
        return Err(StartError::OtherCluster {
            path,
            found: member.cluster,
            expected: cluster.clone(),
        });
    }
    // Made anew it would be an empty cluster, in which this node and all that it runs are unknown.
    let log = folder.join(LOG_FILE);
    if fs::metadata(&log).map_or(0, |found| found.len()) == 0 {
        let reason = "it is missing or empty, although the folder is a member's".to_owned();
        return Err(StorageError::Damaged { path: log, reason }.into());
    }
    let wrapping = WrappingKey::from_node_key(credentials.key_pem.as_bytes());
    let owner = Owner {
        cluster: member.cluster.to_string(),
        member: member.raft_id,
    };
    Ok(Opened {
        raft_id: member.raft_id,
        cluster_key: ClusterKey::load_or_create(folder, cluster.as_str(), &wrapping)?,
        storage: Storage::open(folder, owner, &wrapping)?,
    })
}

/// The identity is stored, so the cluster exists: what was founded beside is put in place.
fn finish_founding(folder: &Path) -> Result<(), StartError> {
    let unfinished = found::unfinished(folder);
    if !found::is_empty(folder).map_err(failed("read", folder))? || !unfinished.exists() {
        return Ok(());
    }
    // An empty folder in the way is replaced by rename.
    fs::rename(&unfinished, folder).map_err(failed("rename", &unfinished))?;
    let parent = folder.parent().unwrap_or(Path::new("/"));
    fs::File::open(parent)
        .and_then(|parent| parent.sync_all())
        .map_err(failed("sync", parent))
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StartError + 'a {
    move |source| StartError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

/// Every service, each with the bound of its messages.
fn services(
    handle: &Handle,
    authority: Authority,
    resolver: Arc<dyn ImageResolver>,
    facts: Facts,
    shutdown: &CancellationToken,
) -> Routes {
    macro_rules! bounded {
        ($server:expr) => {
            $server
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES)
        };
    }
    let broker = Broker::new(IdGen::new(rand::random()));
    let control = ControlService::new(handle.clone(), resolver, facts);
    let watch = WatchService::new(handle.clone(), shutdown.clone());
    let dispatcher = DispatcherService::new(handle.clone(), broker.clone(), caller_node, shutdown.clone());
    let ca = CaService::new(handle.clone(), authority, IdGen::new(rand::random()));
    Routes::new(bounded!(ControlServer::new(control)))
        .add_service(bounded!(WatchServer::new(watch)))
        .add_service(bounded!(DispatcherServer::new(dispatcher)))
        // Anyone may ask it, without a certificate.
        .add_service(
            CaServer::new(ca)
                .max_decoding_message_size(MAX_CA_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES),
        )
        .add_service(bounded!(LogsServer::new(LogsService::new(
            handle.clone(),
            broker.clone()
        ))))
        .add_service(bounded!(ExecServer::new(ExecService::new(
            handle.clone(),
            broker.clone()
        ))))
        .add_service(bounded!(StreamsServer::new(StreamsService::new(
            broker,
            caller_node
        ))))
}
