//! Sealing: XChaCha20-Poly1305 with a random nonce, bound to cluster, member, kind and index.
//!
//! A data key, made once per folder, seals log and snapshots; it lies in the folder wrapped by a key that
//! is derived from the node's private key (later, with autolock, from the unlock key). Whoever copies
//! the folder alone can read nothing, and no sealed record can be moved to another place.

use super::StorageError;
use chacha20poly1305::{
    AeadCore, KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, OsRng, Payload},
};
use hkdf::Hkdf;
use sha2::Sha256;
use std::{
    fmt, fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;

/// The first byte of every sealed blob.
const FORMAT: u8 = 1;

/// Whose data it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The cluster's id.
    pub cluster: String,
    /// The Raft id, minted per data directory.
    pub member: u64,
}

/// The key that the data key is wrapped with.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct WrappingKey([u8; KEY_BYTES]);

impl WrappingKey {
    /// From the node's private key, in whatever encoding it is stored.
    pub fn from_node_key(private_key: &[u8]) -> Self {
        let mut key = [0; KEY_BYTES];
        // Expanding 32 bytes cannot exceed what HKDF-SHA256 gives.
        Hkdf::<Sha256>::new(Some(b"shoal raft data key"), private_key)
            .expand(b"wrap v1", &mut key)
            .unwrap_or_default();
        Self(key)
    }
}

impl fmt::Debug for WrappingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WrappingKey(…)")
    }
}

/// What a sealed blob is, so that it cannot be taken for another.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sealed {
    Key,
    Entry(u64),
    HardState,
    Members,
    Snapshot(u64),
    RootKey,
}

/// Seals and opens everything in one folder.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(super) struct DataKey {
    key: [u8; KEY_BYTES],
    #[zeroize(skip)]
    owner: Owner,
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataKey(of {:?})", self.owner)
    }
}

/// Seals what every manager of the cluster must be able to read out of the store: the root's key. It lies
/// beside the log, wrapped like the data key; a further manager is handed it when it joins.
#[derive(Debug)]
pub struct ClusterKey {
    key: DataKey,
    path: PathBuf,
}

impl ClusterKey {
    /// Reads the folder's key, or makes it for a new cluster.
    pub fn load_or_create(
        folder: &Path,
        cluster: &str,
        wrapping: &WrappingKey,
    ) -> Result<Self, StorageError> {
        fs::create_dir_all(folder).map_err(|source| StorageError::io("make", folder, source))?;
        let path = folder.join("cluster-key");
        // Member 0 is nobody: what this key seals is bound to the cluster alone.
        let owner = Owner {
            cluster: cluster.to_owned(),
            member: 0,
        };
        let key = DataKey::load_or_create(&path, owner, wrapping)?;
        Ok(Self { key, path })
    }

    pub fn seal(&self, plain: &[u8]) -> Vec<u8> {
        self.key.seal(Sealed::RootKey, plain)
    }

    pub fn open(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, StorageError> {
        self.key
            .open(Sealed::RootKey, sealed, &self.path)
            .map(Zeroizing::new)
    }
}

impl DataKey {
    pub(super) fn load_or_create(
        path: &Path,
        owner: Owner,
        wrapping: &WrappingKey,
    ) -> Result<Self, StorageError> {
        match fs::read(path) {
            Ok(wrapped) => {
                let mut plain = open(&wrapping.0, &owner, Sealed::Key, &wrapped).ok_or_else(|| {
                    StorageError::Foreign {
                        path: path.to_owned(),
                    }
                })?;
                let key = plain.as_slice().try_into().ok();
                plain.zeroize();
                let key = key.ok_or_else(|| StorageError::Damaged {
                    path: path.to_owned(),
                    reason: "the key has a wrong length".to_owned(),
                })?;
                Ok(Self { key, owner })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let key = XChaCha20Poly1305::generate_key(&mut OsRng).into();
                let fresh = Self { key, owner };
                fresh.store(path, wrapping)?;
                Ok(fresh)
            }
            Err(error) => Err(StorageError::io("read", path, error)),
        }
    }

    /// Durable when it returns.
    pub(super) fn store(&self, path: &Path, wrapping: &WrappingKey) -> Result<(), StorageError> {
        let wrapped = seal(&wrapping.0, &self.owner, Sealed::Key, &self.key);
        write_durably(path, &wrapped)
    }

    pub(super) fn seal(&self, what: Sealed, plain: &[u8]) -> Vec<u8> {
        seal(&self.key, &self.owner, what, plain)
    }

    pub(super) fn open(&self, what: Sealed, sealed: &[u8], path: &Path) -> Result<Vec<u8>, StorageError> {
        open(&self.key, &self.owner, what, sealed).ok_or_else(|| StorageError::Damaged {
            path: path.to_owned(),
            reason: format!("{what:?} does not unseal"),
        })
    }
}

fn seal(key: &[u8; KEY_BYTES], owner: &Owner, what: Sealed, plain: &[u8]) -> Vec<u8> {
    let nonce = XChaCha20Poly1305::generate_nonce(&mut OsRng);
    let aad = associated(owner, what);
    // Sealing in memory fails only beyond 256 GiB; an empty result would not unseal.
    let body = XChaCha20Poly1305::new(key.into())
        .encrypt(
            &nonce,
            Payload {
                msg: plain,
                aad: &aad,
            },
        )
        .unwrap_or_default();
    let mut sealed = Vec::with_capacity(1 + NONCE_BYTES + body.len());
    sealed.push(FORMAT);
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(&body);
    sealed
}

fn open(key: &[u8; KEY_BYTES], owner: &Owner, what: Sealed, sealed: &[u8]) -> Option<Vec<u8>> {
    let rest = sealed.strip_prefix(&[FORMAT])?;
    let (nonce, body) = rest.split_at_checked(NONCE_BYTES)?;
    let aad = associated(owner, what);
    XChaCha20Poly1305::new(key.into())
        .decrypt(XNonce::from_slice(nonce), Payload { msg: body, aad: &aad })
        .ok()
}

/// The associated data: unambiguous, since only the cluster's id has a free length and it comes last.
fn associated(owner: &Owner, what: Sealed) -> Vec<u8> {
    let (kind, index) = match what {
        Sealed::Key => (0_u8, 0),
        Sealed::Entry(index) => (1, index),
        Sealed::HardState => (2, 0),
        Sealed::Members => (3, 0),
        Sealed::Snapshot(index) => (4, index),
        Sealed::RootKey => (5, 0),
    };
    let mut bytes = vec![FORMAT, kind];
    bytes.extend_from_slice(&index.to_be_bytes());
    bytes.extend_from_slice(&owner.member.to_be_bytes());
    bytes.extend_from_slice(owner.cluster.as_bytes());
    bytes
}

/// Writes beside, syncs, renames, syncs the folder: after a crash there is the old file or the new one.
pub(super) fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
    let fresh = temporary(path);
    let written = write_and_rename(&fresh, path, bytes);
    if written.is_err() {
        // Room taken by a write that failed would be missing for the next one.
        drop(fs::remove_file(&fresh));
    }
    written
}

pub(super) fn temporary(path: &Path) -> PathBuf {
    path.with_extension("tmp")
}

fn write_and_rename(fresh: &Path, path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
    let failed = |source| StorageError::io("write", fresh, source);
    let mut file = fs::File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(fresh)
        .map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    fs::rename(fresh, path).map_err(|source| StorageError::io("rename", fresh, source))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let sync = fs::File::open(folder).and_then(|folder| folder.sync_all());
    sync.map_err(|source| StorageError::io("sync", folder, source))
}
