//! Writing a container's run directory: everything that the shim and `shoal-spawn` will read.
//!
//! Called while a container is created; the files are never changed afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use shoal_run_dir::conf::ShimConf;
use shoal_run_dir::layout::{self, RunDir};
use shoal_run_dir::request::{Cgroup, CreateRequest};

use crate::caps::CapabilitySet;
use crate::container::spec::{ContainerSpec, Network};
use crate::image::ImageConfig;
use crate::oci_spec::{self, Built, HostFiles, Inputs, Places};
use crate::seccomp::SeccompProfile;
use crate::snapshot::Rootfs;
use crate::user::{self, Accounts};

use super::create::CreateError;
use super::{Inner, cgroup};

/// Everything that a run directory is made of.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    pub(super) inner: &'a Inner,
    pub(super) spec: &'a ContainerSpec,
    pub(super) image: &'a ImageConfig,
    pub(super) rootfs: &'a Rootfs,
    pub(super) volumes: BTreeMap<String, PathBuf>,
    /// The AppArmor profile of its processes.
    pub(super) apparmor: Option<String>,
}

/// The container's own directory, empty but for what was asked for: from here on a crash leaves something to find.
pub(super) fn make_directory(directory: &RunDir, spec: &ContainerSpec) -> Result<(), CreateError> {
    let what = format!("making its run directory {}", directory.path().display());
    let failed = failed(spec, &what);
    let mut private = fs::DirBuilder::new();
    private.mode(0o700).create(directory.path()).map_err(&failed)?;
    write_json(&directory.join(layout::SPEC), spec).map_err(&failed)?;
    for name in [
        layout::BUNDLE,
        layout::ROOTFS,
        layout::CGROUP_STAGE,
        layout::STATE,
    ] {
        private.create(directory.join(name)).map_err(&failed)?;
    }
    Ok(())
}

/// Fills it. Blocks: a seccomp filter may have to be compiled.
pub(super) fn fill(parts: &Parts<'_>, directory: &RunDir) -> Result<(), CreateError> {
    let spec = parts.spec;
    let place = cgroup::place(
        &parts.inner.facts.cgroups,
        &parts.inner.config.tag,
        spec.id.as_str(),
    );
    oci_spec::check_bind_sources(spec).map_err(CreateError::from_spec)?;
    let Built { config, mut process } = build(parts, directory, &place)?;
    let filter = parts
        .inner
        .seccomp
        .filter(
            &SeccompProfile::Default,
            CapabilitySet::from_bits(process.capabilities.bounding),
        )
        .map_err(|error| CreateError::Spawn {
            id: spec.id.clone(),
            message: error.to_string(),
        })?;
    process.apparmor.clone_from(&parts.apparmor);
    process.seccomp = filter.is_some();
    process.seccomp_flags = filter.as_ref().map_or(0, crate::seccomp::Filter::load_flags);
    let write = || -> io::Result<()> {
        if let Some(filter) = &filter {
            fs::write(directory.join(layout::SECCOMP), filter.program())?;
        }
        write_json(&directory.join(layout::IMAGE), parts.image)?;
        write_json(&directory.join(layout::PROCESS), &process)?;
        write_spawn_files(parts, directory, config, &place)?;
        write_shim_conf(parts, directory, &place)
    };
    write().map_err(failed(spec, "writing its run directory"))
}

