//! The signals that ask a client to end, for the commands that do something first.
//!
//! Once one of them was listened to it ends the process no longer by itself: whoever waits after that listens too.

use crate::failure::Exit;
use anyhow::Result;

/// SIGINT and SIGTERM, from now on.
#[cfg(unix)]
#[derive(Debug)]
pub(crate) struct Endings {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Endings {
    pub(crate) fn listen() -> Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// The exit code of a process that the next one ends.
    pub(crate) async fn next(&mut self) -> Exit {
        tokio::select! {
            _ = self.interrupt.recv() => Exit(130),
            _ = self.terminate.recv() => Exit(143),
        }
    }
}

/// Ctrl-C, which is all there is.
#[cfg(not(unix))]
#[derive(Debug)]
pub(crate) struct Endings;

#[cfg(not(unix))]
impl Endings {
    #[expect(clippy::unnecessary_wraps, reason = "the other systems' form can fail")]
    pub(crate) fn listen() -> Result<Self> {
        Ok(Self)
    }

    pub(crate) async fn next(&mut self) -> Exit {
        match tokio::signal::ctrl_c().await {
            Ok(()) => Exit(130),
            Err(_unheard) => std::future::pending().await,
        }
    }
}

/// The next one from now on.
pub(crate) async fn ended_by() -> Result<Exit> {
    Ok(Endings::listen()?.next().await)
}
