//! Two Shoals on one machine, in the same namespaces: neither touches what is the other's, whatever it is told.
//!
//! The second one has its own state and run directory beside the host's; its clean-ups, its crashes and its
//! mistaken directories must cost the first not one process.

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use shoal_tests::{ECHO, Host, Netns, PATIENCE, busybox_root, dist, echo_over, until};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

const CGROUPS: &str = "/sys/fs/cgroup";

/// A second `shoald` in a host's namespaces.
struct Second<'a> {
    host: &'a Host,
    state: PathBuf,
    run: PathBuf,
    daemon: Option<Child>,
}

impl<'a> Second<'a> {
    fn new(host: &'a Host) -> Self {
        Self {
            host,
            state: host.folder().join("second"),
            run: PathBuf::from("/run/second"),
            daemon: None,
        }
    }

    fn shoald(&self, state: &Path, run: &Path) -> Command {
        let mut command = self.host.command(dist().join("dev/shoald"));
        command.arg("--dev").arg("--state-dir").arg(state);
        command.arg("--run-dir").arg(run).stdin(Stdio::null());
        command
    }

    fn shoal(&self, words: &[&str]) -> Result<String> {
        let mut command = self.host.shoal_command(words);
        command.env("SHOAL_HOST", format!("unix://{}/shoal.sock", self.run.display()));
        succeeded(command.output()?).with_context(|| format!("{words:?}"))
    }

    fn start(&mut self) -> Result<()> {
        let log = File::create(self.host.folder().join("second.log"))?;
        let mut command = self.shoald(&self.state, &self.run);
        self.daemon = Some(command.stdout(log.try_clone()?).stderr(log).spawn()?);
        until("the second daemon to serve", PATIENCE, || {
            self.shoal(&["node", "ls"]).map(drop)
        })
    }

    fn kill(&mut self) -> Result<()> {
        let mut daemon = self.daemon.take().context("it does not run")?;
        daemon.kill()?;
        daemon.wait()?;
        Ok(())
    }

    fn down(&mut self, further: &[&str]) -> Result<()> {
        let (state, run) = (self.state.display().to_string(), self.run.display().to_string());
        let mut words = vec!["dev", "down", "--state-dir", &state, "--run-dir", &run];
        words.extend(further);
        self.shoal(&words)?;
        if let Some(mut daemon) = self.daemon.take() {
            daemon.wait()?;
        }
        Ok(())
    }
}

impl Drop for Second<'_> {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            drop(daemon.kill());
            drop(daemon.wait());
        }
        // A failed test: the containers too.
        drop(self.shoald(&self.state, &self.run).arg("down").output());
    }
}

fn succeeded(output: Output) -> Result<String> {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{}: {said}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// Two that say back what they hear, on a network and behind a port.
fn echoes<'a>(name: &'a str, publish: &'a str) -> Vec<&'a str> {
    let mut words = vec![
        "service",
        "create",
        "-q",
        "--name",
        name,
        "--replicas",
        "2",
        "--network",
        "blue",
        "--publish",
        publish,
        "--stop-signal",
        "KILL",
        "--mount",
        "type=volume,source=kept,target=/kept",
        "busybox:1",
    ];
    words.extend(ECHO);
    words
}

/// Every container of the host with its first process and that process's start time.
fn containers(host: &Host) -> Result<BTreeSet<String>> {
    let listed = host.shoal(&["ps", "--no-trunc", "--format", "{{.ID}} {{.Pid}}"])?;
    listed
        .lines()
        .map(|line| {
            let pid = line.split_whitespace().nth(1).context("no pid")?;
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| line.to_owned())?;
            let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
            let started = rest.split_whitespace().nth(19).context("no start time")?;
            Ok(format!("{line} {started}"))
        })
        .collect()
}

