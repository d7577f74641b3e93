//! What `shoal-net` does: names for containers, published ports on the loopback device, ports held against others.
//!
//! One thread, one loop: it is told what shall be by one network at a time and goes on without one. The kernel's part
//! is not its business, nor what the tables mean: but while no network is there, nobody else takes out who is gone.

pub mod answer;
mod control;
mod endpoint;
mod forward;
mod gone;
mod handover;
mod hold;
mod inside;
pub mod names;
mod ports;
mod resolvers;
mod tcp_proxy;
mod udp_proxy;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::ops::Bound;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use self::control::{Connection, Control};
use self::endpoint::{Endpoint, Shared};
use self::forward::Forwarder;
use self::handover::Item;
use self::inside::Sockets;
use self::ports::Ports;
use crate::desired::{EndpointId, PortKey, Tag};
use crate::message::{Asker, Reply, Request, Update, VERSION};
use crate::process::{NAME, NAME_OF_OLD};

/// How often it is looked whether containers are gone and ports are free: what a container leaves is kept alive by our
/// sockets for so long, if nobody says that it ended.
const LOOK: Duration = Duration::from_secs(1);
/// In so many looks all containers have had theirs: one costs some 0.1 ms.
const PARTS_OF_LOOK: usize = 3;
/// A change of a cluster of 5,000 services takes some 40 parts.
const PARTS_MOST: usize = 256;
/// Of what is said without having been asked: changes are numbered from one.
const NO_CHANGE: u64 = 0;
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// How a process begins.
#[derive(Debug)]
pub enum Start {
    /// With nothing but the socket that it is told by.
    Fresh(UnixListener),
    /// With what its predecessor sends by this connection.
    TakeOver(UnixStream),
}

/// The kernel's part of the network.
#[derive(Debug)]
pub struct Router {
    /// The mark of this Shoal.
    pub tag: Tag,
    /// The file that the router's namespace is mounted on.
    pub path: PathBuf,
}

/// Everything that the process has.
struct Serve {
    shared: Rc<Shared>,
    endpoints: BTreeMap<EndpointId, Endpoint>,
    /// From a predecessor, until they are asked for.
    adopted: BTreeMap<EndpointId, (Asker, Sockets)>,
    ports: Ports,
    /// Whose sockets were closed by force and could not be opened again yet.
    deaf: BTreeMap<EndpointId, Asker>,
    /// Parts of a change that is not whole yet.
    parts: Vec<Update>,
    told: BTreeMap<PortKey, String>,
    /// Addresses of containers that are gone, until the network says so too or they are taken out without it.
    gone: BTreeMap<EndpointId, Vec<IpAddr>>,
    router: Router,
    /// The last container whose way to us was looked after; none begins anew.
    looked_at: Option<EndpointId>,
}

/// Why the loop ends.
enum End {
    Asked,
    /// The successor's connection.
    Followed(UnixStream),
}

/// Serves until it is told to end, or a successor took over and all that was under way is done.
pub async fn run(start: Start, router: Router) -> io::Result<()> {
    let (tell, stop) = watch::channel(false);
    let forwarder = Rc::new(Forwarder::new(Path::new(RESOLV_CONF)));
    let mut serve = Serve {
        shared: Rc::new(Shared::new(forwarder, stop.clone())),
        endpoints: BTreeMap::new(),
        adopted: BTreeMap::new(),
        deaf: BTreeMap::new(),
        ports: Ports::new(stop),
        parts: Vec::new(),
        told: BTreeMap::new(),
        gone: BTreeMap::new(),
        router,
        looked_at: None,
    };
    let (listener, predecessor) = match start {
        Start::Fresh(listener) => (listener, None),
        Start::TakeOver(from) => (serve.take_over(&from)?, Some(from)),
    };
    let mut control = Control::new(listener)?;
    let end = serve.until_the_end(&mut control).await?;
    match end {
        End::Asked => {
            if let Some(predecessor) = predecessor {
                control::end(predecessor);
            }
            Ok(())
        }
        End::Followed(successor) => {
            drop(control);
            tell.send_replace(true);
            serve.drain(successor, predecessor).await
        }
    }
}