fn build(parts: &Parts<'_>, directory: &RunDir, place: &Cgroup) -> Result<Built, CreateError> {
    let spec = parts.spec;
    let host = HostFiles {
        hosts: fs::read_to_string("/etc/hosts").unwrap_or_default(),
        resolv_conf: fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
    };
    let files = oci_spec::network_files(spec, &parts.inner.facts, &host).map_err(CreateError::from_spec)?;
    // The container may write to them without bound: they lie on the disk that its own files are on, never in the
    // run directory, whose memory the whole machine needs.
    let beside = parts.rootfs.upper.parent().unwrap_or(directory.path());
    for (name, text) in [
        (layout::HOSTNAME, &files.hostname),
        (layout::HOSTS, &files.hosts),
        (layout::RESOLV_CONF, &files.resolv_conf),
    ] {
        fs::write(beside.join(name), text).map_err(failed(spec, "writing its network files"))?;
    }
    let layers = std::iter::once(&parts.rootfs.upper).chain(&parts.rootfs.lowers);
    let accounts =
        Accounts::from_layers(layers.map(PathBuf::as_path)).map_err(|error| CreateError::Snapshot {
            id: spec.id.clone(),
            message: error.to_string(),
        })?;
    let wanted = spec.user.as_deref().unwrap_or(&parts.image.user);
    let user = user::resolve(Some(wanted), &spec.groups, &accounts).map_err(|error| CreateError::Spec {
        field: "user".to_owned(),
        message: error.to_string(),
    })?;
    let places = Places {
        root: directory.join(layout::ROOTFS),
        cgroup: PathBuf::from(&place.path),
        hostname: beside.join(layout::HOSTNAME),
        hosts: beside.join(layout::HOSTS),
        resolv_conf: beside.join(layout::RESOLV_CONF),
        cgroup_stage: directory.join(layout::CGROUP_STAGE),
        volumes: parts.volumes.clone(),
    };
    let inputs = Inputs {
        spec,
        image: parts.image,
        user: &user,
        host: &parts.inner.facts,
        kernel: parts.inner.kernel,
        places: &places,
    };
    oci_spec::build(&inputs).map_err(CreateError::from_spec)
}

/// `libcontainer` gets neither limits (they are applied before it runs) nor capabilities to drop (that is done last).
fn write_spawn_files(
    parts: &Parts<'_>,
    directory: &RunDir,
    mut config: ::oci_spec::runtime::Spec,
    place: &Cgroup,
) -> io::Result<()> {
    let mut resources = None;
    if let Some(linux) = config.linux_mut() {
        resources = linux.resources().clone();
        linux.set_resources(None);
    }
    if let Some(process) = config.process_mut() {
        process.set_capabilities(None);
    }
    // On cgroup v1 shoal-spawn attaches the tree itself: `libcontainer` would find it, and move into it.
    let staged = directory.join(layout::CGROUP_STAGE);
    let is_staged = |mount: &::oci_spec::runtime::Mount| mount.source().as_ref() == Some(&staged);
    let mut mounts = config.mounts().clone().unwrap_or_default();
    let mount_cgroups = mounts.iter().any(is_staged);
    mounts.retain(|mount| !is_staged(mount));
    config.set_mounts(Some(mounts));
    let request = CreateRequest {
        version: shoal_run_dir::VERSION,
        lowers: parts.rootfs.lowers.clone(),
        upper: parts.rootfs.upper.clone(),
        work: parts.rootfs.work.clone(),
        cgroup: place.clone(),
        resources: serde_json::to_string(&resources.unwrap_or_default())?,
        own_network: parts.spec.network != Network::Host,
        mount_cgroups,
        terminal: parts.spec.tty,
    };
    write_json(&directory.join(layout::BUNDLE).join(layout::CONFIG), &config)?;
    write_json(&directory.join(layout::CREATE), &request)
}

fn write_shim_conf(parts: &Parts<'_>, directory: &RunDir, place: &Cgroup) -> io::Result<()> {
    let id = parts.spec.id.as_str();
    let log_dir = parts.inner.config.logs_dir.join(id);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&log_dir)?;
    // The freezer of v1 holds every process and has no limits of its own; any hierarchy would do.
    let member_of = place
        .directory("freezer")
        .or_else(|| place.directories().next())
        .unwrap_or_default();
    let conf = ShimConf {
        id: id.to_owned(),
        tag: parts.inner.config.tag.clone(),
        log_dir,
        log_max_size: parts.spec.log_limits.max_size,
        log_max_files: parts.spec.log_limits.max_files,
        terminal: parts.spec.tty,
        terminal_size: parts.spec.terminal_size.map(|size| (size.columns, size.rows)),
        stdin: parts.spec.stdin_open && !parts.spec.tty,
        cgroup: member_of,
        oom_file: cgroup::oom_file(place),
    };
    conf.write(directory.path())
}

pub(super) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> io::Result<T> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    fs::write(path, serde_json::to_vec(value)?)
}

pub(super) fn failed<'a>(spec: &'a ContainerSpec, what: &'a str) -> impl Fn(io::Error) -> CreateError + 'a {
    move |source| CreateError::Io {
        id: spec.id.clone(),
        what: what.to_owned(),
        source,
    }
}