/// The cgroups that carry the tag of this state directory.
fn cgroups(state: &Path) -> BTreeSet<PathBuf> {
    let digest = Sha256::digest(state.as_os_str().as_encoded_bytes());
    let name = format!("shoal-{}", hex::encode(&digest[..4]));
    let hierarchies = fs::read_dir(CGROUPS).into_iter().flatten().flatten();
    let roots = hierarchies
        .map(|entry| entry.path())
        .chain([PathBuf::from(CGROUPS)]);
    roots
        .map(|root| root.join(&name))
        .filter(|place| place.exists())
        .flat_map(|place| fs::read_dir(place).into_iter().flatten().flatten())
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// Somebody says back what is said to the published port.
fn answers(host: &Netns, port: u16) -> Result<()> {
    echo_over(&mut host.connect(&format!("127.0.0.1:{port}"))?, "port").with_context(|| port.to_string())
}

/// What must be the same before and after everything that the other one does.
fn whole(host: &Host) -> Result<(BTreeSet<String>, BTreeSet<PathBuf>)> {
    let (containers, cgroups) = (containers(host)?, cgroups(&host.state_dir()));
    ensure!(containers.len() == 2, "{containers:?}");
    ensure!(!cgroups.is_empty(), "no cgroups of the first");
    answers(&host.net()?, 7001)?;
    let pids = containers.iter().filter_map(|line| line.split(' ').nth(1));
    for pid in pids {
        let net = Netns::of(pid)?;
        let found = net.lookup("tasks.a")?;
        ensure!(
            found.len() == 4 && net.addresses()?.iter().all(|own| found.contains(own)),
            "{found:?}"
        );
        for vip in net.lookup("a")? {
            echo_over(&mut net.connect(&SocketAddr::new(vip, 7).to_string())?, "VIP")?;
        }
    }
    Ok((containers, cgroups))
}

#[test]
fn neither_touches_what_is_the_others() -> Result<()> {
    let host = Host::with_cluster("side-by-side")?;
    host.import_busybox("busybox:1")?;
    host.shoal(&["network", "create", "blue"])?;
    host.shoal(&echoes("a", "7001:7"))?;
    until("its port", PATIENCE, || answers(&host.net()?, 7001))?;
    let before = whole(&host)?;
    let unharmed = |what: &str| -> Result<()> {
        let now = whole(&host).with_context(|| what.to_owned())?;
        ensure!(now == before, "{what}: {before:?} became {now:?}");
        Ok(())
    };

    let mut second = Second::new(&host);
    second.start()?;
    let archive = host.folder().join("second.tar");
    fs::write(&archive, busybox_root()?)?;
    // The same names as the first has: images, volumes and services are each one's own.
    second.shoal(&["image", "import", &archive.display().to_string(), "busybox:1"])?;
    second.shoal(&["network", "create", "blue"])?;
    second.shoal(&echoes("a", "7002:7"))?;
    until("the second's port", PATIENCE, || answers(&host.net()?, 7002))?;
    ensure!(!cgroups(&second.state).is_empty(), "no cgroups of the second");
    unharmed("a second cluster")?;

    second.kill()?;
    second.start()?;
    until("its tasks again", PATIENCE, || {
        let running = second.shoal(&["ps", "-q"])?;
        ensure!(running.lines().count() == 2, "{running}");
        Ok(())
    })?;
    until("the second's port again", PATIENCE, || {
        answers(&host.net()?, 7002)
    })?;
    unharmed("the second's crash and its sweep at the start")?;

    second.shoal(&["service", "rm", "a"])?;
    until("its containers to go", PATIENCE, || {
        let left = second.shoal(&["ps", "-q"])?;
        ensure!(left.trim().is_empty(), "{left}");
        Ok(())
    })?;
    unharmed("the second's service removed")?;
    second.shoal(&echoes("b", "7002:7"))?;
    second.down(&[])?;
    ensure!(cgroups(&second.state).is_empty(), "{:?}", cgroups(&second.state));
    unharmed("the second's end")?;
    second.start()?;
    second.down(&["--purge"])?;
    ensure!(
        !second.state.exists() && !second.run.exists(),
        "the second left data"
    );
    unharmed("the second's purge")?;

    let task = host.shoal(&["service", "ps", "-q", "--filter", "desired-state=running", "a"])?;
    let task = task.lines().next().context("no task")?;
    host.shoal(&["exec", task, "ls", "/kept"])?;
    drop(second);
    host.finish()
}

#[test]
fn a_run_directory_named_by_mistake_is_refused() -> Result<()> {
    let mut host = Host::with_cluster("mistaken")?;
    host.import_busybox("busybox:1")?;
    host.shoal(&["network", "create", "blue"])?;
    host.shoal(&echoes("a", "7001:7"))?;
    until("its port", PATIENCE, || answers(&host.net()?, 7001))?;
    let before = whole(&host)?;
    let mistaken = |host: &Host, daemon: &str| -> Result<()> {
        let second = Second::new(host);
        for errand in [None, Some("down")] {
            let mut command = second.shoald(&second.state, &host.run_dir());
            let output = command.args(errand).output()?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(
                !output.status.success(),
                "{errand:?} with a {daemon} daemon: {said}"
            );
            for part in [host.run_dir(), host.state_dir()] {
                let part = part.display().to_string();
                ensure!(said.contains(&part), "{part:?} is not in {said:?}");
            }
            ensure!(!second.state.exists(), "a refused start left a directory");
        }
        Ok(())
    };
    mistaken(&host, "living")?;
    ensure!(whole(&host)? == before, "the first lost something");
    // Its containers live on without it, and are still not anybody's.
    host.kill_daemon()?;
    mistaken(&host, "dead")?;
    host.start_daemon()?;
    ensure!(whole(&host)? == before, "the first lost something");
    host.finish()
}
