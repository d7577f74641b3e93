//! What a leader holds beside the applied state: the overlay, what is in flight, and cluster time.
//!
//! Made when the member's own term's empty entry is applied, thrown away when leadership is lost.

use super::{
    config::{MAX_BYTES_IN_FLIGHT, MAX_ENTRIES_IN_FLIGHT},
    io::{Now, ProposeError, Token},
};
use shoal_core::{
    model::{NodeId, Timestamp},
    request::Response,
    store::StoreView,
};
use std::{collections::VecDeque, time::Duration};

#[derive(Debug)]
pub(super) enum Leadership {
    /// Another leads, or nobody.
    None,
    /// Elected; the empty entry of this term is not applied yet, so that nothing may be planned.
    Awaiting {
        term: u64,
    },
    Leading(Box<Leading>),
}

#[derive(Debug)]
pub(super) struct Leading {
    pub(super) term: u64,
    /// The applied state with everything in flight.
    pub(super) overlay: StoreView,
    pub(super) in_flight: VecDeque<InFlight>,
    pub(super) bytes_in_flight: usize,
    clock: ClusterClock,
    /// An entry was dropped: nothing is planned until everything proposed so far is applied.
    pub(super) drain_to: Option<u64>,
}

/// One proposed entry, and whom to tell what became of it.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) index: u64,
    pub(super) bytes: usize,
    pub(super) waiting: Vec<Waiting>,
}

/// Someone who is answered once everything up to an entry has taken effect.
#[derive(Debug)]
pub(super) enum Waiting {
    /// Whose write the entry is.
    Writer { token: Token, response: Response },
    /// Whose answer was made from the overlay, and must not be given before that is certain.
    Reader {
        token: Token,
        result: Result<Response, ProposeError>,
    },
    Reports {
        via: Option<u64>,
        node: NodeId,
        sequence: u64,
    },
}

impl Leading {
    pub(super) fn new(term: u64, overlay: StoreView, now: Now) -> Self {
        let clock = ClusterClock {
            base: overlay.now(),
            base_mono_ns: now.mono_ns,
        };
        Self {
            term,
            overlay,
            in_flight: VecDeque::new(),
            bytes_in_flight: 0,
            clock,
            drain_to: None,
        }
    }

    /// Cluster time: never before the last stamp.
    pub(super) fn cluster_time(&self, now: Now) -> Timestamp {
        self.clock.at(now).max(self.overlay.now())
    }

    /// The caller's time of a deadline.
    pub(super) fn mono_ns_of(&self, deadline: Timestamp) -> u64 {
        self.clock.mono_ns_of(deadline)
    }

    /// May another entry be proposed?
    pub(super) fn has_room(&self) -> bool {
        self.drain_to.is_none()
            && self.in_flight.len() < MAX_ENTRIES_IN_FLIGHT
            && self.bytes_in_flight < MAX_BYTES_IN_FLIGHT
    }

    /// The entry in flight at this index, out of the queue.
    pub(super) fn take(&mut self, index: u64) -> Option<InFlight> {
        let entry = self.in_flight.pop_front_if(|entry| entry.index == index)?;
        self.bytes_in_flight -= entry.bytes;
        Some(entry)
    }

    pub(super) fn push(&mut self, entry: InFlight) {
        self.bytes_in_flight += entry.bytes;
        self.in_flight.push_back(entry);
    }
}

/// The leader's monotonic clock on top of the last stamp before it led.
#[derive(Clone, Copy, Debug)]
struct ClusterClock {
    base: Timestamp,
    base_mono_ns: u64,
}

impl ClusterClock {
    fn at(self, now: Now) -> Timestamp {
        self.base.after(Duration::from_nanos(
            now.mono_ns.saturating_sub(self.base_mono_ns),
        ))
    }

    fn mono_ns_of(self, deadline: Timestamp) -> u64 {
        self.base_mono_ns
            .saturating_add(deadline.0.saturating_sub(self.base.0))
    }
}
