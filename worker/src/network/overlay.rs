//! What the worker needs of the overlay, so that it can be tested on a fake one.
//!
//! `Net` is the real one. Every act may be repeated.

use futures::future::BoxFuture;
use shoal_overlay_net::desired::{Endpoint, EndpointId, Tables};
use shoal_overlay_net::{ApplyError, AttachError, KernelError, Net, NetStatus};
use std::sync::Arc;
use tokio::sync::watch;

/// The node's network.
pub trait Overlay: Send + Sync + 'static {
    /// Puts tables in force.
    fn apply(&self, tables: Arc<Tables>) -> BoxFuture<'_, Result<(), ApplyError>>;
    /// Gives a container its links and names.
    fn attach(&self, endpoint: Endpoint) -> BoxFuture<'_, Result<(), AttachError>>;
    /// Forgets a container that has ended.
    fn detach(&self, id: EndpointId) -> BoxFuture<'_, Result<(), KernelError>>;
    /// How it is, and every change of that.
    fn status(&self) -> watch::Receiver<NetStatus>;
}

impl Overlay for Net {
    fn apply(&self, tables: Arc<Tables>) -> BoxFuture<'_, Result<(), ApplyError>> {
        Box::pin(self.apply(tables))
    }

    fn attach(&self, endpoint: Endpoint) -> BoxFuture<'_, Result<(), AttachError>> {
        Box::pin(self.attach(endpoint))
    }

    fn detach(&self, id: EndpointId) -> BoxFuture<'_, Result<(), KernelError>> {
        Box::pin(async move { self.detach(&id).await })
    }

    fn status(&self) -> watch::Receiver<NetStatus> {
        self.status()
    }
}
