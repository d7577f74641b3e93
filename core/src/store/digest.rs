//! A hash of the whole state, kept up to date change by change.
//!
//! Each object is hashed by itself and the hashes are added, so that a change costs one hash however
//! large the store is, and the order of changes does not matter. Members compare digests to find out
//! that they have diverged; nobody relies on it against an attacker.

use super::{
    entry::{Event, EventKind, RequestOutcome},
    view::StoreView,
};
use crate::model::RequestId;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// Raised whenever an object's fields change: digests of two versions are not compared.
pub const DIGEST_VERSION: u32 = 2;

/// The sum over everything in the store, modulo 2^64 in each of four lanes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    lanes: [u64; 4],
    scratch: Vec<u8>,
}

impl Sum {
    pub(super) fn of(view: &StoreView) -> Self {
        let mut sum = Self::default();
        for object in view.objects() {
            sum.add(&object);
        }
        for request in view.request_outcomes() {
            sum.add_request(request);
        }
        sum
    }

    pub(super) fn record(&mut self, event: &Event) {
        if let Some(old) = &event.old {
            self.subtract(old);
        }
        match event.kind {
            EventKind::Created | EventKind::Updated => self.add(&event.object),
            EventKind::Removed => self.subtract(&event.object),
        }
    }

    pub(super) fn add_request(&mut self, request: (&RequestId, &RequestOutcome)) {
        self.add(&("request", request));
    }

    pub(super) fn subtract_request(&mut self, request: (&RequestId, &RequestOutcome)) {
        self.subtract(&("request", request));
    }

    /// The digest of the state whose objects this is the sum of.
    pub(super) fn finish(&self, view: &StoreView) -> [u8; 32] {
        let header = [view.epoch(), view.last_effective_index(), view.now().0];
        let mut hash = Sha256::new();
        for number in header.iter().chain(&self.lanes) {
            hash.update(number.to_le_bytes());
        }
        hash.finalize().into()
    }

    fn add<T: Serialize>(&mut self, item: &T) {
        let hash = self.hash(item);
        for (lane, part) in self.lanes.iter_mut().zip(hash) {
            *lane = lane.wrapping_add(part);
        }
    }

    fn subtract<T: Serialize>(&mut self, item: &T) {
        let hash = self.hash(item);
        for (lane, part) in self.lanes.iter_mut().zip(hash) {
            *lane = lane.wrapping_sub(part);
        }
    }

    fn hash<T: Serialize>(&mut self, item: &T) -> [u64; 4] {
        let mut buffer = std::mem::take(&mut self.scratch);
        buffer.clear();
        let buffer = postcard::to_extend(item, buffer)
            .expect("postcard writes every sized type to memory, and every noun is one");
        let digest = Sha256::digest(&buffer);
        self.scratch = buffer;
        let mut lanes = [0; 4];
        for (lane, bytes) in lanes.iter_mut().zip(digest.chunks_exact(8)) {
            let mut word = [0; 8];
            word.copy_from_slice(bytes);
            *lane = u64::from_le_bytes(word);
        }
        lanes
    }
}
