//! A cluster to measure: a temporary folder, `shoald --dev` in it, the client beside it.
//!
//! Ended with `dev down --purge`, so that a measurement leaves nothing behind.

use super::report::{Better, Figure, Report};
use anyhow::{Context, Result, bail};
use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// No start takes this long; a run that does has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Starts, half of them after a kill.
const STARTS: usize = 10;

pub(crate) struct Cluster {
    dist: PathBuf,
    pub(crate) folder: PathBuf,
    daemon: Option<Child>,
}

impl Cluster {
    pub(crate) fn new(dist: &Path) -> Result<Self> {
        let folder = PathBuf::from(format!("/var/tmp/shoal-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        Ok(Self {
            dist: dist.to_owned(),
            folder,
            daemon: None,
        })
    }

    /// Starts the daemon and gives the time until it answered a client, in milliseconds.
    pub(crate) fn start(&mut self) -> Result<f64> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("shoald.log"))?;
        let begun = Instant::now();
        let mut command = Command::new(self.dist.join("shoald"));
        command
            .arg("--dev")
            .args(["--state-dir", &self.path("state"), "--run-dir", &self.path("run")]);
        self.daemon = Some(
            command
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .spawn()
                .context("shoald")?,
        );
        while !self
            .shoal(&["node", "ls", "-q"])
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .status()?
            .success()
        {
            if begun.elapsed() > PATIENCE {
                bail!("shoald did not serve within {PATIENCE:?}");
            }
        }
        Ok(millis(begun.elapsed()))
    }

    pub(crate) fn kill(&mut self) -> Result<()> {
        let mut daemon = self.daemon.take().context("no daemon")?;
        daemon.kill()?;
        daemon.wait()?;
        Ok(())
    }

    pub(crate) fn daemon_pid(&self) -> Result<u32> {
        self.daemon.as_ref().map(Child::id).context("no daemon")
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    pub(crate) fn shoal(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.dist.join("shoal"));
        command
            .args(words)
            .env("SHOAL_HOST", format!("unix://{}/shoal.sock", self.path("run")));
        command
            .env("SHOAL_STATE_DIR", self.path("state"))
            .env("SHOAL_RUN_DIR", self.path("run"));
        command
    }

    /// Runs the client, which must succeed.
    pub(crate) fn run(&self, words: &[&str]) -> Result<String> {
        let output = self.shoal(words).output()?;
        if !output.status.success() {
            bail!(
                "shoal {}: {}",
                words.join(" "),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Waits until no container is left.
    pub(crate) fn wait_empty(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.run(&["ps", "-q"])?.trim().is_empty() {
            if Instant::now() > deadline {
                bail!("containers of a removed service stayed");
            }
        }
        Ok(())
    }

    /// A started cluster that has the demo's image.
    pub(crate) fn with_image(dist: &Path) -> Result<Self> {
        let mut cluster = Self::new(dist)?;
        cluster.start()?;
        let archive = crate::command::root().join("target/dist/hello.tar");
        cluster.run(&["image", "load", "--input", &archive.display().to_string()])?;
        Ok(cluster)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let down = self
            .shoal(&["dev", "down", "--purge"])
            .stdout(Stdio::null())
            .status();
        if let Some(mut daemon) = self.daemon.take() {
            if !down.is_ok_and(|status| status.success()) {
                daemon.kill().unwrap_or_default();
            }
            drop(daemon.wait());
        }
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// From starting the process to the first answer, on existing state; after an orderly end and after a kill.
pub(crate) fn measure_start(dist: &Path, report: &mut Report) -> Result<()> {
    let mut cluster = Cluster::with_image(dist)?;
    let mut samples = Vec::new();
    for _ in 0..STARTS {
        cluster.kill()?;
        samples.push(cluster.start()?);
    }
    report.add(Figure {
        name: "`shoald` from start to serving, after `kill -9`",
        unit: "ms",
        goal: 150.0,
        better: Better::Less,
        samples,
        remark: "until `shoal node ls` answered, the client's own start included".to_owned(),
    })
}
