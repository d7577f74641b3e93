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
    end(&folders, args.purge).await
}

pub(super) async fn end(folders: &Folders, purge: bool) -> Result<()> {
    if !folders.state_dir.exists() && !folders.run_dir.exists() {
        note("There is no cluster to end.");
        return Ok(());
    }
    if let Some(pid) = daemon::running(folders) {
        daemon::end(pid).await?;
    }
    let mut command = Command::new(shoald()?);
    command
        .arg("down")
        .arg("--state-dir")
        .arg(&folders.state_dir)
        .arg("--run-dir")
        .arg(&folders.run_dir)
        .stdin(Stdio::null());
    if purge {
        command.arg("--purge");
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
