//! Connections to a published port over the loopback device, each carried to a backend and back.
//!
//! The two directions are independent: an end of one is passed on as such, and what was sent before a failure of the
//! other still arrives. What a side does not take is not read from the other.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt::{
    set_socket_keepalive, set_tcp_keepcnt, set_tcp_keepidle, set_tcp_keepintvl, set_tcp_nodelay,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::ports::{Backends, Limits};

/// Connections of one port at once.
const PORT_MOST: usize = 1024;
/// Bytes on their way in one direction of one connection.
const BUFFER: usize = 16 << 10;
/// A backend on this machine answers at once, one elsewhere after the second attempt of its kernel.
const CONNECT: Duration = Duration::from_secs(3);
/// A side whose machine is gone is noticed after some two minutes.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(60), Duration::from_secs(15), 4);
/// After a failure to accept: this process has too much open.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts until told to stop, and then sees the connections that there are to their end.
pub(super) async fn run(listener: TcpListener, backends: Rc<Backends>, limits: Limits) {
    let mut open = JoinSet::new();
    let mut stop = limits.stop.clone();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_ended) = open.join_next(), if !open.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((client, from)) => {
                let permit = Arc::clone(&limits.all).try_acquire_owned().ok();
                match permit.filter(|_| open.len() < PORT_MOST) {
                    Some(permit) => {
                        open.spawn_local(carry(client, from, Rc::clone(&backends), permit));
                    }
                    None => reset(&client),
                }
            }
            Err(error) => {
                tracing::debug!(%error, "a connection cannot be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    while open.join_next().await.is_some() {}
}

async fn carry(client: TcpStream, from: SocketAddr, backends: Rc<Backends>, permit: OwnedSemaphorePermit) {
    match connect(&backends, from).await {
        Some(backend) => {
            if let Err(error) = both_ways(client, backend).await {
                tracing::debug!(%error, "a proxied connection broke");
            }
        }
        None => reset(&client),
    }
    drop(permit);
}

/// The first backend that takes it.
async fn connect(backends: &Backends, from: SocketAddr) -> Option<TcpStream> {
    for backend in backends.in_turn(from) {
        match timeout(CONNECT, TcpStream::connect(backend)).await {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(error)) => tracing::debug!(%backend, %error, "a backend does not take a connection"),
            Err(_elapsed) => tracing::debug!(%backend, "a backend does not answer"),
        }
    }
    None
}

async fn both_ways(mut client: TcpStream, mut backend: TcpStream) -> io::Result<()> {
    for side in [&client, &backend] {
        let (idle, interval, count) = KEEPALIVE;
        set_tcp_nodelay(side, true)?;
        set_socket_keepalive(side, true)?;
        set_tcp_keepidle(side, idle)?;
        set_tcp_keepintvl(side, interval)?;
        set_tcp_keepcnt(side, count)?;
    }
    let result = exchange(&mut client, &mut backend).await;
    if result.is_err() {
        // Neither side is to take what it has for all there was.
        reset(&client);
        reset(&backend);
    }
    result.map_err(|broken| match broken {
        Broken::From(error) | Broken::To(error) => error,
    })
}

async fn exchange(client: &mut TcpStream, backend: &mut TcpStream) -> Result<(), Broken> {
    let (client_read, client_write) = client.split();
    let (backend_read, backend_write) = backend.split();
    let up = pump(client_read, backend_write);
    let down = pump(backend_read, client_write);
    tokio::pin!(up, down);
    tokio::select! {
        ended = &mut up => rest(ended, down).await,
        ended = &mut down => rest(ended, up).await,
    }
}

/// Which end of a direction broke.
enum Broken {
    From(io::Error),
    To(io::Error),
}

/// What becomes of the other direction when one has ended: it goes on, unless the side that it leads to is gone.
async fn rest(
    ended: Result<(), Broken>,
    other: impl Future<Output = Result<(), Broken>>,
) -> Result<(), Broken> {
    match ended {
        Err(Broken::From(error)) => Err(Broken::From(error)),
        ended => {
            let other = other.await;
            ended.and(other)
        }
    }
}

/// Carries one direction to its end, and passes that on.
async fn pump(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> Result<(), Broken> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match from.read(&mut buffer).await.map_err(Broken::From)? {
            0 => return to.shutdown().await.map_err(Broken::To),
            length => to.write_all(&buffer[..length]).await.map_err(Broken::To)?,
        }
    }
}

/// When it is dropped, the other end hears that it broke and did not end.
fn reset(side: &TcpStream) {
    if let Err(error) = side.set_zero_linger() {
        tracing::debug!(%error, "a connection ends as if all was well");
    }
}
