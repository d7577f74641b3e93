//! Compiled filters by (profile, capabilities, architecture, kernel), in memory and on disk.
//!
//! Compiling takes tens of milliseconds and a container should start in fewer. The files are a cache only: each
//! carries its version and a checksum, and one that does not match is made again.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::compile::compile;
use super::profile::{Arch, KernelVersion, Profile};
use super::{Filter, SeccompError, SeccompProfile, docker_default};
use crate::caps::CapabilitySet;

/// Raised whenever the compiler or the default profile changes what comes out for the same input.
const VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"shoalbpf";
/// Magic, version, flags, checksum.
const HEADER: usize = 8 + 4 + 4 + 32;
/// A program has at most 4,096 instructions of 8 bytes.
const MAX_FILE: u64 = (HEADER + 4096 * Filter::INSTRUCTION) as u64;
/// Distinct filters kept in memory: few combinations are in use on one node, and one takes 10 kB.
const MAX_IN_MEMORY: usize = 64;
/// Files kept on disk. Beyond it nothing is added; the directory may be emptied at any time.
const MAX_ON_DISK: usize = 256;

type Key = [u8; 32];

/// Compiles filters and remembers them. One per runtime.
#[derive(Debug)]
pub struct SeccompFilters {
    directory: PathBuf,
    native: Option<Arch>,
    kernel: KernelVersion,
    compiled: Mutex<HashMap<Key, Filter>>,
    /// Those of the default profile again, by capabilities: making a key reads the whole profile.
    defaults: Mutex<HashMap<CapabilitySet, Filter>>,
}

impl SeccompFilters {
    /// Keeps its files in this directory, which is made when it is needed.
    pub fn new(directory: PathBuf, kernel: KernelVersion) -> Self {
        Self {
            directory,
            native: Arch::native(),
            kernel,
            compiled: Mutex::default(),
            defaults: Mutex::default(),
        }
    }

    /// The filter for a container with this profile and this bounding set; none where unconfined.
    ///
    /// Blocks for tens of milliseconds the first time.
    pub fn filter(
        &self,
        profile: &SeccompProfile,
        capabilities: CapabilitySet,
    ) -> Result<Option<Filter>, SeccompError> {
        match profile {
            SeccompProfile::Unconfined => Ok(None),
            SeccompProfile::Custom(profile) => self.of_profile(profile, capabilities).map(Some),
            SeccompProfile::Default => self.of_default(capabilities).map(Some),
        }
    }

    fn of_default(&self, capabilities: CapabilitySet) -> Result<Filter, SeccompError> {
        // Held while compiling, as in `of_profile`.
        let mut defaults = self.defaults.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(filter) = defaults.get(&capabilities) {
            return Ok(filter.clone());
        }
        let filter = self.of_profile(docker_default(), capabilities)?;
        if defaults.len() >= MAX_IN_MEMORY {
            defaults.clear();
        }
        defaults.insert(capabilities, filter.clone());
        Ok(filter)
    }

    fn of_profile(&self, profile: &Profile, capabilities: CapabilitySet) -> Result<Filter, SeccompError> {
        let native = self.native.ok_or(SeccompError::Architecture)?;
        let key = key(profile, capabilities, native, self.kernel);
        // Held while compiling, so that containers that start together compile once.
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(filter) = compiled.get(&key) {
            return Ok(filter.clone());
        }
        let path = self.directory.join(format!("{}.bpf", hex::encode(key)));
        let filter = match read(&path) {
            Some(filter) => filter,
            None => {
                let filter = compile(profile, capabilities, native, self.kernel)?;
                if let Err(error) = write(&self.directory, &path, &filter) {
                    tracing::warn!(path = %path.display(), %error, "seccomp filter not kept on disk");
                }
                filter
            }
        };
        if compiled.len() >= MAX_IN_MEMORY {
            compiled.clear();
        }
        compiled.insert(key, filter.clone());
        Ok(filter)
    }
}

fn key(profile: &Profile, capabilities: CapabilitySet, native: Arch, kernel: KernelVersion) -> Key {
    let mut hash = Sha256::new();
    // `Debug` of plain data: stable within one build, and a new build may compile anew.
    let rules: Vec<_> = profile.rules_for(capabilities, native, kernel).collect();
    let head = (
        VERSION,
        env!("CARGO_PKG_VERSION"),
        libseccomp::get_api(),
        profile.default_action,
        profile.load_flags,
        profile.architectures(native),
    );
    hash.update(format!("{head:?} {rules:?}"));
    hash.finalize().into()
}

fn read(path: &Path) -> Option<Filter> {
    let mut bytes = Vec::new();
    fs::File::open(path)
        .ok()?
        .take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .ok()?;
    let program = bytes.get(HEADER..)?;
    let sound = bytes.starts_with(MAGIC)
        && bytes[8..12] == VERSION.to_le_bytes()
        && program.len() % Filter::INSTRUCTION == 0
        && !program.is_empty()
        && bytes.len() as u64 <= MAX_FILE
        && bytes[16..HEADER] == checksum(&bytes[8..16], program);
    if !sound {
        return None;
    }
    let flags = u32::from_le_bytes(bytes[12..16].try_into().ok()?);
    Some(Filter::new(program.to_vec(), flags))
}

fn checksum(head: &[u8], program: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(head);
    hash.update(program);
    hash.finalize().into()
}

fn write(directory: &Path, path: &Path, filter: &Filter) -> std::io::Result<()> {
    fs::create_dir_all(directory)?;
    if fs::read_dir(directory)?.take(MAX_ON_DISK).count() >= MAX_ON_DISK {
        return Ok(());
    }
    let mut bytes = Vec::with_capacity(HEADER + filter.program().len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&filter.load_flags().to_le_bytes());
    let sum = checksum(&bytes[8..16], filter.program());
    bytes.extend_from_slice(&sum);
    bytes.extend_from_slice(filter.program());
    // Renamed into place; not synced, since a torn file fails its checksum and is made again.
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    fs::write(&temporary, &bytes)?;
    fs::rename(&temporary, path)
}
