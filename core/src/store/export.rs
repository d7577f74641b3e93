//! The state as plain data, for snapshots: out of one member's store and into another's.
//!
//! The codec in `api` gives an `Export` its bytes. An import checks the digest, so that a snapshot that
//! lost something on its way is refused rather than served.

use super::{
    Store,
    digest::{DIGEST_VERSION, Sum},
    entry::RequestOutcome,
    object::Object,
    view::{Header, StoreView},
};
use crate::model::{RequestId, Timestamp};
use serde::{Deserialize, Serialize};

/// Everything a store holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    pub epoch: u64,
    /// The Raft index of the last entry seen.
    pub index: u64,
    /// The Raft index of the last entry that took effect.
    pub last_effective: u64,
    pub now: Timestamp,
    pub digest_version: u32,
    pub digest: [u8; 32],
    pub requests: Vec<(RequestId, RequestOutcome)>,
    pub objects: Vec<Object>,
}

/// Why a snapshot is not taken in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    #[error(
        "the snapshot at index {index} does not have the digest it was made with: expected {}, found {}",
        short(.expected), short(.found)
    )]
    DigestDiffers {
        index: u64,
        expected: [u8; 32],
        found: [u8; 32],
    },
}

fn short(digest: &[u8; 32]) -> String {
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

impl Store {
    pub fn export(&self) -> Export {
        Export {
            epoch: self.view.epoch(),
            index: self.view.index(),
            last_effective: self.view.last_effective_index(),
            now: self.view.now(),
            digest_version: DIGEST_VERSION,
            digest: self.digest(),
            requests: self
                .view
                .request_outcomes()
                .map(|(id, outcome)| (id.clone(), outcome.clone()))
                .collect(),
            objects: self.view.objects().collect(),
        }
    }

    /// Takes a snapshot in. The digest is checked if both sides compute it alike.
    pub fn import(export: Export) -> Result<Self, ImportError> {
        let header = Header {
            epoch: export.epoch,
            index: export.index,
            last_effective: export.last_effective,
            now: export.now,
        };
        let mut view = StoreView {
            header,
            ..StoreView::default()
        };
        for object in export.objects {
            view.put(object);
        }
        for (request, outcome) in export.requests {
            view.insert_request(request, outcome);
        }
        let store = Self {
            sum: Sum::of(&view),
            view,
        };
        let found = store.digest();
        if export.digest_version == DIGEST_VERSION && found != export.digest {
            return Err(ImportError::DigestDiffers {
                index: export.index,
                expected: export.digest,
                found,
            });
        }
        Ok(store)
    }
}
