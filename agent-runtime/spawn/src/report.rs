//! The pipe to the shim. Close-on-exec: that it closes tells the shim that the program runs.
//!
//! Used by everything that can fail; nothing is ever written to the standard streams.

use std::cell::RefCell;
use std::fs::File;
use std::io::Write;
use std::rc::Rc;

use shoal_run_dir::report::Report;

use crate::failure::Failure;
use crate::sys;

/// The pipe to the shim; clones share it, also across `clone(2)`.
#[derive(Debug, Clone)]
pub(crate) struct ReportPipe(Rc<RefCell<File>>);

impl ReportPipe {
    /// Takes the descriptor that the shim left open.
    pub(crate) fn inherited() -> Self {
        Self(Rc::new(RefCell::new(File::from(sys::inherited(sys::REPORT)))))
    }

    /// Writes one line. A shim that is gone cannot be told, and kills us by our parent-death signal.
    pub(crate) fn send(&self, report: &Report) {
        let _nobody_listens = self.0.borrow_mut().write_all(report.encode().as_bytes());
    }

    /// Says why it failed; the shim believes the first that says so.
    pub(crate) fn failed(&self, failure: Failure) {
        self.send(&Report::Failed {
            kind: failure.kind,
            code: failure.code,
            message: failure.message,
        });
    }
}
