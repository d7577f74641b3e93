//! What of a node must be the same before and after: every part of its network, every file of a container.
//!
//! Things are compared by name and content, not by number: one that is left behind for another that is missing is found.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use shoal_tests::{Host, Netns};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
};

/// What is left when every service that comes and goes is gone: what there was before the first.
#[derive(Clone, Debug)]
pub(crate) struct Extent {
    parts: BTreeMap<&'static str, BTreeSet<String>>,
}

impl Extent {
    pub(crate) fn of(host: &Host) -> Result<Self> {
        let (here, router) = (host.net()?, host.router()?);
        let run = host.outside(&host.run_dir());
        let processes = [host.daemon_pid()?, host.only_process("shoal-net")?];
        let parts = [
            ("links", lines(&here, "ip -br link")?),
            ("routes", routes(&here)?),
            ("rules and elements", rules(&here)?),
            ("links of the router", lines(&router, "ip -br link")?),
            ("routes of the router", routes(&router)?),
            ("rules and elements of the router", rules(&router)?),
            ("files of containers", files(&run.join("containers"))?),
            ("files of the network", files(&run.join("net"))?),
            ("namespaces that are held open", namespaces(&processes)?),
        ];
        Ok(Self {
            parts: BTreeMap::from(parts),
        })
    }

    /// Nothing is more, less or other than it was.
    pub(crate) fn is(&self, before: &Self) -> Result<()> {
        for (what, now) in &self.parts {
            let then = &before.parts[what];
            let (more, less): (Vec<_>, Vec<_>) =
                (now.difference(then).collect(), then.difference(now).collect());
            ensure!(
                more.is_empty() && less.is_empty(),
                "{what}: {more:#?} came, {less:#?} went"
            );
        }
        Ok(())
    }
}

fn lines(net: &Netns, words: &str) -> Result<BTreeSet<String>> {
    let (program, words) = words.split_once(' ').context("no words")?;
    Ok(net
        .run(program, words)?
        .lines()
        .map(|line| line.trim().to_owned())
        .collect())
}

fn routes(net: &Netns) -> Result<BTreeSet<String>> {
    let mut found = lines(net, "ip -4 route show table all")?;
    found.extend(lines(net, "ip -6 route show table all")?);
    Ok(found)
}

/// Rules, and what the sets and maps hold.
fn rules(net: &Netns) -> Result<BTreeSet<String>> {
    let listing = net.run("nft", "-j -n list ruleset")?;
    let listing: Value = serde_json::from_str(&listing).with_context(|| format!("rules: {listing:?}"))?;
    let mut found = BTreeSet::new();
    for thing in listing["nftables"].as_array().context("no list")? {
        let place =
            |thing: &Value, name: &str| format!("{} {} {}", thing["family"], thing["table"], thing[name]);
        if let Some(set) = thing.get("map").or(thing.get("set")) {
            let elements = set["elem"].as_array();
            found.extend(
                elements
                    .into_iter()
                    .flatten()
                    .map(|element| format!("{}: {element}", place(set, "name"))),
            );
        }
        if let Some(rule) = thing.get("rule")
            && !is_made_on_demand(rule)
        {
            found.insert(format!("{}: {}", place(rule, "chain"), rule["expr"]));
        }
    }
    Ok(found)
}

/// A chain that draws one of so many backends is there from the first service that has so many.
fn is_made_on_demand(rule: &Value) -> bool {
    let name = rule["chain"].as_str().unwrap_or_default();
    name.strip_prefix(['n', 'p'])
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit()))
}

/// Every file below a folder, by its path.
fn files(folder: &Path) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            // Containers go while they are looked at.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| folder.display().to_string()),
        };
        for entry in entries.flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(path.clone());
            }
            found.insert(path.display().to_string());
        }
    }
    Ok(found)
}

/// The network namespaces that these processes keep open.
fn namespaces(processes: &[u32]) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for pid in processes {
        // Files come and go while they are looked at.
        let files = fs::read_dir(format!("/proc/{pid}/fd"))?.flatten();
        let held = files.filter_map(|file| fs::read_link(file.path()).ok());
        let spaces = held.map(|link| link.display().to_string());
        found.extend(spaces.filter(|link| link.starts_with("net:")));
    }
    Ok(found)
}

/// What `shoald` and `shoal-net` hold of the machine itself.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    files: [usize; 2],
    memory_kb: [u64; 2],
}

impl Load {
    pub(crate) fn of(host: &Host) -> Result<Self> {
        let processes = [host.daemon_pid()?, host.only_process("shoal-net")?];
        let files = |pid| -> Result<usize> { Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count()) };
        Ok(Self {
            files: [files(processes[0])?, files(processes[1])?],
            memory_kb: [memory_kb(processes[0])?, memory_kb(processes[1])?],
        })
    }

    /// No more than this more than before.
    pub(crate) fn is_within(&self, before: &Self, files: usize, memory_kb: [u64; 2]) -> Result<()> {
        for process in 0..2 {
            ensure!(
                self.files[process] <= before.files[process] + files
                    && self.memory_kb[process] <= before.memory_kb[process] + memory_kb[process],
                "{before:?} became {self:?}, {files} files and {memory_kb:?} kB more are allowed"
            );
        }
        Ok(())
    }
}

/// Memory of its own: what it maps of files is the machine's to keep or drop.
fn memory_kb(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss_Anon:"));
    Ok(line
        .context("no Pss_Anon")?
        .trim()
        .trim_end_matches(" kB")
        .parse()?)
}
