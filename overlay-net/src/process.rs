//! `shoal-net` as the network has it in hand: started, told what shall be, started again when it dies, replaced when
//! another build of it is there.
//!
//! It is told differences from what it was told last, or everything when nothing is known of it. Decides nothing about
//! what it is told.

mod diff;
mod end;
mod link;
mod patience;
mod start;

use std::collections::BTreeMap;
use std::future::pending;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use self::diff::Told;
pub(crate) use self::diff::without_ports;
pub(crate) use self::end::{NAME, NAME_OF_OLD, all as end};
use self::link::Link;
use crate::desired::{EndpointId, PortKey, Tables, Tag};
use crate::engine::{NamesState, REASON_MOST, line};
use crate::message::{Asker, Reply, Request, VERSION};

/// How often it is asked whether it is alive.
const PING: Duration = Duration::from_secs(1);
/// Attempts in a row: the first may find a process that is about to die.
const ATTEMPTS: usize = 2;
/// Between attempts to have it back.
const RETRY: Duration = Duration::from_millis(300);
/// So many starts within [`DYING_WINDOW`] mean that it dies of what it is told.
const DYING: usize = 6;
const DYING_WINDOW: Duration = Duration::from_secs(10);
const DYING_RETRY: Duration = Duration::from_secs(5);
/// Until it is asked again to serve a container that it could not.
const NAMELESS_RETRY: Duration = Duration::from_secs(1);

/// Where it is, and what it is told.
#[derive(Debug)]
pub(crate) struct Process {
    place: Place,
    link: Option<Link>,
    /// What it was told, if that is known.
    told: Option<Told>,
    /// What it shall be told.
    wanted: Told,
    number: u64,
    taken: BTreeMap<PortKey, String>,
    /// Containers that it could not serve, and why.
    nameless: BTreeMap<EndpointId, String>,
    down: Option<String>,
    starts: Vec<Instant>,
    retry_at: Option<Instant>,
    ping_at: Instant,
    /// Why it has to be brought back, if that was found out.
    gone: Option<String>,
    /// It hears nothing any more.
    hangs: bool,
}

/// What was waited for.
#[derive(Debug)]
pub(crate) enum Said {
    /// It said something.
    Reply(Reply),
    /// It has said nothing for a while.
    Nothing,
    /// What it could not do is to be tried again.
    Again,
    /// It has to be brought back.
    Gone(String),
}

/// Where its files are.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) tag: Tag,
    /// What it is told of besides: the router's namespace.
    pub(crate) router: PathBuf,
    pub(crate) program: PathBuf,
    pub(crate) socket: PathBuf,
    pub(crate) log: PathBuf,
}

/// What came of telling it.
pub(crate) type Outcome = Result<BTreeMap<EndpointId, String>, String>;

impl Process {
    pub(crate) fn new(place: Place) -> Self {
        Self {
            place,
            link: None,
            told: None,
            wanted: Told::default(),
            number: 0,
            taken: BTreeMap::new(),
            nameless: BTreeMap::new(),
            down: None,
            starts: Vec::new(),
            retry_at: None,
            ping_at: Instant::now(),
            gone: None,
            hangs: false,
        }
    }

    /// Has it hold the ports of these tables and answer names from them: the ports that could be had are known
    /// afterwards.
    pub(crate) async fn serve(&mut self, tables: &Arc<Tables>) -> Outcome {
        self.wanted.names = Arc::clone(tables);
        self.hold(tables).await
    }

    /// Holds the ports of these tables.
    pub(crate) async fn hold(&mut self, tables: &Arc<Tables>) -> Outcome {
        self.wanted.ports = Arc::clone(tables);
        self.bring().await
    }

    /// Answers names from these tables.
    pub(crate) async fn answer(&mut self, tables: &Arc<Tables>) -> Outcome {
        self.wanted.names = Arc::clone(tables);
        self.bring().await
    }

    /// Lets a container ask, without telling yet.
    pub(crate) fn add(&mut self, id: EndpointId, asker: Asker) {
        let port = self
            .wanted
            .endpoints
            .get(&id)
            .filter(|before| before.id == asker.id);
        let port = port.and_then(|before| before.port);
        self.wanted.endpoints.insert(id, Asker { port, ..asker });
    }

