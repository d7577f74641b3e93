//! Founding a cluster: its root, its first node's certificate, and the first entry of its log.
//!
//! Called once, by `cluster init` and by `dev up`'s first start. Everything is made in a folder beside the
//! manager's own; the caller then stores the identity, which is the moment the cluster exists, and
//! `Manager::start` puts the folder in place. A crash before leaves nothing that a next try minds.

pub(crate) mod pools;

pub use pools::{PoolsAsked, PoolsError};

use crate::{
    codec::ProtobufCodec,
    driver::{self, DriverConfig, Ended, WriteError, wall_now},
    machine::{CorePlanning, MachineConfig},
    storage::{ClusterKey, Owner, Storage, StorageError, WrappingKey},
};
use ipnet::IpNet;
use rand::{TryRngCore as _, rngs::OsRng};
use serde::{Deserialize, Serialize};
use shoal_api::identity::{Credentials, Identity, IdentityError, NewKey, Root, new_secret};
use shoal_core::{
    model::{
        AddressPools, Availability, Cluster, ClusterId, ClusterSpec, ClusterStatus, IdGen, JoinTokens,
        Labels, ManagerStatus, Meta, Node, NodeId, NodeSpec, NodeState, NodeStatus, Role, Timestamp,
    },
    request::Request,
};
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::timeout;

/// A sole member leads at once; only a disk that hangs takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Raft ids are drawn from this many bits: never 0, and no two members of a cluster ever share one.
const RAFT_ID_BITS: u64 = 63;

/// What a cluster is founded with.
#[derive(Clone, Debug)]
pub struct FoundConfig {
    /// `<state>/raft`. Must be missing or empty.
    pub folder: PathBuf,
    /// The cluster's name.
    pub name: String,
    /// `host:port` at which the manager will be reached.
    pub address: String,
    pub availability: Availability,
    pub pools: PoolsAsked,
    /// Where this host has routes to: ranges that the pools must leave alone.
    pub routes: Vec<IpNet>,
}

/// A founded cluster. It exists once `credentials` are stored.
#[derive(Debug)]
pub struct Founded {
    pub cluster: ClusterId,
    pub node: NodeId,
    /// In force for as long as the cluster lives.
    pub pools: AddressPools,
    /// Keep the key through renewals: it also wraps the keys of the manager's folder.
    pub credentials: Credentials,
}

