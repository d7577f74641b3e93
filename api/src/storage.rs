//! The bytes of log entries and snapshots, as the replicated disk keeps them.
//!
//! Called by the manager's machine through its `Codec` trait. Entries and snapshots carry a version: a
//! reader that meets a higher one stops rather than drop what it does not know. Sealing is the log
//! store's business; nothing here is secret or checked against tampering.

use crate::{convert::Malformed, v1};
use prost::Message;
use raft::eraftpb::ConfChangeV2;
use shoal_core::{
    model::{RequestId, Timestamp, WallTime},
    store::{Change, DigestCheck, ENTRY_VERSION, Entry, Export, Object, ObjectKey, RequestOutcome},
};

/// Bytes that are no entry or snapshot, or one of a newer format.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("it is cut off or damaged")]
    Protobuf(#[source] prost::DecodeError),
    #[error("it is no membership change")]
    Raft(#[source] prost011::DecodeError),
    #[error("{0}")]
    Malformed(#[source] Malformed),
    #[error("it needs version {min_version} of the format, this is {ENTRY_VERSION}: upgrade this manager")]
    TooNew { min_version: u32 },
}

impl From<Malformed> for StorageError {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

pub fn encode_entry(entry: &Entry) -> Vec<u8> {
    let change = |change: &Change| {
        let wire = match change {
            Change::Put(object) => v1::stored_change::Change::Put(object.clone().into()),
            Change::Delete(key) => v1::stored_change::Change::Delete(key.clone().into()),
        };
        v1::StoredChange { change: Some(wire) }
    };
    v1::StoredEntry {
        min_version: entry.min_version,
        epoch: entry.epoch,
        term: entry.term,
        planned_after: entry.planned_after,
        at: entry.at.0,
        wall: entry.wall.0,
        request: entry.request.as_ref().map(ToString::to_string),
        changes: entry.changes.iter().map(change).collect(),
        check: entry.check.as_ref().map(|check| v1::DigestCheck {
            index: check.index,
            version: check.version,
            digest: check.digest.to_vec(),
        }),
    }
    .encode_to_vec()
}

/// Reads an entry. One of a newer format comes back without its changes, so that the caller, who knows
/// its index, can stop with the right words: `apply` refuses it by its `min_version`.
pub fn decode_entry(bytes: &[u8]) -> Result<Entry, StorageError> {
    let stored = v1::StoredEntry::decode(bytes).map_err(StorageError::Protobuf)?;
    let newer = stored.min_version > ENTRY_VERSION;
    Ok(Entry {
        epoch: stored.epoch,
        min_version: stored.min_version,
        term: stored.term,
        planned_after: stored.planned_after,
        at: Timestamp(stored.at),
        wall: WallTime(stored.wall),
        request: stored.request.as_deref().map(request_id).transpose()?,
        check: stored.check.map(check).transpose()?,
        changes: if newer {
            Vec::new()
        } else {
            stored.changes.into_iter().map(change).collect::<Result<_, _>>()?
        },
    })
}

fn request_id(text: &str) -> Result<RequestId, Malformed> {
    text.parse().map_err(|e| Malformed::new("request", e))
}

fn digest(bytes: &[u8]) -> Result<[u8; 32], Malformed> {
    if let Ok(digest) = bytes.try_into() {
        return Ok(digest);
    }
    Err(Malformed::new(
        "digest",
        format!("has {} bytes, not 32", bytes.len()),
    ))
}

fn check(check: v1::DigestCheck) -> Result<DigestCheck, Malformed> {
    Ok(DigestCheck {
        index: check.index,
        version: check.version,
        digest: digest(&check.digest)?,
    })
}

fn change(stored: v1::StoredChange) -> Result<Change, Malformed> {
    match stored.change {
        Some(v1::stored_change::Change::Put(object)) => Object::try_from(object).map(Change::Put),
        Some(v1::stored_change::Change::Delete(key)) => ObjectKey::try_from(key).map(Change::Delete),
        None => Err(Malformed::new("changes", "one is of a kind not known here")),
    }
}

/// A change of Raft's members, as the Raft library wrote it into its own entry.
pub fn decode_member_change(bytes: &[u8]) -> Result<ConfChangeV2, StorageError> {
    <ConfChangeV2 as prost011::Message>::decode(bytes).map_err(StorageError::Raft)
}

pub fn encode_snapshot(export: &Export) -> Vec<u8> {
    let request = |(id, outcome): &(RequestId, RequestOutcome)| v1::StoredRequest {
        request: id.to_string(),
        index: outcome.index,
        created: outcome.created.clone().map(Into::into),
    };
    v1::StoredSnapshot {
        min_version: ENTRY_VERSION,
        epoch: export.epoch,
        index: export.index,
        last_effective: export.last_effective,
        now: export.now.0,
        digest_version: export.digest_version,
        digest: export.digest.to_vec(),
        requests: export.requests.iter().map(request).collect(),
        objects: export.objects.iter().cloned().map(Into::into).collect(),
    }
    .encode_to_vec()
}

pub fn decode_snapshot(bytes: &[u8]) -> Result<Export, StorageError> {
    let stored = v1::StoredSnapshot::decode(bytes).map_err(StorageError::Protobuf)?;
    if stored.min_version > ENTRY_VERSION {
        return Err(StorageError::TooNew {
            min_version: stored.min_version,
        });
    }
    let request = |stored: v1::StoredRequest| -> Result<_, Malformed> {
        let created = stored.created.map(ObjectKey::try_from).transpose()?;
        let outcome = RequestOutcome {
            index: stored.index,
            created,
        };
        Ok((request_id(&stored.request)?, outcome))
    };
    Ok(Export {
        epoch: stored.epoch,
        index: stored.index,
        last_effective: stored.last_effective,
        now: Timestamp(stored.now),
        digest_version: stored.digest_version,
        digest: digest(&stored.digest)?,
        requests: stored
            .requests
            .into_iter()
            .map(request)
            .collect::<Result<_, _>>()?,
        objects: stored
            .objects
            .into_iter()
            .map(Object::try_from)
            .collect::<Result<_, _>>()?,
    })
}
