//! One stream of the container, cut into records: a line a record, long lines in parts.
//!
//! Called by the shim's loop; never holds more of a line than one record takes.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use shoal_run_dir::log::{PARTIAL, Stream, append_record};

use crate::follower::Followers;

/// Read at once: as much as a pipe holds by default.
const CHUNK: usize = 64 * 1024;

/// One stream of the container.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) descriptor: OwnedFd,
    stream: Stream,
    line: Vec<u8>,
}

/// What a read brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// Perhaps records, and perhaps there is more.
    Some,
    /// Nothing for now.
    Nothing,
    /// The stream has ended.
    End,
}

impl Source {
    /// Of a non-blocking descriptor.
    pub(crate) fn new(descriptor: OwnedFd, stream: Stream) -> Self {
        Self {
            descriptor,
            stream,
            line: Vec::new(),
        }
    }

    /// Which stream it is.
    pub(crate) fn stream(&self) -> Stream {
        self.stream
    }

    /// What no record says yet.
    pub(crate) fn held(&self) -> &[u8] {
        &self.line
    }

    /// Reads once, copies it to the followers, and appends complete records to `out`. Returns how many with what came
    /// of it.
    pub(crate) fn read(&mut self, out: &mut Vec<u8>, at_ns: u64, followers: &mut Followers) -> (Read, u64) {
        let mut buffer = vec![0; CHUNK];
        match rustix::io::read(&self.descriptor, &mut buffer) {
            Ok(0) => (Read::End, self.flush(out, at_ns)),
            Ok(count) => {
                followers.copy(self.stream, &buffer[..count]);
                (Read::Some, self.cut(&buffer[..count], out, at_ns))
            }
            Err(Errno::AGAIN | Errno::INTR) => (Read::Nothing, 0),
            // A terminal whose last user is gone says EIO.
            Err(_ended) => (Read::End, self.flush(out, at_ns)),
        }
    }

    /// A last line without a newline.
    pub(crate) fn flush(&mut self, out: &mut Vec<u8>, at_ns: u64) -> u64 {
        if self.line.is_empty() {
            return 0;
        }
        append_record(out, &self.line, self.stream, at_ns);
        self.line = Vec::new();
        1
    }

    fn cut(&mut self, mut bytes: &[u8], out: &mut Vec<u8>, at_ns: u64) -> u64 {
        let mut records = 0;
        while !bytes.is_empty() {
            let room = PARTIAL - self.line.len();
            let newline = bytes.iter().position(|b| *b == b'\n').map(|at| at + 1);
            let end = newline.unwrap_or(bytes.len()).min(room);
            let (part, rest) = bytes.split_at(end);
            self.line.extend_from_slice(part);
            bytes = rest;
            if self.line.ends_with(b"\n") || self.line.len() == PARTIAL {
                let keep = if self.line.ends_with(b"\n") {
                    0
                } else {
                    unfinished_character(&self.line)
                };
                let text = self.line.len() - keep;
                append_record(out, &self.line[..text], self.stream, at_ns);
                self.line.drain(..text);
                records += 1;
            }
        }
        if self.line.is_empty() {
            // A quiet container costs no buffer.
            self.line = Vec::new();
        }
        records
    }
}

/// How many bytes at the end are the beginning of a UTF-8 character: they go into the next part.
fn unfinished_character(bytes: &[u8]) -> usize {
    for back in 1..=3.min(bytes.len()) {
        let byte = bytes[bytes.len() - back];
        let length = match byte {
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf7 => 4,
            0x80..=0xbf => continue,
            _ => 1,
        };
        return if length > back { back } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::Source;
    use shoal_run_dir::log::{PARTIAL, Stream};

    fn texts(pieces: &[&[u8]]) -> Vec<String> {
        let (reading, _writing) = rustix::pipe::pipe().unwrap();
        let mut source = Source::new(reading, Stream::Stdout);
        let mut out = Vec::new();
        let mut records = 0;
        for piece in pieces {
            records += source.cut(piece, &mut out, 0);
        }
        records += source.flush(&mut out, 0);
        let text = String::from_utf8(out).unwrap();
        let cut = |line: &str| {
            line.split("\",\"stream\"")
                .next()
                .unwrap()
                .trim_start_matches("{\"log\":\"")
                .to_owned()
        };
        let lines: Vec<String> = text.lines().map(cut).collect();
        assert_eq!(lines.len() as u64, records);
        lines
    }

    #[test]
    fn a_line_is_a_record_however_it_arrives() {
        assert_eq!(
            texts(&[b"a\nb", b"c\n", b"\n", b"end"]),
            ["a\\n", "bc\\n", "\\n", "end"]
        );
    }

    #[test]
    fn long_lines_come_in_parts_and_keep_their_characters() {
        let line = "ü".repeat(PARTIAL / 2 * 2 + 3) + "\n";
        let odd = format!("x{line}");
        let parts = texts(&[odd.as_bytes()]);
        assert!(parts.len() > 2 && parts[..parts.len() - 1].iter().all(|p| !p.ends_with("\\n")));
        assert_eq!(parts.concat(), odd.replace('\n', "\\n"));
    }
}