impl Serve {
    fn take_over(&mut self, from: &UnixStream) -> io::Result<UnixListener> {
        let mut control = None;
        for (item, descriptors) in handover::take(from)? {
            let mut descriptors = descriptors.into_iter();
            match item {
                Item::Control => control = descriptors.next().map(UnixListener::from),
                Item::Endpoint(id, asker) => {
                    if let (Some(udp), Some(tcp)) = (descriptors.next(), descriptors.next()) {
                        let sockets = Sockets {
                            udp: udp.into(),
                            tcp: tcp.into(),
                        };
                        self.adopted.insert(id, (asker, sockets));
                    }
                }
                Item::Port(key, _) => self.ports.adopt(key, descriptors.collect()),
            }
        }
        control.ok_or_else(|| io::Error::other("the predecessor did not hand its socket over"))
    }

    async fn until_the_end(&mut self, control: &mut Control) -> io::Result<End> {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                request = control.next() => match request? {
                    Request::Hello { version } => {
                        tracing::info!(version, "a network has come");
                        self.parts.clear();
                        let pid = std::process::id();
                        control.reply(&Reply::Hello { version: VERSION, pid }).await;
                        self.tell_taken(control, true).await;
                    }
                    Request::Update(part) => self.part(part, control).await,
                    Request::Ping { number } => control.reply(&Reply::Pong { number }).await,
                    Request::End => return Ok(End::Asked),
                    Request::HandOver => {
                        if let Some(successor) = self.hand_over(control)? {
                            return Ok(End::Followed(successor));
                        }
                    }
                },
                _ = look.tick() => {
                    self.forget_the_gone(control.is_alone());
                    if let Some(reopened) = self.reopen() {
                        control.reply(&reopened).await;
                    }
                    self.restore_names();
                    if self.ports.retry() {
                        self.tell_taken(control, false).await;
                    }
                }
            }
        }
    }

    /// Takes a part; with the last one the change takes effect.
    async fn part(&mut self, part: Update, control: &mut Control) {
        let last = part.last.then_some(part.number);
        if self
            .parts
            .first()
            .is_some_and(|first| first.number != part.number)
        {
            self.parts.clear();
        }
        if self.parts.len() >= PARTS_MOST {
            tracing::error!("a change has more than {PARTS_MOST} parts, and is refused");
            control.close();
            return;
        }
        self.parts.push(part);
        let Some(number) = last else { return };
        let parts = std::mem::take(&mut self.parts);
        for part in &parts {
            self.shared.names.borrow_mut().apply(part);
        }
        let whole = parts.first().is_some_and(|first| first.fresh);
        let mut ports = Vec::new();
        let mut endpoints = Vec::new();
        for part in parts {
            ports.extend(part.ports);
            endpoints.extend(part.endpoints);
        }
        self.ports.apply(ports, whole);
        let done = self.change_endpoints(number, endpoints, whole);
        self.tell_taken(control, false).await;
        control.reply(&done).await;
    }

    fn change_endpoints(
        &mut self,
        number: u64,
        changes: Vec<(EndpointId, Option<Asker>)>,
        whole: bool,
    ) -> Reply {
        let (mut ports, mut failures) = (Vec::new(), Vec::new());
        if whole {
            let keep: BTreeSet<_> = changes.iter().map(|(id, _)| id.clone()).collect();
            self.endpoints.retain(|id, _| keep.contains(id));
            self.adopted.retain(|id, _| keep.contains(id));
            self.deaf.retain(|id, _| keep.contains(id));
            self.gone.clear();
        }
        for (id, asker) in changes {
            self.deaf.remove(&id);
            self.gone.remove(&id);
            let Some(asker) = asker else {
                self.endpoints.remove(&id);
                continue;
            };
            match self.endpoint(&id, asker) {
                Ok(port) => ports.push((id, port)),
                Err(why) => failures.push((id, why)),
            }
        }
        Reply::Done {
            number,
            ports,
            failures,
        }
    }

    fn endpoint(&mut self, id: &EndpointId, asker: Asker) -> Result<u16, String> {
        if let Some(known) = self.endpoints.get(id)
            && known.asker().id == asker.id
        {
            known.change(asker);
            return Ok(known.port());
        }
        self.endpoints.remove(id);
        let usable = |sockets: &Sockets| sockets.udp.local_addr().is_ok_and(|address| address.port() != 0);
        let adopted = self
            .adopted
            .remove(id)
            .filter(|(known, sockets)| known.id == asker.id && usable(sockets));
        let sockets = match adopted {
            Some((_, sockets)) => sockets,
            None => inside::open(&asker).map_err(|error| chain(&error))?,
        };
        let endpoint = Endpoint::serve(&self.shared, asker, sockets).map_err(|error| error.to_string())?;
        let port = endpoint.port();
        self.endpoints.insert(id.clone(), endpoint);
        Ok(port)
    }

    /// Opens sockets that were closed by force again; says which, and on which port they are now.
    fn reopen(&mut self) -> Option<Reply> {
        let deaf = self.endpoints.extract_if(.., |_, endpoint| endpoint.is_deaf());
        self.deaf.extend(deaf.map(|(id, endpoint)| {
            let port = Some(endpoint.port());
            let asker = endpoint.asker();
            (id, Asker { port, ..asker })
        }));
        let mut ports = Vec::new();
        for (id, asker) in std::mem::take(&mut self.deaf) {
            match self.endpoint(&id, asker.clone()) {
                Ok(port) => {
                    tracing::warn!(%id, "opened the sockets again that somebody had closed by force");
                    ports.push((id, port));
                }
                Err(why) => {
                    tracing::warn!(%id, why, "the sockets for names cannot be opened again");
                    self.deaf.insert(id, asker);
                }
            }
        }
        (!ports.is_empty()).then_some(Reply::Done {
            number: NO_CHANGE,
            ports,
            failures: Vec::new(),
        })
    }

    /// Looks after the way to us in some containers, another part of them each time: what somebody in one deletes is
    /// back within three looks or four.
    fn restore_names(&mut self) {
        let count = self.endpoints.len().div_ceil(PARTS_OF_LOOK);
        let after = self.looked_at.take();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let some = self.endpoints.range((from, Bound::Unbounded)).take(count);
        for (id, endpoint) in some {
            match inside::restore(&endpoint.asker(), endpoint.port()) {
                Ok(false) => {}
                Ok(true) => tracing::warn!(%id, "put back the way to names that somebody had taken away"),
                Err(error) => {
                    tracing::warn!(%id, error = chain(&error), "the way to names cannot be seen to");
                }
            }
            self.looked_at = Some(id.clone());
        }
    }

    async fn tell_taken(&mut self, control: &mut Control, anyway: bool) {
        if anyway || self.told != *self.ports.taken() {
            self.told = self.ports.taken().clone();
            let all = self.told.iter().map(|(key, why)| (*key, why.clone()));
            control.reply(&Reply::Taken(all.collect())).await;
        }
    }

    /// Gives everything to whoever reads this connection on; none if that failed, and then this one goes on.
    fn hand_over(&mut self, control: &mut Control) -> io::Result<Option<UnixStream>> {
        let Some(to) = control.take_connection().map(Connection::into_std).transpose()? else {
            return Ok(None);
        };
        let listener = control.listener();
        let mut all = vec![(Item::Control, vec![listener])];
        for (id, endpoint) in &self.endpoints {
            let item = Item::Endpoint(id.clone(), endpoint.asker());
            all.push((item, endpoint.descriptors().to_vec()));
        }
        for (key, sockets) in self.ports.descriptors() {
            all.push((Item::Port(key, sockets.len()), sockets));
        }
        // Before anything is given: whoever ends the process that serves, since its successor does not, finds it by its
        // name, and must leave one alone that has only its connections left.
        rustix::thread::set_name(NAME_OF_OLD)?;
        match handover::give(&to, all).and_then(|()| handover::until_read(&to)) {
            Ok(()) => Ok(Some(to)),
            Err(error) => {
                rustix::thread::set_name(NAME)?;
                tracing::error!(%error, "the successor could not be given what it needs");
                Ok(None)
            }
        }
    }

    /// Sees to its end what is under way, while the successor has everything else.
    async fn drain(self, successor: UnixStream, predecessor: Option<UnixStream>) -> io::Result<()> {
        tracing::info!("a successor has taken over");
        // Nothing is held by who only has connections left: a port that the successor lets go of is free then.
        drop(self.adopted);
        let mut tasks: Vec<_> = self.endpoints.into_values().map(Endpoint::let_go).collect();
        tasks.extend(self.ports.let_go());
        let rest = async {
            for mut tasks in tasks {
                while tasks.join_next().await.is_some() {}
            }
        };
        tokio::select! {
            () = rest => Ok(()),
            asked = control::told_to_end(successor) => {
                if let Some(predecessor) = predecessor {
                    control::end(predecessor);
                }
                asked
            }
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
