//! Questions that others answer: passed on as they came, under a number and from a port of our own.
//!
//! A resolver that does not answer holds up nobody but who asked, and not for long: questions under way are bounded
//! for each asker and in all, and one that was silent of late is asked last.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::answer::{Transport, answers};
use super::resolvers::{HostResolvers, PORT};

/// Under way for one container: a program that looks up a hundred names at once is served, a flood is not.
pub(super) const ASKER_MOST: usize = 100;
/// Under way in all. Each holds a socket and some 2 KiB.
const ALL_MOST: usize = 2000;
/// For one attempt. Three are made before libc, which waits 5 s, asks again.
const ATTEMPT: Duration = Duration::from_millis(1500);
const ATTEMPTS: usize = 3;
/// How long a server that was silent is asked last.
const SILENCE: Duration = Duration::from_secs(10);
/// Servers that are remembered as silent: more than any host has.
const SILENT_MOST: usize = 64;
/// Longer than any datagram.
const ANSWER_MOST: usize = 65_535;

/// Passes questions on.
#[derive(Debug)]
pub(super) struct Forwarder {
    host: HostResolvers,
    all: Arc<Semaphore>,
    silent: RefCell<BTreeMap<SocketAddr, Instant>>,
    scratch: RefCell<Box<[u8]>>,
}

/// The right to have one question under way.
#[derive(Debug)]
pub(super) struct Permit {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl Forwarder {
    pub(super) fn new(resolv_conf: &Path) -> Self {
        Self {
            host: HostResolvers::of(resolv_conf),
            all: Arc::new(Semaphore::new(ALL_MOST)),
            silent: RefCell::default(),
            scratch: RefCell::new(vec![0; ANSWER_MOST].into()),
        }
    }

    /// For one more question of an asker; none if too many are under way.
    pub(super) fn permit(&self, asker: &Arc<Semaphore>) -> Option<Permit> {
        Some(Permit {
            _own: Arc::clone(asker).try_acquire_owned().ok()?,
            _all: Arc::clone(&self.all).try_acquire_owned().ok()?,
        })
    }

    /// What these servers, or else the host's, say to a question; none if nobody says anything in time.
    pub(super) async fn ask(
        &self,
        servers: &[IpAddr],
        question: &[u8],
        transport: Transport,
    ) -> Option<Vec<u8>> {
        let mut last = None;
        let mut refused = BTreeSet::new();
        for server in self.order(servers) {
            if refused.contains(&server) {
                continue;
            }
            let asked = async {
                match transport {
                    Transport::Udp => self.datagram(server, question).await,
                    Transport::Tcp => stream(server, question).await,
                }
            };
            match timeout(ATTEMPT, asked).await {
                Ok(Ok(answer)) if is_refusal(&answer) => {
                    refused.insert(server);
                    last = Some(answer);
                }
                Ok(Ok(answer)) => {
                    self.silent.borrow_mut().remove(&server);
                    return Some(answer);
                }
                Ok(Err(error)) => {
                    tracing::debug!(%server, %error, "a resolver cannot be asked");
                    self.was_silent(server);
                }
                Err(_elapsed) => self.was_silent(server),
            }
        }
        last
    }

    /// Whom to ask, one after the other: again from the first when there are few.
    fn order(&self, servers: &[IpAddr]) -> Vec<SocketAddr> {
        let now = Instant::now();
        let mut all: Vec<SocketAddr> = match servers {
            [] => self.host.now(now).to_vec(),
            own => own
                .iter()
                .map(|address| SocketAddr::new(*address, PORT))
                .collect(),
        };
        let silent = self.silent.borrow();
        all.sort_by_key(|server| {
            let of_late = |then: &Instant| now.saturating_duration_since(*then) < SILENCE;
            silent.get(server).is_some_and(of_late)
        });
        all.iter()
            .copied()
            .cycle()
            .take(ATTEMPTS.min(all.len() * ATTEMPTS))
            .collect()
    }

    fn was_silent(&self, server: SocketAddr) {
        let mut silent = self.silent.borrow_mut();
        if silent.len() >= SILENT_MOST {
            silent.clear();
        }
        silent.insert(server, Instant::now());
    }

    async fn datagram(&self, server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
        let any = match server {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(server).await?;
        let (number, renumbered) = renumber(question)?;
        socket.send(&renumbered).await?;
        loop {
            socket.readable().await?;
            let mut scratch = self.scratch.borrow_mut();
            match socket.try_recv(&mut scratch) {
                Ok(length) if answers(&scratch[..length], question, number) => {
                    return numbered_as(question, scratch[..length].to_vec());
                }
                // Somebody guesses.
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

async fn stream(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let (number, renumbered) = renumber(question)?;
    let length = u16::try_from(renumbered.len()).map_err(io::Error::other)?;
    let mut message = length.to_be_bytes().to_vec();
    message.extend_from_slice(&renumbered);
    stream.write_all(&message).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    if answers(&answer, question, number) {
        return numbered_as(question, answer);
    }
    Err(io::ErrorKind::InvalidData.into())
}

/// A question under a number that nobody can guess from the asker's.
fn renumber(question: &[u8]) -> io::Result<(u16, Vec<u8>)> {
    let mut number = [0; 2];
    rustix::rand::getrandom(&mut number, rustix::rand::GetRandomFlags::empty())?;
    let renumbered = numbered(question, number)?;
    Ok((u16::from_be_bytes(number), renumbered))
}

fn numbered_as(question: &[u8], answer: Vec<u8>) -> io::Result<Vec<u8>> {
    let number = question.first_chunk::<2>().ok_or(io::ErrorKind::InvalidInput)?;
    numbered(&answer, *number)
}

fn numbered(message: &[u8], number: [u8; 2]) -> io::Result<Vec<u8>> {
    let mut bytes = message.to_vec();
    let place = bytes.first_chunk_mut::<2>().ok_or(io::ErrorKind::InvalidInput)?;
    *place = number;
    Ok(bytes)
}

/// Whether another server may know more: it could not find out, or does not speak to us.
fn is_refusal(answer: &[u8]) -> bool {
    const FAILED: u8 = 2;
    const REFUSED: u8 = 5;
    answer
        .get(3)
        .is_some_and(|flags| matches!(flags & 0xf, FAILED | REFUSED))
}

/// Bounds for one asker.
pub(super) fn bounds() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(ASKER_MOST))
}

/// What all askers share.
pub(super) type SharedForwarder = Rc<Forwarder>;
