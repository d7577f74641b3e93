//! How long it is waited for the process: it may take its time as long as it is at work, and not if it hangs.
//!
//! Counted in steps of our own, of which one that came late is still one: what stood still with us, since the machine
//! was asleep or has too much to do, is not called silent. One that would run if it were let is at work.

use std::fs;
use std::io;
use std::time::Duration;

use tokio::time::timeout;

const STEP: Duration = Duration::from_millis(250);
/// Steps in which it sleeps and yet does not answer: it needs microseconds.
const ASLEEP_MOST: u32 = 5;
/// Steps in all: 1,000 containers' sockets take some, a processor that it does not get may take many. One that runs in
/// circles is given so many, too.
const ALL_MOST: u32 = 40;

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

/// What one of these processes does, which may wait for each other, or [`io::ErrorKind::TimedOut`] if they hang.
pub(super) async fn attended<T>(pids: &[u32], what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::pin!(what);
    let mut patience = Patience::default();
    let mut before = all(pids);
    loop {
        if let Ok(done) = timeout(STEP, &mut what).await {
            return done;
        }
        let now = all(pids);
        let works = now.iter().any(|work| work.awake) || now != before;
        before = now;
        if !patience.step(works) {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "it hangs"));
        }
    }
}

/// What is seen of a process.
#[derive(Debug, Default, PartialEq, Eq)]
struct Work {
    /// It runs, or would if it were let, or waits for a disk.
    awake: bool,
    /// How much it has run, for its own and in the kernel.
    ran: [u64; 2],
}

fn all(pids: &[u32]) -> Vec<Work> {
    let stat = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    pids.iter()
        .map(|pid| work(&stat(pid)).unwrap_or_default())
        .collect()
}

/// Read after the name, which may hold anything.
fn work(stat: &str) -> Option<Work> {
    let mut words = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let awake = matches!(words.next()?, "R" | "D");
    let mut times = words.skip(10);
    let mut time = || times.next()?.parse().ok();
    Some(Work {
        awake,
        ran: [time()?, time()?],
    })
}

#[cfg(test)]
mod tests {
    use super::{ALL_MOST, ASLEEP_MOST, Patience, Work, all, attended, work};
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
    fn work_is_read_whatever_the_name() {
        let stat =
            |name: &str, state: &str| format!("12 ({name}) {state} 1 12 12 0 -1 4194304 9 0 0 0 17 4 0 0 20");
        for (name, state, awake) in [
            ("shoal-net", "S", false),
            ("a) R (b)", "D", true),
            ("x", "T", false),
            ("x", "R", true),
        ] {
            let expect = Work { awake, ran: [17, 4] };
            assert_eq!(work(&stat(name, state)), Some(expect), "{name} {state}");
        }
        assert_eq!(work(""), None);
        assert!(all(&[std::process::id()])[0] != Work::default());
    }

    #[tokio::test]
    async fn what_never_comes_is_not_waited_for_and_what_comes_is_given() {
        // Nobody has this number.
        let nobody = [u32::MAX];
        let error = attended::<()>(&nobody, pending()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let given = attended(&nobody, std::future::ready(Ok(7))).await.unwrap();
        assert_eq!(given, 7);
    }
}
