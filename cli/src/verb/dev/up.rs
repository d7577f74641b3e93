//! `shoal dev up`: starts the daemon and waits until it serves.
//!
//! A daemon that runs already is waited for; one that does not come up is explained by its log's end.

use super::{Client, Folders, daemon, demand_root, log_tail};
use crate::{
    connect::{Connection, Host},
    failure::{Exit, hinted},
    output::note,
    verb::cluster::{PoolArgs, pools, pools_text},
    wire::refused,
};
use anyhow::{Context, Result};
use shoal_api::v1;
use std::{
    process::Child,
    time::{Duration, Instant},
};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct UpArgs {
    /// Leave the daemon running in the background
    #[arg(short, long)]
    detach: bool,
    #[command(flatten)]
    folders: Folders,
    #[command(flatten)]
    pools: PoolArgs,
}

/// Longest time to wait for a daemon to serve: it recovers its log first.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at a socket that is not there yet.
const PAUSE: Duration = Duration::from_millis(10);

pub(crate) async fn run(client: &Client, args: UpArgs) -> Result<()> {
    demand_root("shoal dev up")?;
    let folders = args.folders.absolute()?;
    // One that was killed a moment ago may still be on its way out: then another is started.
    while let Some(pid) = daemon::running(&folders) {
        if wait_for_other(&folders, pid).await? {
            note(&format!("The cluster runs already (shoald, process {pid})."));
            say_where(client, &folders);
            say_pools(&folders, &args.pools).await?;
            return Ok(());
        }
    }
    let log = folders.log();
    let logged = std::fs::metadata(&log).map_or(0, |found| found.len());
    let mut child = daemon::start(&folders, args.pools.flags(), args.detach)?;
    if let Err(error) = wait_until_ready(&folders, Some(&mut child)).await {
        if !args.detach {
            return Err(error);
        }
        let said = log_tail(&log, logged);
        return Err(hinted(
            format!("{error}\n{said}"),
            format!("The whole log is {}.", log.display()),
        ));
    }
    note("The cluster is up: one node, manager and worker, on this machine only.");
    say_where(client, &folders);
    say_pools(&folders, &args.pools).await?;
    if args.detach {
        Ok(())
    } else {
        stay(&folders, child).await
    }
}

/// Other commands must find this daemon; say how if they would not by themselves.
fn say_where(client: &Client, folders: &Folders) {
    let socket = folders.socket();
    if client.host.resolve().ok() != Some(Host::Socket(socket.clone())) {
        note(&format!(
            "Other commands reach it with: export SHOAL_HOST=unix://{}",
            socket.display()
        ));
    }
}

/// A cluster that was made before keeps its pools; say so to who asks for others.
async fn say_pools(folders: &Folders, asked: &PoolArgs) -> Result<()> {
    if asked.flags().is_empty() {
        return Ok(());
    }
    let connection = Connection::open(&Host::Socket(folders.socket())).await?;
    let answer = connection.control().get_cluster(v1::GetClusterRequest {}).await;
    let cluster = answer.map_err(refused)?.into_inner().cluster;
    let pools = pools(&cluster.and_then(|cluster| cluster.spec).unwrap_or_default())?;
    if !asked.met_by(&pools) {
        note(&format!(
            "Its networks get their addresses from {} as before: pools are fixed when a cluster is made. `shoal dev down --purge` takes it away with all its data; then they can be others.",
            pools_text(&pools)
        ));
    }
    Ok(())
}

async fn wait_until_ready(folders: &Folders, mut child: Option<&mut Child>) -> Result<()> {
    let begun = Instant::now();
    let host = Host::Socket(folders.socket());
    loop {
        if let Some(status) = child
            .as_mut()
            .map(|child| child.try_wait())
            .transpose()?
            .flatten()
        {
            return Err(hinted(
                format!("the daemon ended before it served ({status})"),
                "",
            ));
        }
        let problems = match status(&host).await {
            Ok(status) if status.ready => return Ok(()),
            Ok(status) => status.problems.join("; "),
            Err(error) => error.to_string(),
        };
        if begun.elapsed() > PATIENCE {
            return Err(hinted(
                format!("the daemon did not serve within {PATIENCE:?}: {problems}"),
                format!(
                    "Its log is {}; `shoal dev down` ends it.",
                    folders.log().display()
                ),
            ));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits for a daemon that somebody else started; false if it is gone.
async fn wait_for_other(folders: &Folders, pid: u32) -> Result<bool> {
    let gone = async {
        while daemon::running(folders) == Some(pid) {
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::select! {
        () = gone => Ok(false),
        ready = wait_until_ready(folders, None) => ready.map(|()| true),
    }
}

async fn status(host: &Host) -> Result<v1::StatusResponse> {
    let connection = Connection::open(host).await?;
    let answer = connection
        .bootstrap()
        .status(v1::StatusRequest {})
        .await
        .map_err(refused)?;
    Ok(answer.into_inner())
}

/// In the foreground: until interrupted, which ends the cluster as `dev down` does.
async fn stay(folders: &Folders, mut child: Child) -> Result<()> {
    note("Interrupt (Ctrl-C) ends it, containers included.");
    let ended = async {
        loop {
            match child.try_wait() {
                Ok(None) => tokio::time::sleep(Duration::from_millis(200)).await,
                done => return done,
            }
        }
    };
    tokio::select! {
        ended = ended => {
            let status = ended.context("cannot wait for the daemon")?;
            note(&format!("shoal: the daemon ended ({}). Its containers go on: `shoal dev up` takes them up again.", status.map(|s| s.to_string()).unwrap_or_default()));
            Err(Exit(1).into())
        }
        _ = tokio::signal::ctrl_c() => super::down::end(folders, false).await,
    }
}
