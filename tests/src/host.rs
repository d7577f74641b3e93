//! A host of its own on this machine: network, mount and UTS namespace, own /run and state.
//!
//! Several stand side by side. Entered with nsenter, which leaves /sys and its cgroups as they are.
//! `finish` ends the daemon and demands that nothing is left; a host that is dropped without it (a
//! failed test) clears up by force.

use crate::{
    leftovers::Leftovers,
    service::{is_running, json_lines},
    until,
};
use anyhow::{Context, Result, bail, ensure};
use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

/// Generous: two cores carry several hosts at a time.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Where the programs are.
pub fn dist() -> PathBuf {
    std::env::var_os("SHOAL_DIST").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/dist"),
        PathBuf::from,
    )
}

/// What a test may want otherwise.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// The folder under `SHOAL_DIST`.
    pub kind: &'static str,
    /// Whether the daemon makes a cluster by itself.
    pub dev: bool,
    /// Further arguments of `shoald`.
    pub daemon_args: Vec<String>,
    /// Size of a disk of its own for the state (`64m`); absent: the machine's.
    pub disk: Option<&'static str>,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            kind: "dev",
            dev: true,
            daemon_args: Vec::new(),
            disk: None,
        }
    }
}

#[derive(Debug)]
pub struct Host {
    name: String,
    folder: tempfile::TempDir,
    /// Holds the namespaces open.
    pub(crate) keeper: Child,
    pub(crate) daemon: Option<Child>,
    options: HostOptions,
    /// The folder of the programs.
    programs: PathBuf,
    finished: bool,
}

impl Host {
    /// A host with a running one-node cluster.
    pub fn with_cluster(name: &str) -> Result<Self> {
        let mut host = Self::new(name, HostOptions::default())?;
        host.start_daemon()?;
        Ok(host)
    }

