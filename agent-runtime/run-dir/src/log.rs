//! The log of a container: Docker's json-file, one JSON object a line, rotated by size.
//!
//! `<logs>/<id>/<id>-json.log` is written, `.1` is the one before it, and so on. A line that its program has not
//! ended yet, or that is longer than [`PARTIAL`], is written in parts: only the last part's text ends in a newline.

use std::path::{Path, PathBuf};

/// Text of one record; a longer line is split, as Docker does at the same size.
pub const PARTIAL: usize = 16 * 1024;

/// Where the text came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// As in the record.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// The file of a container's log: generation 0 is written, higher ones are older.
pub fn file(log_dir: &Path, id: &str, generation: u32) -> PathBuf {
    match generation {
        0 => log_dir.join(format!("{id}-json.log")),
        n => log_dir.join(format!("{id}-json.log.{n}")),
    }
}

/// Appends one record to `out`. Bytes that are not UTF-8 become U+FFFD.
pub fn append_record(out: &mut Vec<u8>, text: &[u8], stream: Stream, at_ns: u64) {
    out.extend_from_slice(b"{\"log\":\"");
    for chunk in text.utf8_chunks() {
        escape(out, chunk.valid());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.extend_from_slice(b"\",\"stream\":\"");
    out.extend_from_slice(stream.name().as_bytes());
    out.extend_from_slice(b"\",\"time\":\"");
    append_time(out, at_ns);
    out.extend_from_slice(b"\"}\n");
}

fn escape(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
            }
            _ => out.push(byte),
        }
    }
}

/// RFC 3339 with nanoseconds, in UTC: Go's `RFC3339Nano` with all nine digits, so that records sort as text.
pub fn append_time(out: &mut Vec<u8>, at_ns: u64) {
    let seconds = at_ns / 1_000_000_000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let text = format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:09}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        at_ns % 1_000_000_000
    );
    out.extend_from_slice(text.as_bytes());
}

/// Days since 1970 as a date (H. Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::{Stream, append_record, append_time};

    #[test]
    fn records_are_dockers() {
        let mut out = Vec::new();
        append_record(
            &mut out,
            b"a\"\\\t\x01\xffz\n",
            Stream::Stderr,
            1_700_000_000_000_000_001,
        );
        let expected = "{\"log\":\"a\\\"\\\\\\t\\u0001\u{fffd}z\\n\",\"stream\":\"stderr\",\
                        \"time\":\"2023-11-14T22:13:20.000000001Z\"}\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn dates_of_leap_years() {
        for (seconds, expected) in [
            (0_u64, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (1_709_251_199, "2024-02-29"),
            (4_107_542_400, "2100-03-01"),
        ] {
            let mut out = Vec::new();
            append_time(&mut out, seconds * 1_000_000_000);
            assert!(out.starts_with(expected.as_bytes()), "{expected}");
        }
    }
}
