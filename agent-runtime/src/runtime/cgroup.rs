//! Control groups from the daemon's side: how they are mounted, and taking a container's place away.
//!
//! `shoal-spawn` makes and joins them. Everything here stays below `/shoal-<tag>`.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use shoal_run_dir::pid::has_ended;
use shoal_run_dir::request::{Cgroup, Hierarchy};
use tokio::time::Instant;

use super::facts::{CgroupHierarchy, CgroupLayout, CgroupVersion};
use super::process::Process;

/// Processes that were sent SIGKILL end within milliseconds, unless a disk or a network file system holds them.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// The kernel frees an emptied cgroup a little after its last process.
const REMOVE_LIMIT: Duration = Duration::from_secs(5);
const REMOVE_PAUSE: Duration = Duration::from_millis(2);

/// Containers nest groups a few levels deep at most; the kernel's own limit is the path length.
const MAX_DEPTH: usize = 32;

/// A process that does not end.
#[derive(Debug)]
pub(super) struct Stuck(pub(super) u32);

/// The place of one container.
pub(super) fn place(layout: &CgroupLayout, tag: &str, id: &str) -> Cgroup {
    let hierarchies = layout.hierarchies.iter();
    Cgroup {
        path: format!("/shoal-{tag}/{id}"),
        v2: layout.version == CgroupVersion::V2,
        hierarchies: hierarchies
            .map(|h| Hierarchy {
                mount_point: h.mount_point.clone(),
                controllers: h.controllers.clone(),
            })
            .collect(),
    }
}

/// The file with the count of processes killed for want of memory.
pub(super) fn oom_file(cgroup: &Cgroup) -> Option<PathBuf> {
    let name = if cgroup.v2 {
        "memory.events"
    } else {
        "memory.oom_control"
    };
    cgroup.directory("memory").map(|directory| directory.join(name))
}

