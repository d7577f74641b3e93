//! Making a container: cgroup, root file system, then `libcontainer`, then the limits that would have hindered it.
//!
//! Called by `main` for the request `create`; what it made is undone if a later step fails.

use std::cell::RefCell;
use std::fs;
use std::path::Path;
use std::rc::Rc;

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use oci_spec::runtime::LinuxResources;
use shoal_run_dir::crash::Armed;
use shoal_run_dir::layout;
use shoal_run_dir::process::FinalProcess;
use shoal_run_dir::report::Report;
use shoal_run_dir::request::CreateRequest;

use crate::causes;
use crate::cgroup;
use crate::executor::FirstProcess;
use crate::failure::{Doing, Failure};
use crate::report::ReportPipe;
use crate::rootfs;
use crate::sys;

/// A seccomp program has 4096 instructions of 8 bytes at most.
pub(crate) const MAX_SECCOMP: u64 = 4096 * 8;

/// Makes the container of the run directory that is our working directory.
pub(crate) fn run(report: &ReportPipe, armed: &Armed) -> Result<(), Failure> {
    report.tie_to_shim()?;
    let request: CreateRequest = read_json(layout::CREATE)?;
    let process: FinalProcess = read_json(layout::PROCESS)?;
    check_version(request.version)?;
    let seccomp = read_seccomp(&process)?;
    let resources: LinuxResources =
        serde_json::from_str(&request.resources).doing("reading the container's limits")?;
    armed.reached("spawn.create.1-request-read");
    set_oom_score(&process)?;
    cgroup::make(&request.cgroup)?;
    let late = cgroup::limit(&request.cgroup, resources)?;
    armed.reached("spawn.create.2-cgroup-made");
    if let Some(directory) = cgroup::enter_v2(&request.cgroup)? {
        use std::os::fd::AsFd;
        let clone =
            sys::clone_process(sys::CLONE_PARENT, Some(directory.as_fd())).doing("entering the cgroup")?;
        if clone.is_some() {
            // The clone goes on in our place, and the shim reaps us both.
            return Ok(());
        }
        report.tie_to_shim()?;
    } else {
        cgroup::join_v1(&request.cgroup)?;
    }
    armed.reached("spawn.create.3-cgroup-joined");
    rootfs::mount_root(&request, &process.cwd)?;
    let cgroups = rootfs::stage_cgroups(&request.cgroup)?.filter(|_| request.mount_cgroups);
    armed.reached("spawn.create.4-rootfs-mounted");
    let first_process = FirstProcess {
        process: Rc::new(process),
        seccomp: seccomp.map(Rc::new),
        own_network: request.own_network,
        cgroups: cgroups.map(Rc::new),
        report: report.clone(),
        armed: armed.clone(),
        program: Rc::new(RefCell::new(None)),
    };
    let pid = build(&request, first_process)?;
    armed.reached("spawn.create.6-built");
    late.apply()?;
    armed.reached("spawn.create.7-limited");
    report.send(&Report::Process { pid });
    Ok(())
}

fn build(request: &CreateRequest, first_process: FirstProcess) -> Result<u32, Failure> {
    let causes = causes::collect();
    let here = std::env::current_dir().doing("reading the run directory")?;
    let console = request.terminal.then(|| here.join(layout::CONSOLE));
    let container = ContainerBuilder::new(layout::STATE_ID.to_owned(), SyscallType::default())
        .with_root_path(here.join(layout::STATE))
        .and_then(|builder| {
            builder
                .with_executor(first_process)
                .with_console_socket(console)
                .as_init(here.join(layout::BUNDLE))
                .with_systemd(false)
                .with_detach(true)
                .as_sibling(true)
                .build()
        });
    let explained = |error: &dyn std::fmt::Display| {
        let cause = causes.as_ref().and_then(causes::Causes::first);
        Failure::runtime(format_args!(
            "{error}{}",
            cause.map(|c| format!(": {c}")).unwrap_or_default()
        ))
    };
    let container = container.map_err(|error| explained(&error))?;
    let pid = container.pid().and_then(|pid| u32::try_from(pid.as_raw()).ok());
    pid.ok_or_else(|| explained(&"libcontainer made a container without a process"))
}

pub(crate) fn read_seccomp(process: &FinalProcess) -> Result<Option<Vec<u8>>, Failure> {
    if !process.seccomp {
        return Ok(None);
    }
    let size = fs::metadata(layout::SECCOMP)
        .doing("reading the seccomp filter")?
        .len();
    if size == 0 || size > MAX_SECCOMP {
        return Err(Failure::runtime(format_args!(
            "the seccomp filter has {size} bytes: expected 8 to {MAX_SECCOMP}"
        )));
    }
    fs::read(layout::SECCOMP)
        .map(Some)
        .doing("reading the seccomp filter")
}

/// Inherited by everything that we start; without `CAP_SYS_RESOURCE` it can only be raised.
pub(crate) fn set_oom_score(process: &FinalProcess) -> Result<(), Failure> {
    let value = process.oom_score_adj.to_string();
    fs::write("/proc/self/oom_score_adj", &value).doing(format_args!("setting oom_score_adj to {value}"))
}

pub(crate) fn check_version(version: u32) -> Result<(), Failure> {
    if version == shoal_run_dir::VERSION {
        return Ok(());
    }
    Err(Failure::runtime(format_args!(
        "the request is of version {version}, this shoal-spawn knows {}: daemon and shoal-spawn must be installed together",
        shoal_run_dir::VERSION
    )))
}

fn read_json<T: serde::de::DeserializeOwned>(name: &str) -> Result<T, Failure> {
    let bytes = fs::read(Path::new(name)).doing(format_args!("reading {name}"))?;
    serde_json::from_slice(&bytes).doing(format_args!("reading {name}"))
}
