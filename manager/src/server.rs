//! The manager's listener: TLS 1.3 on each connection, then gRPC over it.
//!
//! The caller owns the socket. Handshakes run beside each other, bounded in number and time, so that a
//! silent or slow peer keeps nobody else out. A connection ends with the certificate that it was made with.

mod bounds;
#[cfg(test)]
mod tests;

use crate::access::Peer;
use bounds::{Bounds, Life, NAMELESS_LIFE, Place};
use shoal_api::identity::{Identity, Validity};
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

/// A handshake that takes longer is given up: the slowest link needs three round trips.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Handshakes at a time; each costs a signature and a few kilobytes. More wait in the listen queue.
const HANDSHAKES: usize = 256;

/// Accepted connections that the server has not picked up.
const BACKLOG: usize = 64;

/// After `accept` failed (out of file descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection whose peer has proved who it is, or has shown nothing.
#[derive(Debug)]
pub struct Connection {
    stream: TlsStream<TcpStream>,
    peer: Peer,
    life: Life,
    _place: Place,
}

/// Accepts until shutdown.
pub fn accept(
    listener: TcpListener,
    config: Arc<rustls::ServerConfig>,
    shutdown: CancellationToken,
) -> ReceiverStream<io::Result<Connection>> {
    let (ready, connections) = mpsc::channel(BACKLOG);
    let acceptor = TlsAcceptor::from(config);
    let bound = Arc::new(Semaphore::new(HANDSHAKES));
    tokio::spawn(async move {
        let accepting = accept_all(listener, acceptor, bound, ready);
        shutdown.run_until_cancelled(accepting).await;
    });
    ReceiverStream::new(connections)
}

async fn accept_all(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    handshakes: Arc<Semaphore>,
    ready: mpsc::Sender<io::Result<Connection>>,
) {
    let bounds = Bounds::default();
    // The semaphore is never closed.
    while let Ok(permit) = Arc::clone(&handshakes).acquire_owned().await {
        let (socket, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let crowded = handshakes.available_permits() < HANDSHAKES / 2;
        let Some(place) = bounds.handshake(from.ip(), crowded) else {
            tracing::debug!(%from, "too many handshakes of one address stand still");
            continue;
        };
        let (acceptor, ready, bounds) = (acceptor.clone(), ready.clone(), bounds.clone());
        tokio::spawn(async move {
            match timeout(HANDSHAKE, handshake(acceptor, socket, &bounds)).await {
                // An error means that the server has stopped.
                Ok(Ok(connection)) => drop(ready.send(Ok(connection)).await),
                Ok(Err(error)) => tracing::debug!(%from, %error, "a TLS handshake failed"),
                Err(_elapsed) => tracing::debug!(%from, "a TLS handshake took too long"),
            }
            drop((permit, place));
        });
    }
}

async fn handshake(acceptor: TlsAcceptor, socket: TcpStream, bounds: &Bounds) -> io::Result<Connection> {
    socket.set_nodelay(true)?;
    let stream = acceptor.accept(socket).await?;
    let shown = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(|chain| chain.first());
    let (peer, life) = match shown {
        None => (Peer::Nobody, Life::until(SystemTime::now() + NAMELESS_LIFE)),
        Some(der) => {
            let identity = Identity::from_der(der).map_err(io::Error::other)?;
            let validity = Validity::from_der(der).map_err(io::Error::other)?;
            (Peer::Certified(identity), Life::until_wall(validity.not_after.0))
        }
    };
    let place = bounds
        .connection(&peer)
        .ok_or_else(|| io::Error::other("the peer has too many connections"))?;
    Ok(Connection {
        stream,
        peer,
        life,
        _place: place,
    })
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Every connection is read for as long as it is open, so that reading alone ends it.
        if self.life.is_over(cx) {
            let reason = "the connection has outlived its certificate, or was opened without one";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, reason)));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
