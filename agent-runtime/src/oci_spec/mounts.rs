//! What is mounted and in which order: Docker's own mounts, then the user's from the shortest path to the
//! longest, then the three network files.
//!
//! Propagation is not among the options: `libcontainer` decides it for the whole root, and private it is.

use std::path::{Component, Path, PathBuf};

use oci_spec::runtime as oci;

use super::{Inputs, SpecError};
use crate::container::mount::{Mount, MountKind};
use crate::container::spec::ContainerSpec;
use crate::runtime::facts::CgroupVersion;

/// Docker's default for `/dev/shm`: 64 MiB.
const SHM_SIZE: &str = "size=67108864";

/// Files of `/proc` that may be mounted over, as runc allows for LXCFS.
const PROC_FILES: [&str; 9] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/net/dev",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
];

/// Words that change nothing here: the wished propagation is what everyone gets, SELinux is not labelled, and
/// the rest are hints for other systems.
const IGNORED: [&str; 9] = [
    "z",
    "Z",
    "private",
    "rprivate",
    "nocopy",
    "consistent",
    "cached",
    "delegated",
    "rbind",
];

/// Words that set a flag, and the ones that they undo.
const FLAGS: [(&str, &str); 8] = [
    ("exec", "noexec"),
    ("noexec", "exec"),
    ("suid", "nosuid"),
    ("nosuid", "suid"),
    ("dev", "nodev"),
    ("nodev", "dev"),
    ("ro", "rw"),
    ("rw", "ro"),
];

/// Options of a tmpfs that carry a value.
const TMPFS_VALUES: [&str; 6] = ["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks"];

/// All mounts in their order.
pub(super) fn all(inputs: &Inputs<'_>) -> Result<Vec<oci::Mount>, SpecError> {
    let mut wanted = Vec::new();
    for (index, mount) in inputs.spec.mounts.iter().enumerate() {
        let field = format!("mounts[{index}]");
        let target = target(&field, &mount.target)?;
        if wanted.iter().any(|(known, _)| *known == target) {
            return Err(SpecError::new(
                format!("{field}.target"),
                format!("{} is mounted twice", target.display()),
            ));
        }
        wanted.push((target.clone(), one(inputs, &field, mount, target)?));
    }
    let taken: Vec<PathBuf> = wanted.iter().map(|(target, _)| target.clone()).collect();
    let covered = |path: &Path| taken.iter().any(|target| path == target);
    let dev_is_theirs = covered(Path::new("/dev"));
    let mut all: Vec<oci::Mount> = defaults(inputs)
        .into_iter()
        .filter(|mount| !covered(mount.destination()))
        .filter(|mount| !(dev_is_theirs && mount.destination().starts_with("/dev")))
        .collect();
    wanted.sort_by_key(|(target, _)| target.components().count());
    all.extend(wanted.into_iter().map(|(_, mount)| mount));
    all.extend(
        network(inputs)
            .into_iter()
            .filter(|mount| !covered(mount.destination())),
    );
    Ok(all)
}

/// The sources of bind mounts must exist: nothing is made on the host by naming it.
pub fn check_bind_sources(spec: &ContainerSpec) -> Result<(), SpecError> {
    for (index, mount) in spec.mounts.iter().enumerate() {
        if mount.kind != MountKind::Bind {
            continue;
        }
        if let Err(error) = std::fs::metadata(&mount.source) {
            return Err(SpecError::new(
                format!("mounts[{index}].source"),
                format!(
                    "{}: {error}; a bind mount needs a path that exists on this node",
                    mount.source
                ),
            ));
        }
    }
    Ok(())
}

fn defaults(inputs: &Inputs<'_>) -> Vec<oci::Mount> {
    let base = ["nosuid", "noexec", "nodev"];
    let mut all = vec![
        mount("/proc", "proc", "proc", &base),
        mount(
            "/dev",
            "tmpfs",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ],
        ),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    ];
    all.push(cgroup(inputs));
    all.push(mount("/dev/mqueue", "mqueue", "mqueue", &base));
    all.push(mount(
        "/dev/shm",
        "tmpfs",
        "shm",
        &["nosuid", "noexec", "nodev", "mode=1777", SHM_SIZE],
    ));
    all
}

/// On v2 the container's own tree, through its namespace; by the kernel's name for it, since `libcontainer` would
/// look at the host's hierarchies, which are hidden from it. On v1 it would mount every hierarchy writable and
/// show the host's root: instead a tree that `shoal-spawn` has staged, read-only, with the container's part of each.
fn cgroup(inputs: &Inputs<'_>) -> oci::Mount {
    const TARGET: &str = "/sys/fs/cgroup";
    if inputs.host.cgroups.version == CgroupVersion::V2 {
        return mount(TARGET, "cgroup2", "cgroup", &["ro", "nosuid", "noexec", "nodev"]);
    }
    let options = ["rbind", "rro", "nosuid", "noexec", "nodev"];
    let options = options.map(str::to_owned).to_vec();
    build(TARGET.into(), "bind", inputs.places.cgroup_stage.clone(), options)
}

