//! The Linux part of the spec: namespaces, masked paths, kernel settings, devices.
//! Seccomp is left out on purpose: `shoal-spawn` loads the filter itself.

use std::collections::{BTreeMap, HashMap};

use oci_spec::runtime as oci;

use super::{Inputs, SpecError, resources};
use crate::caps::CapabilitySet;
use crate::container::spec::Network;
use crate::runtime::facts::CgroupVersion;

/// Hidden behind an empty file or directory.
const MASKED: [&str; 11] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// Visible, not writable.
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Settings of the IPC namespace; every container has its own.
const IPC_SETTINGS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Character devices that every container may use: zero, null, full, urandom, random, tty, console.
const DEVICES: [(i64, i64); 7] = [(1, 5), (1, 3), (1, 7), (1, 9), (1, 8), (5, 0), (5, 1)];

/// The whole of it.
pub(super) fn all(inputs: &Inputs<'_>) -> Result<oci::Linux, SpecError> {
    let cgroup = &inputs.places.cgroup;
    // An empty path would mean the daemon's own group, and the clean-up kills what is in it.
    if !cgroup.is_absolute() || cgroup.components().count() < 3 {
        return Err(SpecError::new(
            "cgroup",
            format!("{} is not a container's own control group", cgroup.display()),
        ));
    }
    let mut linux = oci::Linux::default();
    linux
        .set_uid_mappings(None)
        .set_gid_mappings(None)
        .set_sysctl(Some(sysctls(inputs)?))
        .set_resources(Some(resources::all(inputs, device_rules())?))
        .set_cgroups_path(Some(cgroup.clone()))
        .set_namespaces(Some(namespaces(inputs)))
        .set_devices(None)
        .set_seccomp(None)
        // Mounts of the host made later must not appear inside; the spellings with r are not understood.
        .set_rootfs_propagation(Some("private".to_owned()))
        .set_masked_paths(Some(owned(&MASKED)))
        .set_readonly_paths(Some(owned(&READ_ONLY)))
        .set_mount_label(None);
    Ok(linux)
}

/// Docker's namespaces. The control group one only where v2 carries the controllers, as Docker has it.
fn namespaces(inputs: &Inputs<'_>) -> Vec<oci::LinuxNamespace> {
    use oci::LinuxNamespaceType as Type;
    let mut types = vec![Type::Mount, Type::Uts, Type::Pid, Type::Ipc];
    if inputs.spec.network != Network::Host {
        types.push(Type::Network);
    }
    if inputs.host.cgroups.version == CgroupVersion::V2 {
        types.push(Type::Cgroup);
    }
    types
        .into_iter()
        .map(|kind| {
            let mut namespace = oci::LinuxNamespace::default();
            namespace.set_typ(kind).set_path(None);
            namespace
        })
        .collect()
}

/// The user's settings, on top of what Docker sets in a network namespace of the container's own.
fn sysctls(inputs: &Inputs<'_>) -> Result<HashMap<String, String>, SpecError> {
    let own_network = inputs.spec.network != Network::Host;
    let mut all = BTreeMap::new();
    if own_network {
        // Low ports and ping need no capability where they are nobody else's.
        all.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned());
        all.insert("net.ipv4.ping_group_range".to_owned(), "0 2147483647".to_owned());
    }
    for (name, value) in &inputs.spec.sysctls {
        check_sysctl(name, value, own_network)?;
        all.insert(name.clone(), value.clone());
    }
    Ok(all.into_iter().collect())
}

fn check_sysctl(name: &str, value: &str, own_network: bool) -> Result<(), SpecError> {
    let refuse = |message: &str| Err(SpecError::new(format!("sysctls[{name}]"), message));
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
    if !name.chars().all(fits) || name.contains("..") || name.contains("//") {
        return refuse("not the name of a kernel setting");
    }
    if value.contains(['\0', '\n']) {
        return refuse("the value must be one line");
    }
    if name.starts_with("net.") {
        return if own_network && is_of_later_link(name) {
            refuse(
                "a link is given to a container that exists already; set it for every link, by \"default\" in its place",
            )
        } else if own_network {
            Ok(())
        } else {
            refuse(
                "on the host's network this would change the host; use another network, or set it on the host",
            )
        };
    }
    if name.starts_with("fs.mqueue.") || IPC_SETTINGS.contains(&name) {
        Ok(())
    } else {
        refuse("not a setting of a namespace: it would change the whole host")
    }
}

/// `net.ipv4.conf.eth0.…`: of a device that a new network namespace has not.
fn is_of_later_link(name: &str) -> bool {
    let mut parts = name.split(['.', '/']).skip(2);
    matches!(parts.next(), Some("conf" | "neigh")) && !matches!(parts.next(), Some("all" | "default" | "lo"))
}

fn device_rules() -> Vec<oci::LinuxDeviceCgroup> {
    let rule = |allow: bool, kind: Option<oci::LinuxDeviceType>, numbers: Option<(i64, i64)>| {
        let mut rule = oci::LinuxDeviceCgroup::default();
        rule.set_allow(allow)
            .set_typ(kind)
            .set_major(numbers.map(|(major, _)| major))
            .set_minor(numbers.map(|(_, minor)| minor))
            .set_access(Some("rwm".to_owned()));
        rule
    };
    let mut rules = vec![rule(false, None, None)];
    rules.extend(DEVICES.map(|numbers| rule(true, Some(oci::LinuxDeviceType::C), Some(numbers))));
    rules
}

/// A set in the library's own terms; a test counts that none is lost.
pub(super) fn oci_capabilities(set: CapabilitySet) -> oci::Capabilities {
    set.iter()
        .filter_map(|capability| serde_json::from_value(capability.name().into()).ok())
        .collect()
}

fn owned(paths: &[&str]) -> Vec<String> {
    paths.iter().map(|path| (*path).to_owned()).collect()
}
