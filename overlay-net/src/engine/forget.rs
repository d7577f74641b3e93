//! Connections to backends that have stopped: their clients are told, and the kernel forgets them.
//!
//! On a thread of its own, since it costs what the kernel remembers of connections, which under load is far more than
//! what changes in tables: nobody who waits for tables waits for this. What is asked for while it is at work becomes
//! one piece of work. An address is given to nobody else for longer than that takes.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::KernelError;
use super::kernel::Home;
use crate::conntrack::{Conntrack, Found};
use crate::desired::{Endpoint, EndpointId};
use crate::namespace::{Namespace, NamespaceError};
use crate::netlink::NetlinkError;
use crate::sockets::{self, Connection};

/// The way to the thread.
#[derive(Debug)]
pub(super) struct Forgetter {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What is to be done, one piece of work at most.
#[derive(Debug, Default)]
struct Shared {
    pending: Mutex<Pending>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Pending {
    work: Option<Work>,
    closed: bool,
}

/// Backends that have stopped, and where clients of theirs may be.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) backends: BTreeSet<IpAddr>,
    /// The host's own addresses towards containers.
    pub(super) host: BTreeSet<IpAddr>,
    pub(super) endpoints: BTreeMap<EndpointId, Arc<Endpoint>>,
    pub(super) homes: BTreeMap<EndpointId, Home>,
}

/// The two namespaces that connections pass.
struct Places {
    host: Namespace,
    of_host: Conntrack,
    of_router: Conntrack,
}

#[derive(Debug, thiserror::Error)]
enum ForgetError {
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
}

impl Forgetter {
    pub(super) fn start(host: &Namespace, router: &Namespace) -> Result<Self, KernelError> {
        let opened = |namespace: &Namespace| -> Result<Conntrack, ForgetError> {
            Ok(namespace.enter(Conntrack::open)??)
        };
        let open = || -> Result<Places, ForgetError> {
            Ok(Places {
                host: host.clone(),
                of_host: opened(host)?,
                of_router: opened(router)?,
            })
        };
        let mut places = open().map_err(|error| KernelError(format!("look at connections: {error}")))?;
        let shared = Arc::<Shared>::default();
        let theirs = Arc::clone(&shared);
        let body = move || {
            while let Some(work) = theirs.next() {
                places.forget(&work);
            }
        };
        let thread = std::thread::Builder::new()
            .name("overlay-forget".to_owned())
            .spawn(body)
            .map_err(|error: io::Error| KernelError(format!("start a thread: {error}")))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Asks for it; does not wait.
    pub(super) fn forget(&self, work: Work) {
        let mut pending = self.shared.lock();
        let waiting = pending.work.take();
        pending.work = Some(match waiting {
            None => work,
            Some(before) => before.joined(work),
        });
        self.shared.changed.notify_one();
    }
}

impl Drop for Forgetter {
    /// After what was asked for before.
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that forgets connections panicked");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        // Nothing panics while it is held; if something did, what it holds is whole.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for work; none once there is no more and will be none.
    fn next(&self) -> Option<Work> {
        let mut pending = self.lock();
        loop {
            if let Some(work) = pending.work.take() {
                return Some(work);
            }
            if pending.closed {
                return None;
            }
            pending = self.changed.wait(pending).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Work {
    /// Both; who is where is known better now.
    fn joined(self, later: Self) -> Self {
        let mut backends = self.backends;
        backends.extend(&later.backends);
        Self { backends, ..later }
    }

    /// The clients' connections by the endpoint that they are in; none is the host.
    fn by_place(&self, connections: Vec<Connection>) -> BTreeMap<Option<&EndpointId>, Vec<Connection>> {
        let endpoints = self.endpoints.iter().flat_map(|(id, endpoint)| {
            let attachments = endpoint.attachments.iter();
            let addresses = attachments.flat_map(|attachment| attachment.addresses.iter());
            addresses.map(move |address| (address, Some(id)))
        });
        let host = self.host.iter().map(|address| (*address, None));
        let places: BTreeMap<IpAddr, Option<&EndpointId>> = endpoints.chain(host).collect();
        let mut by_place: BTreeMap<_, Vec<Connection>> = BTreeMap::new();
        for connection in connections {
            if let Some(place) = places.get(&connection.from.ip()) {
                by_place.entry(*place).or_default().push(connection);
            }
        }
        by_place
    }
}

impl Places {
    /// Where it fails, who waits at a connection waits on until its own patience ends.
    fn forget(&mut self, work: &Work) {
        let found = match self.of_router.answered_by(&work.backends) {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "connections to a backend that stopped cannot be found");
                Found::default()
            }
        };
        for (place, connections) in work.by_place(found.clients) {
            if let Err(error) = self.end(work, place, &connections) {
                tracing::warn!(?place, %error, "clients of a backend that stopped cannot be told");
            }
        }
        let router = self.of_router.delete(&found.entries);
        let host = self.of_host.answered_by(&work.backends);
        let host = host.and_then(|found| self.of_host.delete(&found.entries));
        for result in [router, host] {
            if let Err(error) = result {
                tracing::warn!(%error, "connections to a backend that stopped cannot be forgotten");
            }
        }
    }

    /// Ends the clients' sockets of these connections, all of one place.
    fn end(
        &self,
        work: &Work,
        place: Option<&EndpointId>,
        connections: &[Connection],
    ) -> Result<(), ForgetError> {
        let namespace = match place {
            None => Some(self.host.clone()),
            Some(id) => match work.homes.get(id) {
                Some(home) => home.namespace()?,
                None => None,
            },
        };
        match namespace {
            Some(namespace) => Ok(namespace.enter(|| sockets::end(connections))??),
            // It has ended, and its sockets with it.
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Pending, Shared, Work};
    use std::collections::{BTreeMap, BTreeSet};

    fn work(backend: &str) -> Work {
        Work {
            backends: BTreeSet::from([backend.parse().unwrap()]),
            host: BTreeSet::new(),
            endpoints: BTreeMap::new(),
            homes: BTreeMap::new(),
        }
    }

    #[test]
    fn what_waits_is_done_at_once_and_before_the_end() {
        let shared = Shared::default();
        *shared.lock() = Pending {
            work: Some(work("10.0.0.2").joined(work("10.0.0.3"))),
            closed: true,
        };
        let backends: Vec<String> = shared
            .next()
            .unwrap()
            .backends
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(backends, ["10.0.0.2", "10.0.0.3"]);
        assert!(shared.next().is_none());
    }
}
