//! `shoal-spawn`: makes one container, or starts one process in one, as a child of the shim, and is gone.
//!
//! Run by the shim, in the container's run directory, from a sealed memfd (so that no container can write to the
//! binary that entered it, CVE-2019-5736), single-threaded (`libcontainer` clones with raw system calls). Standard
//! streams are the container's: everything it has to say goes to the report pipe, descriptor 3.

mod causes;
mod cgroup;
mod confine;
mod create;
mod devices;
mod exec;
mod executor;
mod failure;
mod init;
mod label;
mod lookup;
mod report;
mod rootfs;
mod sys;
mod terminal;

use std::path::Path;
use std::process::ExitCode;

use failure::Failure;
use report::ReportPipe;
use shoal_run_dir::crash::Armed;

/// The daemon's run directory as seen from a container's, where the shim starts us.
const RUN: &str = "../..";

fn main() -> ExitCode {
    let report = ReportPipe::inherited();
    let mode = std::env::args().nth(1);
    let armed = |prefixes: &[&str]| Armed::take(Path::new(RUN), prefixes);
    let outcome = match mode.as_deref() {
        Some("create") => create::run(&report, &armed(&["spawn.create.", "spawn.start."])),
        Some("exec") => exec::run(&report, &armed(&["spawn.exec."])),
        _ => Err(Failure::runtime("shoal-spawn is run by shoal-shim only")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report.failed(failure);
            ExitCode::FAILURE
        }
    }
}
