//! `shoal dev up`: starts the daemon and waits until it serves.
//!
//! A daemon that runs already is waited for; one that does not come up is explained by its log's end.

use super::{Client, Folders, daemon, demand_root, down::Group, log_tail};
use crate::{
    connect::{Connection, Host},
    failure::{Exit, hinted},
    output::note,
    signals::Endings,
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
    /// Port of this machine that containers may reach under host-gateway; may be repeated
    #[arg(long, value_name = "PORT[/tcp|/udp]", value_delimiter = ',')]
    open_host_port: Vec<String>,
}

impl UpArgs {
    /// What the daemon is told of it.
    fn flags(&self) -> Vec<String> {
        let ports = self.open_host_port.iter();
        let ports = ports.map(|port| format!("--open-host-port={port}"));
        self.pools.flags().into_iter().chain(ports).collect()
    }
}

/// Longest time to wait for a daemon to serve: it recovers its log first.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at a socket that is not there yet.
const PAUSE: Duration = Duration::from_millis(10);

pub(crate) async fn run(client: &Client, args: UpArgs) -> Result<()> {
    demand_root("shoal dev up")?;
    let folders = args.folders.clone().absolute()?;
    // One that was killed a moment ago may still be on its way out: then another is started.
    while let Some(pid) = daemon::running(&folders) {
        if wait_for_other(&folders, pid).await? {
            note(&format!("The cluster runs already (shoald, process {pid})."));
            say_where(client, &folders);
            if !args.open_host_port.is_empty() {
                note(
                    "--open-host-port counts where the daemon is started: `shoal dev down`, then `dev up` with it.",
                );
            }
            say_pools(&folders, &args.pools).await?;
            return Ok(());
        }
    }
    let up = Up {
        client,
        folders: &folders,
        args: &args,
    };
    if args.detach {
        up.in_background().await
    } else {
        up.in_foreground().await
    }
}

/// A daemon that is to be started.
struct Up<'a> {
    client: &'a Client,
    folders: &'a Folders,
    args: &'a UpArgs,
}

impl Up<'_> {
    async fn in_background(&self) -> Result<()> {
        let log = self.folders.log();
        let logged = std::fs::metadata(&log).map_or(0, |found| found.len());
        let mut child = daemon::start(self.folders, self.args.flags(), true)?;
        if let Err(error) = wait_until_ready(self.folders, Some(&mut child)).await {
            let said = log_tail(&log, logged);
            return Err(hinted(
                format!("{error}\n{said}"),
                format!("The whole log is {}.", log.display()),
            ));
        }
        self.say().await;
        Ok(())
    }

    /// Until it is told to end, which ends the cluster as `dev down` does. It is heard from before the daemon is
    /// there: nobody else would end that.
    async fn in_foreground(&self) -> Result<()> {
        let mut endings = Endings::listen()?;
        let mut child = daemon::start(self.folders, self.args.flags(), false)?;
        let serves = async {
            wait_until_ready(self.folders, Some(&mut child)).await?;
            self.say().await;
            anyhow::Ok(())
        };
        let unfinished = tokio::select! {
            served = serves => {
                served?;
                None
            }
            exit = endings.next() => Some(exit),
        };
        if let Some(exit) = unfinished {
            note("Interrupted before the cluster was up.");
            end(self.folders, child).await?;
            return Err(exit.into());
        }
        stay(self.folders, child, endings).await
    }

    async fn say(&self) {
        note("The cluster is up: one node, manager and worker, on this machine only.");
        say_where(self.client, self.folders);
        // The daemon serves all the same, and would be left to itself.
        if let Err(error) = say_pools(self.folders, &self.args.pools).await {
            note(&format!("shoal: {error}"));
        }
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

async fn stay(folders: &Folders, mut child: Child, mut endings: Endings) -> Result<()> {
    note("Interrupt (Ctrl-C) ends it, containers included.");
    let ended = async {
        loop {
            match child.try_wait() {
                Ok(None) => tokio::time::sleep(Duration::from_millis(200)).await,
                done => return done,
            }
        }
    };
    let status = tokio::select! {
        ended = ended => Some(ended),
        _ = endings.next() => None,
    };
    match status {
        Some(ended) => {
            let status = ended.context("cannot wait for the daemon")?;
            note(&format!(
                "shoal: the daemon ended ({}). Its containers go on: `shoal dev up` takes them up again.",
                status.map(|s| s.to_string()).unwrap_or_default()
            ));
            Err(Exit(1).into())
        }
        None => end(folders, child).await,
    }
}

/// The daemon first, which may not have said yet who it is.
async fn end(folders: &Folders, mut child: Child) -> Result<()> {
    if child.try_wait().context("cannot look at the daemon")?.is_none() {
        daemon::end(child.id()).await?;
        child.wait().context("cannot wait for the daemon")?;
    }
    super::down::end(folders, false, Group::Own).await
}
