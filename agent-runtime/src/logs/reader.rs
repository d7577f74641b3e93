//! Reads a log from a place onwards, through rotations, in pieces of bounded size. Blocking; no waiting.
//!
//! The file that is read is held open, so a rotation takes nothing away that was not read yet. Its successor is
//! found by what the files are, since rotation changes all names, and not at once.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::SystemTime;

use super::files::{Files, Open};
use super::{LogError, LogRecord, record, tail};

/// Tries to see the directory twice the same while it is being rotated; each rotation is a few renames.
const MAX_LOOKS: u32 = 16;

/// What one step gave.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Records; perhaps none, and there is more.
    Records(Vec<LogRecord>),
    /// Files were rotated away unread.
    Lost,
    /// Everything that is there was read.
    AtEnd,
}

/// A place in a log.
#[derive(Debug)]
pub(super) struct Reader {
    files: Files,
    since: Option<SystemTime>,
    /// The file that is read; none before the first one exists.
    current: Option<Open>,
    /// The start of the first record that was not read.
    offset: u64,
    /// In a line that is too long to be a record.
    skipping: bool,
}

enum Next {
    /// The current file is the one that is written.
    None,
    /// Its successor.
    File(Open),
    /// The oldest that is left; the current one is gone, and maybe others.
    AfterGap(Open),
}

impl Reader {
    /// Starts at the oldest record, or `lines` lines before the end.
    pub(super) fn open(
        directory: &Path,
        id: &str,
        lines: Option<u64>,
        since: Option<SystemTime>,
    ) -> Result<Self, LogError> {
        let files = Files::new(directory, id);
        let (current, offset) = match lines {
            None => (oldest(&files)?, 0),
            Some(lines) => {
                tail::start(&files, lines)?.map_or((None, 0), |(open, offset)| (Some(open), offset))
            }
        };
        Ok(Self {
            files,
            since,
            current,
            offset,
            skipping: false,
        })
    }

    /// Reads one piece.
    pub(super) fn advance(&mut self) -> Result<Progress, LogError> {
        if self.current.is_none() {
            self.current = oldest(&self.files)?;
            self.offset = 0;
        }
        let Some(current) = &self.current else {
            return Ok(Progress::AtEnd);
        };
        let mut buffer = vec![0; record::MAX];
        let length = read_at(current, &mut buffer, self.offset)?;
        if let Some(records) = self.take(&buffer[..length]) {
            return Ok(Progress::Records(records));
        }
        self.go_on(&mut buffer)
    }

    /// At the end of a file, as it seemed.
    fn go_on(&mut self, buffer: &mut [u8]) -> Result<Progress, LogError> {
        let Some(current) = &self.current else {
            return Ok(Progress::AtEnd);
        };
        let next = self.next(current)?;
        if matches!(next, Next::None) {
            return Ok(Progress::AtEnd);
        }
        // A file that has a successor is not written any more: only now is its end the end.
        let length = read_at(current, buffer, self.offset)?;
        if let Some(records) = self.take(&buffer[..length]) {
            return Ok(Progress::Records(records));
        }
        match next {
            Next::None => Ok(Progress::AtEnd),
            Next::File(open) => {
                self.go_to(open);
                Ok(Progress::Records(Vec::new()))
            }
            Next::AfterGap(open) => {
                self.go_to(open);
                Ok(Progress::Lost)
            }
        }
    }

    fn go_to(&mut self, open: Open) {
        self.current = Some(open);
        self.offset = 0;
        self.skipping = false;
    }

    /// Takes the whole lines out of what was read; none if there is not one. A line without its end is read again
    /// next time, from its start: a writer that could not write all of it takes it back.
    fn take(&mut self, bytes: &[u8]) -> Option<Vec<LogRecord>> {
        let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') else {
            if bytes.len() < record::MAX {
                return None;
            }
            self.skipping = true;
            self.offset += bytes.len() as u64;
            return Some(Vec::new());
        };
        self.offset += end as u64 + 1;
        let mut lines = bytes[..end].split(|byte| *byte == b'\n');
        if std::mem::take(&mut self.skipping) {
            lines.next();
        }
        let wanted = |record: &LogRecord| self.since.is_none_or(|since| record.time >= since);
        Some(lines.filter_map(record::parse).filter(wanted).collect())
    }

    /// The file after this one.
    fn next(&self, current: &Open) -> Result<Next, LogError> {
        let mut before = None;
        for _ in 0..MAX_LOOKS {
            let seen = self.files.generations()?;
            // Half-way through a rotation a file may be listed under two names or none: look until it holds still.
            if before.as_ref() != Some(&seen) {
                before = Some(seen);
                continue;
            }
            let ours = seen
                .iter()
                .position(|(_, identity)| *identity == current.identity);
            let (next, gap) = match ours {
                Some(at) => (seen.get(at + 1), false),
                // Of a log of one file, each rotation takes away all that was; that is not worth a word.
                None => (seen.first(), seen.len() > 1),
            };
            let Some((generation, identity)) = next else {
                return Ok(Next::None);
            };
            match self.files.open(*generation)? {
                Some(open) if open.identity == *identity && gap => return Ok(Next::AfterGap(open)),
                Some(open) if open.identity == *identity => return Ok(Next::File(open)),
                _ => before = None,
            }
        }
        // It is being rotated faster than it can be listed. The writer's next change wakes us up again.
        Ok(Next::None)
    }
}

fn oldest(files: &Files) -> Result<Option<Open>, LogError> {
    for (generation, _) in files.generations()? {
        if let Some(open) = files.open(generation)? {
            return Ok(Some(open));
        }
    }
    Ok(None)
}

/// Fills the buffer as far as the file goes.
pub(super) fn read_at(open: &Open, buffer: &mut [u8], offset: u64) -> Result<usize, LogError> {
    let mut filled = 0;
    while filled < buffer.len() {
        match open.file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(source) => {
                return Err(LogError::Read {
                    path: open.path.clone(),
                    source,
                });
            }
        }
    }
    Ok(filled)
}
