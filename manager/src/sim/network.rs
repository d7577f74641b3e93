//! The network: latency, loss, repetition, lateness, and links that are cut in one direction or both.
//!
//! Raft and peer messages may be lost, repeated and overtake each other. Sessions are streams: in order,
//! and broken as a whole when something in them is lost.

use super::{
    counters::{Counters, Fault},
    rng::Rng,
};
use std::collections::{BTreeMap, BTreeSet};

/// An end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Endpoint {
    Member(usize),
    Worker(usize),
    Client,
}

#[derive(Debug, Default)]
pub(super) struct Network {
    cut: BTreeSet<(Endpoint, Endpoint)>,
    /// Of a thousand messages.
    pub(super) loss: u32,
    pub(super) repeat: u32,
    pub(super) late: u32,
    /// When the last message of a stream arrives: none overtakes it.
    streams: BTreeMap<(Endpoint, Endpoint), u64>,
}

pub(super) const MS: u64 = 1_000_000;

impl Network {
    pub(super) fn cut(&mut self, from: Endpoint, to: Endpoint) {
        self.cut.insert((from, to));
    }

    pub(super) fn heal(&mut self) {
        self.cut.clear();
        (self.loss, self.repeat, self.late) = (0, 0, 0);
    }

    pub(super) fn mend(&mut self, from: Endpoint, to: Endpoint) {
        self.cut.remove(&(from, to));
    }

    /// When a message arrives: never, once, or more often.
    pub(super) fn datagram(
        &mut self,
        rng: &mut Rng,
        now: u64,
        link: (Endpoint, Endpoint),
        counters: &mut Counters,
    ) -> Vec<u64> {
        if self.cut.contains(&link) {
            return Vec::new();
        }
        if rng.chance(self.loss) {
            counters.fault(Fault::MessageLost);
            return Vec::new();
        }
        let mut times = vec![now + latency(rng)];
        if rng.chance(self.late) {
            counters.fault(Fault::MessageLate);
            times[0] += rng.between(20 * MS, 900 * MS);
        }
        if rng.chance(self.repeat) {
            counters.fault(Fault::MessageRepeated);
            times.push(now + latency(rng) + rng.between(0, 300 * MS));
        }
        times
    }

    /// When a message of a stream arrives; `None` breaks the stream.
    pub(super) fn stream(&mut self, rng: &mut Rng, now: u64, link: (Endpoint, Endpoint)) -> Option<u64> {
        if self.cut.contains(&link) || rng.chance(self.loss / 8) {
            return None;
        }
        let at = self.streams.entry(link).or_default();
        *at = (*at + 1).max(now + latency(rng));
        Some(*at)
    }
}

fn latency(rng: &mut Rng) -> u64 {
    rng.between(MS / 10, 2 * MS)
}
