//! Unpacks one tar archive, a layer or a root file system, into a directory in the form that overlayfs reads.
//!
//! The archive is hostile until proven otherwise: nothing it says is believed about names, sizes or links, and
//! every step has a bound. The caller gives a directory of its own and removes it on an error.

mod apply;
mod entry;
mod implied;
mod layer;
mod pax;
mod place;
mod space;
mod sparse;
mod stream;
mod tree;

#[cfg(test)]
mod tests;

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::content::disk::{DiskError, DiskResult};
use crate::content::tree::open_directory;

pub use entry::EntryProblem;
pub(crate) use implied::{adopt_implied, copy_attributes};
pub(crate) use layer::{Layer, decompressed, unpack_layer};
pub use stream::TarError;
pub(crate) use stream::TarStream;
pub(crate) use tree::open_in_root;

use apply::Writer;
use entry::Item;

/// What one archive may ask for.
#[derive(Debug, Clone, Copy)]
pub struct UnpackLimits {
    /// Entries; each costs an inode.
    pub entries: u64,
    /// Bytes of the archive after decompression, and of any one file.
    pub bytes: u64,
}

impl Default for UnpackLimits {
    /// Four million entries is ten times the largest images in use; 128 GiB is beyond any layer that a registry
    /// takes. What the disk holds is checked on top.
    fn default() -> Self {
        Self {
            entries: 4_000_000,
            bytes: 128 << 30,
        }
    }
}

/// Why an archive was not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// One entry asks for something that is refused.
    #[error("archive entry {entry:?} is refused: {problem}")]
    Entry { entry: String, problem: EntryProblem },
    /// The archive as such is broken.
    #[error(transparent)]
    Archive(#[from] TarError),
    /// A file could not be written.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// More entries than any honest archive has.
    #[error("the archive has more than {limit} entries")]
    TooManyEntries { limit: u64 },
    /// More bytes than any honest archive has: perhaps a decompression bomb.
    #[error("the archive unpacks to more than {limit} bytes")]
    TooLarge { limit: u64 },
    /// A compression that is not read here.
    #[error("the archive is compressed with {0}; gzip and zstd are supported")]
    Compression(&'static str),
}

/// What was unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unpacked {
    /// Bytes of file data written.
    pub(crate) bytes: u64,
    pub(crate) entries: u64,
    /// Directories that the archive does not list itself; the root is the empty path.
    pub(crate) implied: Vec<PathBuf>,
    /// Whether the archive had its end mark.
    pub(crate) marked_end: bool,
    /// The newest modification time in it, in seconds.
    pub(crate) newest: i64,
}

/// A name in an archive of documents, cleaned as a file's would be; it must be text.
pub(crate) fn clean_name(raw: &[u8]) -> Result<String, EntryProblem> {
    let path = entry::clean(raw)?;
    path.into_os_string()
        .into_string()
        .map_err(|_not_text| EntryProblem::BadField("name"))
}

/// Unpacks the archive `reader` into the empty directory `dest`.
pub(crate) fn unpack(reader: impl Read, dest: &Path, limits: UnpackLimits) -> Result<Unpacked, UnpackError> {
    let root = open_directory(rustix::fs::CWD, dest).on("open", dest)?;
    let mut writer = Writer::new(root, dest, limits);
    let mut stream = TarStream::new(reader);
    let (mut entries, mut newest) = (0, 0);
    while let Some(entry) = stream.next_entry()? {
        entries += 1;
        if entries > limits.entries {
            return Err(UnpackError::TooManyEntries {
                limit: limits.entries,
            });
        }
        let name = || String::from_utf8_lossy(&entry.path).into_owned();
        let refuse = |problem| UnpackError::Entry {
            entry: name(),
            problem,
        };
        let mut item = Item::plan(&entry).map_err(refuse)?;
        if let entry::Kind::File(size) = item.kind {
            let map = sparse::pax_sparse(&entry.pax, size, &mut stream);
            if let Some(map) = map.map_err(|what| refuse(EntryProblem::BadSparse(what)))? {
                item.kind = entry::Kind::Sparse(map);
            }
        }
        newest = item.meta.mtime.tv_sec.max(newest);
        writer.write(&item, &mut stream)?;
    }
    let (bytes, implied) = writer.finish()?;
    Ok(Unpacked {
        bytes,
        entries,
        implied,
        marked_end: stream.marked_end(),
        newest,
    })
}
