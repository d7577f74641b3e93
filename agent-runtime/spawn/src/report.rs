//! The pipe to the shim. Close-on-exec: that it closes tells the shim that the program runs.
//!
//! Used by everything that can fail; nothing is ever written to the standard streams.

use std::cell::RefCell;
use std::fs::File;
use std::io::Write;
use std::rc::Rc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;
use shoal_run_dir::report::Report;

use crate::failure::{Doing, Failure};
use crate::sys;

/// The pipe to the shim; clones share it, also across `clone(2)`.
#[derive(Debug, Clone)]
pub(crate) struct ReportPipe(Rc<RefCell<File>>);

impl ReportPipe {
    /// Takes the descriptor that the shim left open.
    pub(crate) fn inherited() -> Self {
        Self(Rc::new(RefCell::new(File::from(sys::inherited(sys::REPORT)))))
    }

    /// From now on we die with the shim. It may have died before: then nobody reads the pipe any more, and what we
    /// went on to make would be nobody's.
    pub(crate) fn tie_to_shim(&self) -> Result<(), Failure> {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .doing("tying ourselves to the shim")?;
        let pipe = self.0.borrow();
        let mut polled = [PollFd::new(&*pipe, PollFlags::empty())];
        poll(&mut polled, Some(&Timespec::default())).doing("looking for the shim")?;
        if polled[0].revents().contains(PollFlags::ERR) {
            return Err(Failure::runtime("the shim is gone"));
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shim_that_is_gone_is_noticed() {
        let (shim, ours) = rustix::pipe::pipe().unwrap();
        let report = ReportPipe(Rc::new(RefCell::new(File::from(ours))));
        report.tie_to_shim().unwrap();
        drop(shim);
        let failure = report.tie_to_shim().unwrap_err();
        assert_eq!(failure.message, "the shim is gone");
        // The test's own thread shall outlive whoever started it.
        rustix::process::set_parent_process_death_signal(None).unwrap();
    }
}
