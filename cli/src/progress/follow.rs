//! Follows services on the watch until they have converged, and shows it.
//!
//! On a terminal a block is redrawn; elsewhere each change is a line. Interrupted, it says that the
//! cluster goes on without it.

use super::{Outcome, Progress, screen::Screen};
use crate::{
    connect::Connection,
    failure::{Exit, hinted},
    output::note,
    terminal,
    wire::{refused, seen_of},
};
use anyhow::Result;
use shoal_api::v1;
use std::{
    io::Write,
    time::{Duration, Instant},
};
use tokio_stream::StreamExt;

/// At most this often a terminal is redrawn.
const FRAME: Duration = Duration::from_millis(40);

/// What a command asks to be followed.
#[derive(Clone, Debug)]
pub(crate) struct Follow {
    /// Ids of services.
    pub(crate) services: Vec<String>,
    pub(crate) quiet: bool,
}

/// Waits for convergence; an error says why there is none.
pub(crate) async fn follow(connection: &Connection, follow: Follow) -> Result<()> {
    let request = v1::WatchRequest {
        kinds: vec![v1::Kind::Service.into(), v1::Kind::Task.into()],
        services: follow.services.clone(),
        snapshot: true,
        ..v1::WatchRequest::default()
    };
    let mut events = connection
        .watch()
        .watch(request)
        .await
        .map_err(refused)?
        .into_inner();
    let start = Instant::now();
    let mut progress = Progress::new(&follow.services);
    let mut display = Display::new(follow.quiet);
    loop {
        let now = start.elapsed();
        display.frame(&progress, now);
        if let Some(outcome) = progress.outcome(now) {
            return display.finish(&progress, outcome);
        }
        let wake = [progress.next_deadline(), display.due()]
            .into_iter()
            .flatten()
            .min();
        let sleep = async {
            match wake {
                Some(wake) => tokio::time::sleep(wake.saturating_sub(start.elapsed())).await,
                None => std::future::pending().await,
            }
        };
        let response = tokio::select! {
            response = events.next() => response,
            () = sleep => continue,
            _ = tokio::signal::ctrl_c() => {
                display.leave(&progress);
                note("Interrupted: the cluster goes on with it. `shoal service ps` shows how far it has come.");
                return Err(Exit(130).into());
            }
        };
        let response = match response {
            Some(response) => response.map_err(refused)?,
            None => {
                return Err(hinted(
                    "the manager ended the watch",
                    "The change is made; `shoal service ls` shows how far it has come.",
                ));
            }
        };
        for seen in seen_of(response)? {
            let lines = progress.handle(seen, start.elapsed());
            display.lines(&lines);
        }
    }
}

/// Where progress goes: nowhere, lines, or a block on a terminal.
struct Display {
    quiet: bool,
    screen: Option<Screen>,
    /// The block as it was drawn last, and when.
    drawn: (Vec<String>, Option<Duration>),
    due: Option<Duration>,
}

impl Display {
    fn new(quiet: bool) -> Self {
        Self {
            quiet,
            screen: (!quiet && terminal::stderr_is_terminal() && terminal::stdout_is_terminal())
                .then(Screen::default),
            drawn: (Vec::new(), None),
            due: None,
        }
    }

    fn due(&self) -> Option<Duration> {
        self.due
    }

    fn lines(&self, lines: &[String]) {
        if self.screen.is_none() && !self.quiet {
            lines.iter().for_each(|line| note(line));
        }
    }

    /// Draws if something changed, but not more often than the eye can follow.
    fn frame(&mut self, progress: &Progress, now: Duration) {
        let Some(screen) = &mut self.screen else {
            return;
        };
        let block = progress.block();
        self.due = None;
        if block == self.drawn.0 {
            return;
        }
        if let Some(next) = self.drawn.1.map(|last| last + FRAME)
            && now < next
        {
            self.due = Some(next);
            return;
        }
        let text = screen.redraw(&block, terminal::size());
        drop(write!(std::io::stderr().lock(), "{text}"));
        self.drawn = (block, Some(now));
    }

    /// Leaves the last state on the screen.
    fn leave(&mut self, progress: &Progress) {
        if let Some(screen) = &mut self.screen {
            let text = screen.redraw(&progress.block(), terminal::size());
            drop(write!(std::io::stderr().lock(), "{text}"));
        }
    }

    fn finish(mut self, progress: &Progress, outcome: Outcome) -> Result<()> {
        self.leave(progress);
        if !self.quiet && self.screen.is_none() {
            progress.summary().iter().for_each(|line| note(line));
        }
        match outcome {
            Outcome::Converged => {
                if self.screen.is_some() {
                    note("Converged.");
                }
                Ok(())
            }
            Outcome::Failed(reason) => Err(hinted(
                reason,
                "The change is stored and the cluster goes on trying. `shoal service ps` and `shoal service why` say more.",
            )),
        }
    }
}
