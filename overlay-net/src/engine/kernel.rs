//! The kernel's side: the sockets that are kept, what there is, and changes carried out.
//!
//! Looks and acts, and decides nothing. Sockets in the host's and the router's namespace are kept; those in
//! endpoints' are not, for a namespace lives as long as a socket in it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, AsRawFd as _, RawFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::desired::{EndpointId, Tag};
use crate::namespace::{Namespace, NamespaceError, NamespaceId};
use crate::netlink::{Failure, Listener, NetlinkError, Protocol};
use crate::nft::NftSocket;
use crate::observed::{Side, Where};
use crate::plan::{self, Change, Setting};
use crate::rtnl::{Request, RouteSocket};

/// The two namespaces that are always there, and where to find the others.
#[derive(Debug)]
pub(super) struct Kernel {
    pub(super) tag: Tag,
    pub(super) host: Sockets,
    pub(super) router: Sockets,
    pub(super) endpoints: BTreeMap<EndpointId, Home>,
    /// How notifications name what is done in endpoints' namespaces. Not by the number of this process, which one in a
    /// container may have as well, as it is counted there.
    pub(super) inside: u32,
    /// Tells that a link of the router's changed.
    pub(super) carriers: Listener,
}

/// The kernel needs microseconds; when the machine is busy, as long as it takes until its worker has its turn.
const SETTLED: Duration = Duration::from_secs(2);

/// Sockets in one namespace.
#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) namespace: Namespace,
    pub(super) links: RouteSocket,
    pub(super) tables: NftSocket,
}

/// Where an endpoint's namespace is, and which one it was when it was attached.
#[derive(Debug, Clone)]
pub(super) struct Home {
    pub(super) path: PathBuf,
    pub(super) id: NamespaceId,
}

/// A change could not be carried out.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChangeError {
    #[error("{change}: {failure}")]
    Refused { change: &'static str, failure: Failure },
    #[error("{change}")]
    Netlink {
        change: &'static str,
        #[source]
        source: NetlinkError,
    },
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    #[error("write {path}")]
    Setting {
        path: String,
        #[source]
        source: io::Error,
    },
}

impl Home {
    /// The namespace, if it is still the one that was attached.
    pub(super) fn namespace(&self) -> Result<Option<Namespace>, NamespaceError> {
        match Namespace::open(&self.path) {
            Ok(namespace) => Ok(Some(namespace).filter(|namespace| namespace.id() == self.id)),
            Err(error) if error.is_exhaustion() => Err(error),
            // Gone, or its path stands for something else by now.
            Err(_) => Ok(None),
        }
    }
}

impl Sockets {
    fn open(namespace: &Namespace, guard: &str) -> Result<Self, ChangeError> {
        let failed = |source| ChangeError::Netlink {
            change: "open a netlink socket",
            source,
        };
        let open = || -> Result<Self, NetlinkError> {
            let mut tables = NftSocket::open()?;
            if let Err(error) = tables.guard(guard) {
                tracing::warn!(%error, "connections would not outlive the loss of all tables");
            }
            Ok(Self {
                namespace: namespace.clone(),
                links: RouteSocket::open()?,
                tables,
            })
        };
        namespace.enter(open)?.map_err(failed)
    }

    /// The numbers by which notifications name what these sockets did.
    pub(super) fn port_ids(&self) -> Result<[u32; 2], ChangeError> {
        let ids = || -> Result<_, NetlinkError> { Ok([self.links.port_id()?, self.tables.port_id()?]) };
        ids().map_err(|source| ChangeError::Netlink {
            change: "ask a netlink socket for its address",
            source,
        })
    }
}

impl Kernel {
    pub(super) fn open(tag: Tag, router: &Namespace) -> Result<Self, ChangeError> {
        let host = Namespace::current()?;
        let guard = format!("{}-guard", plan::host_link(&tag));
        // RTNLGRP_LINK.
        let carriers = router.enter(|| Listener::open(Protocol::Route, &[1]))?;
        Ok(Self {
            tag,
            host: Sockets::open(&host, &guard)?,
            router: Sockets::open(router, &guard)?,
            endpoints: BTreeMap::new(),
            inside: above_all_processes()?,
            carriers: carriers.map_err(|source| ChangeError::Netlink {
                change: "listen to the kernel",
                source,
            })?,
        })
    }

    pub(super) fn side(&mut self, side: Side) -> &mut Sockets {
        match side {
            Side::Host => &mut self.host,
            Side::Router => &mut self.router,
        }
    }

    /// An endpoint's namespace, if it is still the one that was attached.
    pub(super) fn namespace_of(&self, id: &EndpointId) -> Result<Option<Namespace>, NamespaceError> {
        let Some(home) = self.endpoints.get(id) else {
            return Ok(None);
        };
        home.namespace()
    }

    /// Carries out one change.
    pub(super) fn carry_out(&mut self, change: &Change) -> Result<(), ChangeError> {
        match change {
            Change::Setting { side, setting, value } => self.set(*side, setting, value),
            Change::Links { place, requests } => self.links(place, requests),
            Change::Tables { side, operations } => {
                let operations = operations.iter().map(|(table, operation)| (table, operation));
                let done = self.side(*side).tables.commit(operations);
                done.map_err(|source| ChangeError::Netlink {
                    change: "change tables",
                    source,
                })
            }
            // On a thread of its own.
            Change::Forget { .. } => Ok(()),
        }
    }

