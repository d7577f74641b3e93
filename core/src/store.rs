//! The replicated state: sorted copy-on-write tables, changed only by `apply`.
//!
//! The machine feeds it committed entries in the order of the log; everyone else reads a `StoreView`.
//! Apply is deterministic and cannot fail: members that have applied the same log hold the same state,
//! and their digests say so. It never plans, validates or looks at a clock.

mod digest;
mod entry;
mod export;
mod numbers;
mod object;
mod tables;
#[cfg(test)]
mod tests;
mod view;

pub use digest::DIGEST_VERSION;
pub use entry::{Applied, DigestCheck, DropReason, ENTRY_VERSION, Entry, Event, EventKind, RequestOutcome};
pub use export::{Export, ImportError};
pub use numbers::Holder;
pub(crate) use numbers::held_by_task;
pub use object::{Change, Kind, Object, ObjectKey};
pub use tables::REQUESTS_KEPT;
pub use view::StoreView;

use digest::Sum;

/// The applied state and its digest.
#[derive(Clone, Debug, Default)]
pub struct Store {
    view: StoreView,
    sum: Sum,
}

impl Store {
    /// The state before the first entry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Carries out one entry, if its fences hold. `index` and `raft_term` are those of the Raft entry.
    pub fn apply(&mut self, index: u64, raft_term: u64, entry: &Entry) -> Applied {
        let before = entry.request.is_some().then(|| self.view.clone());
        let applied = self.view.apply(index, raft_term, entry);
        if let Applied::Took(events) = &applied {
            for event in events {
                self.sum.record(event);
            }
            if let (Some(before), Some(request)) = (before, &entry.request) {
                self.record_request(&before, request);
            }
        }
        applied
    }

    /// Passes a Raft entry that carries no transaction.
    pub fn skip(&mut self, index: u64) {
        self.view.skip(index);
    }

    /// A snapshot; O(1).
    pub fn snapshot(&self) -> StoreView {
        self.view.clone()
    }

    pub fn view(&self) -> &StoreView {
        &self.view
    }

    /// Equal on all members that have applied the same entries.
    pub fn digest(&self) -> [u8; 32] {
        self.sum.finish(&self.view)
    }

    /// Adds the request just remembered to the digest, and takes out the one it pushed out, if any.
    fn record_request(&mut self, before: &StoreView, request: &crate::model::RequestId) {
        if let Some(outcome) = self.view.request_outcome(request) {
            self.sum.add_request((request, outcome));
        }
        if let Some((_, oldest)) = before.indexes.requests_by_age.get_min()
            && !self.view.requests.contains_key(oldest)
            && let Some(outcome) = before.request_outcome(oldest)
        {
            self.sum.subtract_request((oldest, outcome));
        }
    }
}
