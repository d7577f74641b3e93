//! `cargo xtask hosts`: the tests on real hosts, and a look at the machine before and after.
//!
//! A test that passes and leaves a mount, a cgroup, a namespace, a link or a process behind has failed.
//! Each test checks what carries its own tag; this is the check of the whole machine around all of them.

use crate::command::{cargo, run as run_command};
use anyhow::{Context, Result, bail};
use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

/// The kernel takes cgroups, namespaces and links down some time after their last user is gone.
const SETTLE: Duration = Duration::from_secs(10);

/// Folders below this depth of the cgroup trees are never ours directly.
const CGROUP_DEPTH: usize = 6;

pub(crate) fn run() -> Result<()> {
    let before = Machine::look()?;
    let mut tests = cargo(["test", "--package", "shoal-tests"]);
    tests.env("SHOAL_DIST", crate::command::root().join("target/dist"));
    run_command(tests)?;
    let deadline = Instant::now() + SETTLE;
    loop {
        let left = Machine::look()?.beyond(&before);
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("the host tests left something behind:\n{}", left.join("\n"));
        }
        std::thread::yield_now();
    }
}

/// What a machine has that a test could leave behind.
struct Machine {
    things: BTreeSet<String>,
}

impl Machine {
    fn look() -> Result<Self> {
        let mut things = BTreeSet::new();
        mounts(&mut things)?;
        links(&mut things)?;
        processes(&mut things)?;
        folders(Path::new("/sys/fs/cgroup"), CGROUP_DEPTH, &mut things);
        for folder in ["/run", "/run/netns", "/var/lib", "/etc", "/var/tmp"] {
            entries(Path::new(folder), &mut things);
        }
        Ok(Self { things })
    }

    fn beyond(&self, before: &Self) -> Vec<String> {
        self.things.difference(&before.things).cloned().collect()
    }
}

fn mounts(things: &mut BTreeSet<String>) -> Result<()> {
    let text = fs::read_to_string("/proc/self/mountinfo").context("cannot read the mount table")?;
    // Fields 5 and on: mount point, options and file system; the ids before them are not ours to judge.
    things.extend(text.lines().map(|line| {
        let fields: Vec<_> = line.split(' ').skip(4).collect();
        format!("mount {}", fields.join(" "))
    }));
    Ok(())
}

fn links(things: &mut BTreeSet<String>) -> Result<()> {
    for entry in fs::read_dir("/sys/class/net").context("cannot list the network links")? {
        things.insert(format!("link {}", entry?.file_name().to_string_lossy()));
    }
    Ok(())
}

/// Processes by what they run; only ours are of interest, the machine's own come and go.
fn processes(things: &mut BTreeSet<String>) -> Result<()> {
    let output = Command::new("ps")
        .args(["-eo", "pid=,comm=,args="])
        .output()
        .context("cannot run ps")?;
    let ours = [
        "shoald",
        "shoal-shim",
        "shoal-spawn",
        "shoal-net",
        "shoal-net-old",
        "shoal",
        "hello",
        "busybox",
    ];
    things.extend(
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter(|line| {
                line.split_whitespace()
                    .nth(1)
                    .is_some_and(|name| ours.contains(&name))
            })
            .map(|line| format!("process {}", line.trim())),
    );
    Ok(())
}

fn folders(path: &Path, depth: usize, things: &mut BTreeSet<String>) {
    // A cgroup may go while it is being listed: then it is not left behind.
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            things.insert(format!("cgroup {}", entry.path().display()));
            if depth > 0 {
                folders(&entry.path(), depth - 1, things);
            }
        }
    }
}

fn entries(path: &Path, things: &mut BTreeSet<String>) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        things.insert(format!("file {}", entry.path().display()));
    }
}
