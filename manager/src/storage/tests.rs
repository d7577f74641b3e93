//! The log and the snapshots on a real disk: what was written is what is found, and nothing else opens.
//!
//! Each test has a folder of its own.

use super::*;
use raft::eraftpb::{ConfState, Entry, HardState, Snapshot, SnapshotMetadata};
use std::path::PathBuf;
use tempfile::TempDir;

fn owner(member: u64) -> Owner {
    Owner {
        cluster: "c".repeat(25),
        member,
    }
}

fn wrapping() -> WrappingKey {
    WrappingKey::from_node_key(b"a private key")
}

fn open(folder: &Path) -> Storage {
    Storage::open(folder, owner(1), &wrapping()).unwrap()
}

fn entry(index: u64, term: u64) -> Entry {
    Entry {
        index,
        term,
        data: format!("secret {index}/{term}").into_bytes(),
        ..Entry::default()
    }
}

fn batch(entries: Vec<Entry>) -> PersistBatch {
    PersistBatch {
        entries,
        sync: true,
        ..PersistBatch::default()
    }
}

fn members() -> ConfState {
    ConfState {
        voters: vec![1, 2],
        learners: vec![3],
        ..ConfState::default()
    }
}

fn saved(index: u64, term: u64) -> SavedSnapshot {
    SavedSnapshot {
        index,
        term,
        conf_state: members(),
        data: vec![7; 100_000],
    }
}

fn positions(restore: &Restore) -> Vec<(u64, u64)> {
    restore
        .entries
        .iter()
        .map(|entry| (entry.index, entry.term))
        .collect()
}

#[test]
fn what_was_written_is_found_again() {
    let folder = TempDir::new().unwrap();
    let mut storage = open(folder.path());
    assert_eq!(storage.restore().unwrap(), Restore::default());
    let hard_state = HardState {
        term: 3,
        vote: 2,
        commit: 2,
    };
    let first = PersistBatch {
        hard_state: Some(hard_state.clone()),
        conf_state: Some(members()),
        ..batch(vec![entry(1, 1), entry(2, 1), entry(3, 2)])
    };
    // The second replaces from 3 on, as a new leader's entries do.
    storage
        .write(&[first, batch(vec![entry(3, 3), entry(4, 3)])])
        .unwrap();
    drop(storage);
    let found = open(folder.path()).restore().unwrap();
    assert_eq!(
        (found.hard_state, found.conf_state.clone()),
        (hard_state, members())
    );
    assert_eq!(
        found.entries,
        [entry(1, 1), entry(2, 1), entry(3, 3), entry(4, 3)]
    );
}

#[test]
fn a_snapshot_allows_the_log_before_it_to_go() {
    let folder = TempDir::new().unwrap();
    let mut storage = open(folder.path());
    storage
        .write(&[batch((1..=9).map(|index| entry(index, 1)).collect())])
        .unwrap();
    for index in [3, 4, 6] {
        storage.save_snapshot(&saved(index, 1)).unwrap();
    }
    storage
        .write(&[PersistBatch {
            compact_to: Some(5),
            ..batch(Vec::new())
        }])
        .unwrap();
    let found = open_again(storage, folder.path());
    assert_eq!(positions(&found), [(7, 1), (8, 1), (9, 1)]);
    assert_eq!(found.snapshot, Some(saved(6, 1)));
    assert_eq!(fs::read_dir(folder.path().join("snapshots")).unwrap().count(), 2);
}

fn open_again(storage: Storage, folder: &Path) -> Restore {
    drop(storage);
    open(folder).restore().unwrap()
}

#[test]
fn a_snapshot_from_another_member_replaces_the_log() {
    let folder = TempDir::new().unwrap();
    let mut storage = open(folder.path());
    storage.write(&[batch(vec![entry(1, 1), entry(2, 1)])]).unwrap();
    let metadata = SnapshotMetadata {
        conf_state: Some(members()),
        index: 8,
        term: 4,
    };
    let snapshot = Snapshot {
        data: b"state".to_vec(),
        metadata: Some(metadata),
    };
    storage
        .write(&[PersistBatch {
            snapshot: Some(snapshot),
            ..batch(vec![entry(9, 4)])
        }])
        .unwrap();
    let found = open_again(storage, folder.path());
    assert_eq!(positions(&found), [(9, 4)]);
    assert_eq!(
        found.snapshot.map(|snapshot| (snapshot.index, snapshot.data)),
        Some((8, b"state".to_vec()))
    );
    assert_eq!(found.conf_state, members());
}

