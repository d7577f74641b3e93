//! The daemon from start to stop: place, runtime, socket, roles, and an orderly end.
//!
//! The socket serves before there is a cluster, so that `cluster init` can be asked for. Stopping ends the
//! roles and leaves shims and containers alone; the next daemon takes them up.

use crate::bootstrap::BootstrapService;
use crate::config::NodeConfig;
use crate::files::{FileError, write_file};
use crate::place::{Place, PlaceError};
use crate::roles::{Roles, RolesError};
use crate::socket::{self, SocketError};
use shoal_agent_runtime::OpenError;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Open calls have so long to end once the daemon stops; a followed log or watch never ends by itself.
const DRAIN: Duration = Duration::from_secs(3);

/// The daemon could not be started, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error(transparent)]
    Runtime(#[from] OpenError),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error(transparent)]
    Roles(#[from] RolesError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("listening for signals")]
    Signal(#[source] std::io::Error),
    #[error("serving on {path}")]
    Serve {
        path: PathBuf,
        #[source]
        source: tonic::transport::Error,
    },
}

/// Runs until SIGTERM, SIGINT or a fault that no retry mends.
pub async fn run(config: NodeConfig) -> Result<(), DaemonError> {
    let mut signals = Signals::new().map_err(DaemonError::Signal)?;
    let place = Place::take(&config)?;
    #[cfg(feature = "crash-points")]
    crate::crash::install(&config.run_dir);
    let runtime = place.open_runtime(&config).await?;
    let net = place.net(&config);
    let config = Arc::new(config);
    let roles = Arc::new(Roles::new(Arc::clone(&config), runtime, net));
    roles.take_up().await?;
    let listener = socket::bind(&config.socket_path())?;
    write_file(&config.pid_path(), format!("{}\n", std::process::id()).as_bytes())?;
    let stop = CancellationToken::new();
    let serving = roles.serve_socket(listener, BootstrapService::new(Arc::clone(&roles)), stop.clone());
    let mut serving = tokio::spawn(serving);
    tracing::info!(socket = %config.socket_path().display(), "serving");
    let ended = tokio::select! {
        ended = &mut serving => Some(ended),
        reason = roles.broken() => {
            tracing::error!(reason, "a role of this node has ended");
            None
        }
        name = signals.next() => {
            tracing::info!(signal = name, "stopping; containers go on");
            None
        }
    };
    stop.cancel();
    roles.stop().await;
    let ended = match ended {
        Some(ended) => Some(ended),
        None => tokio::time::timeout(DRAIN, serving).await.ok(),
    };
    remove_run_files(&config);
    match ended {
        Some(Ok(Err(source))) => Err(DaemonError::Serve {
            path: config.socket_path(),
            source,
        }),
        Some(_) | None => Ok(()),
    }
}

fn remove_run_files(config: &NodeConfig) {
    for path in [config.socket_path(), config.pid_path()] {
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::debug!(path = %path.display(), %error, "a run-time file was gone already");
        }
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
