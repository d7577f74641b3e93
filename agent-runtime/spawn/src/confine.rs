//! Turning a root process inside the container into what its specification says: user, limits, filter, capabilities.
//!
//! Used for a container's first program and for every exec alike, so that both are confined by the same lines. In
//! two halves: [`prepare`] fails while the container is being created, [`become_program`] ends in `execve`.

use std::fs;
use std::io;

use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::process::Signal;
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, configure_capability_in_ambient_set,
    remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities, set_no_new_privs,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use shoal_run_dir::crash::Armed;
use shoal_run_dir::process::{Capabilities, FinalProcess};
use shoal_run_dir::report::Report;

use crate::failure::{Doing, Failure};
use crate::init;
use crate::label;
use crate::lookup;
use crate::report::ReportPipe;
use crate::sys::{self, Program};

/// Capability sets are 64 bits wide; the kernel refuses the numbers that it does not know.
const CAPABILITIES: u32 = 64;

/// The first half: everything that does not take privileges away for good. Returns what to execute.
pub(crate) fn prepare(process: &FinalProcess, make_cwd: bool) -> Result<Program, Failure> {
    give_streams(process);
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(process.umask));
    for limit in &process.rlimits {
        sys::set_rlimit(limit.resource, limit.soft, limit.hard)
            .doing(format_args!("setting resource limit {}", limit.resource))?;
    }
    let early = enter_cwd(&process.cwd, make_cwd);
    become_user(process)?;
    if let Err(failure) = early {
        // A directory that only the user may enter (root squash): try as the user; the first error says more.
        rustix::process::chdir(process.cwd.as_str()).map_err(|_same| failure)?;
    }
    verify_cwd(&process.cwd)?;
    let all = rustix::thread::capabilities(None).doing("reading capabilities")?;
    let as_the_program = CapabilitySet::from_bits_retain(process.capabilities.effective) & all.permitted;
    set_capabilities(
        None,
        CapabilitySets {
            effective: as_the_program,
            ..all
        },
    )
    .doing("setting capabilities")?;
    let command = process.args.first().map_or("", String::as_str);
    let found = lookup::find(command, &process.env);
    set_capabilities(
        None,
        CapabilitySets {
            effective: all.permitted,
            ..all
        },
    )
    .doing("setting capabilities")?;
    let nul = || {
        Failure::not_found(format_args!(
            "exec: {command:?}: an argument or variable holds a NUL byte"
        ))
    };
    Program::new(&found?, &process.args, &process.env).ok_or_else(nul)
}

/// The second half: gives up privileges and becomes the program. Returns only with a failure.
pub(crate) fn become_program(
    process: &FinalProcess,
    program: &Program,
    seccomp: Option<&[u8]>,
    report: &ReportPipe,
    armed: &Armed,
) -> Failure {
    if let Err(failure) = confine(process, seccomp, report) {
        return failure;
    }
    armed.reached("spawn.exec.4-confined");
    report.send(&Report::Ready);
    if process.init
        && let Err(failure) = init::split()
    {
        return failure;
    }
    let error = program.execute();
    let command = process.args.first().map_or("", String::as_str);
    match Errno::from_io_error(&error) {
        Some(Errno::NOENT) => Failure::not_found(format_args!("exec {command}: no such file or directory")),
        Some(Errno::NOEXEC) => Failure::not_executable(format_args!("exec {command}: exec format error")),
        Some(Errno::ACCESS) => Failure::not_executable(format_args!("exec {command}: permission denied")),
        _ => Failure::not_executable(format_args!("exec {command}: {error}")),
    }
}

fn confine(process: &FinalProcess, seccomp: Option<&[u8]>, report: &ReportPipe) -> Result<(), Failure> {
    sys::reset_signals();
    label::set(process)?;
    if process.no_new_privileges {
        set_no_new_privs(true).doing("setting no_new_privs")?;
    }
    // Needs CAP_SYS_ADMIN unless no_new_privs is set, so it comes before the capabilities go.
    if let Some(filter) = seccomp {
        sys::load_seccomp(filter, process.seccomp_flags).doing("loading the seccomp filter")?;
    }
    drop_capabilities(&process.capabilities)?;
    sys::close_on_exec_from(3).doing("closing descriptors on exec")?;
    // Credentials have changed for the last time, which unties us.
    report.tie_to_shim()
}

