//! One line of a log file, as the shim writes it.
//! Pure: bytes in, a record or nothing out. Damage is never an error, since a reader can do nothing about it.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;

use super::{LogRecord, LogStream};

/// A longer line is damage: sixteen kilobytes of text, each byte escaped to six, and the rest of the record.
pub(super) const MAX: usize = 256 * 1024;

/// How every record starts; what a torn one leaves in front of it is skipped.
const START: &[u8] = b"{\"log\":\"";

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    log: Cow<'a, str>,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

/// Reads a line without its newline. Damage (a record torn by a power loss, a run of zeroes) is skipped, up to a
/// whole record that was appended to it.
pub(super) fn parse(line: &[u8]) -> Option<LogRecord> {
    whole(line).or_else(|| {
        let start = line.windows(START.len()).rposition(|window| window == START)?;
        (start > 0).then(|| whole(&line[start..])).flatten()
    })
}

fn whole(line: &[u8]) -> Option<LogRecord> {
    let Line { log, stream, time } = serde_json::from_slice(line).ok()?;
    let stream = match stream.as_ref() {
        "stdout" => LogStream::Stdout,
        "stderr" => LogStream::Stderr,
        _ => return None,
    };
    let time: jiff::Timestamp = time.parse().ok()?;
    Some(LogRecord {
        stream,
        time: time.into(),
        text: Bytes::from(log.into_owned().into_bytes()),
    })
}
