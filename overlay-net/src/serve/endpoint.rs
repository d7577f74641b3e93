//! One container's questions: answered from the tables on the spot, or passed on.
//!
//! What is read at once is bounded, so that a container that floods waits for the others and not they for it. When an
//! endpoint is dropped, so are its sockets and all that is under way: they would keep its namespace alive.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt::socket_acceptconn;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::answer::{Outcome, Transport, answer, failed};
use super::forward::{Permit, SharedForwarder, bounds};
use super::inside::Sockets;
use super::names::Names;
use crate::desired::NetworkId;
use crate::message::Asker;

/// Questions that are read before others have their turn: some 0.2 ms of work.
const BURST: usize = 16;
/// No question is longer, but with options that no libc sends.
const QUESTION_MOST: usize = 4096;
/// Streams of one container at once.
const STREAMS_MOST: usize = 16;
/// How long a stream may say nothing, or take nothing.
const STREAM_IDLE: Duration = Duration::from_secs(10);
/// After a failure to accept: this process has too much open.
const PAUSE: Duration = Duration::from_millis(100);

/// What all endpoints share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) names: RefCell<Names>,
    pub(super) forwarder: SharedForwarder,
    pub(super) stop: watch::Receiver<bool>,
    scratch: RefCell<Box<[u8]>>,
    turn: Cell<usize>,
}

/// An endpoint that is answered.
#[derive(Debug)]
pub(super) struct Endpoint {
    asker: Rc<Who>,
    udp: Rc<UdpSocket>,
    tcp: Rc<TcpListener>,
    /// Remembered, since a socket that was closed by force has none.
    port: u16,
    tasks: JoinSet<()>,
}

/// Who asks, as it was last told.
#[derive(Debug)]
struct Who {
    told: RefCell<Asker>,
    under_way: Arc<Semaphore>,
}

impl Shared {
    pub(super) fn new(forwarder: SharedForwarder, stop: watch::Receiver<bool>) -> Self {
        Self {
            names: RefCell::default(),
            forwarder,
            stop,
            scratch: RefCell::new(vec![0; QUESTION_MOST].into()),
            turn: Cell::new(0),
        }
    }

    fn answer(&self, who: &Who, question: &[u8], transport: Transport) -> Outcome {
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let networks: &[NetworkId] = &who.told.borrow().networks;
        answer(&self.names.borrow(), networks, question, transport, turn)
    }

    async fn stopped(&self) {
        let mut stop = self.stop.clone();
        // Its sender is gone when the process ends.
        drop(stop.wait_for(|stop| *stop).await);
    }
}

impl Endpoint {
    /// Begins to answer.
    pub(super) fn serve(shared: &Rc<Shared>, asker: Asker, sockets: Sockets) -> io::Result<Self> {
        let port = sockets.udp.local_addr()?.port();
        let udp = Rc::new(UdpSocket::from_std(sockets.udp)?);
        let tcp = Rc::new(TcpListener::from_std(sockets.tcp)?);
        let asker = Rc::new(Who {
            told: RefCell::new(asker),
            under_way: bounds(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn_local(datagrams(Rc::clone(shared), Rc::clone(&asker), Rc::clone(&udp)));
        tasks.spawn_local(streams(Rc::clone(shared), Rc::clone(&asker), Rc::clone(&tcp)));
        Ok(Self {
            asker,
            udp,
            tcp,
            port,
            tasks,
        })
    }

    /// As it was told.
    pub(super) fn asker(&self) -> Asker {
        self.asker.told.borrow().clone()
    }

    /// From now on in these networks, with these servers.
    pub(super) fn change(&self, asker: Asker) {
        self.asker.told.replace(asker);
    }

    /// Where it is asked.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Whether a socket of its does not work any more: somebody in the container's namespace can close any socket there
    /// by force, as `ss -K` does.
    pub(super) fn is_deaf(&mut self) -> bool {
        // Whoever waits for something to be there is not woken by that.
        let lost = self
            .udp
            .local_addr()
            .is_ok_and(|address| address.port() != self.port);
        let listens = socket_acceptconn(&self.tcp).unwrap_or(true);
        lost || !listens || self.tasks.try_join_next().is_some()
    }

    /// Its sockets: for datagrams, for streams.
    pub(super) fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.udp.as_fd(), self.tcp.as_fd()]
    }

    /// Lets go of its sockets; what is under way goes on in these tasks, once all are told to stop.
    pub(super) fn let_go(self) -> JoinSet<()> {
        self.tasks
    }
}

async fn datagrams(shared: Rc<Shared>, who: Rc<Who>, socket: Rc<UdpSocket>) {
    let mut passed_on = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = shared.stopped() => break,
            ready = socket.readable() => {
                if let Err(error) = ready.and_then(|()| burst(&shared, &who, &socket, &mut passed_on)) {
                    tracing::warn!(%error, "a container's questions cannot be read");
                    return;
                }
            }
        }
        while passed_on.try_join_next().is_some() {}
        tokio::task::yield_now().await;
    }
    while passed_on.join_next().await.is_some() {}
}

