//! Ending one process of a host at a named point: what a build with crash points adds to a host.
//!
//! A test names one point at a time; whoever reaches it takes the name away and dies by SIGKILL.

use crate::{Host, PATIENCE, until};
use anyhow::{Context, Result, bail, ensure};
use std::{fs, os::unix::process::ExitStatusExt, path::PathBuf};

/// The folder under `SHOAL_DIST` of the build that has them.
pub const CRASH_POINTS: &str = "crash-points";

const SIGKILL: i32 = 9;

impl Host {
    /// The closed table of points, as the daemon's own build says it.
    pub fn crash_points(&self) -> Result<Vec<String>> {
        let output = self
            .command(self.program("shoald"))
            .arg("crash-points")
            .output()?;
        ensure!(
            output.status.success(),
            "shoald crash-points: {}; build with `cargo xtask build --crash-points`",
            output.status
        );
        let text = String::from_utf8(output.stdout)?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    fn trigger(&self) -> PathBuf {
        self.outside(&self.run_dir().join("crash"))
    }

    /// Names the point at which somebody is to die.
    pub fn arm(&self, point: &str) -> Result<()> {
        let trigger = self.trigger();
        // Whole or not at all: it is read by others at any time.
        let fresh = trigger.with_extension("new");
        fs::write(&fresh, point)?;
        fs::rename(&fresh, &trigger).with_context(|| trigger.display().to_string())
    }

    /// Waits until somebody has died of it.
    pub fn wait_struck(&self, point: &str) -> Result<()> {
        until(&format!("{point} to be reached"), PATIENCE, || {
            ensure!(!self.trigger().exists(), "nobody came by");
            Ok(())
        })
        .with_context(|| self.daemon_log())
    }

    /// Waits for the daemon's own death by SIGKILL.
    pub fn wait_daemon_killed(&mut self) -> Result<()> {
        let status = until("the daemon to die", PATIENCE, || {
            let daemon = self.daemon.as_mut().context("it was not running")?;
            daemon.try_wait()?.context("it lives")
        })?;
        self.daemon = None;
        if status.signal() == Some(SIGKILL) {
            Ok(())
        } else {
            bail!("the daemon ended with {status}: {}", self.daemon_log())
        }
    }

    /// Is the daemon that was started last still the one that runs?
    pub fn daemon_lives(&mut self) -> Result<bool> {
        let daemon = self.daemon.as_mut().context("the daemon is not running")?;
        Ok(daemon.try_wait()?.is_none())
    }
}
