//! Directories and small files of a node, made so that a crash leaves the old or the new, never half.
//!
//! Used for identity, lock and pid files; never for what the manager or the worker keeps.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Keys and certificates are a few kilobytes.
const READ_LIMIT: u64 = 256 * 1024;

/// A file or directory could not be used.
#[derive(Debug, thiserror::Error)]
#[error("{what} {path}")]
pub struct FileError {
    pub what: &'static str,
    pub path: PathBuf,
    #[source]
    pub source: std::io::Error,
}

fn fail<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> FileError + 'a {
    move |source| FileError {
        what,
        path: path.to_owned(),
        source,
    }
}

/// Makes a directory with its parents, for root alone unless the mode says otherwise.
pub fn make_dir(path: &Path, mode: u32) -> Result<(), FileError> {
    let made = DirBuilder::new().recursive(true).mode(mode).create(path);
    made.map_err(fail("making", path))
}

/// Writes a file for root alone: staged, synced, renamed, and its directory synced.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let staged = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&staged)
        .map_err(fail("making", &staged))?;
    file.write_all(bytes).map_err(fail("writing", &staged))?;
    file.sync_all().map_err(fail("syncing", &staged))?;
    std::fs::rename(&staged, path).map_err(fail("putting in place", path))?;
    let dir = path.parent().unwrap_or(Path::new("/"));
    let opened = File::open(dir).map_err(fail("opening", dir))?;
    opened.sync_all().map_err(fail("syncing", dir))
}

/// Reads a small text file; `None` if there is none.
pub fn read_file(path: &Path) -> Result<Option<String>, FileError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail("opening", path)(error)),
    };
    let mut text = String::new();
    file.take(READ_LIMIT)
        .read_to_string(&mut text)
        .map_err(fail("reading", path))?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_replaced_whole_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/key.pem");
        make_dir(path.parent().unwrap(), 0o700).unwrap();
        assert_eq!(read_file(&path).unwrap(), None);
        write_file(&path, b"one").unwrap();
        write_file(&path, b"two").unwrap();
        assert_eq!(read_file(&path).unwrap().as_deref(), Some("two"));
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            std::fs::read_dir(dir.path().join("a")).unwrap().count(),
            1,
            "nothing staged is left"
        );
    }
}