    /// Waits until links of the router carry packets, or are gone.
    pub(super) fn wait_for_carrier(&mut self, mut links: Vec<u32>) -> Result<(), ChangeError> {
        let Self { router, carriers, .. } = self;
        let ready = || {
            let mut waiting = Vec::new();
            for link in &links {
                let state = router.links.link_of(*link)?;
                waiting.extend(state.filter(|state| !state.carries).map(|state| state.index));
            }
            links = waiting;
            Ok(links.is_empty())
        };
        wait(carriers, ready).map_err(|source| ChangeError::Netlink {
            change: "wait for a link",
            source,
        })
    }

    fn set(&mut self, side: Side, setting: &Setting, value: &str) -> Result<(), ChangeError> {
        let path = format!("/proc/sys/net/{}", setting.path());
        let written = self.side(side).namespace.enter(|| fs::write(&path, value))?;
        written.map_err(|source| ChangeError::Setting { path, source })
    }

    fn links(&mut self, place: &Where, requests: &[Request<Where>]) -> Result<(), ChangeError> {
        let mut others = BTreeMap::new();
        for request in requests {
            if let Request::AddVeth { namespace, .. } = request {
                others.insert(namespace.clone(), self.namespace(namespace)?);
            }
        }
        let descriptor = |place: &Where| -> RawFd {
            others
                .get(place)
                .map_or(-1, |namespace| namespace.as_fd().as_raw_fd())
        };
        let namespace = self.namespace(place)?;
        let sent = match place {
            Where::Side(side) => {
                let socket = &mut self.side(*side).links;
                namespace.enter(|| send(socket, requests, descriptor))?
            }
            Where::Endpoint(_) => {
                let inside = self.inside;
                namespace.enter(|| send(&mut RouteSocket::open_as(inside)?, requests, descriptor))?
            }
        };
        let change = "change links";
        let failures = sent.map_err(|source| ChangeError::Netlink { change, source })?;
        match failures.into_iter().next() {
            None => Ok(()),
            Some(failure) => Err(ChangeError::Refused { change, failure }),
        }
    }

    fn namespace(&self, place: &Where) -> Result<Namespace, ChangeError> {
        match place {
            Where::Side(Side::Host) => Ok(self.host.namespace.clone()),
            Where::Side(Side::Router) => Ok(self.router.namespace.clone()),
            Where::Endpoint(id) => match self.namespace_of(id)? {
                Some(namespace) => Ok(namespace),
                None => Err(ChangeError::Setting {
                    path: format!("the namespace of {id}"),
                    source: io::ErrorKind::NotFound.into(),
                }),
            },
        }
    }
}

/// A number that no process has, nor another network.
fn above_all_processes() -> Result<u32, ChangeError> {
    let mut number = [0; 4];
    rustix::rand::getrandom(&mut number, rustix::rand::GetRandomFlags::empty()).map_err(|errno| {
        ChangeError::Setting {
            path: "a random number".to_owned(),
            source: errno.into(),
        }
    })?;
    Ok(u32::from_ne_bytes(number) | 1 << 31)
}

/// Sends requests and waits until what they ask for is in force.
fn send(
    socket: &mut RouteSocket,
    requests: &[Request<Where>],
    descriptor: impl Fn(&Where) -> RawFd,
) -> Result<Vec<Failure>, NetlinkError> {
    let new: Vec<IpAddr> = requests
        .iter()
        .filter_map(|request| match request {
            Request::AddAddress(address) if address.address.is_ipv6() => Some(address.address),
            _ => None,
        })
        .collect();
    if new.is_empty() {
        return socket.send(requests, descriptor);
    }
    // RTNLGRP_IPV6_ROUTE: the kernel accepts packets for an address once a worker of its own has made a route.
    let mut routes = Listener::open(Protocol::Route, &[11])?;
    let failures = socket.send(requests, descriptor)?;
    if failures.is_empty() {
        wait(&mut routes, || {
            let accepted = socket.accepted()?;
            Ok(new.iter().all(|address| accepted.contains(address)))
        })?;
    }
    Ok(failures)
}

/// Waits until a condition holds, asked again whenever the listener hears something; not for ever: what does not come
/// true is found by the next look.
fn wait(
    listener: &mut Listener,
    mut ready: impl FnMut() -> Result<bool, NetlinkError>,
) -> Result<(), NetlinkError> {
    let deadline = Instant::now() + SETTLED;
    loop {
        listener.hear(|_| {})?;
        let left = deadline.saturating_duration_since(Instant::now());
        if ready()? || left.is_zero() {
            return Ok(());
        }
        let timeout = Timespec::try_from(left).ok();
        let mut descriptors = [PollFd::new(&*listener, PollFlags::IN)];
        // Interrupted or not: what counts is looked up.
        let _ready = poll(&mut descriptors, timeout.as_ref());
    }
}
