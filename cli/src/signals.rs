//! The signals that ask a client to end, for the commands that do something first.
//!
//! Once one of them was listened to it ends the process no longer by itself: whoever waits after that listens too.

use crate::failure::Exit;
use anyhow::Result;
use futures::Stream;

/// SIGINT, SIGTERM and the SIGHUP of a terminal that is closed, from now on.
#[cfg(unix)]
#[derive(Debug)]
pub(crate) struct Endings {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    /// None for a command that shall outlive its terminal.
    hangup: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Endings {
    pub(crate) fn listen() -> Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: match outlives_terminal() {
                true => None,
                false => Some(signal(SignalKind::hangup())?),
            },
        })
    }

    /// The exit code of a process that the next one ends.
    pub(crate) async fn next(&mut self) -> Exit {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => Exit(130),
            _ = self.terminate.recv() => Exit(143),
            _ = hangup => Exit(129),
        }
    }
}

/// Was the program started with SIGHUP ignored, as `nohup` does? Whoever listens to a signal is no longer known to have
/// ignored it, so the first look counts: before anybody listens.
#[cfg(unix)]
pub(crate) fn outlives_terminal() -> bool {
    static IGNORED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *IGNORED.get_or_init(|| {
        // Only Linux tells; on the other systems a closed terminal always counts.
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        ignores_hangup(&status)
    })
}

/// proc_pid_status(5): the mask of ignored signals, in hexadecimal; SIGHUP is the first of them.
#[cfg(unix)]
fn ignores_hangup(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 == 1)
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

impl Endings {
    /// One after the other, without end.
    pub(crate) fn into_stream(self) -> impl Stream<Item = Exit> {
        futures::stream::unfold(self, |mut endings| async {
            Some((endings.next().await, endings))
        })
    }
}

/// The next one from now on.
pub(crate) async fn ended_by() -> Result<Exit> {
    Ok(Endings::listen()?.next().await)
}

#[cfg(all(test, unix))]
mod tests {
    use super::ignores_hangup;

    #[test]
    fn nohup_is_seen_in_the_mask_of_ignored_signals() {
        for (status, expect) in [
            ("SigBlk:\t0000000000000001\nSigIgn:\t0000000000000000\n", false),
            ("SigIgn:\t0000000000001001\nSigCgt:\t0000000000000000\n", true),
            ("SigIgn:\t0000000000001000\n", false),
            ("", false),
        ] {
            assert_eq!(ignores_hangup(status), expect, "{status:?}");
        }
    }
}
