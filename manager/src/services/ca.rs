//! The CA service: the root certificate for anyone, certificates for who proves a right to one.
//!
//! The authority signs; this file decides nothing but who a certificate names, by token or by the store.

use super::write_failed;
use crate::{
    access::{Caller, Peer, caller_node},
    authority::{Authority, AuthorityError},
    driver::{Handle, wall_now},
};
use shoal_api::{
    convert::{Details, Malformed, status},
    identity::{Identity, IdentityError, JoinToken},
    v1::{self, ErrorCode, ca_server::Ca},
};
use shoal_core::model::{
    Availability, IdGen, Labels, Meta, Node, NodeId, NodeSpec, NodeState, NodeStatus, Role, Timestamp,
};
use shoal_core::request::Request as Write;
use std::sync::{Mutex, PoisonError};
use tonic::{Request, Response, Status};

#[derive(Debug)]
pub struct CaService {
    handle: Handle,
    authority: Authority,
    /// Mints the ids of nodes that join.
    ids: Mutex<IdGen>,
}

impl CaService {
    pub fn new(handle: Handle, authority: Authority, ids: IdGen) -> Self {
        Self {
            handle,
            authority,
            ids: Mutex::new(ids),
        }
    }

    fn mint(&self) -> NodeId {
        NodeId::mint(&mut self.ids.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn issue(&self, csr: &str, identity: &Identity) -> Result<String, Status> {
        self.authority.issue(csr, identity, wall_now()).map_err(failed)
    }
}

fn failed(error: AuthorityError) -> Status {
    let details = match error {
        AuthorityError::Identity(IdentityError::Unreadable { what, reason }) => {
            Details::of(ErrorCode::Invalid, format!("the {what} cannot be read: {reason}")).with_field("csr")
        }
        AuthorityError::NoCluster => Details::of(ErrorCode::Unavailable, error.to_string()),
        AuthorityError::Identity(_) | AuthorityError::Sealed(_) | AuthorityError::NotText => {
            tracing::error!(%error, "a certificate could not be issued");
            Details::of(ErrorCode::Internal, error.to_string())
        }
    };
    status(details)
}

fn wrong_token() -> Status {
    let message = "the join token is not, or no longer, one of this cluster";
    status(
        Details::of(ErrorCode::Forbidden, message)
            .with_field("token")
            .with_hint("`shoal cluster info` on a manager shows the tokens in force"),
    )
}

fn joining(id: NodeId, availability: Availability) -> Node {
    Node {
        id,
        meta: Meta::default(),
        spec: NodeSpec {
            labels: Labels::new(),
            role: Role::Worker,
            availability,
        },
        description: None,
        status: NodeStatus {
            state: NodeState::Unknown,
            message: "has joined; its session has not opened yet".to_owned(),
            since: wall_now(),
            at: Timestamp::ZERO,
        },
        manager: None,
    }
}

#[tonic::async_trait]
impl Ca for CaService {
    async fn get_root_certificate(
        &self,
        _request: Request<v1::GetRootCertificateRequest>,
    ) -> Result<Response<v1::GetRootCertificateResponse>, Status> {
        let (_, root_certificate) = self.authority.cluster().map_err(failed)?;
        Ok(Response::new(v1::GetRootCertificateResponse { root_certificate }))
    }

    async fn join(&self, request: Request<v1::JoinRequest>) -> Result<Response<v1::JoinResponse>, Status> {
        let message = request.into_inner();
        // A malformed token is told from a wrong one: neither helps to guess a secret.
        let token: JoinToken = message.token.parse().map_err(|e| Malformed::new("token", e))?;
        let role = self
            .authority
            .role_of(&token)
            .map_err(failed)?
            .ok_or_else(wrong_token)?;
        if role == Role::Manager {
            let message = "joining as a further manager is not built yet";
            return Err(status(
                Details::of(ErrorCode::Unsupported, message)
                    .with_field("token")
                    .with_hint("join as a worker, with the worker's token"),
            ));
        }
        let availability = match message.availability() {
            v1::Availability::Unspecified | v1::Availability::Active => Availability::Active,
            v1::Availability::Pause => Availability::Pause,
            v1::Availability::Drain => Availability::Drain,
        };
        let (cluster, root_certificate) = self.authority.cluster().map_err(failed)?;
        let id = match message.request_id.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|e| Malformed::new("request_id", e))?),
        };
        let node = joining(self.mint(), availability);
        // Signing first: a request that cannot be signed leaves no node behind.
        self.issue(
            &message.csr,
            &Identity::node(cluster.clone(), node.id.clone(), role),
        )?;
        let write = Write::AddNode { node: Box::new(node) };
        let node_id = match self.handle.propose(write, id).await.map_err(write_failed)? {
            // A retry gets the node that the first try made.
            shoal_core::request::Response::Node { id } => id,
            other => return Err(Status::internal(format!("unexpected response {other:?}"))),
        };
        let certificate = self.issue(
            &message.csr,
            &Identity::node(cluster.clone(), node_id.clone(), role),
        )?;
        tracing::info!(node = %node_id, ?role, "a node joined");
        Ok(Response::new(v1::JoinResponse {
            node_id: node_id.to_string(),
            cluster_id: cluster.to_string(),
            role: v1::Role::from(role).into(),
            certificate,
            root_certificate,
        }))
    }

    async fn renew(&self, request: Request<v1::RenewRequest>) -> Result<Response<v1::RenewResponse>, Status> {
        let id = caller_node(request.extensions()).ok_or_else(|| {
            status(Details::of(
                ErrorCode::Forbidden,
                "only a node renews its certificate",
            ))
        })?;
        let (cluster, root_certificate) = self.authority.cluster().map_err(failed)?;
        let view = self.handle.view();
        let role = view.node(&id).map(|node| node.spec.role);
        let role = role.ok_or_else(|| {
            let message = format!("node {id} does not belong to this cluster (any more)");
            status(Details::of(ErrorCode::Forbidden, message))
        })?;
        let identity = Identity::node(cluster, id.clone(), role);
        let certificate = self.issue(&request.into_inner().csr, &identity)?;
        tracing::info!(node = %id, ?role, "a certificate was renewed");
        Ok(Response::new(v1::RenewResponse {
            certificate,
            root_certificate,
            role: v1::Role::from(role).into(),
        }))
    }

    async fn issue_admin(
        &self,
        request: Request<v1::IssueAdminRequest>,
    ) -> Result<Response<v1::IssueAdminResponse>, Status> {
        let by: Option<Peer> = request
            .extensions()
            .get::<Caller>()
            .map(|caller| caller.peer.clone());
        let message = request.into_inner();
        let (cluster, root_certificate) = self.authority.cluster().map_err(failed)?;
        let identity = Identity::admin(cluster.clone(), &message.name);
        let certificate = self.issue(&message.csr, &identity)?;
        tracing::info!(?identity.party, ?by, "an administrator's certificate was issued");
        Ok(Response::new(v1::IssueAdminResponse {
            certificate,
            root_certificate,
            cluster_id: cluster.to_string(),
        }))
    }
}
