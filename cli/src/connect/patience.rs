//! A channel whose user is told what is waited for.
//!
//! A daemon that is stopped or that hangs still accepts connections and requests. How long an answer may take nobody
//! knows, so the wait goes on.

use crate::output::note;
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tonic::{
    body::Body,
    codegen::http::{Request, Response},
};
use tower::Service;

/// A longer wait for the beginning of an answer is something that the caller wants to know of.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a request is sent on.
#[derive(Clone, Debug)]
pub(crate) struct Patient<S> {
    inner: S,
    /// Where the daemon is, for people.
    daemon: Arc<str>,
    patience: Duration,
    /// Once is enough for a command.
    told: Arc<AtomicBool>,
}

impl<S> Patient<S> {
    pub(super) fn new(inner: S, daemon: String) -> Self {
        Self {
            inner,
            daemon: daemon.into(),
            patience: PATIENCE,
            told: Arc::default(),
        }
    }
}

impl<S> Service<Request<Body>> for Patient<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (daemon, patience, told) = (self.daemon.clone(), self.patience, self.told.clone());
        let answer = self.inner.call(request);
        Box::pin(async move {
            tokio::pin!(answer);
            if let Ok(answer) = tokio::time::timeout(patience, &mut answer).await {
                return answer;
            }
            if !told.swap(true, Ordering::Relaxed) {
                note(&waiting(&daemon, patience));
            }
            answer.await
        })
    }
}

fn waiting(daemon: &str, patience: Duration) -> String {
    format!(
        "Waiting: the daemon at {daemon} has not answered for {} s. If this lasts, see whether it is stopped, and its log.",
        patience.as_secs()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    async fn answer_once(told: Arc<AtomicBool>, late: bool) -> Result<Response<Body>, Infallible> {
        while late && !told.load(Ordering::Relaxed) {
            tokio::task::yield_now().await;
        }
        Ok(Response::new(Body::empty()))
    }

    /// Whether the user is told, of a daemon that answers only then or at once.
    async fn told_of(patience: Duration, late: bool) -> bool {
        let told = Arc::<AtomicBool>::default();
        let seen = told.clone();
        let daemon = tower::service_fn(move |_: Request<Body>| answer_once(seen.clone(), late));
        let mut channel = Patient {
            patience,
            told: told.clone(),
            ..Patient::new(daemon, "/run/x.sock".to_owned())
        };
        channel.call(Request::new(Body::empty())).await.unwrap();
        told.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn a_late_answer_is_told_of_and_waited_for() {
        assert!(told_of(Duration::ZERO, true).await);
        assert!(!told_of(Duration::MAX, false).await);
    }
}
