//! What a host's test asks about its network: services with a page, their tasks' namespaces, the host's own settings.
//!
//! The page of a task is its host name, so that an answer says who gave it.

use crate::{Host, Netns, json_lines, text};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::{collections::BTreeSet, fs, path::Path};

/// Serves its host name on port 80; asked to end it lets requests under way come to theirs.
pub const WEB: [&str; 3] = [
    "sh",
    "-c",
    "mkdir -p /www && hostname > /www/index.html && httpd -f -p 80 -h /www & trap 'sleep 0.3; exit 0' TERM; wait",
];

/// Says back on port 7 what it hears, connection by connection.
pub const ECHO: [&str; 6] = ["nc", "-ll", "-p", "7", "-e", "cat"];

impl Host {
    /// Runs a program in the host, which must succeed.
    pub fn run(&self, program: &str, words: &str) -> Result<String> {
        let output = self.command(program).args(words.split_whitespace()).output()?;
        ensure!(
            output.status.success(),
            "{program} {words}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The host's own network namespace.
    pub fn net(&self) -> Result<Netns> {
        Netns::of(&self.keeper.id().to_string())
    }

    /// That of a task's container.
    pub fn task_net(&self, task: &str) -> Result<Netns> {
        Netns::of(&self.task_pid(task)?)
    }

    /// The ids of a service's running tasks, by slot.
    pub fn running(&self, service: &str, count: usize) -> Result<Vec<String>> {
        let mut rows = self.wait_running(service, count)?;
        rows.sort_by_key(|row| text(row, "Name"));
        Ok(rows.iter().map(|row| text(row, "ID")).collect())
    }

    /// A service on networks whose tasks are `WEB`, converged.
    pub fn create_web(&self, name: &str, flags: &[&str]) -> Result<()> {
        let flags: Vec<_> = ["--stop-signal", "TERM"]
            .into_iter()
            .chain(flags.iter().copied())
            .collect();
        self.create(name, &flags, &WEB)
    }

    /// What `inspect` says of a thing, as one value.
    pub fn inspect(&self, kind: &str, name: &str) -> Result<Value> {
        let value: Value = serde_json::from_str(&self.shoal(&[kind, "inspect", name])?)?;
        let first = value.as_array().and_then(|all| all.first());
        first.cloned().with_context(|| format!("{value:#}"))
    }

    /// A task's page, so that an answer can be told to be its.
    pub fn page_of(&self, task: &str) -> Result<String> {
        Ok(self.shoal(&["exec", task, "hostname"])?.trim_end().to_owned())
    }

    /// Who answers when an address is asked so many times.
    pub fn pages(from: &Netns, address: &str, times: usize) -> Result<BTreeSet<String>> {
        (0..times).map(|_| from.get(address)).collect()
    }

    /// An `/etc` of the host's own, whose files a test may change.
    pub fn own_etc(&self) -> Result<()> {
        let etc = self.folder().join("etc");
        self.run("cp", &format!("-a /etc {}", etc.display()))?;
        self.run("mount", &format!("--bind {} /etc", etc.display()))
            .map(drop)
    }

    /// The host's resolvers, put in their place as their tools do: by a rename.
    pub fn set_resolvers(&self, resolvers: &str) -> Result<()> {
        let etc = self.folder().join("etc");
        // The machine's own may be a link to elsewhere.
        fs::write(etc.join("resolv.conf.new"), resolvers)?;
        fs::rename(etc.join("resolv.conf.new"), etc.join("resolv.conf"))?;
        Ok(())
    }

    /// The namespace of the node's router.
    pub fn router(&self) -> Result<Netns> {
        let net = self.outside(&self.run_dir().join("net"));
        Netns::mounted(&net.join("router"))
    }

    /// The one process of the host that runs a program of this name.
    pub fn only_process(&self, name: &str) -> Result<u32> {
        match self.processes(name)?.as_slice() {
            [one] => Ok(*one),
            found => bail!("{} processes {name}: {found:?}", found.len()),
        }
    }

    /// Every process of the host that runs a program of this name.
    pub fn processes(&self, name: &str) -> Result<Vec<u32>> {
        let ours = fs::read_link(format!("/proc/{}/ns/mnt", self.keeper.id()))?;
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")?.flatten() {
            let (path, pid) = (entry.path(), entry.file_name().to_string_lossy().parse::<u32>());
            // A process may end while it is looked at.
            let comm = fs::read_to_string(path.join("comm")).unwrap_or_default();
            let there = fs::read_link(path.join("ns/mnt")).is_ok_and(|mount| mount == ours);
            found.extend(pid.ok().filter(|_| there && comm.trim_end() == name));
        }
        Ok(found)
    }

    /// Links of the host's namespace.
    pub fn links(&self) -> Result<BTreeSet<String>> {
        links_of(self.keeper.id())
    }

    /// The containers of `shoal ps`.
    pub fn containers(&self) -> Result<Vec<Value>> {
        json_lines(&self.shoal(&["ps", "--no-trunc", "--format", "json"])?)
    }
}

/// The links of a process's network namespace.
pub(crate) fn links_of(pid: u32) -> Result<BTreeSet<String>> {
    let path = format!("/proc/{pid}/net/dev");
    let text = fs::read_to_string(Path::new(&path)).context(path)?;
    Ok(text
        .lines()
        .filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()))
        .collect())
}
