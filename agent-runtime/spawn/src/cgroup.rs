//! A container's place in the control groups: made, limited and joined before `libcontainer` runs.
//!
//! `libcontainer` would join by `cgroup.procs`, which waits for an RCU grace period (7–11 ms on an idle host). A
//! process that writes `0` to v1's `tasks`, or that is cloned into a v2 cgroup, does not. So the place is made here,
//! limits are set, and the hierarchy is then hidden from `libcontainer`, in our own mount
//! namespace.

mod v1;

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use libcgroups::common::{CgroupConfig, CgroupManager, ControllerOpt, create_cgroup_manager};
use oci_spec::runtime::LinuxResources;
use rustix::fs::{CWD, Mode, OFlags, openat};
use shoal_run_dir::request::{Cgroup, Hierarchy};

use crate::devices;
use crate::failure::{Doing, Failure};
use crate::sys;

/// Limits that would slow down or stop the creation itself; set when it is done.
#[derive(Debug)]
pub(crate) struct LateLimits {
    files: Vec<(OwnedFd, &'static str, String)>,
}

/// A removal of the last other container takes the parent with it, perhaps between our two steps; only another
/// removal could do it again.
const MAKE_ATTEMPTS: usize = 10;

/// Makes the container's directory in every hierarchy. They must not exist: a leftover belongs to somebody.
pub(crate) fn make(cgroup: &Cgroup) -> Result<(), Failure> {
    check_path(&cgroup.path)?;
    for hierarchy in &cgroup.hierarchies {
        let place = directory(hierarchy, &cgroup.path);
        let parent = place.parent().unwrap_or(&hierarchy.mount_point);
        let mut made = make_one(cgroup, hierarchy, parent, &place);
        for _attempt in 1..MAKE_ATTEMPTS {
            if made.is_ok() || place.exists() {
                break;
            }
            made = make_one(cgroup, hierarchy, parent, &place);
        }
        made?;
    }
    Ok(())
}

fn make_one(cgroup: &Cgroup, hierarchy: &Hierarchy, parent: &Path, place: &Path) -> Result<(), Failure> {
    fs::create_dir_all(parent).doing(format_args!("making cgroup {}", parent.display()))?;
    if cgroup.v2 {
        enable_controllers(&hierarchy.mount_point, &hierarchy.mount_point);
        enable_controllers(&hierarchy.mount_point, parent);
    }
    inherit_cpuset(hierarchy, parent)?;
    fs::create_dir(place).doing(format_args!("making cgroup {}", place.display()))?;
    inherit_cpuset(hierarchy, place)
}

/// Applies limits, except the ones that would hinder the creation, which are returned.
pub(crate) fn limit(cgroup: &Cgroup, mut resources: LinuxResources) -> Result<LateLimits, Failure> {
    let late = late_limits(cgroup, &mut resources)?;
    if cgroup.v2 {
        let place = cgroup.directories().next().unwrap_or_default();
        let rules = resources.devices().as_deref().unwrap_or_default();
        let program = devices::compile(&devices::with_always(rules))?;
        let directory = open_directory(&place)?;
        sys::attach_device_program(directory.as_fd(), &program)
            .doing("attaching the device filter (a container without one could open every device)")?;
        resources.set_devices(None);
    } else if v1::covers(&resources) {
        v1::apply(cgroup, &resources)?;
        return Ok(late);
    }
    let config = CgroupConfig {
        cgroup_path: PathBuf::from(&cgroup.path),
        systemd_cgroup: false,
        container_name: String::new(),
    };
    let manager = create_cgroup_manager(config).doing("opening the control groups")?;
    let options = ControllerOpt {
        resources: &resources,
        disable_oom_killer: false,
        oom_score_adj: None,
        freezer_state: None,
    };
    manager.apply(&options).doing("applying the container's limits")?;
    Ok(late)
}

/// Joins every v1 hierarchy. On v2 one has to be cloned into the cgroup: see [`enter_v2`].
pub(crate) fn join_v1(cgroup: &Cgroup) -> Result<(), Failure> {
    for place in cgroup.directories() {
        fs::write(place.join("tasks"), "0").doing(format_args!("joining cgroup {}", place.display()))?;
    }
    Ok(())
}

/// The v2 directory to be cloned into.
pub(crate) fn enter_v2(cgroup: &Cgroup) -> Result<Option<OwnedFd>, Failure> {
    match cgroup.directories().next() {
        Some(place) if cgroup.v2 => open_directory(&place).map(Some),
        _ => Ok(None),
    }
}

impl LateLimits {
    /// Sets them.
    pub(crate) fn apply(&self) -> Result<(), Failure> {
        for (directory, name, value) in &self.files {
            let file = openat(directory, *name, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
            let written = file.and_then(|file| rustix::io::write(file, value.as_bytes()));
            written.doing(format_args!("setting {name} to {value}"))?;
        }
        Ok(())
    }
}

fn late_limits(cgroup: &Cgroup, resources: &mut LinuxResources) -> Result<LateLimits, Failure> {
    let mut files = Vec::new();
    let mut add = |controller: &str, name: &'static str, value: String| {
        let place = cgroup.directory(controller).ok_or_else(|| missing(controller))?;
        files.push((open_directory(&place)?, name, value));
        Ok::<(), Failure>(())
    };
    if let Some(pids) = resources.pids().as_ref().filter(|pids| pids.limit() > 0) {
        add("pids", "pids.max", pids.limit().to_string())?;
    }
    resources.set_pids(None);
    if let Some(cpu) = resources.cpu_mut() {
        let period = cpu.period().filter(|period| *period > 0);
        match (cpu.quota().filter(|quota| *quota > 0), period) {
            (Some(quota), period) if cgroup.v2 => {
                add("cpu", "cpu.max", format!("{quota} {}", period.unwrap_or(100_000)))?;
            }
            (quota, period) if !cgroup.v2 => {
                if let Some(period) = period {
                    add("cpu", "cpu.cfs_period_us", period.to_string())?;
                }
                if let Some(quota) = quota {
                    add("cpu", "cpu.cfs_quota_us", quota.to_string())?;
                }
            }
            _ => {}
        }
        cpu.set_quota(None);
        cpu.set_period(None);
    }
    Ok(LateLimits { files })
}

fn missing(controller: &str) -> Failure {
    Failure::runtime(format_args!(
        "a limit needs the {controller} cgroup controller, which this host does not have: enable it in the kernel's \
         command line or take the limit away"
    ))
}

/// `/shoal-<tag>/<id>` and nothing else: whoever removes it kills everything that is in it.
fn check_path(path: &str) -> Result<(), Failure> {
    let mut parts = path.split('/');
    let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    let ours = parts.next() == Some("")
        && parts
            .next()
            .is_some_and(|part| part.starts_with("shoal-") && part.len() > "shoal-".len())
        && parts.next().is_some_and(plain)
        && parts.next().is_none();
    if ours {
        Ok(())
    } else {
        Err(Failure::runtime(format_args!("{path:?} is not a cgroup of ours")))
    }
}

fn directory(hierarchy: &Hierarchy, path: &str) -> PathBuf {
    hierarchy.mount_point.join(path.trim_start_matches('/'))
}

fn open_directory(path: &Path) -> Result<OwnedFd, Failure> {
    openat(
        CWD,
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .doing(format_args!("opening cgroup {}", path.display()))
}

/// A controller that cannot be enabled shows where a limit needs it.
fn enable_controllers(root: &Path, directory: &Path) {
    let available = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
    for controller in available.split_ascii_whitespace() {
        let _shows_later = fs::write(directory.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

/// A new v1 cpuset is empty, and nobody can join it before it has cpus and memory nodes.
fn inherit_cpuset(hierarchy: &Hierarchy, directory: &Path) -> Result<(), Failure> {
    if !hierarchy.controllers.iter().any(|c| c == "cpuset") || directory.join("cgroup.controllers").exists() {
        return Ok(());
    }
    let parent = directory.parent().unwrap_or(&hierarchy.mount_point);
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let own = fs::read_to_string(directory.join(name)).unwrap_or_default();
        if own.trim().is_empty() {
            let inherited =
                fs::read_to_string(parent.join(name)).doing(format_args!("reading {name} of the parent"))?;
            fs::write(directory.join(name), inherited.trim()).doing(format_args!("setting {name}"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check_path;

    #[test]
    fn only_our_own_places_are_taken() {
        assert!(check_path("/shoal-01234567/abc").is_ok());
        for bad in [
            "",
            "/",
            "/shoal-1",
            "/shoal-/x",
            "shoal-1/x",
            "/shoal-1/..",
            "/shoal-1/x/y",
            "/docker/x",
            "/shoal-1/",
        ] {
            assert!(check_path(bad).is_err(), "{bad}");
        }
    }
}
