//! Many objects as messages, each below the bound of one.
//!
//! Used by watches for snapshots; at no time is more than one batch in memory.

use crate::{batch::Batches, v1};
use shoal_core::store::Object;

/// Cuts objects into batches, lazily: a snapshot of a large store is never in memory twice.
pub fn snapshot_batches(objects: impl Iterator<Item = Object>) -> impl Iterator<Item = v1::SnapshotBatch> {
    Batches::new(objects.map(v1::Object::from)).map(|objects| v1::SnapshotBatch { objects })
}
