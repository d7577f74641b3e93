//! A further process in a running container: its cgroup, its namespaces, and the same confinement.
//!
//! `libcontainer`'s own way runs as root, without the seccomp filter and outside the user namespace.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::DumpableBehavior;
use rustix::thread::ThreadNameSpaceType;
use shoal_run_dir::crash::Armed;
use shoal_run_dir::report::Report;
use shoal_run_dir::request::ExecRequest;

use crate::cgroup;
use crate::confine;
use crate::create::{check_version, read_seccomp, set_oom_score};
use crate::failure::{Doing, Failure};
use crate::report::ReportPipe;
use crate::sys;
use crate::terminal;

/// An environment is bounded by the kernel at a quarter of the stack limit (2 MiB); JSON at most doubles it.
const MAX_REQUEST: u64 = 4 * 1024 * 1024;

/// Starts the process that descriptor 4 describes in the container that descriptor 5 is.
pub(crate) fn run(report: &ReportPipe, armed: &Armed) -> Result<(), Failure> {
    report.tie_to_shim()?;
    let request = read_request()?;
    let container = sys::inherited(sys::CONTAINER);
    let console = request.process.terminal.then(|| sys::inherited(sys::CONSOLE));
    let seccomp = read_seccomp(&request.process)?;
    armed.reached("spawn.exec.1-request-read");
    set_oom_score(&request.process)?;
    // Nothing inside may look at us while we still hold descriptors of the host.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .doing("hiding from the container")?;
    let place = cgroup::enter_v2(&request.cgroup)?;
    if place.is_none() {
        cgroup::join_v1(&request.cgroup)?;
    }
    enter(&container)?;
    armed.reached("spawn.exec.2-joined");
    let (go, tell) = pipe_with(PipeFlags::CLOEXEC).doing("making a pipe")?;
    let child =
        sys::clone_process(sys::CLONE_PARENT, place.as_ref().map(AsFd::as_fd)).doing("starting a process")?;
    let Some(pid) = child else {
        drop(tell);
        return Err(inside(
            (&request, &container),
            console,
            seccomp.as_deref(),
            File::from(go),
            report,
            armed,
        ));
    };
    armed.reached("spawn.exec.3-forked");
    report.send(&Report::Process {
        pid: pid.as_raw_nonzero().get().cast_unsigned(),
    });
    // Only now does the shim know whom to reap, and the process may go on.
    File::from(tell).write_all(b"g").doing("releasing the process")
}

/// The new process, in the container. Returns only with a failure.
fn inside(
    (request, container): (&ExecRequest, &OwnedFd),
    console: Option<OwnedFd>,
    seccomp: Option<&[u8]>,
    mut go: File,
    report: &ReportPipe,
    armed: &Armed,
) -> Failure {
    let mut released = [0];
    if go.read(&mut released).ok() != Some(1) {
        return Failure::runtime("shoal-spawn ended before the process was known");
    }
    let prepared = enter_cgroups(request, container)
        .and_then(|()| rustix::process::setsid().doing("making a session"))
        .and_then(|_session| terminal::connect(request, console))
        .and_then(|()| confine::prepare(&request.process, false));
    match prepared {
        Err(failure) => failure,
        Ok(program) => confine::become_program(&request.process, &program, seccomp, report, armed),
    }
}

/// Every namespace of the container's first process but that of its control groups. The pid namespace is for our
/// children.
fn enter(container: &OwnedFd) -> Result<(), Failure> {
    let namespaces = ThreadNameSpaceType::MOUNT
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::NETWORK
        | ThreadNameSpaceType::PROCESS_ID;
    rustix::thread::move_into_thread_name_spaces(container.as_fd(), namespaces)
        .doing("entering the container's namespaces")
}

/// On v2 a container has a namespace of control groups. Where these are mounted with `nsdelegate`, as systemd does,
/// nobody in it may be cloned into a group from outside: hence the process itself enters, being in the group already.
fn enter_cgroups(request: &ExecRequest, container: &OwnedFd) -> Result<(), Failure> {
    if !request.cgroup.v2 {
        return Ok(());
    }
    rustix::thread::move_into_thread_name_spaces(container.as_fd(), ThreadNameSpaceType::CONTROL_GROUP)
        .doing("entering the container's namespace of control groups")
}

fn read_request() -> Result<ExecRequest, Failure> {
    let mut text = Vec::new();
    File::from(sys::inherited(sys::REQUEST))
        .take(MAX_REQUEST)
        .read_to_end(&mut text)
        .doing("reading the request")?;
    let request: ExecRequest = serde_json::from_slice(&text).doing("reading the request")?;
    check_version(request.version)?;
    Ok(request)
}
