//! The node's own membership on the local socket: `cluster init`, and how far the node is.
//!
//! Called by the client before there is a cluster; never by another node.

use crate::roles::{InitSpec, Roles, RolesError};
use shoal_api::convert::{Details, status};
use shoal_api::v1::{self, ErrorCode, bootstrap_server::Bootstrap};
use shoal_core::model::{Availability, Role};
use shoal_manager::{FoundError, PoolsAsked};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct BootstrapService {
    roles: Arc<Roles>,
}

impl BootstrapService {
    pub(crate) fn new(roles: Arc<Roles>) -> Self {
        Self { roles }
    }
}

#[tonic::async_trait]
impl Bootstrap for BootstrapService {
    async fn init(&self, request: Request<v1::InitRequest>) -> Result<Response<v1::InitResponse>, Status> {
        let request = request.into_inner();
        let availability = match request.availability() {
            v1::Availability::Unspecified | v1::Availability::Active => Availability::Active,
            v1::Availability::Pause => Availability::Pause,
            v1::Availability::Drain => Availability::Drain,
        };
        let spec = InitSpec {
            name: request.name,
            listen: optional_address(&request.listen_address)?,
            advertise: Some(request.advertise_address).filter(|address| !address.is_empty()),
            availability,
            pools: PoolsAsked::parse(
                &request.default_addr_pools,
                request.default_addr_pool_mask_length,
                &request.default_addr_pool_v6,
            )?,
        };
        let made = self.roles.init(spec).await.map_err(|error| refuse(&error))?;
        Ok(Response::new(v1::InitResponse {
            cluster_id: made.cluster.to_string(),
            node_id: made.node.to_string(),
            worker_join_token: made.worker_token,
            manager_join_token: made.manager_token,
            pools: Some(made.pools.into()),
        }))
    }

    async fn status(&self, _: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        let state = self.roles.status().await;
        let mut response = v1::StatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            state_directory: self.roles.config().state_dir.display().to_string(),
            listen_address: state
                .listen
                .map(|address| address.to_string())
                .unwrap_or_default(),
            problems: state.problems,
            ready: state.ready,
            ..v1::StatusResponse::default()
        };
        if let Some(membership) = state.membership {
            response.cluster_id = membership.cluster.to_string();
            response.node_id = membership.node.to_string();
            response.role = match membership.role {
                Role::Manager => v1::Role::Manager,
                Role::Worker => v1::Role::Worker,
            }
            .into();
        }
        Ok(Response::new(response))
    }
}

fn optional_address(text: &str) -> Result<Option<std::net::SocketAddr>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_unreadable| {
        let message = format!("expected an address and a port such as 0.0.0.0:2377, found {text:?}");
        status(Details::of(ErrorCode::Invalid, message).with_field("listen_address"))
    })
}

fn refuse(error: &RolesError) -> Status {
    let code = match error {
        RolesError::Member { .. } => ErrorCode::Conflict,
        RolesError::Found(FoundError::Pools(_)) => ErrorCode::Invalid,
        _ => ErrorCode::Unavailable,
    };
    status(Details::of(code, crate::chain(error)))
}
