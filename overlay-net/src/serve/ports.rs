//! Published ports: held in the host's namespace, and served where the kernel does not lead further.
//!
//! The kernel gives a new connection to a published port to a backend before any process sees it, but for those over
//! the loopback device. A port that another process has is tried again until it is free.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::net::Shutdown;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::hold::{hold, reason};
use super::{tcp_proxy, udp_proxy};
use crate::desired::{PortKey, Protocol};
use crate::message::Serving;

/// Connections and exchanges in all: each holds two descriptors and some 20 KiB.
const ALL_MOST: usize = 4096;
/// Who has a port is found out anew with every so manieth attempt: all processes are looked through for it.
const ATTEMPTS_A_REASON: u32 = 30;

/// All published ports.
#[derive(Debug)]
pub(super) struct Ports {
    wanted: BTreeMap<PortKey, Rc<Backends>>,
    held: BTreeMap<PortKey, Held>,
    taken: BTreeMap<PortKey, String>,
    attempts: u32,
    /// Taken over from a predecessor, until it is known whether they are wanted.
    adopted: BTreeMap<PortKey, Vec<OwnedFd>>,
    limits: Limits,
}

/// What all proxied connections share.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    pub(super) all: std::sync::Arc<Semaphore>,
    pub(super) stop: watch::Receiver<bool>,
}

/// A port that is held.
#[derive(Debug)]
struct Held {
    sockets: Vec<OwnedFd>,
    tasks: JoinSet<()>,
}

/// Who serves a port, each in turn.
#[derive(Debug, Default)]
pub(super) struct Backends {
    told: RefCell<Serving>,
    turn: Cell<usize>,
}

impl Backends {
    /// All of them, beginning with another one each time; those of the asker's family first.
    pub(super) fn in_turn(&self, asker: SocketAddr) -> Vec<SocketAddr> {
        let mut all = self.told.borrow().backends.clone();
        if !all.is_empty() {
            let turn = self.turn.get() % all.len();
            self.turn.set(turn + 1);
            all.rotate_left(turn);
        }
        all.sort_by_key(|backend| backend.is_ipv4() != asker.ip().to_canonical().is_ipv4());
        all
    }

    /// Whether it still serves, if only who came before.
    pub(super) fn keeps(&self, backend: SocketAddr) -> bool {
        let told = self.told.borrow();
        told.backends.contains(&backend) || told.draining.contains(&backend)
    }
}

impl Ports {
    pub(super) fn new(stop: watch::Receiver<bool>) -> Self {
        let all = std::sync::Arc::new(Semaphore::new(ALL_MOST));
        Self {
            wanted: BTreeMap::new(),
            held: BTreeMap::new(),
            taken: BTreeMap::new(),
            attempts: 0,
            adopted: BTreeMap::new(),
            limits: Limits { all, stop },
        }
    }

    /// Sockets of a predecessor.
    pub(super) fn adopt(&mut self, key: PortKey, sockets: Vec<OwnedFd>) {
        self.adopted.insert(key, sockets);
    }

    /// A change: ports and their backends, or none; all that is not in it goes if it is the whole.
    pub(super) fn apply(&mut self, changes: Vec<(PortKey, Option<Serving>)>, whole: bool) {
        if whole {
            let keep: BTreeSet<PortKey> = changes.iter().map(|(key, _)| *key).collect();
            let gone: Vec<_> = self
                .wanted
                .keys()
                .filter(|key| !keep.contains(key))
                .copied()
                .collect();
            gone.iter().for_each(|key| self.remove(key));
            self.adopted.retain(|key, _| keep.contains(key));
        }
        // What goes makes room for what comes.
        let (come, go): (Vec<_>, Vec<_>) = changes.into_iter().partition(|(_, value)| value.is_some());
        go.iter().for_each(|(key, _)| self.remove(key));
        for (key, serving) in come {
            let known = self.wanted.entry(key).or_default();
            known.told.replace(serving.unwrap_or_default());
            if !self.held.contains_key(&key) {
                self.try_to_hold(key);
            }
        }
    }

    /// Nobody is led to these addresses any more.
    pub(super) fn forget(&self, gone: &BTreeSet<IpAddr>) {
        for backends in self.wanted.values() {
            let told = &mut *backends.told.borrow_mut();
            for some in [&mut told.backends, &mut told.draining] {
                some.retain(|backend| !gone.contains(&backend.ip()));
            }
        }
    }

    /// Tries again to have those that are taken; whether that changed anything.
    pub(super) fn retry(&mut self) -> bool {
        let keys: Vec<PortKey> = self.taken.keys().copied().collect();
        let before = self.taken.clone();
        self.attempts = self.attempts.wrapping_add(1);
        keys.into_iter().for_each(|key| self.try_to_hold(key));
        before != self.taken
    }

    /// Those that could not be had, and why.
    pub(super) fn taken(&self) -> &BTreeMap<PortKey, String> {
        &self.taken
    }

    /// All sockets that are held.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = (PortKey, Vec<BorrowedFd<'_>>)> {
        self.held.iter().map(|(key, held)| {
            let sockets = held.sockets.iter().map(|socket| socket.as_fd());
            (*key, sockets.collect())
        })
    }

    /// Lets go of all ports, which are a successor's to hold or not; what is under way goes on in these tasks, once all
    /// are told to stop.
    pub(super) fn let_go(self) -> Vec<JoinSet<()>> {
        self.held.into_values().map(|held| held.tasks).collect()
    }

    fn remove(&mut self, key: &PortKey) {
        self.wanted.remove(key);
        if let Some(held) = self.held.remove(key) {
            // At once: its tasks have the sockets as well, and end a little later, and so may a predecessor. Those for
            // datagrams are not connected and cannot be told.
            for socket in &held.sockets {
                let _not_connected = rustix::net::shutdown(socket, Shutdown::Both);
            }
        }
        self.taken.remove(key);
    }

    fn try_to_hold(&mut self, key: PortKey) {
        let sockets = match self.adopted.remove(&key) {
            Some(adopted) => Ok(adopted),
            None => hold(&key),
        };
        let backends = self.wanted.get(&key).cloned().unwrap_or_default();
        match sockets.and_then(|sockets| serve(&key, sockets, &backends, &self.limits)) {
            Ok(held) => {
                if self.taken.remove(&key).is_some() {
                    tracing::info!(port = %key, "a port that was taken is had");
                }
                self.held.insert(key, held);
            }
            Err(error) => {
                let known = self.taken.get(&key);
                if known.is_some() && !self.attempts.is_multiple_of(ATTEMPTS_A_REASON) {
                    return;
                }
                let why = reason(&key, &error);
                if known != Some(&why) {
                    tracing::warn!(port = %key, why, "a published port cannot be had");
                }
                self.taken.insert(key, why);
            }
        }
    }
}

fn serve(key: &PortKey, sockets: Vec<OwnedFd>, backends: &Rc<Backends>, limits: &Limits) -> io::Result<Held> {
    let mut tasks = JoinSet::new();
    for socket in &sockets {
        let socket = socket.try_clone()?;
        let backends = Rc::clone(backends);
        match key.protocol {
            Protocol::Tcp => {
                let listener = tokio::net::TcpListener::from_std(TcpListener::from(socket))?;
                tasks.spawn_local(tcp_proxy::run(listener, backends, limits.clone()));
            }
            Protocol::Udp => {
                let socket = tokio::net::UdpSocket::from_std(UdpSocket::from(socket))?;
                tasks.spawn_local(udp_proxy::run(socket, backends, limits.clone()));
            }
        }
    }
    Ok(Held { sockets, tasks })
}
