//! What a host could leave on the machine, found by its tag and by its namespaces.
//!
//! `look` is the check after a test that passed; `clear` ends what a failed one left, so that the next
//! test and the next run start clean.

use crate::network::links_of;
use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Where the tagged cgroups of the product are, below each hierarchy's root.
const CGROUP_ROOT: &str = "/sys/fs/cgroup";

#[derive(Debug, Default)]
pub struct Leftovers {
    processes: Vec<(u32, String)>,
    cgroups: Vec<PathBuf>,
    mounts: Vec<String>,
    /// Links, tables and routes of the host's namespace.
    network: Vec<String>,
}

/// What the product's links, tables and rules have in their names.
const MARK: &str = "shoal";

impl Leftovers {
    /// Everything that carries the data directory's tag or lives in the keeper's namespaces.
    pub fn look(state_dir: &Path, keeper: u32) -> Result<Self> {
        let tag = tag_of(state_dir);
        let mut found = Self {
            processes: processes(keeper)?,
            ..Self::default()
        };
        find_cgroups(
            Path::new(CGROUP_ROOT),
            &format!("shoal-{tag}"),
            3,
            &mut found.cgroups,
        );
        let state = state_dir.display().to_string();
        for table in [
            "/proc/self/mountinfo".to_owned(),
            format!("/proc/{keeper}/mountinfo"),
        ] {
            let text = fs::read_to_string(&table).with_context(|| table.clone())?;
            found.mounts.extend(
                text.lines()
                    .filter(|line| line.contains(&state) || line.contains("/run/shoal"))
                    .map(str::to_owned),
            );
        }
        found.network = network(keeper)?;
        Ok(found)
    }

    pub fn is_empty(&self) -> bool {
        self.processes.is_empty()
            && self.cgroups.is_empty()
            && self.mounts.is_empty()
            && self.network.is_empty()
    }

    /// Ends and removes what is there, as far as that goes.
    pub fn clear(state_dir: &Path, keeper: u32) {
        let Ok(found) = Self::look(state_dir, keeper) else {
            return;
        };
        for (pid, _) in &found.processes {
            if let Some(pid) = i32::try_from(*pid).ok().and_then(rustix::process::Pid::from_raw) {
                end(pid);
            }
        }
        // Containers have mount namespaces of their own: they are found by their cgroup.
        for cgroup in &found.cgroups {
            clear_cgroup(cgroup);
        }
    }
}

/// A process that is already gone is what was wanted.
fn end(pid: rustix::process::Pid) {
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap_or_default();
}

fn clear_cgroup(cgroup: &Path) {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            clear_cgroup(&entry.path());
        }
    }
    let pids = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    for pid in pids
        .lines()
        .filter_map(|line| line.parse().ok())
        .filter_map(rustix::process::Pid::from_raw)
    {
        end(pid);
    }
    drop(fs::remove_dir(cgroup));
}

/// The product's tag of a data directory: the first eight hex digits of the SHA-256 of its real path.
fn tag_of(state_dir: &Path) -> String {
    let digest = Sha256::digest(state_dir.as_os_str().as_encoded_bytes());
    hex::encode(&digest[..4])
}

/// Every process in the keeper's mount or network namespace, but the keeper.
fn processes(keeper: u32) -> Result<Vec<(u32, String)>> {
    let space = |pid: u32, kind: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok();
    let (mount, network) = (space(keeper, "mnt"), space(keeper, "net"));
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        let inside = [(&mount, "mnt"), (&network, "net")]
            .into_iter()
            .any(|(ours, kind)| ours.is_some() && space(pid, kind) == *ours);
        if inside && pid != keeper {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            found.push((pid, String::from_utf8_lossy(&line).replace('\0', " ")));
        }
    }
    Ok(found)
}

/// What bears the product's name in the keeper's network namespace.
fn network(keeper: u32) -> Result<Vec<String>> {
    let links = links_of(keeper)?.into_iter().map(|name| format!("link {name}"));
    let mut found: Vec<_> = links.filter(|link| link.contains(MARK)).collect();
    for words in [
        "nft list ruleset",
        "ip -4 rule",
        "ip -6 rule",
        "ip -4 route show table all",
        "ip -6 route show table all",
    ] {
        let mut command = Command::new("nsenter");
        command.args(["--target", &keeper.to_string(), "--net", "--"]);
        let output = command
            .args(words.split(' '))
            .output()
            .context("cannot run nsenter")?;
        ensure!(
            output.status.success(),
            "{words}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8(output.stdout)?;
        let ours = text.lines().filter(|line| line.contains(MARK));
        found.extend(ours.map(|line| format!("{words}: {}", line.trim())));
    }
    Ok(found)
}

fn find_cgroups(folder: &Path, name: &str, depth: usize, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with(name) {
            found.push(path);
        } else if depth > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            find_cgroups(&path, name, depth - 1, found);
        }
    }
}

impl fmt::Display for Leftovers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "processes {:?}", self.processes)?;
        writeln!(f, "cgroups {:?}", self.cgroups)?;
        writeln!(f, "mounts {:?}", self.mounts)?;
        write!(f, "network {:?}", self.network)
    }
}
