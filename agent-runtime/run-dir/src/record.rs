//! Small files of `name=value` lines: what the shim reads and writes, without a JSON parser in it.
//!
//! Values are escaped so that a newline cannot forge a field. Written to a temporary name and renamed, so that a
//! reader sees a whole record or none.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A record's file is at most this long: the longest field is an error message, bounded at 4 KiB where it is made.
const MAX_FILE: u64 = 64 * 1024;

/// A page: a memory file system gives out no less.
const RESERVED: usize = 4096;

/// A record could not be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file could not be read.
    #[error("reading {path}")]
    Read {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It says a version that this build does not know.
    #[error("{path} is of version {version}, this build reads up to {known}: a newer shoal wrote it")]
    Version {
        /// Which file.
        path: String,
        /// The version found.
        version: u32,
        /// The version that this build reads.
        known: u32,
    },
    /// A field is missing or is not what it should be.
    #[error("{path}: field {field} is missing or malformed")]
    Field {
        /// Which file.
        path: String,
        /// Which field.
        field: &'static str,
    },
}

impl RecordError {
    /// Whether the file simply is not there.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Collects fields and writes them.
#[derive(Debug)]
pub(crate) struct Writer(String);

impl Writer {
    pub(crate) fn new() -> Self {
        Self(format!("version={}\n", crate::VERSION))
    }

    pub(crate) fn field(mut self, name: &str, value: impl ToString) -> Self {
        let escaped = value.to_string().replace('\\', "\\\\").replace('\n', "\\n");
        // Writing to a String cannot fail.
        let _infallible = writeln!(self.0, "{name}={escaped}");
        self
    }

    pub(crate) fn maybe(self, name: &str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.field(name, value),
            None => self,
        }
    }

    /// Writes the record; a reader sees all of it or none.
    pub(crate) fn write(self, path: &Path) -> io::Result<()> {
        let temporary = staged(path);
        // Not truncated before it is written: what `reserve` took would be given back first.
        let mut file = fs::File::options()
            .create(true)
            .write(true)
            .truncate(false)
            .open(&temporary)?;
        file.write_all(self.0.as_bytes())?;
        file.set_len(self.0.len() as u64)?;
        fs::rename(&temporary, path)
    }
}

/// Takes the room that a later record of up to a page needs, so that it is written however full the run directory
/// is by then.
pub(crate) fn reserve(path: &Path) -> io::Result<()> {
    fs::write(staged(path), [0; RESERVED])
}

fn staged(path: &Path) -> PathBuf {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    temporary.into()
}

/// The fields of a record.
#[derive(Debug)]
pub(crate) struct Reader {
    path: String,
    fields: Vec<(String, String)>,
}

impl Reader {
    pub(crate) fn open(path: &Path) -> Result<Self, RecordError> {
        let name = path.display().to_string();
        let mut text = String::new();
        fs::File::open(path)
            .and_then(|file| file.take(MAX_FILE).read_to_string(&mut text))
            .map_err(|source| RecordError::Read {
                path: name.clone(),
                source,
            })?;
        let fields = text.lines().filter_map(|line| line.split_once('='));
        let reader = Self {
            path: name,
            fields: fields
                .map(|(name, value)| (name.to_owned(), unescape(value)))
                .collect(),
        };
        let version = reader.get::<u32>("version")?;
        if version > crate::VERSION {
            return Err(RecordError::Version {
                path: reader.path,
                version,
                known: crate::VERSION,
            });
        }
        Ok(reader)
    }

    pub(crate) fn maybe<T: FromStr>(&self, field: &'static str) -> Result<Option<T>, RecordError> {
        match self.fields.iter().find(|(name, _)| name == field) {
            None => Ok(None),
            Some((_, value)) => match value.parse() {
                Ok(value) => Ok(Some(value)),
                Err(_unhelpful) => Err(RecordError::Field {
                    path: self.path.clone(),
                    field,
                }),
            },
        }
    }

    pub(crate) fn get<T: FromStr>(&self, field: &'static str) -> Result<T, RecordError> {
        self.maybe(field)?.ok_or_else(|| RecordError::Field {
            path: self.path.clone(),
            field,
        })
    }
}

fn unescape(value: &str) -> String {
    let mut plain = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match (character, character == '\\') {
            (_, true) => match characters.next() {
                Some('n') => plain.push('\n'),
                Some(other) => plain.push(other),
                None => {}
            },
            (character, false) => plain.push(character),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::{Reader, Writer};

    #[test]
    fn fields_survive_newlines_backslashes_and_equals_signs() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record");
        let text = "a\\n\nb=c\\";
        Writer::new()
            .field("text", text)
            .maybe("none", None::<u32>)
            .field("n", 7)
            .write(&path)
            .unwrap();
        let reader = Reader::open(&path).unwrap();
        assert_eq!(reader.get::<String>("text").unwrap(), text);
        assert_eq!(reader.get::<u32>("n").unwrap(), 7);
        assert_eq!(reader.maybe::<u32>("none").unwrap(), None);
        assert!(reader.get::<u32>("text").is_err());
    }

    #[test]
    fn a_newer_version_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record");
        std::fs::write(&path, "version=99\n").unwrap();
        assert!(
            Reader::open(&path)
                .unwrap_err()
                .to_string()
                .contains("version 99")
        );
    }
}
