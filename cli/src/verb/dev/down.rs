//! `shoal dev down`: ends the daemon, then every container of its cluster.
//!
//! A daemon that is told to end leaves its containers running, as for an upgrade. So the clean-up is a
//! second step, `shoald down`, which works after a crash too.

use super::{Folders, daemon, demand_root, shoald};
use crate::{failure::hinted, output::note};
use anyhow::{Context, Result};
use std::process::{Command, Stdio};

/// What the daemon's program logs.
const LOG: &str = "SHOAL_LOG";

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DownArgs {
    /// Remove the cluster's data too: images, volumes, logs, everything
    #[arg(long)]
    purge: bool,
    #[command(flatten)]
    folders: Folders,
}

pub(crate) async fn run(args: DownArgs) -> Result<()> {
    demand_root("shoal dev down")?;
    let folders = args.folders.absolute()?;
    end(&folders, args.purge, Group::Terminal).await
}

/// Who hears what the terminal says to the clean-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    /// The clean-up as well: an interrupt ends it.
    Terminal,
    /// It is the answer to an interrupt or to the end of the terminal, and is not ended by it.
    Own,
}

pub(super) async fn end(folders: &Folders, purge: bool, group: Group) -> Result<()> {
    if !folders.state_dir.exists() && !folders.run_dir.exists() {
        note("There is no cluster to end.");
        return Ok(());
    }
    if let Some(pid) = daemon::running(folders) {
        daemon::end(pid).await?;
    }
    let mut command = Command::new(shoald()?);
    // As it was started: the settings of an installed daemon are another's.
    command
        .args(["--dev", "down"])
        .arg("--state-dir")
        .arg(&folders.state_dir)
        .arg("--run-dir")
        .arg(&folders.run_dir)
        .stdin(Stdio::null());
    if purge {
        command.arg("--purge");
    }
    if group == Group::Own {
        apart(&mut command);
    }
    // The steps are of no interest here, only what goes wrong.
    if std::env::var_os(LOG).is_none() {
        command.env(LOG, "warn");
    }
    let status = command.status().context("cannot run shoald down")?;
    if !status.success() {
        return Err(hinted(
            format!("not everything could be ended ({status})"),
            "What is above says what is left. Run `shoal dev down` again.",
        ));
    }
    note(if purge {
        "The cluster is gone, and its data."
    } else {
        "The cluster is down. Its data stays; --purge removes it."
    });
    Ok(())
}

#[cfg(unix)]
fn apart(command: &mut Command) {
    std::os::unix::process::CommandExt::process_group(command, 0);
}

#[cfg(not(unix))]
fn apart(_command: &mut Command) {}
