//! How long it is waited for the process: it may take its time as long as it is at work, and not if it hangs.
//!
//! Counted in steps of our own, of which one that came late is still one: what stood still with us, since the machine
//! was asleep or has too much to do, is not called silent.

use std::fs;
use std::io;
use std::time::Duration;

use tokio::time::timeout;

const STEP: Duration = Duration::from_millis(250);
/// Steps in which it sleeps and yet does not answer: it needs microseconds.
const ASLEEP_MOST: u32 = 5;
/// Steps in all: 1,000 containers' sockets, or a processor that it does not get.
const ALL_MOST: u32 = 20;

/// What was waited already.
#[derive(Debug, Default)]
struct Patience {
    asleep: u32,
    all: u32,
}

impl Patience {
    /// One more step, and whether it was at work then; false when that is enough.
    fn step(&mut self, works: bool) -> bool {
        self.all += 1;
        self.asleep += u32::from(!works);
        self.asleep < ASLEEP_MOST && self.all < ALL_MOST
    }
}

/// What the process does, or [`io::ErrorKind::TimedOut`] if it hangs.
pub(super) async fn attended<T>(pid: u32, what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::pin!(what);
    let mut patience = Patience::default();
    loop {
        if let Ok(done) = timeout(STEP, &mut what).await {
            return done;
        }
        if !patience.step(works(pid)) {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "it hangs"));
        }
    }
}

/// Whether a process runs, or would if it were let, or waits for a disk.
fn works(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    matches!(state(&stat), Some("R" | "D"))
}

/// The name before it may hold anything.
fn state(stat: &str) -> Option<&str> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::{ALL_MOST, ASLEEP_MOST, Patience, attended, state};
    use std::future::pending;
    use std::io;

    #[test]
    fn one_at_work_is_given_longer() {
        for (works, expect) in [(false, ASLEEP_MOST), (true, ALL_MOST)] {
            let mut patience = Patience::default();
            let steps = (1..100).find(|_| !patience.step(works));
            assert_eq!(steps, Some(expect), "{works}");
        }
    }

    #[test]
    fn a_state_is_read_whatever_the_name() {
        for (stat, expect) in [
            ("12 (shoal-net) S 1 12", Some("S")),
            ("12 (a) R (b)) D 1 12", Some("D")),
            ("", None),
        ] {
            assert_eq!(state(stat), expect, "{stat}");
        }
    }

    #[tokio::test]
    async fn what_never_comes_is_not_waited_for_and_what_comes_is_given() {
        // Nobody has this number.
        let nobody = u32::MAX;
        let error = attended::<()>(nobody, pending()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let given = attended(nobody, std::future::ready(Ok(7))).await.unwrap();
        assert_eq!(given, 7);
    }
}