/// A program that is not root must be able to open its own /dev/stdout again.
fn give_streams(process: &FinalProcess) {
    let null = rustix::fs::stat("/dev/null").map(|s| s.st_rdev);
    let streams = [
        rustix::stdio::stdin(),
        rustix::stdio::stdout(),
        rustix::stdio::stderr(),
    ];
    for stream in streams {
        let is_null = rustix::fs::fstat(stream).is_ok_and(|s| Ok(s.st_rdev) == null && s.st_rdev != 0);
        if !is_null {
            // A descriptor of a read-only or foreign file system stays as it is, as in runc.
            let _stays = rustix::fs::fchown(stream, Some(Uid::from_raw(process.uid)), None);
        }
    }
}

fn enter_cwd(cwd: &str, make: bool) -> Result<(), Failure> {
    let enter = || rustix::process::chdir(cwd);
    let outcome = match enter() {
        Err(Errno::NOENT) if make => fs::create_dir_all(cwd).and_then(|()| Ok(enter()?)),
        other => other.map_err(io::Error::from),
    };
    outcome.map_err(|error| match error.raw_os_error() {
        Some(libc::ENOENT) => Failure::not_found(format_args!(
            "chdir to working directory {cwd:?}: no such file or directory"
        )),
        Some(libc::ENOTDIR) => Failure::not_found(format_args!(
            "chdir to working directory {cwd:?}: not a directory"
        )),
        Some(libc::EACCES) => Failure::not_executable(format_args!(
            "chdir to working directory {cwd:?}: permission denied"
        )),
        _ => Failure::runtime(format_args!("chdir to working directory {cwd:?}: {error}")),
    })
}

/// A path through /proc/self/fd could lead out of the container (CVE-2024-21626): the kernel then cannot name it.
fn verify_cwd(cwd: &str) -> Result<(), Failure> {
    let here = rustix::process::getcwd(Vec::new()).doing("reading the working directory")?;
    if here.as_bytes().starts_with(b"/") {
        return Ok(());
    }
    Err(Failure::runtime(format_args!(
        "working directory {cwd:?} is outside the container"
    )))
}

/// Changes the user and keeps the capabilities, which [`confine`] takes away later.
fn become_user(process: &FinalProcess) -> Result<(), Failure> {
    let (uid, gid) = (Uid::from_raw(process.uid), Gid::from_raw(process.gid));
    let groups: Vec<Gid> = process.groups.iter().copied().map(Gid::from_raw).collect();
    set_keep_capabilities(true).doing("keeping capabilities")?;
    set_thread_groups(&groups).doing("setting supplementary groups")?;
    set_thread_res_gid(gid, gid, gid).doing(format_args!("setting group {}", process.gid))?;
    set_thread_res_uid(uid, uid, uid).doing(format_args!("setting user {}", process.uid))?;
    set_keep_capabilities(false).doing("keeping capabilities")?;
    let kept = rustix::thread::capabilities(None).doing("reading capabilities")?;
    set_capabilities(
        None,
        CapabilitySets {
            effective: kept.permitted,
            ..kept
        },
    )
    .doing("raising capabilities")?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .doing("tying the process to its shim")
}

fn drop_capabilities(wanted: &Capabilities) -> Result<(), Failure> {
    for number in (0..CAPABILITIES).filter(|n| wanted.bounding & (1 << n) == 0) {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            // The kernel knows no higher number.
            Err(Errno::INVAL) => break,
            other => other.doing(format_args!("dropping capability {number}"))?,
        }
    }
    let sets = CapabilitySets {
        effective: CapabilitySet::from_bits_retain(wanted.effective),
        permitted: CapabilitySet::from_bits_retain(wanted.permitted),
        inheritable: CapabilitySet::from_bits_retain(wanted.inheritable),
    };
    set_capabilities(None, sets).doing("setting capabilities")?;
    clear_ambient_capability_set().doing("clearing ambient capabilities")?;
    for number in (0..CAPABILITIES).filter(|n| wanted.ambient & (1 << n) != 0) {
        configure_capability_in_ambient_set(CapabilitySet::from_bits_retain(1 << number), true)
            .doing(format_args!("raising ambient capability {number}"))?;
    }
    Ok(())
}
