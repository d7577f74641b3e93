//! Who calls, and may they? Checked before any handler runs, on every connection alike.
//!
//! The certificate or the local socket says who the caller is, the store what it may do now, and the
//! table made from the protos what the RPC asks for. A caller that passes is put into the request's
//! extensions for the handlers.

mod layer;
#[cfg(test)]
mod tests;

pub use layer::{AccessLayer, REQUEST_ID, guarded};

use crate::driver::Handle;
use shoal_api::{
    access::{Access, allowed},
    convert::Details,
    identity::{Identity, Party},
    v1::ErrorCode,
};
use shoal_core::model::{ClusterId, NodeId, Role};

/// Who is at the other end of a connection, as far as the connection itself shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// TLS without a certificate.
    Nobody,
    /// TLS with a certificate that our root signed and that is valid now.
    Certified(Identity),
    /// The local socket, opened by this user. Its mode decides who can open it.
    Socket { uid: Option<u32> },
}

/// A caller whose call was let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub peer: Peer,
    /// The request's id: the client's own, else made here. The same in log and answer.
    pub request_id: String,
}

/// The node whose certificate a request came with.
pub fn caller_node(extensions: &tonic::Extensions) -> Option<NodeId> {
    match &extensions.get::<Caller>()?.peer {
        Peer::Certified(Identity {
            party: Party::Node { id, .. },
            ..
        }) => Some(id.clone()),
        Peer::Certified(_) | Peer::Nobody | Peer::Socket { .. } => None,
    }
}

/// What decides: which cluster this is, and the store's current word on its nodes.
#[derive(Clone, Debug)]
pub struct Guard {
    cluster: ClusterId,
    handle: Handle,
}

impl Guard {
    pub fn new(cluster: ClusterId, handle: Handle) -> Self {
        Self { cluster, handle }
    }

    /// Lets a call through or says why not.
    pub fn check(&self, path: &str, peer: &Peer) -> Result<(), Box<Details>> {
        let Some(allow) = allowed(path) else {
            let message = format!("this manager knows no call {path}");
            let details = Details::of(ErrorCode::Unsupported, message);
            return Err(Box::new(
                details.with_hint("client and manager differ in version: see `shoal version`"),
            ));
        };
        if allow.contains(&Access::Anyone) {
            return Ok(());
        }
        let rights = self.rights(peer)?;
        if rights.iter().any(|right| allow.contains(right)) {
            return Ok(());
        }
        Err(Box::new(forbidden(path, peer, allow)))
    }

    /// What this peer may do now. A certificate never gives more than the store does, nor the store more
    /// than the certificate: a demoted manager's old one is a worker's, a removed node's is nothing.
    fn rights(&self, peer: &Peer) -> Result<&'static [Access], Box<Details>> {
        const WORKER: &[Access] = &[Access::Worker];
        const MANAGER: &[Access] = &[Access::Worker, Access::Manager];
        let identity = match peer {
            Peer::Nobody => return Ok(&[]),
            // The socket of a manager; a worker's own is guarded by the node.
            Peer::Socket { .. } => return Ok(&[Access::Socket, Access::Admin]),
            Peer::Certified(identity) => identity,
        };
        if identity.cluster != self.cluster {
            let message = format!(
                "the certificate is of cluster {}, not of this one",
                identity.cluster
            );
            return Err(Box::new(Details::of(ErrorCode::Unauthenticated, message)));
        }
        let Party::Node { id, role } = &identity.party else {
            return Ok(&[Access::Admin]);
        };
        let view = self.handle.view();
        let Some(node) = view.node(id) else {
            let message = format!("node {id} does not belong to this cluster (any more)");
            let details = Details::of(ErrorCode::Forbidden, message).with_hint("join it again");
            return Err(Box::new(details));
        };
        Ok(match (role, node.spec.role) {
            (Role::Manager, Role::Manager) => MANAGER,
            (Role::Worker, _) | (Role::Manager, Role::Worker) => WORKER,
        })
    }
}

fn forbidden(path: &str, peer: &Peer, allow: &[Access]) -> Details {
    let wanted: Vec<&str> = allow.iter().map(|access| name(*access)).collect();
    let wanted = wanted.join(", ");
    let found = match peer {
        Peer::Nobody => {
            let message = format!("{path} needs a certificate ({wanted}); none was shown");
            return Details::of(ErrorCode::Unauthenticated, message)
                .with_hint("use the manager's local socket, or a context with a client certificate");
        }
        Peer::Socket { .. } => "the local socket".to_owned(),
        Peer::Certified(identity) => match &identity.party {
            Party::Node { id, .. } => format!("node {id}"),
            Party::Admin { name } => format!("administrator {name}"),
        },
    };
    Details::of(
        ErrorCode::Forbidden,
        format!("{found} may not call {path}: it is for {wanted}"),
    )
}

fn name(access: Access) -> &'static str {
    match access {
        Access::Anyone => "anyone",
        Access::Worker => "workers",
        Access::Manager => "managers",
        Access::Admin => "administrators",
        Access::Socket => "the local socket",
    }
}
