//! The bytes of one record of the log: a version, then its fields.
//!
//! Raft's own envelopes are written field by field, so that the file does not depend on the Raft
//! library's protobuf version; the entry's data is the replicated entry as `api` encoded it.

use super::StorageError;
use raft::eraftpb::{ConfState, Entry, EntryType, HardState};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::path::Path;

/// The newest format this code writes and reads.
const FORMAT: u8 = 1;

#[derive(Serialize, Deserialize)]
struct EntryRecord {
    kind: u8,
    term: u64,
    index: u64,
    data: Vec<u8>,
    context: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct HardRecord {
    term: u64,
    vote: u64,
    commit: u64,
}

#[derive(Serialize, Deserialize)]
struct MembersRecord {
    voters: Vec<u64>,
    learners: Vec<u64>,
    voters_outgoing: Vec<u64>,
    learners_next: Vec<u64>,
    auto_leave: bool,
}

pub(super) fn encode_entry(entry: &Entry) -> Vec<u8> {
    let kind = match entry.get_entry_type() {
        EntryType::EntryNormal => 0,
        EntryType::EntryConfChange => 1,
        EntryType::EntryConfChangeV2 => 2,
    };
    let (data, context) = (entry.data.clone(), entry.context.clone());
    encode(&EntryRecord {
        kind,
        term: entry.term,
        index: entry.index,
        data,
        context,
    })
}

pub(super) fn decode_entry(bytes: &[u8], path: &Path) -> Result<Entry, StorageError> {
    let record: EntryRecord = decode(bytes, path)?;
    let kind = match record.kind {
        0 => EntryType::EntryNormal,
        1 => EntryType::EntryConfChange,
        2 => EntryType::EntryConfChangeV2,
        other => return Err(damaged(path, &format!("an entry of kind {other}"))),
    };
    let mut entry = Entry {
        term: record.term,
        index: record.index,
        data: record.data,
        ..Entry::default()
    };
    entry.context = record.context;
    entry.set_entry_type(kind);
    Ok(entry)
}

pub(super) fn encode_hard_state(state: &HardState) -> Vec<u8> {
    encode(&HardRecord {
        term: state.term,
        vote: state.vote,
        commit: state.commit,
    })
}

pub(super) fn decode_hard_state(bytes: &[u8], path: &Path) -> Result<HardState, StorageError> {
    let record: HardRecord = decode(bytes, path)?;
    Ok(HardState {
        term: record.term,
        vote: record.vote,
        commit: record.commit,
    })
}

pub(super) fn encode_members(members: &ConfState) -> Vec<u8> {
    let members = members.clone();
    encode(&MembersRecord {
        voters: members.voters,
        learners: members.learners,
        voters_outgoing: members.voters_outgoing,
        learners_next: members.learners_next,
        auto_leave: members.auto_leave,
    })
}

pub(super) fn decode_members(bytes: &[u8], path: &Path) -> Result<ConfState, StorageError> {
    let record: MembersRecord = decode(bytes, path)?;
    Ok(ConfState {
        voters: record.voters,
        learners: record.learners,
        voters_outgoing: record.voters_outgoing,
        learners_next: record.learners_next,
        auto_leave: record.auto_leave,
    })
}

fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    // Plain structs of numbers and bytes: postcard cannot fail on them in memory.
    postcard::to_extend(record, vec![FORMAT]).unwrap_or_default()
}

fn decode<T: DeserializeOwned>(bytes: &[u8], path: &Path) -> Result<T, StorageError> {
    match bytes.split_first() {
        Some((&FORMAT, rest)) => postcard::from_bytes(rest)
            .map_err(|error| damaged(path, &format!("a record does not parse: {error}"))),
        Some((&found, _)) if found > FORMAT => Err(StorageError::TooNew {
            path: path.to_owned(),
            found,
            ours: FORMAT,
        }),
        Some((found, _)) => Err(damaged(path, &format!("a record of format {found}"))),
        None => Err(damaged(path, "an empty record")),
    }
}

fn damaged(path: &Path, reason: &str) -> StorageError {
    StorageError::Damaged {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}