/// Why no cluster was founded.
#[derive(Debug, thiserror::Error)]
pub enum FoundError {
    #[error("{path} already holds a manager's log, but no identity to read it with: move it away first")]
    Occupied { path: PathBuf },
    #[error("cannot {action} {path}")]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Pools(#[from] PoolsError),
    #[error("the system gives no random bits: {0}")]
    Random(String),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Start(#[from] driver::StartError),
    #[error("the first entry could not be written")]
    Write(#[from] WriteError),
    #[error("the first entry could not be written: {0}")]
    Ended(String),
    #[error("the disk did not take the first entry within {} s", PATIENCE.as_secs())]
    Slow,
}

/// Which member a folder belongs to; beside the log, in the clear.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Member {
    pub(crate) version: u32,
    pub(crate) cluster: ClusterId,
    pub(crate) raft_id: u64,
}

pub(crate) const MEMBER_FILE: &str = "member.json";
pub(crate) const MEMBER_VERSION: u32 = 1;

/// Where a cluster is founded before it is put in place.
pub(crate) fn unfinished(folder: &Path) -> PathBuf {
    folder.with_extension("founding")
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> FoundError + 'a {
    move |source| FoundError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

/// Is there anything in the folder?
pub(crate) fn is_empty(folder: &Path) -> io::Result<bool> {
    match fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// Makes a cluster of one node. Nothing outside `<folder>.founding` is touched.
pub async fn found(config: FoundConfig) -> Result<Founded, FoundError> {
    if !is_empty(&config.folder).map_err(failed("read", &config.folder))? {
        return Err(FoundError::Occupied { path: config.folder });
    }
    let pools = config.pools.choose(&config.routes, random_bits()?)?;
    let folder = unfinished(&config.folder);
    match fs::remove_dir_all(&folder) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("remove", &folder)(error)),
    }
    fs::create_dir_all(&folder).map_err(failed("make", &folder))?;

    let mut ids = IdGen::new(rand::random());
    let now = wall_now();
    let (cluster, node) = (ClusterId::mint(&mut ids), NodeId::mint(&mut ids));
    let root = Root::generate(&cluster, now)?;
    let key = NewKey::generate()?;
    let identity = Identity::node(cluster.clone(), node.clone(), Role::Manager);
    let spec = ClusterSpec {
        name: config.name.clone(),
        pools: pools.clone(),
        ..ClusterSpec::default()
    };
    let certificate = root.issue(&key.csr_pem, &identity, now, spec.certificate_life)?;
    let credentials = key.certified(certificate, root.certificate_pem().to_owned());

    let member = Member {
        version: MEMBER_VERSION,
        cluster: cluster.clone(),
        raft_id: rand::random_range(1..1 << RAFT_ID_BITS),
    };
    let wrapping = WrappingKey::from_node_key(credentials.key_pem.as_bytes());
    let sealed = ClusterKey::load_or_create(&folder, cluster.as_str(), &wrapping)?;
    let first = Request::Bootstrap {
        cluster: Box::new(Cluster {
            id: cluster.clone(),
            meta: Meta::default(),
            spec,
            status: ClusterStatus {
                root_certificate: root.certificate_pem().to_owned(),
                sealed_root_key: sealed.seal(root.key_pem().as_bytes()),
                join_tokens: JoinTokens {
                    worker: new_secret(&mut ids),
                    manager: new_secret(&mut ids),
                },
                epoch: 0,
            },
        }),
        node: Box::new(first_node(&node, &member, &config)),
    };
    write_first(&folder, &member, &wrapping, first, ids).await?;
    write_member(&folder, &member)?;
    Ok(Founded {
        cluster,
        node,
        pools,
        credentials,
    })
}

/// From the operating system's own source, so that no two clusters that may meet draw the same range.
fn random_bits() -> Result<[u8; 5], FoundError> {
    let mut bits = [0; 5];
    let filled = OsRng.try_fill_bytes(&mut bits);
    filled.map_err(|error| FoundError::Random(error.to_string()))?;
    Ok(bits)
}

fn first_node(id: &NodeId, member: &Member, config: &FoundConfig) -> Node {
    Node {
        id: id.clone(),
        meta: Meta::default(),
        spec: NodeSpec {
            labels: Labels::new(),
            role: Role::Manager,
            availability: config.availability,
        },
        description: None,
        status: NodeStatus {
            state: NodeState::Unknown,
            message: "its session has not opened yet".to_owned(),
            since: wall_now(),
            at: Timestamp::ZERO,
        },
        manager: Some(ManagerStatus {
            raft_id: member.raft_id,
            address: config.address.clone(),
        }),
    }
}

/// Runs the machine once, for one entry.
async fn write_first(
    folder: &Path,
    member: &Member,
    wrapping: &WrappingKey,
    first: Request,
    ids: IdGen,
) -> Result<(), FoundError> {
    let owner = Owner {
        cluster: member.cluster.to_string(),
        member: member.raft_id,
    };
    let (handle, ended) = driver::start(DriverConfig {
        machine: MachineConfig::new(member.raft_id, member.raft_id, ids),
        first_voters: vec![member.raft_id],
        codec: || Box::new(ProtobufCodec),
        planning: Box::new(CorePlanning::new()),
        storage: Storage::open(folder, owner, wrapping)?,
    })?;
    let written = timeout(PATIENCE, async {
        let mut leader = handle.leader();
        // An error means that the driver has ended: the write says why.
        drop(leader.wait_for(|leader| leader.established).await);
        handle.propose(first, None).await
    });
    let written = written.await;
    handle.stop().await;
    let ended = ended
        .await
        .map_err(|error| FoundError::Ended(error.to_string()))?;
    match written {
        Err(_elapsed) => Err(FoundError::Slow),
        Ok(Ok(_)) => Ok(()),
        Ok(Err(WriteError::Stopped)) => Err(match ended {
            Ended::Storage(error) => FoundError::Storage(error),
            Ended::Stopped(reason) => FoundError::Ended(reason.to_string()),
        }),
        Ok(Err(error)) => Err(error.into()),
    }
}

fn write_member(folder: &Path, member: &Member) -> Result<(), FoundError> {
    let path = folder.join(MEMBER_FILE);
    let text = serde_json::to_vec(member).map_err(|error| failed("write", &path)(error.into()))?;
    fs::write(&path, text).map_err(failed("write", &path))?;
    for path in [path.as_path(), folder] {
        let synced = fs::File::open(path).and_then(|file| file.sync_all());
        synced.map_err(failed("sync", path))?;
    }
    Ok(())
}
