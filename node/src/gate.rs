//! The local socket's calls: this node's own services always, the manager's while there is one.
//!
//! The socket is served before the node belongs to a cluster; what only a manager can answer is refused until
//! then with what to do.

use futures::future::BoxFuture;
use http::{Request, Response};
use shoal_api::convert::{Details, status};
use shoal_api::v1::ErrorCode;
use std::convert::Infallible;
use std::task::{Context, Poll};
use tokio::sync::watch;
use tonic::body::Body;
use tonic::service::Routes;
use tower::{Service, ServiceExt};

/// Passes calls on to the manager that is there now.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    manager: watch::Receiver<Option<Routes>>,
}

impl Gate {
    /// The node's own services, with everything else passed to the manager.
    pub(crate) fn before(own: Routes, manager: watch::Receiver<Option<Routes>>) -> Routes {
        own.into_axum_router().fallback_service(Self { manager }).into()
    }
}

impl<B> Service<Request<B>> for Gate
where
    B: Send + 'static,
    Routes: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
    <Routes as Service<Request<B>>>::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let routes = self.manager.borrow().clone();
        match routes {
            Some(routes) => Box::pin(routes.oneshot(request)),
            None => {
                let message = "this node is no manager of a cluster, so it cannot answer that";
                let hint = "run `shoal cluster init` to begin a cluster here, or ask a manager";
                let refused = status(Details::of(ErrorCode::Unavailable, message).with_hint(hint));
                Box::pin(std::future::ready(Ok(refused.into_http())))
            }
        }
    }
}
