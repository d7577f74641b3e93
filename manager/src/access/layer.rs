//! The guard as a layer around all services: identifies, checks, tags and logs each call.
//!
//! A refused call never reaches a handler. Errors leave with the request's id in their details.

use super::{Caller, Guard, Peer};
use http::{HeaderValue, Request, Response};
use rand::Rng;
use shoal_api::convert::{details_of, status};
use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tonic::{Status, service::Routes, transport::server::UdsConnectInfo};
use tower::{Layer, Service};
use tracing::Instrument;

/// The request's id in metadata, both ways.
pub const REQUEST_ID: &str = "shoal-request-id";

/// Longest id taken from a client: it is written to the log.
const MAX_REQUEST_ID: usize = 64;

/// All services behind the guard.
pub fn guarded(routes: Routes, guard: Guard) -> Routes {
    routes
        .into_axum_router()
        .layer(AccessLayer(Arc::new(guard)))
        .into()
}

#[derive(Clone, Debug)]
pub struct AccessLayer(Arc<Guard>);

impl<S> Layer<S> for AccessLayer {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded {
            inner,
            guard: Arc::clone(&self.0),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Guarded<S> {
    inner: S,
    guard: Arc<Guard>,
}

impl<S, In, Out> Service<Request<In>> for Guarded<S>
where
    S: Service<Request<In>, Response = Response<Out>, Error = Infallible>,
    S::Future: Send + 'static,
    Out: Default + Send + 'static,
{
    type Response = Response<Out>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Out>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<In>) -> Self::Future {
        let request_id = request_id(&request);
        let peer = peer(&request);
        let path = request.uri().path().to_owned();
        if let Err(mut details) = self.guard.check(&path, &peer) {
            tracing::debug!(%path, ?peer, request_id, refusal = %details.message, "a call was refused");
            details.request_id = request_id;
            let refused = status(*details).into_http();
            return Box::pin(std::future::ready(Ok(refused)));
        }
        let span = tracing::info_span!("call", path, request_id);
        request.extensions_mut().insert(Caller {
            peer,
            request_id: request_id.clone(),
        });
        let answer = self.inner.call(request);
        let tagged = async move { Ok(tagged(answer.await?, &request_id, &path)) };
        Box::pin(tagged.instrument(span))
    }
}

/// Writes the request's id into an answer, and into the details of an error.
fn tagged<Out: Default>(mut answer: Response<Out>, request_id: &str, path: &str) -> Response<Out> {
    if let Some(error) = Status::from_header_map(answer.headers()).filter(|s| s.code() != tonic::Code::Ok) {
        let mut details = details_of(&error);
        if details.message.is_empty() && error.code() == tonic::Code::Unimplemented {
            details.message = format!("{path} is not served here");
        }
        tracing::debug!(refusal = %details.message, "a call failed");
        if details.request_id.is_empty() {
            request_id.clone_into(&mut details.request_id);
            answer = status(details).into_http();
        }
    }
    if let Ok(value) = HeaderValue::from_str(request_id) {
        answer.headers_mut().insert(REQUEST_ID, value);
    }
    answer
}

fn peer<In>(request: &Request<In>) -> Peer {
    if let Some(peer) = request.extensions().get::<Peer>() {
        return peer.clone();
    }
    match request.extensions().get::<UdsConnectInfo>() {
        Some(socket) => Peer::Socket {
            uid: socket.peer_cred.map(|cred| cred.uid()),
        },
        None => Peer::Nobody,
    }
}

fn request_id<In>(request: &Request<In>) -> String {
    let given = request
        .headers()
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok());
    match given {
        Some(id) if !id.is_empty() && id.len() <= MAX_REQUEST_ID => id.to_owned(),
        Some(_) | None => format!("{:016x}", rand::rng().random::<u64>()),
    }
}
