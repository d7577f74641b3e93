//! Reading the report pipe of one `shoal-spawn`.
//!
//! Called by the shim's loop as bytes come; never waits for the rest of a report.

use std::os::fd::OwnedFd;

use shoal_run_dir::report::{MAX_LINE, Report};

/// The reading end of a report pipe.
#[derive(Debug)]
pub(crate) struct Reports {
    pub(crate) pipe: OwnedFd,
    partial: Vec<u8>,
    ended: bool,
}

impl Reports {
    /// Of a non-blocking pipe.
    pub(crate) fn new(pipe: OwnedFd) -> Self {
        Self {
            pipe,
            partial: Vec::new(),
            ended: false,
        }
    }

    /// Everything that can be read now.
    pub(crate) fn read(&mut self) -> Vec<Report> {
        let mut buffer = [0; MAX_LINE];
        loop {
            match rustix::io::read(&self.pipe, &mut buffer) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(count) => self.partial.extend_from_slice(&buffer[..count]),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => break,
                Err(_broken) => {
                    self.ended = true;
                    break;
                }
            }
        }
        let mut reports = Vec::new();
        while let Some(end) = self.partial.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.partial.drain(..=end).collect();
            reports.extend(Report::decode(String::from_utf8_lossy(&line[..end]).as_ref()));
        }
        reports
    }

    /// Whether nobody holds the other end any more.
    pub(crate) fn ended(&self) -> bool {
        self.ended
    }
}
