//! The session: the worker's one conversation with a manager, opened again whenever it breaks.
//!
//! Up go the description, heartbeats and reports, down come assignments and requests for streams. One report
//! message is under way at a time; what happens meanwhile is folded into the next. A session that is lost for
//! longer than `CUT_OFF_AFTER` means that the worker decides for itself (`Link::CutOff`).

mod conversation;

use crate::board::Board;
use crate::dial::{Dial, Dialled, Pauses};
use crate::keeper::chain;
use crate::streams::ServeStreams;
use crate::supervisor::Message;
use crate::task::Link;
use conversation::{Conversation, Fate};
use shoal_core::model::NodeDescription;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// Without a session for so long, no manager is coming: elections take a second, a manager's restart a few.
const CUT_OFF_AFTER: Duration = Duration::from_secs(15);
/// A node that was removed asks again rarely, in case it was a mistake.
const REMOVED_PAUSE: Duration = Duration::from_secs(60);

/// What a session is made of.
#[derive(Clone)]
pub(crate) struct SessionParts {
    pub(crate) dial: Arc<dyn Dial>,
    pub(crate) board: Arc<Board>,
    pub(crate) supervisor: mpsc::Sender<Message>,
    pub(crate) streams: Arc<dyn ServeStreams>,
    pub(crate) description: watch::Receiver<NodeDescription>,
    /// Which manager is spoken to, for `info`; empty while there is none.
    pub(crate) manager: watch::Sender<String>,
}

impl std::fmt::Debug for SessionParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionParts").finish_non_exhaustive()
    }
}

/// Keeps a session open until dropped.
pub(crate) async fn keep_open(parts: SessionParts, link: watch::Sender<Link>) {
    let mut pauses = Pauses::default();
    let mut cut_off_at = Instant::now() + CUT_OFF_AFTER;
    loop {
        let attempt = with_cut_off(&link, cut_off_at, one_session(&parts, &link, &mut pauses));
        let pause = match attempt.await {
            Fate::Broken(reason) => {
                tracing::debug!(reason, "no session with a manager");
                pause_after(&mut pauses)
            }
            Fate::Ended(reason) => {
                tracing::info!(reason, "the manager ended the session");
                pause_after(&mut pauses)
            }
            Fate::Removed(reason) => {
                tracing::error!(reason, "this node is no longer part of the cluster");
                REMOVED_PAUSE
            }
        };
        parts.manager.send_replace(String::new());
        if *link.borrow() == Link::Session {
            cut_off_at = Instant::now() + CUT_OFF_AFTER;
            link.send_replace(Link::Lost);
        }
        with_cut_off(&link, cut_off_at, tokio::time::sleep(pause)).await;
    }
}

fn pause_after(pauses: &mut Pauses) -> Duration {
    pauses.next(&mut rand::rng())
}

/// Runs something and declares the node cut off when the time for it comes, unless a session is open by then.
async fn with_cut_off<T>(link: &watch::Sender<Link>, due: Instant, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    loop {
        let waiting = Some(due).filter(|_| *link.borrow() == Link::Lost);
        tokio::select! {
            out = &mut work => return out,
            () = crate::clock::sleep_until(waiting) => {
                if *link.borrow() == Link::Lost {
                    tracing::warn!("cut off from every manager: tasks go on and are restarted by their policy");
                    link.send_replace(Link::CutOff);
                } else {
                    // In session: nothing is due until it is lost, and then the caller comes back.
                    return work.await;
                }
            }
        }
    }
}

async fn one_session(parts: &SessionParts, link: &watch::Sender<Link>, pauses: &mut Pauses) -> Fate {
    let Dialled { channel, address } = match parts.dial.dial().await {
        Ok(dialled) => dialled,
        Err(error) => return Fate::Broken(chain(&error)),
    };
    let mut conversation = match Conversation::open(parts, channel, &address).await {
        Ok(conversation) => conversation,
        Err(fate) => return fate,
    };
    pauses.reset();
    tracing::info!(manager = address, "in session with a manager");
    parts.manager.send_replace(address);
    link.send_replace(Link::Session);
    conversation.run().await
}

#[cfg(test)]
mod tests;