    /// Lets a container ask no more; false if it never could.
    pub(crate) fn remove(&mut self, id: &EndpointId) -> bool {
        self.nameless.remove(id);
        self.wanted.endpoints.remove(id).is_some()
    }

    /// Makes it know what it shall, started first if it is not there; says which containers it could not serve.
    pub(crate) async fn bring(&mut self) -> Outcome {
        if self.gone.take().is_some() {
            self.link = None;
        }
        let mut result = Err(String::new());
        for _ in 0..ATTEMPTS {
            result = self.try_to_bring().await;
            if result.is_ok() {
                break;
            }
            self.link = None;
        }
        self.down = result.as_ref().err().map(|why| line(why, REASON_MOST));
        self.retry_at = if self.down.is_some() {
            Some(self.next_try())
        } else if self.nameless.is_empty() {
            None
        } else {
            Some(Instant::now() + NAMELESS_RETRY)
        };
        if let Some(why) = &self.down {
            tracing::error!(why, "shoal-net does not serve; trying again");
        }
        result
    }

    /// The next thing that it says, or that happens to it. Nothing is lost when it is not waited for.
    pub(crate) async fn wait(&mut self) -> Said {
        if let Some(why) = &self.gone {
            return Said::Gone(why.clone());
        }
        let retry_at = self.retry_at;
        let retry = async move {
            match retry_at {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        };
        let Some(link) = &mut self.link else {
            retry.await;
            return Said::Gone("it was not there".to_owned());
        };
        tokio::select! {
            biased;
            said = link.next() => said.map_or_else(|error| Said::Gone(error.to_string()), Said::Reply),
            () = sleep_until(self.ping_at) => Said::Nothing,
            () = retry => Said::Again,
        }
    }

    /// Takes what was waited for; whether the ports that could not be had changed.
    pub(crate) async fn heard(&mut self, said: Said) -> bool {
        let before = self.taken.clone();
        match said {
            Said::Reply(reply) => self.take(reply),
            // Whoever has nobody to serve any more does not bring it back.
            Said::Nothing => self.gone = self.ping().await.err(),
            // When it fails, it is tried again, and the status says so.
            Said::Again => drop(self.bring().await),
            Said::Gone(why) => {
                tracing::warn!(why, "shoal-net is gone; starting it again");
                self.link = None;
                drop(self.bring().await);
            }
        }
        before != self.taken
    }

    /// Asks whether it is alive.
    async fn ping(&mut self) -> Result<(), String> {
        self.number += 1;
        let number = self.number;
        self.send(&Request::Ping { number }).await?;
        while self.reply().await? != (Reply::Pong { number }) {}
        Ok(())
    }

    async fn send(&mut self, request: &Request) -> Result<(), String> {
        let link = self.link.as_mut().ok_or("it is gone")?;
        let sent = link.send(request).await;
        self.judge(sent)
    }

    /// What it says next.
    async fn reply(&mut self) -> Result<Reply, String> {
        let link = self.link.as_mut().ok_or("it is gone")?;
        let reply = link.next_attended().await;
        let reply = self.judge(reply)?;
        self.take(reply.clone());
        Ok(reply)
    }

    fn judge<T>(&mut self, result: io::Result<T>) -> Result<T, String> {
        result.map_err(|error| {
            self.hangs = error.kind() == io::ErrorKind::TimedOut;
            let log = self.place.log.display();
            format!("shoal-net does not do what it is asked: {error}; see {log}")
        })
    }

    /// Whatever it says, it is alive.
    fn take(&mut self, reply: Reply) {
        self.ping_at = Instant::now() + PING;
        match reply {
            Reply::Taken(taken) => self.taken = taken.into_iter().collect(),
            // Also what it did without having been asked.
            Reply::Done { ports, .. } => self.note_ports(&ports),
            Reply::Hello { .. } | Reply::Pong { .. } => {}
        }
    }

    /// The ports of these tables that could not be had, and why.
    pub(crate) fn taken(&self) -> BTreeMap<PortKey, String> {
        let wanted = &self.wanted.ports.ports;
        let taken = self.taken.iter().filter(|(key, _)| wanted.contains_key(key));
        taken.map(|(key, why)| (*key, why.clone())).collect()
    }

    /// The containers that it could not serve, and why.
    pub(crate) fn nameless(&self) -> &BTreeMap<EndpointId, String> {
        &self.nameless
    }

    /// How it is.
    pub(crate) fn state(&self) -> NamesState {
        match (&self.down, &self.link) {
            (Some(why), _) => NamesState::Down { why: why.clone() },
            (None, Some(link)) => NamesState::Serving { pid: link.pid() },
            (None, None) => NamesState::Starting,
        }
    }

    async fn try_to_bring(&mut self) -> Outcome {
        if self.link.is_none() {
            self.told = None;
            let link = self.open().await.map_err(|error| error.to_string())?;
            self.link = Some(link);
        }
        let parts = self.wanted.since(self.told.as_ref(), self.number + 1);
        if parts.is_empty() {
            return Ok(BTreeMap::new());
        }
        self.number += 1;
        self.told = None;
        let told = self.wanted.clone();
        let number = self.number;
        for part in parts {
            self.send(&Request::Update(part)).await?;
        }
        loop {
            if let Reply::Done {
                number: done,
                ports,
                failures,
            } = self.reply().await?
                && done == number
            {
                self.told = Some(told);
                self.note_ports(&ports);
                return Ok(self.note_failures(failures));
            }
        }
    }

    /// Which ports containers ask on.
    fn note_ports(&mut self, ports: &[(EndpointId, u16)]) {
        let Self {
            wanted,
            told,
            nameless,
            ..
        } = self;
        for (id, port) in ports {
            nameless.remove(id);
            let told = told.as_mut().and_then(|told| told.endpoints.get_mut(id));
            for asker in wanted.endpoints.get_mut(id).into_iter().chain(told) {
                asker.port = Some(*port);
            }
        }
    }

    /// Which containers are to be told again.
    fn note_failures(&mut self, failures: Vec<(EndpointId, String)>) -> BTreeMap<EndpointId, String> {
        let failures: BTreeMap<EndpointId, String> = failures.into_iter().collect();
        for (id, why) in &failures {
            if let Some(told) = &mut self.told {
                told.endpoints.remove(id);
            }
            let why = line(why, REASON_MOST);
            if self.nameless.get(id) != Some(&why) {
                tracing::warn!(%id, why, "a container has no names; trying again");
            }
            self.nameless.insert(id.clone(), why);
        }
        failures
    }

    /// The process that is there, if it is of this build, or a new one.
    async fn open(&mut self) -> io::Result<Link> {
        let there = if std::mem::take(&mut self.hangs) {
            Err(io::ErrorKind::TimedOut.into())
        } else {
            Link::open(&self.place.socket, &end::pids(&self.place)).await
        };
        if let Err(error) = &there
            && error.kind() == io::ErrorKind::TimedOut
        {
            tracing::error!("shoal-net hangs; it is replaced");
            end::hanging(&self.place)?;
        }
        if let Ok(link) = there {
            let same = start::is_program(link.pid(), &self.place.program);
            if same && link.version() == VERSION {
                return Ok(link);
            }
            tracing::info!("shoal-net is of another build; it is replaced");
            let successor = match start::beside(&self.place, &link) {
                Err(error) if link.version() == VERSION => {
                    tracing::error!(%error, "shoal-net cannot be replaced; the one that is there goes on");
                    return Ok(link);
                }
                Err(error) => return Err(error),
                Ok(successor) => successor,
            };
            self.starts.push(Instant::now());
            match start::hand_over(&self.place, link, successor).await {
                Ok(link) if link.pid() == successor => return Ok(link),
                Ok(link) if link.version() == VERSION => {
                    let log = self.place.log.display();
                    tracing::error!(%log, "the new shoal-net ended before it took over; the one that is there goes on");
                    return Ok(link);
                }
                Ok(_older) => tracing::error!("the new shoal-net ended before it took over"),
                Err(error) => tracing::error!(%error, "shoal-net could not be replaced without a gap"),
            }
        }
        // One that does not answer is in the way.
        end::serving(&self.place)?;
        self.starts.push(Instant::now());
        start::fresh(&self.place).await
    }

    fn next_try(&mut self) -> Instant {
        let now = Instant::now();
        self.starts.retain(|start| now - *start < DYING_WINDOW);
        let dying = self.starts.len() >= DYING;
        now + if dying { DYING_RETRY } else { RETRY }
    }
}
