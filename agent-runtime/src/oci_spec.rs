//! From what the caller wants to what `libcontainer` builds and `shoal-spawn` finally becomes.
//!
//! Pure: everything about the host, the image and the user is an argument, and the same arguments give the
//! same spec. `libcontainer` builds the container as root with all of the daemon's capabilities and without a
//! filter; [`FinalProcess`] says what is left when the program starts. Defaults are Docker 26.1.5's, read from
//! the configuration of its running containers.

mod command;
mod exec;
mod files;
mod kernel;
mod linux;
mod mounts;
mod resources;

use std::collections::BTreeMap;
use std::path::PathBuf;

use oci_spec::runtime as oci;
use shoal_run_dir::process::{Capabilities, FinalProcess, VERSION};
use thiserror::Error;

use crate::caps::CapabilitySet;
use crate::container::spec::ContainerSpec;
use crate::image::ImageConfig;
use crate::runtime::facts::HostFacts;
use crate::user::ResolvedUser;

pub use exec::{ExecInputs, build_exec};
pub use files::{HostFiles, NetworkFiles, network_files};
pub use kernel::KernelFacts;
pub use mounts::check_bind_sources;

/// The version of the runtime specification that the result says it follows.
const OCI_VERSION: &str = "1.0.2";
/// Docker's, whatever the daemon's own is.
const UMASK: u32 = 0o022;

/// Where the container's parts are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// The directory that becomes `/`; the overlay is mounted there in the container's mount namespace.
    pub root: PathBuf,
    /// The control group: absolute, never the root, one container's own.
    pub cgroup: PathBuf,
    /// The file bound to `/etc/hostname`.
    pub hostname: PathBuf,
    /// The file bound to `/etc/hosts`.
    pub hosts: PathBuf,
    /// The file bound to `/etc/resolv.conf`.
    pub resolv_conf: PathBuf,
    /// On control groups v1: where `shoal-spawn` stages the container's part of each hierarchy, read-only.
    pub cgroup_stage: PathBuf,
    /// The directories of the volumes that the spec names.
    pub volumes: BTreeMap<String, PathBuf>,
}

/// Everything that a container's spec depends on.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    pub spec: &'a ContainerSpec,
    pub image: &'a ImageConfig,
    /// `spec.user`, else the image's, resolved in the image with `spec.groups`.
    pub user: &'a ResolvedUser,
    pub host: &'a HostFacts,
    pub kernel: KernelFacts,
    pub places: &'a Places,
}

/// What comes of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Built {
    /// For `libcontainer`: `config.json`.
    pub config: oci::Spec,
    /// For `shoal-spawn`: `process.json`.
    pub process: FinalProcess,
}

/// The spec asks for what is not sound, or not to be had here.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{field}: {message}")]
pub struct SpecError {
    /// The field of the container's spec, with its index in a list.
    pub field: String,
    /// What was expected, what was found, what to do.
    pub message: String,
}

impl SpecError {
    fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            message: message.into(),
        }
    }
}

/// Builds both, or says which field cannot be had.
pub fn build(inputs: &Inputs<'_>) -> Result<Built, SpecError> {
    let process = first_process(inputs)?;
    let mut config = oci::SpecBuilder::default()
        .version(OCI_VERSION)
        .root(
            oci::RootBuilder::default()
                .path(inputs.places.root.clone())
                .readonly(inputs.spec.read_only_root)
                .build()
                .map_err(|error| SpecError::new("rootfs", error.to_string()))?,
        )
        .hostname(command::hostname(inputs.spec, inputs.host)?)
        .mounts(mounts::all(inputs)?)
        .process(builders_process(inputs, &process))
        .linux(linux::all(inputs)?)
        .build()
        .map_err(|error| SpecError::new("spec", error.to_string()))?;
    config.set_annotations(None);
    Ok(Built { config, process })
}

/// What the program itself is when it starts.
fn first_process(inputs: &Inputs<'_>) -> Result<FinalProcess, SpecError> {
    let Inputs {
        spec, image, user, ..
    } = *inputs;
    let granted = CapabilitySet::resolve(&spec.cap_add, &spec.cap_drop, inputs.kernel.capabilities)
        .map_err(|error| SpecError::new("cap_add, cap_drop", error.to_string()))?;
    let hostname = command::hostname(spec, inputs.host)?;
    Ok(FinalProcess {
        version: VERSION,
        args: command::args(spec, image)?,
        env: command::env(spec, image, &hostname, &user.home)?,
        cwd: command::workdir(spec, image)?,
        uid: user.uid,
        gid: user.gid,
        groups: user.groups.clone(),
        umask: UMASK,
        rlimits: resources::rlimits(&spec.limits)?,
        capabilities: capabilities_of(user.uid, granted),
        no_new_privileges: spec.no_new_privileges,
        // Its maker knows what is loaded.
        apparmor: None,
        selinux: None,
        oom_score_adj: oom_score_adj(spec)?,
        init: spec.init,
        terminal: spec.tty,
        seccomp: true,
        seccomp_flags: 0,
    })
}

/// Docker's sets: the granted ones for root; for anyone else they stay in the bounding set only, where a
/// set-user-id program or file capabilities can gain them. Never inheritable (CVE-2022-24769).
fn capabilities_of(uid: u32, granted: CapabilitySet) -> Capabilities {
    let held = if uid == 0 { granted.bits() } else { 0 };
    Capabilities {
        bounding: granted.bits(),
        effective: held,
        permitted: held,
        inheritable: 0,
        ambient: 0,
    }
}

/// The process that `libcontainer` starts: root with what the daemon has, because `shoal-spawn` still has to
/// load the filter, make the working directory and change users when it takes over.
fn builders_process(inputs: &Inputs<'_>, last: &FinalProcess) -> oci::Process {
    let all: oci::Capabilities = linux::oci_capabilities(inputs.kernel.capabilities);
    let mut capabilities = oci::LinuxCapabilities::default();
    capabilities
        .set_bounding(Some(all.clone()))
        .set_effective(Some(all.clone()))
        .set_permitted(Some(all))
        .set_inheritable(None)
        .set_ambient(None);
    let mut process = oci::Process::default();
    // The library's defaults include a limit of 1,024 files and no_new_privs: every field is set here.
    process
        .set_terminal(Some(last.terminal))
        .set_console_size(None)
        .set_user(oci::User::default())
        .set_args(Some(last.args.clone()))
        .set_command_line(None)
        .set_env(Some(last.env.clone()))
        .set_cwd(PathBuf::from("/"))
        .set_capabilities(Some(capabilities))
        .set_rlimits(None)
        .set_no_new_privileges(None)
        .set_apparmor_profile(None)
        .set_oom_score_adj(None)
        .set_selinux_label(None)
        .set_io_priority(None)
        .set_scheduler(None);
    process
}

fn oom_score_adj(spec: &ContainerSpec) -> Result<i32, SpecError> {
    let wanted = spec.oom_score_adj.unwrap_or(0);
    if (-1000..=1000).contains(&wanted) {
        Ok(wanted)
    } else {
        Err(SpecError::new(
            "oom_score_adj",
            format!("expected -1000 to 1000, found {wanted}"),
        ))
    }
}

#[cfg(test)]
mod tests;