#[test]
fn a_crash_between_snapshot_file_and_log_keeps_no_foreign_history() {
    for (log, expect) in [
        // The log lacks the snapshot's entry, or has another in its place: what follows is not its history.
        (vec![entry(4, 1), entry(5, 1), entry(6, 1)], vec![]),
        // The log has it: what follows belongs to it.
        (vec![entry(4, 1), entry(5, 2), entry(6, 2)], vec![(6, 2)]),
        // The log begins after it.
        (vec![entry(6, 2), entry(7, 2)], vec![(6, 2), (7, 2)]),
    ] {
        let folder = TempDir::new().unwrap();
        let mut storage = open(folder.path());
        storage.write(&[batch(log)]).unwrap();
        storage.save_snapshot(&saved(5, 2)).unwrap();
        let found = open_again(storage, folder.path());
        assert_eq!(positions(&found), expect);
        assert_eq!(found.hard_state.commit, 5);
    }
}

#[test]
fn nothing_readable_lies_on_the_disk() {
    let folder = TempDir::new().unwrap();
    let mut storage = open(folder.path());
    storage.write(&[batch(vec![entry(1, 1)])]).unwrap();
    storage
        .save_snapshot(&SavedSnapshot {
            data: b"secret state".to_vec(),
            ..saved(1, 1)
        })
        .unwrap();
    drop(storage);
    for path in files(folder.path()) {
        let bytes = fs::read(&path).unwrap();
        assert!(
            !bytes.windows(6).any(|window| window == b"secret"),
            "{}",
            path.display()
        );
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let (folders, mut found): (Vec<_>, Vec<_>) = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .partition(|path| path.is_dir());
    found.extend(folders.iter().flat_map(|folder| files(folder)));
    found
}

#[test]
fn another_cluster_member_or_key_is_refused_by_name() {
    let folder = TempDir::new().unwrap();
    drop(open(folder.path()));
    let other_cluster = Owner {
        cluster: "d".repeat(25),
        member: 1,
    };
    for (owner, wrapping) in [
        (other_cluster, wrapping()),
        (owner(2), wrapping()),
        (owner(1), WrappingKey::from_node_key(b"another private key")),
    ] {
        let error = Storage::open(folder.path(), owner, &wrapping).unwrap_err();
        assert!(matches!(error, StorageError::Foreign { .. }), "{error}");
    }
    Storage::rewrap(
        folder.path(),
        owner(1),
        &wrapping(),
        &WrappingKey::from_node_key(b"new"),
    )
    .unwrap();
    Storage::open(folder.path(), owner(1), &WrappingKey::from_node_key(b"new")).unwrap();
}

#[test]
fn a_sealed_record_opens_only_in_its_own_place() {
    let folder = TempDir::new().unwrap();
    let key = DataKey::load_or_create(&folder.path().join("key"), owner(1), &wrapping()).unwrap();
    let sealed = key.seal(sealing::Sealed::Entry(7), b"text");
    let path = folder.path();
    assert_eq!(
        key.open(sealing::Sealed::Entry(7), &sealed, path).unwrap(),
        b"text"
    );
    assert!(key.open(sealing::Sealed::Entry(8), &sealed, path).is_err());
    assert!(key.open(sealing::Sealed::Snapshot(7), &sealed, path).is_err());
    for flipped in 0..sealed.len() {
        let mut damaged = sealed.clone();
        damaged[flipped] ^= 1;
        assert!(
            key.open(sealing::Sealed::Entry(7), &damaged, path).is_err(),
            "byte {flipped}"
        );
    }
}

#[test]
fn a_damaged_snapshot_is_named_and_not_passed_over() {
    let folder = TempDir::new().unwrap();
    let mut storage = open(folder.path());
    storage.save_snapshot(&saved(1, 1)).unwrap();
    storage.save_snapshot(&saved(2, 1)).unwrap();
    let path = folder.path().join("snapshots/00000000000000000002.snapshot");
    let mut bytes = fs::read(&path).unwrap();
    bytes.truncate(1000);
    fs::write(&path, bytes).unwrap();
    let error = storage.restore().unwrap_err();
    assert!(
        error.to_string().contains("00000000000000000002.snapshot"),
        "{error}"
    );
}

#[test]
fn what_a_crash_left_half_written_is_swept() {
    let folder = TempDir::new().unwrap();
    drop(open(folder.path()));
    let half = folder.path().join("snapshots/00000000000000000009.tmp");
    fs::write(&half, b"half").unwrap();
    assert_eq!(open(folder.path()).restore().unwrap().snapshot, None);
    assert!(!half.exists());
}
