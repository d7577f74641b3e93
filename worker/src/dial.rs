//! Reaching a manager: one HTTP/2 connection over mutual TLS, and how long to wait before the next try.
//!
//! The TLS settings show the node's present certificate, so a renewed one is used by the next connection. The
//! pause after a failure doubles to a cap and is jittered, so that a thousand workers do not come at once.

use futures::future::BoxFuture;
use hyper_util::rt::TokioIo;
use rand::Rng;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

/// A manager that does not answer in this time is as good as dead.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that is silent for so long is asked whether it lives, and given so long to answer.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
const KEEP_ALIVE_ANSWER: Duration = Duration::from_secs(3);
/// The first pause is short: mostly it is this daemon's own manager that is a moment late.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// No connection to any manager.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("this node knows no manager's address")]
    NoAddress,
    #[error("{0:?} is no host:port of a manager")]
    Address(String),
    #[error("connecting to the manager at {address}")]
    Connect {
        address: String,
        #[source]
        source: tonic::transport::Error,
    },
}

/// A connection, and to whom.
#[derive(Clone, Debug)]
pub struct Dialled {
    pub channel: Channel,
    /// `host:port`.
    pub address: String,
}

/// Opens connections to managers. A trait, so that a session can be tested without certificates.
pub trait Dial: Send + Sync + 'static {
    /// Connects to any manager.
    fn dial(&self) -> BoxFuture<'_, Result<Dialled, DialError>>;
    /// Connects to this very manager.
    fn dial_back(&self, address: String) -> BoxFuture<'_, Result<Dialled, DialError>>;
}

/// Dials the managers in turn over mutual TLS.
#[derive(Debug)]
pub struct Dialer {
    addresses: Vec<String>,
    next: AtomicUsize,
    tls: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Dialer {
    /// `addresses` are `host:port`; `name` is what every manager's certificate of this cluster bears.
    pub fn new(addresses: Vec<String>, tls: Arc<ClientConfig>, name: ServerName<'static>) -> Self {
        Self {
            addresses,
            next: AtomicUsize::new(0),
            tls,
            name,
        }
    }

    async fn connect(&self, address: String) -> Result<Dialled, DialError> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|_unreadable| DialError::Address(address.clone()))?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE_ANSWER)
            .keep_alive_while_idle(true)
            .tcp_nodelay(true);
        let tls = Arc::clone(&self.tls);
        let (target, name) = (address.clone(), self.name.clone());
        let connector = tower::service_fn(move |_: http::Uri| {
            let (target, name, tls) = (target.clone(), name.clone(), Arc::clone(&tls));
            async move {
                let stream = TcpStream::connect(&target).await?;
                stream.set_nodelay(true)?;
                let stream = TlsConnector::from(tls).connect(name, stream).await?;
                Ok::<_, io::Error>(TokioIo::new(stream))
            }
        });
        match endpoint.connect_with_connector(connector).await {
            Ok(channel) => Ok(Dialled { channel, address }),
            Err(source) => Err(DialError::Connect { address, source }),
        }
    }
}

impl Dial for Dialer {
    fn dial(&self) -> BoxFuture<'_, Result<Dialled, DialError>> {
        Box::pin(async move {
            let turn = self.next.fetch_add(1, Ordering::Relaxed);
            let place = turn
                .checked_rem(self.addresses.len())
                .ok_or(DialError::NoAddress)?;
            let address = self.addresses.get(place).ok_or(DialError::NoAddress)?;
            self.connect(address.clone()).await
        })
    }

    fn dial_back(&self, address: String) -> BoxFuture<'_, Result<Dialled, DialError>> {
        Box::pin(self.connect(address))
    }
}

/// The pauses between tries.
#[derive(Debug, Default)]
pub(crate) struct Pauses {
    failures: u32,
}

impl Pauses {
    /// A session was opened: the next failure is a first one.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Between half and the whole of a pause that doubles with every failure.
    pub(crate) fn next(&mut self, random: &mut impl Rng) -> Duration {
        let whole = FIRST_PAUSE
            .saturating_mul(2_u32.saturating_pow(self.failures))
            .min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        whole.mul_f64(random.random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn pauses_double_to_a_cap_and_start_anew() {
        let mut random = rand::rngs::StdRng::seed_from_u64(1);
        let mut pauses = Pauses::default();
        let all: Vec<Duration> = (0..40).map(|_| pauses.next(&mut random)).collect();
        assert!(all.iter().all(|pause| *pause <= LONGEST_PAUSE));
        assert!(all.windows(2).take(8).all(|pair| pair[1] >= pair[0]), "{all:?}");
        assert!(all[39] >= LONGEST_PAUSE / 2);
        pauses.reset();
        assert!(pauses.next(&mut random) <= FIRST_PAUSE);
    }
}