    /// A bare host.
    pub fn new(name: &str, options: HostOptions) -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            bail!("host tests make namespaces and mounts: run them as root");
        }
        let folder = tempfile::Builder::new()
            .prefix("shoal-test-")
            .tempdir_in("/var/tmp")?;
        // The last word is this host's mark on its keeper, for whoever reads a process list.
        let script = "hostname \"$1\" && ip link set lo up && mount -t tmpfs tmpfs /run && echo up && exec sleep infinity";
        let mut keeper = Command::new("unshare")
            .args([
                "--net",
                "--mount",
                "--uts",
                "--propagation",
                "private",
                "sh",
                "-c",
                script,
                "sh",
                name,
            ])
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start unshare")?;
        let mut line = String::new();
        let stdout = keeper.stdout.take().context("no output")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let host = Self {
            name: name.to_owned(),
            folder,
            keeper,
            daemon: None,
            programs: dist().join(options.kind),
            options,
            finished: false,
        };
        if line.trim() != "up" {
            bail!("host {name} did not come up: {line:?}");
        }
        fs::create_dir(host.disk())?;
        if let Some(size) = host.options.disk {
            let mut mount = host.command("mount");
            mount
                .args(["-t", "tmpfs", "-o"])
                .arg(format!("size={size}"))
                .arg("disk")
                .arg(host.disk());
            let status = mount.status()?;
            ensure!(status.success(), "mount: {status}");
        }
        Ok(host)
    }

    /// Where the state is; a mount of its own if the test asked for one.
    fn disk(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    /// Fills the state's own disk to the last byte; `free_disk` takes it back.
    pub fn fill_disk(&self) -> Result<()> {
        ensure!(self.options.disk.is_some(), "only a disk of its own is filled");
        let mut fill = self.command("dd");
        fill.args(["if=/dev/zero", "bs=64k", "status=none"])
            .arg(format!("of={}", self.filler()));
        // It ends with an error when nothing is left, which is the point.
        fill.stderr(Stdio::null()).status()?;
        Ok(())
    }

    pub fn free_disk(&self) -> Result<()> {
        let status = self.command("rm").arg(self.filler()).status()?;
        ensure!(status.success(), "rm: {status}");
        Ok(())
    }

    fn filler(&self) -> String {
        self.disk().join("filler").display().to_string()
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn state_dir(&self) -> PathBuf {
        self.disk().join("state")
    }

    /// On the host's own /run.
    pub fn run_dir(&self) -> PathBuf {
        PathBuf::from("/run/shoal")
    }

    /// A path of the host as the test itself reaches it.
    pub fn outside(&self, path: &Path) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.keeper.id()));
        root.join(path.strip_prefix("/").unwrap_or(path))
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// Puts the programs into another folder, as an upgrade does, and uses those from now on; gives the folder.
    pub fn install_anew(&mut self) -> Result<PathBuf> {
        let folder = self.folder.path().join("installed");
        self.run(
            "cp",
            &format!("-a {} {}", self.programs.display(), folder.display()),
        )?;
        self.programs.clone_from(&folder);
        Ok(folder)
    }

    /// A command that will run in the host.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args([
            "--target",
            &self.keeper.id().to_string(),
            "--net",
            "--mount",
            "--uts",
            "--",
        ]);
        command.arg(program);
        command.env(
            "SHOAL_HOST",
            format!("unix://{}/shoal.sock", self.run_dir().display()),
        );
        command
    }

    /// `shoal` with these words, ready to run.
    pub fn shoal_command(&self, words: &[&str]) -> Command {
        let mut command = self.command(self.program("shoal"));
        command.args(words).stdin(Stdio::null());
        command
    }

    /// Runs `shoal` and gives what it did.
    pub fn shoal_output(&self, words: &[&str]) -> Result<Output> {
        self.shoal_command(words)
            .output()
            .with_context(|| format!("cannot run shoal {words:?}"))
    }

    /// Runs `shoal`, which must succeed, and gives its standard output.
    pub fn shoal(&self, words: &[&str]) -> Result<String> {
        let output = self.shoal_output(words)?;
        if !output.status.success() {
            bail!(
                "shoal {}: {}\n{}{}",
                words.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Runs `shoal`, which must fail with this code, and gives its standard error.
    pub fn shoal_fails(&self, code: i32, words: &[&str]) -> Result<String> {
        let output = self.shoal_output(words)?;
        let stderr = String::from_utf8(output.stderr)?;
        if output.status.code() != Some(code) {
            bail!(
                "shoal {}: expected exit code {code}, found {}\n{stderr}",
                words.join(" "),
                output.status
            );
        }
        Ok(stderr)
    }

    /// Starts `shoald` and waits until it serves.
    pub fn start_daemon(&mut self) -> Result<()> {
        self.spawn_daemon()?;
        until("the daemon to serve", PATIENCE, || {
            self.shoal(&["node", "ls"]).map(|_| ())
        })
        .with_context(|| self.daemon_log())
    }

    /// Starts `shoald` and returns at once.
    pub fn spawn_daemon(&mut self) -> Result<()> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("shoald.log"))?;
        let mut command = self.command(self.program("shoald"));
        if self.options.dev {
            command.arg("--dev");
        }
        command
            .arg("--state-dir")
            .arg(self.state_dir())
            .arg("--run-dir")
            .arg(self.run_dir());
        command
            .args(&self.options.daemon_args)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        self.daemon = Some(command.spawn().context("cannot start shoald")?);
        Ok(())
    }

    pub fn daemon_log(&self) -> String {
        fs::read_to_string(self.folder.path().join("shoald.log")).unwrap_or_default()
    }

    pub fn daemon_pid(&self) -> Result<u32> {
        self.daemon
            .as_ref()
            .map(Child::id)
            .context("the daemon is not running")
    }

    /// Ends the daemon without a chance to clean up; its shims and containers go on.
    pub fn kill_daemon(&mut self) -> Result<()> {
        let mut daemon = self.daemon.take().context("the daemon is not running")?;
        daemon.kill()?;
        daemon.wait()?;
        Ok(())
    }

    /// Imports busybox under this reference.
    pub fn import_busybox(&self, reference: &str) -> Result<()> {
        let path = self.folder.path().join("busybox.tar");
        fs::write(&path, crate::busybox_root()?)?;
        self.shoal(&["image", "import", &path.display().to_string(), reference])?;
        Ok(())
    }

    /// Waits until every given service has exactly this many running tasks.
    pub fn wait_running(&self, service: &str, count: usize) -> Result<Vec<serde_json::Value>> {
        until(&format!("{count} running tasks of {service}"), PATIENCE, || {
            let tasks = self.tasks(service)?;
            let running: Vec<_> = tasks.iter().filter(|task| is_running(task)).cloned().collect();
            if running.len() == count {
                Ok(running)
            } else {
                bail!("{tasks:#?}")
            }
        })
        .with_context(|| self.daemon_log())
    }

    /// The rows of `service ps`, history included.
    pub fn tasks(&self, service: &str) -> Result<Vec<serde_json::Value>> {
        json_lines(&self.shoal(&["service", "ps", "--no-trunc", "--format", "json", service])?)
    }

    /// Ends the cluster and demands that it left nothing but its data.
    pub fn finish(mut self) -> Result<()> {
        let stopped = self.shoal(&[
            "dev",
            "down",
            "--state-dir",
            &self.state_dir().display().to_string(),
            "--run-dir",
            &self.run_dir().display().to_string(),
        ]);
        if let Some(mut daemon) = self.daemon.take() {
            until("the daemon to end", PATIENCE, || {
                daemon.try_wait()?.context("it runs on")
            })
            .map(drop)?;
        }
        stopped.with_context(|| self.daemon_log())?;
        self.expect_nothing_left()?;
        self.finished = true;
        Ok(())
    }

    /// Ends a host on which no cluster was ever started.
    pub fn finish_bare(mut self) -> Result<()> {
        self.expect_nothing_left()?;
        self.finished = true;
        Ok(())
    }

    fn expect_nothing_left(&mut self) -> Result<()> {
        let keeper = self.keeper.id();
        let state = self.state_dir();
        until("nothing to be left behind", Duration::from_secs(5), || {
            let left = Leftovers::look(&state, keeper)?;
            if left.is_empty() {
                Ok(())
            } else {
                bail!("left behind: {left}")
            }
        })
        .with_context(|| self.daemon_log())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            drop(daemon.kill());
            drop(daemon.wait());
        }
        if !self.finished {
            Leftovers::clear(&self.state_dir(), self.keeper.id());
        }
        drop(self.keeper.kill());
        drop(self.keeper.wait());
    }
}