fn network(inputs: &Inputs<'_>) -> [oci::Mount; 3] {
    let places = inputs.places;
    [
        ("/etc/resolv.conf", &places.resolv_conf),
        ("/etc/hostname", &places.hostname),
        ("/etc/hosts", &places.hosts),
    ]
    .map(|(target, source)| {
        let mut options = vec!["rbind".to_owned()];
        if inputs.spec.read_only_root {
            options.push("rro".to_owned());
        }
        build(target.into(), "bind", source.clone(), options)
    })
}

fn one(inputs: &Inputs<'_>, field: &str, wanted: &Mount, target: PathBuf) -> Result<oci::Mount, SpecError> {
    match wanted.kind {
        MountKind::Tmpfs => Ok(build(
            target,
            "tmpfs",
            "tmpfs".into(),
            tmpfs_options(field, wanted)?,
        )),
        MountKind::Bind => {
            let source = super::command::absolute(&format!("{field}.source"), &wanted.source)?;
            Ok(build(target, "bind", source.into(), bind_options(field, wanted)?))
        }
        MountKind::Volume => {
            let Some(source) = inputs.places.volumes.get(&wanted.source) else {
                return Err(SpecError::new(
                    format!("{field}.source"),
                    format!("volume {:?} was not made ready", wanted.source),
                ));
            };
            Ok(build(
                target,
                "bind",
                source.clone(),
                bind_options(field, wanted)?,
            ))
        }
    }
}

/// `rro`: what is mounted below the source is read-only too, as Docker has it since 25.
fn bind_options(field: &str, wanted: &Mount) -> Result<Vec<String>, SpecError> {
    let mut flags = flags_of(field, wanted, &[], |_| false)?;
    let read_only = wanted.read_only || flags.iter().any(|flag| flag == "ro");
    flags.retain(|flag| flag != "ro" && flag != "rw");
    let mut options = vec!["rbind".to_owned()];
    options.append(&mut flags);
    if read_only {
        options.push("rro".to_owned());
    }
    Ok(options)
}

fn tmpfs_options(field: &str, wanted: &Mount) -> Result<Vec<String>, SpecError> {
    let known = |option: &str| {
        option.split_once('=').is_some_and(|(name, value)| {
            TMPFS_VALUES.contains(&name)
                && !value.is_empty()
                && value.chars().all(|c| c.is_ascii_alphanumeric() || c == '%')
        })
    };
    let mut options = flags_of(field, wanted, &["noexec", "nosuid", "nodev"], known)?;
    if wanted.read_only && !options.iter().any(|option| option == "ro") {
        options.retain(|option| option != "rw");
        options.push("ro".to_owned());
    }
    Ok(options)
}

/// The user's words over the defaults; the last of each family wins, an unknown one is refused.
fn flags_of(
    field: &str,
    wanted: &Mount,
    defaults: &[&str],
    extra: impl Fn(&str) -> bool,
) -> Result<Vec<String>, SpecError> {
    let mut options: Vec<String> = defaults.iter().map(|word| (*word).to_owned()).collect();
    for (index, option) in wanted.options.iter().enumerate() {
        if let Some((word, opposite)) = FLAGS.iter().find(|(word, _)| word == option) {
            options.retain(|known| known != opposite && known != word);
            options.push((*word).to_owned());
        } else if extra(option) {
            options.push(option.clone());
        } else if !IGNORED.contains(&option.as_str()) {
            return Err(SpecError::new(
                format!("{field}.options[{index}]"),
                format!("{option:?} is not an option of this kind of mount here"),
            ));
        }
    }
    Ok(options)
}

/// Where it goes: cleaned, not the root, not into `/proc`.
fn target(field: &str, path: &Path) -> Result<PathBuf, SpecError> {
    let field = format!("{field}.target");
    let Some(text) = path.to_str() else {
        return Err(SpecError::new(field, "the path is not UTF-8"));
    };
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(SpecError::new(field, format!("{text:?} must not contain '..'")));
    }
    let cleaned = super::command::absolute(&field, text)?;
    if cleaned == "/" {
        return Err(SpecError::new(field, "the root itself cannot be mounted over"));
    }
    let path = PathBuf::from(&cleaned);
    if path.starts_with("/proc") && !PROC_FILES.contains(&cleaned.as_str()) {
        return Err(SpecError::new(
            field,
            format!("{cleaned} is inside /proc, which the container's confinement relies on"),
        ));
    }
    Ok(path)
}

fn mount(target: &str, kind: &str, source: &str, options: &[&str]) -> oci::Mount {
    let options = options.iter().map(|option| (*option).to_owned()).collect();
    build(target.into(), kind, source.into(), options)
}

fn build(target: PathBuf, kind: &str, source: PathBuf, options: Vec<String>) -> oci::Mount {
    let mut mount = oci::Mount::default();
    mount
        .set_destination(target)
        .set_typ(Some(kind.to_owned()))
        .set_source(Some(source))
        .set_options(Some(options))
        .set_uid_mappings(None)
        .set_gid_mappings(None);
    mount
}
