//! The limits of a container on cgroup v1, written straight into its directories.
//!
//! `libcgroups` would write the same, but it finds every controller anew by reading and checking `/proc`, again and
//! again. What it knows and this does not is left to it: see [`covers`].

use std::fs;
use std::path::Path;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxMemory, LinuxResources};
use shoal_run_dir::request::Cgroup;

use super::missing;
use crate::devices;
use crate::failure::{Doing, Failure};

/// Whether these limits are only such as [`apply`] knows: devices, memory, and memory with swap.
pub(super) fn covers(resources: &LinuxResources) -> bool {
    let memory = resources.memory().as_ref().map(|memory| {
        let mut known = LinuxMemory::default();
        known.set_limit(memory.limit()).set_swap(memory.swap());
        known == *memory
    });
    let mut known = LinuxResources::default();
    known
        .set_devices(resources.devices().clone())
        .set_memory(*resources.memory());
    known == *resources && memory.unwrap_or(true)
}

/// Sets them on directories that are new, and have no limits yet.
pub(super) fn apply(cgroup: &Cgroup, resources: &LinuxResources) -> Result<(), Failure> {
    if let Some(place) = cgroup.directory("devices") {
        allow_devices(&place, resources.devices().as_deref().unwrap_or_default())?;
    } else {
        return Err(missing("devices"));
    }
    if let Some(memory) = resources.memory() {
        let place = cgroup.directory("memory").ok_or_else(|| missing("memory"))?;
        // The limit of both together may not be below that of memory alone, so it comes second.
        for (name, value) in [
            ("memory.limit_in_bytes", memory.limit()),
            ("memory.memsw.limit_in_bytes", memory.swap()),
        ] {
            if let Some(value) = value.filter(|value| *value != 0) {
                write(&place, name, &value.to_string())?;
            }
        }
    }
    Ok(())
}

fn allow_devices(place: &Path, rules: &[LinuxDeviceCgroup]) -> Result<(), Failure> {
    for rule in devices::with_always(rules) {
        let name = if rule.allow() {
            "devices.allow"
        } else {
            "devices.deny"
        };
        write(place, name, &rule.to_string())?;
    }
    Ok(())
}

fn write(place: &Path, name: &str, value: &str) -> Result<(), Failure> {
    fs::write(place.join(name), value).doing(format_args!("setting {name} to {value}"))
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::{LinuxCpu, LinuxDeviceCgroup, LinuxMemory, LinuxResources};
    use shoal_run_dir::request::{Cgroup, Hierarchy};

    use super::{apply, covers};

    fn resources() -> LinuxResources {
        let mut denied = LinuxDeviceCgroup::default();
        denied.set_allow(false).set_access(Some("rwm".to_owned()));
        let mut memory = LinuxMemory::default();
        memory.set_limit(Some(1 << 24)).set_swap(Some(-1));
        let mut resources = LinuxResources::default();
        resources.set_devices(Some(vec![denied])).set_memory(Some(memory));
        resources
    }

    #[test]
    fn what_is_not_known_here_is_left_to_the_library() {
        assert!(covers(&resources()) && covers(&LinuxResources::default()));
        let mut with_cpu = resources();
        let mut cpu = LinuxCpu::default();
        cpu.set_shares(Some(2));
        with_cpu.set_cpu(Some(cpu));
        assert!(!covers(&with_cpu));
        let mut with_reservation = resources();
        let mut memory = LinuxMemory::default();
        memory.set_reservation(Some(1));
        with_reservation.set_memory(Some(memory));
        assert!(!covers(&with_reservation));
    }

    #[test]
    fn limits_go_into_the_directories_of_their_controllers() {
        let root = tempfile::tempdir().unwrap();
        let hierarchy = |name: &str| Hierarchy {
            mount_point: root.path().join(name),
            controllers: vec![name.to_owned()],
        };
        let mut cgroup = Cgroup {
            path: "/shoal-0/c".to_owned(),
            v2: false,
            hierarchies: vec![hierarchy("devices"), hierarchy("memory")],
        };
        for place in cgroup.directories() {
            std::fs::create_dir_all(place).unwrap();
        }
        apply(&cgroup, &resources()).unwrap();
        let read = |name: &str| std::fs::read_to_string(root.path().join(name)).unwrap();
        assert_eq!(read("devices/shoal-0/c/devices.deny"), "a *:* rwm");
        assert_eq!(read("memory/shoal-0/c/memory.limit_in_bytes"), "16777216");
        assert_eq!(read("memory/shoal-0/c/memory.memsw.limit_in_bytes"), "-1");
        cgroup.hierarchies.pop();
        let failure = apply(&cgroup, &resources()).unwrap_err();
        assert!(
            failure.message.contains("memory cgroup controller"),
            "{failure:?}"
        );
    }
}
