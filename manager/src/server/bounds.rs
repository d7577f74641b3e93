//! How many connections there may be at a time, and how long each may live.
//!
//! Whoever can reach the port can open connections: those that show no certificate are few and short, a member
//! has a share of its own, and a connection never outlives the certificate that it was made with.

use crate::access::Peer;
use shoal_api::identity::{Identity, Party};
use std::{
    collections::BTreeMap,
    net::IpAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::time::{Instant, Sleep, sleep_until};

/// Connections without a certificate at a time: machines that join, each for two calls.
const MOST_NAMELESS: usize = 128;

/// Connections of one member or administrator: a session, 256 log and exec streams, and as many that are ending.
const MOST_OF_ONE: usize = 512;

/// Handshakes at a time from one address, once half of all places are taken: a whole cluster may come back from
/// behind one address, but then its handshakes do not stand still.
const MOST_HANDSHAKES_OF_ONE: usize = 32;

/// A machine that joins asks for the root and for its certificate, and waits for a write in between.
pub(super) const NAMELESS_LIFE: Duration = Duration::from_secs(60);

/// A timer runs no longer than this, so that a changed wall clock or a slept machine is noticed.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Nameless,
    Member(String),
    Handshake(IpAddr),
}

/// Who has how many connections. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Bounds(Arc<Mutex<BTreeMap<Who, usize>>>);

/// One connection's place; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    bounds: Bounds,
    who: Who,
}

impl Bounds {
    /// `None` if this peer has as many connections as it may.
    pub(super) fn connection(&self, peer: &Peer) -> Option<Place> {
        match peer {
            Peer::Certified(Identity { party, .. }) => {
                let name = match party {
                    Party::Node { id, .. } => format!("node {id}"),
                    Party::Admin { name } => format!("administrator {name}"),
                };
                self.take(Who::Member(name), MOST_OF_ONE)
            }
            Peer::Nobody | Peer::Socket { .. } => self.take(Who::Nameless, MOST_NAMELESS),
        }
    }

    /// `crowded`: half of all places are taken.
    pub(super) fn handshake(&self, from: IpAddr, crowded: bool) -> Option<Place> {
        let most = if crowded {
            MOST_HANDSHAKES_OF_ONE
        } else {
            usize::MAX
        };
        self.take(Who::Handshake(from), most)
    }

    fn take(&self, who: Who, most: usize) -> Option<Place> {
        let mut held = self.lock();
        let count = held.entry(who.clone()).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        drop(held);
        Some(Place {
            bounds: self.clone(),
            who,
        })
    }

    /// Every change under the lock is one number, whole whatever its holder did next.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Who, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.bounds.lock();
        let left = held.get_mut(&self.who).map(|count| {
            *count -= 1;
            *count
        });
        if left == Some(0) {
            held.remove(&self.who);
        }
    }
}

/// The time that a connection has, by the wall clock.
#[derive(Debug)]
pub(super) struct Life {
    ends: SystemTime,
    timer: Pin<Box<Sleep>>,
}

impl Life {
    pub(super) fn until(ends: SystemTime) -> Self {
        Self {
            ends,
            // Due at once: the first look sets it.
            timer: Box::pin(sleep_until(Instant::now())),
        }
    }

    /// Nanoseconds since the epoch, as certificates have it.
    pub(super) fn until_wall(nanos: i64) -> Self {
        Self::until(UNIX_EPOCH + Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)))
    }

    /// Is it over? If not, the task is woken when it is.
    pub(super) fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        loop {
            let Ok(left) = self.ends.duration_since(SystemTime::now()) else {
                return true;
            };
            if left.is_zero() {
                return true;
            }
            if self.timer.as_mut().poll(cx) == Poll::Pending {
                return false;
            }
            self.timer.as_mut().reset(Instant::now() + left.min(LOOK_AGAIN));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_core::model::{ClusterId, IdGen, NodeId, Role};
    use std::net::Ipv4Addr;

    #[test]
    fn everyone_has_a_share_and_gives_it_back() {
        let bounds = Bounds::default();
        let mut ids = IdGen::from_number(1);
        let cluster = ClusterId::mint(&mut ids);
        let mut node = || {
            Peer::Certified(Identity::node(
                cluster.clone(),
                NodeId::mint(&mut ids),
                Role::Worker,
            ))
        };
        let (one, two) = (node(), node());
        let mut held: Vec<_> = (0..MOST_OF_ONE)
            .map(|_| bounds.connection(&one).unwrap())
            .collect();
        assert!(bounds.connection(&one).is_none());
        assert!(
            bounds.connection(&two).is_some(),
            "one takes nothing from the other"
        );
        held.pop();
        assert!(bounds.connection(&one).is_some());
        let nameless: Vec<_> = (0..MOST_NAMELESS)
            .map(|_| bounds.connection(&Peer::Nobody).unwrap())
            .collect();
        assert!(bounds.connection(&Peer::Nobody).is_none());
        let from = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let waiting: Vec<_> = (0..MOST_HANDSHAKES_OF_ONE)
            .map(|_| bounds.handshake(from, false).unwrap())
            .collect();
        assert!(bounds.handshake(from, false).is_some());
        assert!(bounds.handshake(from, true).is_none());
        drop((held, nameless, waiting));
        assert!(bounds.lock().is_empty(), "{:?}", bounds.lock());
    }
}