/// The containers that have a place in any hierarchy.
pub(super) fn known(layout: &CgroupLayout, tag: &str) -> BTreeSet<String> {
    let parents = layout
        .hierarchies
        .iter()
        .map(|h| h.mount_point.join(format!("shoal-{tag}")));
    let entries = parents
        .filter_map(|parent| fs::read_dir(parent).ok())
        .flatten()
        .flatten();
    let groups = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    groups
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// Kills everything in a container's place, and waits for its end.
pub(super) async fn kill_all(cgroup: &Cgroup) -> Result<(), Stuck> {
    let until = Instant::now() + KILL_LIMIT;
    loop {
        let members = members(cgroup);
        let Some(first) = members.first().copied() else {
            return Ok(());
        };
        if Instant::now() >= until {
            return Err(Stuck(first));
        }
        let mut processes = Vec::new();
        for pid in members {
            if let Ok(Some(process)) = Process::of_pid(pid) {
                // Refused only for processes that are gone.
                let _gone = process.signal(libc::SIGKILL);
                processes.push(process);
            }
        }
        for process in processes {
            process
                .ended_within(until.saturating_duration_since(Instant::now()))
                .await;
        }
        // A zombie that its parent has not reaped is still listed.
        tokio::time::sleep(REMOVE_PAUSE).await;
    }
}

/// Removes a container's place from every hierarchy, and the parent when it was the last.
pub(super) async fn remove(cgroup: &Cgroup) -> io::Result<()> {
    let until = Instant::now() + REMOVE_LIMIT;
    for directory in cgroup.directories() {
        loop {
            match remove_tree(&directory, MAX_DEPTH) {
                Ok(()) => break,
                Err(error) if Instant::now() >= until => return Err(error),
                Err(_busy) => tokio::time::sleep(REMOVE_PAUSE).await,
            }
        }
        if let Some(parent) = directory.parent() {
            // Others are still in it.
            let _not_empty = fs::remove_dir(parent);
        }
    }
    Ok(())
}

fn members(cgroup: &Cgroup) -> Vec<u32> {
    let mut pids = BTreeSet::new();
    for directory in cgroup.directories() {
        collect(&directory, &mut pids, MAX_DEPTH);
    }
    pids.into_iter().filter(|pid| !has_ended(*pid)).collect()
}

fn collect(directory: &Path, pids: &mut BTreeSet<u32>, depth: usize) {
    let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    pids.extend(
        text.lines()
            .filter_map(|line| line.parse::<u32>().ok())
            .filter(|pid| *pid != 0),
    );
    if depth > 0 {
        for child in children(directory) {
            collect(&child, pids, depth - 1);
        }
    }
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

fn remove_tree(directory: &Path, depth: usize) -> io::Result<()> {
    if depth > 0 {
        for child in children(directory) {
            remove_tree(&child, depth - 1)?;
        }
    }
    match fs::remove_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Reads how control groups are mounted from `/proc/self/mountinfo`.
pub(super) fn probe(mountinfo: &str, v2_controllers: impl Fn(&Path) -> Vec<String>) -> Option<CgroupLayout> {
    const ROOT: &str = "/sys/fs/cgroup";
    let mut v1: Vec<CgroupHierarchy> = Vec::new();
    let mut v2 = None;
    for line in mountinfo.lines() {
        let Some((before, after)) = line.split_once(" - ") else {
            continue;
        };
        let mount_point = PathBuf::from(before.split(' ').nth(4).unwrap_or_default());
        let mut fields = after.split(' ');
        let (kind, options) = (
            fields.next().unwrap_or_default(),
            fields.nth(1).unwrap_or_default(),
        );
        if !mount_point.starts_with(ROOT) || v1.iter().any(|known| known.mount_point == mount_point) {
            continue;
        }
        match kind {
            "cgroup2" => v2 = Some(mount_point),
            "cgroup" => v1.push(CgroupHierarchy {
                mount_point,
                controllers: v1_controllers(options),
            }),
            _ => {}
        }
    }
    let has_v1 = v1.iter().any(|h| h.controllers.iter().any(|c| !c.contains('=')));
    match (has_v1, v2) {
        (true, v2) => {
            let version = if v2.is_some() {
                CgroupVersion::Hybrid
            } else {
                CgroupVersion::V1
            };
            Some(CgroupLayout {
                version,
                hierarchies: v1,
            })
        }
        (false, Some(mount_point)) => {
            let mut controllers = v2_controllers(&mount_point);
            // Not a controller on v2 but a BPF program, which is always to be had.
            controllers.push("devices".to_owned());
            Some(CgroupLayout {
                version: CgroupVersion::V2,
                hierarchies: vec![CgroupHierarchy {
                    mount_point,
                    controllers,
                }],
            })
        }
        (false, None) => None,
    }
}

/// The options of the superblock name the controllers, among others.
fn v1_controllers(options: &str) -> Vec<String> {
    const OTHERS: [&str; 7] = [
        "rw",
        "ro",
        "xattr",
        "noprefix",
        "clone_children",
        "cpuset_v2_mode",
        "favordynmods",
    ];
    let named = options.split(',').filter(|o| !OTHERS.contains(o));
    named
        .filter(|o| !o.contains('=') || o.starts_with("name="))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::probe;
    use crate::runtime::facts::CgroupVersion;

    #[test]
    fn layouts_are_told_apart() {
        let v1 = "1 0 0:1 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct\n\
                  2 0 0:2 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n";
        let unified = "3 0 0:3 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let v2 = "4 0 0:3 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let check = |text: &str, version: CgroupVersion, controllers: &[&str]| {
            let layout = probe(text, |_| vec!["memory".to_owned()]).unwrap();
            let all: Vec<&str> = layout
                .hierarchies
                .iter()
                .flat_map(|h| &h.controllers)
                .map(String::as_str)
                .collect();
            assert_eq!((layout.version, all.as_slice()), (version, controllers), "{text}");
        };
        check(v1, CgroupVersion::V1, &["cpu", "cpuacct", "name=systemd"]);
        check(
            &format!("{v1}{unified}"),
            CgroupVersion::Hybrid,
            &["cpu", "cpuacct", "name=systemd"],
        );
        check(v2, CgroupVersion::V2, &["memory", "devices"]);
        assert!(probe("5 0 0:5 / /proc rw - proc proc rw\n", |_| Vec::new()).is_none());
    }
}
