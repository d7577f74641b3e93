//! Datagrams to a published port over the loopback device: each asker has a backend for as long as they exchange any,
//! also while it is draining.
//!
//! A datagram that finds no room is lost, as on any network.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{Id, JoinSet};
use tokio::time::timeout;

use super::hold::any_for;
use super::ports::{Backends, Limits};

/// Askers of one port at once.
const PORT_MOST: usize = 512;
/// An exchange is over when neither side has said anything for so long: as long as the kernel remembers one.
const IDLE: Duration = Duration::from_secs(120);
/// After it could not be read.
const PAUSE: Duration = Duration::from_millis(100);
/// Longer than any datagram.
const LONGEST: usize = 65_535;

/// What is known of an asker.
struct Exchange {
    backend: SocketAddr,
    socket: Rc<UdpSocket>,
    task: Id,
}

/// All exchanges of a port.
struct Exchanges {
    own: Rc<UdpSocket>,
    backends: Rc<Backends>,
    limits: Limits,
    known: BTreeMap<SocketAddr, Exchange>,
    tasks: JoinSet<SocketAddr>,
}

/// Carries datagrams until told to stop.
pub(super) async fn run(socket: UdpSocket, backends: Rc<Backends>, limits: Limits) {
    let mut stop = limits.stop.clone();
    let mut exchanges = Exchanges {
        own: Rc::new(socket),
        backends,
        limits,
        known: BTreeMap::new(),
        tasks: JoinSet::new(),
    };
    let mut buffer = vec![0; LONGEST];
    loop {
        let own = Rc::clone(&exchanges.own);
        let received = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            Some(ended) = exchanges.tasks.join_next_with_id(), if !exchanges.tasks.is_empty() => {
                if let Ok((task, asker)) = ended {
                    exchanges.ended(task, asker);
                }
                continue;
            }
            received = own.recv_from(&mut buffer) => received,
        };
        match received {
            Ok((length, asker)) => {
                if let Err(error) = exchanges.carry(&buffer[..length], asker).await {
                    tracing::debug!(%error, "a datagram is lost");
                }
            }
            Err(error) => {
                tracing::debug!(%error, "a datagram cannot be received");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    // Who asks from now on asks a successor; what was asked before is answered here, where it is waited for.
    while exchanges.tasks.join_next().await.is_some() {}
}

impl Exchanges {
    async fn carry(&mut self, datagram: &[u8], asker: SocketAddr) -> io::Result<()> {
        let known = self.known.get(&asker);
        let Some(exchange) = known.filter(|exchange| self.backends.keeps(exchange.backend)) else {
            let socket = self.begin(asker).await?;
            return socket.send(datagram).await.map(|_length| ());
        };
        match exchange.socket.try_send(datagram) {
            Ok(_) => Ok(()),
            // The backend refused the one before this one; the next may be welcome.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                exchange.socket.try_send(datagram).map(|_length| ())
            }
            Err(error) => Err(error),
        }
    }

    async fn begin(&mut self, asker: SocketAddr) -> io::Result<Rc<UdpSocket>> {
        let full = || io::Error::other("too many askers");
        if self.known.len() >= PORT_MOST {
            return Err(full());
        }
        let permit = Arc::clone(&self.limits.all)
            .try_acquire_owned()
            .map_err(|_none| full())?;
        let backends = self.backends.in_turn(asker);
        let backend = *backends.first().ok_or(io::ErrorKind::ConnectionRefused)?;
        let socket = UdpSocket::bind(any_for(backend)).await?;
        socket.connect(backend).await?;
        let socket = Rc::new(socket);
        let answers = answers(Rc::clone(&socket), Rc::clone(&self.own), asker, permit);
        let task = self.tasks.spawn_local(answers).id();
        let exchange = Exchange {
            backend,
            socket: Rc::clone(&socket),
            task,
        };
        self.known.insert(asker, exchange);
        Ok(socket)
    }

    /// Another exchange of the same asker may have begun meanwhile.
    fn ended(&mut self, task: Id, asker: SocketAddr) {
        if self
            .known
            .get(&asker)
            .is_some_and(|exchange| exchange.task == task)
        {
            self.known.remove(&asker);
        }
    }
}

/// Carries what a backend says to who asked it, until neither says anything.
async fn answers(
    backend: Rc<UdpSocket>,
    own: Rc<UdpSocket>,
    asker: SocketAddr,
    permit: OwnedSemaphorePermit,
) -> SocketAddr {
    let mut buffer = vec![0; LONGEST];
    while let Ok(received) = timeout(IDLE, backend.recv(&mut buffer)).await {
        let sent = match received {
            Ok(length) => own.send_to(&buffer[..length], asker).await.map(|_length| ()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = sent {
            tracing::debug!(%error, "a backend's datagram is lost");
        }
    }
    drop(permit);
    asker
}