/// Reads what is there, up to a bound.
fn burst(
    shared: &Rc<Shared>,
    who: &Rc<Who>,
    socket: &Rc<UdpSocket>,
    passed_on: &mut JoinSet<()>,
) -> io::Result<()> {
    for _ in 0..BURST {
        let mut scratch = shared.scratch.borrow_mut();
        let (length, from) = match socket.try_recv_from(&mut scratch) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        let question = &scratch[..length];
        match shared.answer(who, question, Transport::Udp) {
            Outcome::Answer(answer) => send(socket, &answer, from),
            Outcome::Ignore => {}
            Outcome::Forward => match shared.forwarder.permit(&who.under_way) {
                Some(permit) => {
                    let asked = Passed {
                        question: question.to_vec(),
                        servers: who.told.borrow().servers.clone(),
                        permit,
                    };
                    let task = pass_on(Rc::clone(shared), asked, Rc::clone(socket), from);
                    passed_on.spawn_local(task);
                }
                None => send(socket, &failed(question).unwrap_or_default(), from),
            },
        }
    }
    Ok(())
}

/// A datagram that does not fit into the asker's buffer is lost, as on any network.
fn send(socket: &UdpSocket, answer: &[u8], to: SocketAddr) {
    if !answer.is_empty()
        && let Err(error) = socket.try_send_to(answer, to)
    {
        tracing::debug!(%error, "an answer is lost");
    }
}

struct Passed {
    question: Vec<u8>,
    servers: Vec<IpAddr>,
    permit: Permit,
}

impl Passed {
    async fn answer(self, shared: &Shared, transport: Transport) -> Option<Vec<u8>> {
        let answer = shared
            .forwarder
            .ask(&self.servers, &self.question, transport)
            .await;
        drop(self.permit);
        answer.or_else(|| failed(&self.question))
    }
}

async fn pass_on(shared: Rc<Shared>, asked: Passed, socket: Rc<UdpSocket>, from: SocketAddr) {
    let answer = asked.answer(&shared, Transport::Udp).await;
    send(&socket, &answer.unwrap_or_default(), from);
}

async fn streams(shared: Rc<Shared>, who: Rc<Who>, listener: Rc<TcpListener>) {
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.stopped() => break,
            Some(_ended) = open.join_next(), if !open.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) if open.len() < STREAMS_MOST => {
                open.spawn_local(conversation(Rc::clone(&shared), Rc::clone(&who), stream));
            }
            // Closed at once.
            Ok(_) => {}
            // It does not listen any more.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                tracing::warn!(%error, "a container's streams cannot be accepted");
                return;
            }
            Err(error) => {
                tracing::debug!(%error, "a container's stream cannot be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    while open.join_next().await.is_some() {}
}

async fn conversation(shared: Rc<Shared>, who: Rc<Who>, mut stream: TcpStream) {
    loop {
        let question = tokio::select! {
            biased;
            read = timeout(STREAM_IDLE, read(&mut stream)) => read,
            () = shared.stopped() => return,
        };
        let Ok(Ok(question)) = question else { return };
        let answer = match shared.answer(&who, &question, Transport::Tcp) {
            Outcome::Answer(answer) => Some(answer),
            Outcome::Ignore => None,
            Outcome::Forward => match shared.forwarder.permit(&who.under_way) {
                Some(permit) => {
                    let servers = who.told.borrow().servers.clone();
                    let asked = Passed {
                        question,
                        servers,
                        permit,
                    };
                    asked.answer(&shared, Transport::Tcp).await
                }
                None => failed(&question),
            },
        };
        let Some(answer) = answer else { return };
        let Ok(length) = u16::try_from(answer.len()) else {
            return;
        };
        let mut message = length.to_be_bytes().to_vec();
        message.extend_from_slice(&answer);
        if !matches!(timeout(STREAM_IDLE, stream.write_all(&message)).await, Ok(Ok(()))) {
            return;
        }
    }
}

async fn read(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = usize::from(stream.read_u16().await?);
    if length > QUESTION_MOST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut question = vec![0; length];
    stream.read_exact(&mut question).await?;
    Ok(question)
}
