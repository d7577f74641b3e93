//! The files of one log: generation 0 is written, higher ones are older.
//! Used by the reader only. Nothing is kept open here but what is handed out.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::LogError;

/// Far more than anybody keeps; a directory with more entries is not a log's.
const MAX_ENTRIES: usize = 4096;

/// A file by what it is, not by what it is called: its name changes when it is rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

/// A file held open: it can be read to its end whatever becomes of its name.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) file: File,
    pub(super) identity: Identity,
    pub(super) path: PathBuf,
}

/// The log of one container.
#[derive(Debug, Clone)]
pub(super) struct Files {
    directory: PathBuf,
    id: String,
}

impl Files {
    pub(super) fn new(directory: &Path, id: &str) -> Self {
        Self {
            directory: directory.to_owned(),
            id: id.to_owned(),
        }
    }

    /// The generations that exist, oldest (highest) first, with what they are.
    pub(super) fn generations(&self) -> Result<Vec<(u32, Identity)>, LogError> {
        let failed = |source| LogError::Read {
            path: self.directory.clone(),
            source,
        };
        let current = shoal_run_dir::log::file(Path::new(""), &self.id, 0);
        let current = current.to_string_lossy();
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(failed)?.take(MAX_ENTRIES) {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let generation = name.to_str().and_then(|name| name.strip_prefix(current.as_ref()));
            let generation = match generation {
                Some("") => Some(0),
                Some(suffix) => suffix.strip_prefix('.').and_then(|number| number.parse().ok()),
                None => None,
            };
            // A file that was renamed or removed since the directory was read shows in the next reading.
            if let (Some(generation), Ok(metadata)) = (generation, entry.metadata()) {
                found.push((generation, Identity::of(&metadata)));
            }
        }
        found.sort_by_key(|(generation, _)| std::cmp::Reverse(*generation));
        Ok(found)
    }

    /// Opens a generation; nothing if there is none.
    pub(super) fn open(&self, generation: u32) -> Result<Option<Open>, LogError> {
        let path = shoal_run_dir::log::file(&self.directory, &self.id, generation);
        let failed = |source| LogError::Read {
            path: path.clone(),
            source,
        };
        let file = match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(failed)?,
        };
        let identity = Identity::of(&file.metadata().map_err(failed)?);
        Ok(Some(Open { file, identity, path }))
    }
}
