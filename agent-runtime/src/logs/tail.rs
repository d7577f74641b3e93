//! Finds where the last lines of a log start, reading backwards, so that its length does not matter.
//! Called once, before a reader starts. Blocking; at most one block and one record are in memory.

use super::files::{Files, Open};
use super::reader::read_at;
use super::{LogError, record};

/// The bytes that are read at a time: some hundred lines.
const BLOCK: u64 = 64 * 1024;

/// The file and the offset from which `lines` lines follow; nothing if there is no file. A line in parts counts
/// once, by the record that ends it; one that is not ended yet counts too.
pub(super) fn start(files: &Files, lines: u64) -> Result<Option<(Open, u64)>, LogError> {
    let mut newest_first = files.generations()?;
    newest_first.reverse();
    let mut counter = Counter {
        wanted: lines,
        seen: 0,
        last: true,
    };
    let mut found = None;
    for (generation, _) in newest_first {
        let Some(open) = files.open(generation)? else {
            continue;
        };
        let (offset, enough) = scan(&open, &mut counter)?;
        found = Some((open, offset));
        if enough {
            break;
        }
    }
    Ok(found)
}

/// Counts lines from the end of the log.
struct Counter {
    wanted: u64,
    seen: u64,
    /// Nothing was counted yet: the last record begins a line whether it ends one or not.
    last: bool,
}

impl Counter {
    /// A record, seen from the end. Whether it belongs to what is wanted.
    fn wants(&mut self, line: &[u8]) -> bool {
        let Some(record) = record::parse(line) else {
            return true;
        };
        // The end of a line, seen backwards, begins the next one to count.
        if std::mem::take(&mut self.last) || !record.is_partial() {
            self.seen += 1;
        }
        self.seen <= self.wanted
    }
}

/// Goes back through one file. The offset where it was enough, or its start.
fn scan(open: &Open, counter: &mut Counter) -> Result<(u64, bool), LogError> {
    let metadata = open.file.metadata().map_err(|source| LogError::Read {
        path: open.path.clone(),
        source,
    })?;
    let mut from = metadata.len();
    let mut line = Backwards::default();
    while from > 0 {
        let size = from.min(BLOCK);
        from -= size;
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        let read = read_at(open, &mut bytes, from)?;
        let mut rest = &bytes[..read];
        while let Some(at) = rest.iter().rposition(|byte| *byte == b'\n') {
            line.prepend(&rest[at + 1..]);
            if let Some(start) = line.finish(counter) {
                return Ok((start, true));
            }
            line = Backwards {
                end: Some(from + at as u64),
                ..Backwards::default()
            };
            rest = &rest[..at];
        }
        line.prepend(rest);
    }
    let start = line.finish(counter);
    Ok((start.unwrap_or(0), start.is_some()))
}

/// A line that is put together from its end.
#[derive(Default)]
struct Backwards {
    /// Where its newline is; without one it is not a record yet.
    end: Option<u64>,
    text: Vec<u8>,
    too_long: bool,
}

impl Backwards {
    fn prepend(&mut self, bytes: &[u8]) {
        if self.end.is_none() || self.too_long {
            return;
        }
        self.text.splice(0..0, bytes.iter().copied());
        if self.text.len() > record::MAX {
            self.too_long = true;
            self.text = Vec::new();
        }
    }

    /// The line is whole: where what is wanted starts, if this line is not wanted any more.
    fn finish(&self, counter: &mut Counter) -> Option<u64> {
        let end = self.end?;
        let wanted = self.too_long || counter.wants(&self.text);
        (!wanted).then_some(end + 1)
    }
}
