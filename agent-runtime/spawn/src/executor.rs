//! The last steps of a container's first process: what `libcontainer` calls instead of its own `execve`.
//!
//! `libcontainer` gets a specification of plain root with all capabilities, and does namespaces, mounts and the change
//! of root. Everything about the process itself is ours, in `confine`, the same for an exec.

use std::cell::RefCell;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use shoal_run_dir::crash::Armed;
use shoal_run_dir::process::FinalProcess;

use crate::confine;
use crate::failure::{Doing, Failure};
use crate::report::ReportPipe;
use crate::rootfs;
use crate::sys::{self, Program};

/// The first process of a container, in its own clone of our memory.
#[derive(Debug, Clone)]
pub(crate) struct FirstProcess {
    pub(crate) process: Rc<FinalProcess>,
    pub(crate) seccomp: Option<Rc<Vec<u8>>>,
    pub(crate) own_network: bool,
    pub(crate) cgroups: Option<Rc<OwnedFd>>,
    pub(crate) report: ReportPipe,
    pub(crate) armed: Armed,
    pub(crate) program: Rc<RefCell<Option<Program>>>,
}

impl FirstProcess {
    fn prepare(&self) -> Result<Program, Failure> {
        if self.own_network {
            sys::raise_loopback().doing("setting up the loopback device")?;
        }
        if let Some(tree) = &self.cgroups {
            rootfs::attach_cgroups(tree)?;
        }
        let program = confine::prepare(&self.process, true)?;
        self.armed.reached("spawn.create.5-init-prepared");
        Ok(program)
    }
}

impl Executor for FirstProcess {
    /// Runs while the container is created: what is wrong with the command is an error of the creation.
    fn validate(&self, _spec: &Spec) -> Result<(), ExecutorValidationError> {
        match self.prepare() {
            Ok(program) => {
                *self.program.borrow_mut() = Some(program);
                Ok(())
            }
            Err(failure) => {
                // The shim believes the first report: this one, in its own words.
                self.report.failed(failure.clone());
                Err(ExecutorValidationError::ArgValidationError(failure.message))
            }
        }
    }

    /// The program gets its own environment with `execve`.
    fn setup_envs(&self, _environment: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        Ok(())
    }

    /// Runs when the container is started.
    fn exec(&self, _spec: &Spec) -> Result<(), ExecutorError> {
        self.armed.reached("spawn.start.1-released");
        let failure = match &*self.program.borrow() {
            None => Failure::runtime("the program was not prepared"),
            Some(program) => {
                let seccomp = self.seccomp.as_ref().map(|filter| filter.as_slice());
                confine::become_program(&self.process, program, seccomp, &self.report, &self.armed)
            }
        };
        self.report.failed(failure.clone());
        Err(ExecutorError::Other(failure.message))
    }
}
