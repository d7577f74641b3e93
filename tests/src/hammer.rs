//! A client that asks over and over, each time on a new connection, and keeps account of what failed.
//!
//! It runs beside a test that changes something, and says at the end whether anybody noticed.

use crate::{ANSWER, Netns, get_over};
use anyhow::{Context, Result, ensure};
use std::{
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Between two requests: the machine has other things to do.
const PAUSE: Duration = Duration::from_millis(20);

/// So many failures say enough.
const SHOWN: usize = 10;

#[derive(Debug)]
pub struct Hammer {
    account: Arc<Account>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Account {
    stop: AtomicBool,
    answered: AtomicUsize,
    failures: Mutex<Vec<String>>,
}

impl Account {
    fn failed(&self, what: String) {
        self.failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(what);
    }
}

impl Hammer {
    /// Asks this address from a namespace, until it is finished.
    pub fn start(from: &Netns, to: &str) -> Result<Self> {
        let address: SocketAddr = to.parse().with_context(|| to.to_owned())?;
        let (net, account) = (from.again()?, Arc::<Account>::default());
        let shared = account.clone();
        let thread = thread::spawn(move || {
            let hammering = net.inside(|| hammer(address, &shared));
            if let Err(error) = hammering {
                shared.failed(format!("{error:#}"));
            }
        });
        Ok(Self {
            account,
            thread: Some(thread),
        })
    }

    /// How many requests were answered so far.
    pub fn answered(&self) -> usize {
        self.account.answered.load(Ordering::Relaxed)
    }

    /// Ends it; every request must have been answered, and there must have been some.
    pub fn finish(mut self) -> Result<usize> {
        self.end();
        let account = &self.account;
        let failures = account.failures.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(
            failures.is_empty(),
            "{} requests failed, {} were answered: {:#?}",
            failures.len(),
            self.answered(),
            &failures[..failures.len().min(SHOWN)]
        );
        ensure!(self.answered() > 0, "nothing was asked");
        Ok(self.answered())
    }

    fn end(&mut self) {
        self.account.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn hammer(address: SocketAddr, account: &Account) {
    loop {
        let begun = Instant::now();
        match ask(address) {
            Ok(()) => drop(account.answered.fetch_add(1, Ordering::Relaxed)),
            Err(error) => account.failed(format!("{address} after {:?}: {error:#}", begun.elapsed())),
        }
        if account.stop.load(Ordering::Relaxed) {
            return;
        }
        thread::park_timeout(PAUSE);
    }
}

fn ask(address: SocketAddr) -> Result<()> {
    let stream = TcpStream::connect_timeout(&address, ANSWER).context("connecting")?;
    stream.set_read_timeout(Some(ANSWER))?;
    get_over(stream).map(drop)
}

impl Drop for Hammer {
    fn drop(&mut self) {
        self.end();
    }
}
