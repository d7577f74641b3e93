//! A log as it was at one moment, from the files that its shim handed over: rotation changes nothing for their reader.
//!
//! Called when somebody attaches and wants what was before. Reads a record at a time.

use std::collections::VecDeque;
use std::fs::File;
use std::io;

use futures::Stream;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Take};

use super::{LogRecord, record};

/// One of the files, up to where it ended at that moment.
type Part = BufReader<Take<tokio::fs::File>>;

/// The records of these files, the oldest first; of the last one, those in its first `last_size` bytes.
pub(crate) fn replay(
    files: impl Iterator<Item = File>,
    last_size: u64,
) -> impl Stream<Item = io::Result<LogRecord>> + Send {
    let files: Vec<File> = files.collect();
    let last = files.len().saturating_sub(1);
    let parts: VecDeque<Part> = files
        .into_iter()
        .enumerate()
        .map(|(number, file)| {
            let size = if number == last { last_size } else { u64::MAX };
            BufReader::new(tokio::fs::File::from_std(file).take(size))
        })
        .collect();
    futures::stream::try_unfold(parts, |mut parts| async {
        Ok(next(&mut parts).await?.map(|record| (record, parts)))
    })
}

async fn next(parts: &mut VecDeque<Part>) -> io::Result<Option<LogRecord>> {
    let mut line = Vec::new();
    while let Some(part) = parts.front_mut() {
        line.clear();
        // What is longer is damage, and passed over in pieces.
        let bound = u64::try_from(record::MAX).unwrap_or(u64::MAX);
        if part.take(bound).read_until(b'\n', &mut line).await? == 0 {
            parts.pop_front();
            continue;
        }
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        if let Some(record) = record::parse(text) {
            return Ok(Some(record));
        }
    }
    Ok(None)
}
