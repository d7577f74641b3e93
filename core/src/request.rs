//! What users ask for, as pure transactions over a view of the store.
//!
//! The machine plans a request against its overlay and proposes the changes as one entry; the shell
//! plans with nothing proposed to show what would change. A reference is an id, a name or an
//! unambiguous prefix of an id. Image digests are resolved before a request gets here.

mod cluster;
mod endpoint;
mod network;
mod node;
mod service;
mod stack;
#[cfg(test)]
mod tests;
mod transaction;

use crate::{
    model::{
        Cluster, ClusterSpec, IdGen, NetworkId, NetworkSpec, Node, NodeId, NodeSpec, ServiceId, ServiceSpec,
        StackId, StackSpec, Timestamp, Version, WallTime,
    },
    refusal::{Refusal, RefusalCode},
    store::{Change, StoreView},
};
pub use cluster::upgrade;
use transaction::Transaction;

/// Changes in one user's transaction; a larger one would hold up everyone else's.
pub const MAX_CHANGES: usize = 10_000;

/// One user's write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    CreateService {
        spec: ServiceSpec,
    },
    UpdateService {
        reference: String,
        /// The version that the spec was made from.
        version: Version,
        spec: ServiceSpec,
        /// Replace all tasks although nothing about them changed.
        force: bool,
    },
    RemoveService {
        reference: String,
    },
    /// All or none.
    ScaleServices {
        /// Reference and replicas.
        scales: Vec<(String, u32)>,
    },
    DeployStack {
        spec: StackSpec,
        /// Remove services of the stack that the spec no longer names.
        prune: bool,
    },
    RemoveStack {
        reference: String,
    },
    CreateNetwork {
        spec: NetworkSpec,
    },
    /// Only one that no service uses.
    RemoveNetwork {
        reference: String,
    },
    UpdateNode {
        reference: String,
        version: Version,
        spec: NodeSpec,
    },
    /// Only a node that is down, and no manager.
    RemoveNode {
        reference: String,
    },
    UpdateCluster {
        version: Version,
        spec: ClusterSpec,
    },
    /// The first entry of a cluster: the cluster itself and its first node.
    Bootstrap {
        cluster: Box<Cluster>,
        node: Box<Node>,
    },
    /// A node that showed a join token. Nothing happens if it is known already.
    AddNode {
        node: Box<Node>,
    },
}

/// What a request did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    Done,
    Service {
        id: ServiceId,
        warnings: Vec<String>,
    },
    /// In the order asked.
    Scaled {
        ids: Vec<ServiceId>,
    },
    Stack {
        id: StackId,
        networks: Vec<StackNetworkChange>,
        changes: Vec<StackChange>,
        warnings: Vec<String>,
    },
    Network {
        id: NetworkId,
        warnings: Vec<String>,
    },
    Node {
        id: NodeId,
    },
}

/// What a stack's deploy or removal does to one of its own networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackNetworkChange {
    /// The stored name.
    pub network: String,
    pub network_id: NetworkId,
    pub action: StackAction,
    pub details: Vec<String>,
}

/// What a stack's deploy or removal does to one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackChange {
    /// The stored name, `<stack>_<name>`.
    pub service: String,
    /// Of a service that existed before, or was just created.
    pub service_id: Option<ServiceId>,
    pub action: StackAction,
    /// What differs, one line each (`image: a -> b`; `replicas: scaled by hand to 5`).
    pub details: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StackAction {
    Create,
    Update,
    Remove,
    Keep,
}

/// What planning a request needs beside the view: fresh ids and the two times.
#[derive(Debug)]
pub struct RequestContext<'a> {
    pub ids: &'a mut IdGen,
    pub now: Timestamp,
    pub wall: WallTime,
}

/// Validates everything, then says what to change; nothing is half done.
pub fn plan(
    view: &StoreView,
    request: &Request,
    ctx: &mut RequestContext<'_>,
) -> Result<(Vec<Change>, Response), Refusal> {
    let mut tx = Transaction::new(view, ctx);
    let response = write(&mut tx, request)?;
    let changes = tx.finish();
    if changes.len() > MAX_CHANGES {
        return Err(Refusal::new(
            RefusalCode::TooLarge,
            format!(
                "the request makes {} changes; at most {MAX_CHANGES} fit one transaction",
                changes.len()
            ),
        )
        .with_hint("split it"));
    }
    Ok((changes, response))
}

fn write(tx: &mut Transaction<'_>, request: &Request) -> Result<Response, Refusal> {
    match request {
        Request::CreateService { spec } => service::create(tx, spec),
        Request::UpdateService {
            reference,
            version,
            spec,
            force,
        } => service::update(tx, reference, *version, &service::Wanted { spec, force: *force }),
        Request::RemoveService { reference } => service::remove(tx, reference),
        Request::ScaleServices { scales } => service::scale(tx, scales),
        Request::DeployStack { spec, prune } => stack::deploy(tx, spec, *prune),
        Request::RemoveStack { reference } => stack::remove(tx, reference),
        Request::CreateNetwork { spec } => network::create(tx, spec),
        Request::RemoveNetwork { reference } => network::remove(tx, reference),
        Request::UpdateNode {
            reference,
            version,
            spec,
        } => node::update(tx, reference, *version, spec),
        Request::RemoveNode { reference } => node::remove(tx, reference),
        Request::UpdateCluster { version, spec } => cluster::update(tx, *version, spec),
        Request::Bootstrap { cluster, node } => cluster::bootstrap(tx, cluster, node),
        Request::AddNode { node } => Ok(node::add(tx, node)),
    }
}

/// Refuses a write made from a version that is no longer the current one.
fn check_version(noun: &str, name: &str, found: Version, current: Version) -> Result<(), Refusal> {
    if found == current {
        return Ok(());
    }
    Err(Refusal::new(
        RefusalCode::Stale,
        format!(
            "{noun} {name:?} was changed by someone else: the update was made from version {}, the current one is {}",
            found.0, current.0
        ),
    )
    .with_field("version")
    .with_hint("read it again and repeat the update"))
}
