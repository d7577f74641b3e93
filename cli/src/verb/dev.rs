//! `shoal dev …`: a one-node cluster on this machine, for one user and no installation.
//!
//! `up` starts the daemon beside this program, `down` ends it and, unlike a crash, all its containers.

mod daemon;
mod down;
mod up;

use super::Client;
use anyhow::Result;
use std::{
    env,
    path::{Path, PathBuf},
};

#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Start the cluster, or take it up where it was
    Up(up::UpArgs),
    /// End the cluster and all its containers
    Down(down::DownArgs),
    /// Runs the daemon in a session of its own
    #[command(hide = true)]
    Detached(daemon::DetachedArgs),
}

pub(crate) async fn run(client: &Client, verb: Verb) -> Result<()> {
    match verb {
        Verb::Up(args) => up::run(client, args).await,
        Verb::Down(args) => down::run(args).await,
        Verb::Detached(args) => daemon::run_detached(&args),
    }
}

/// Where the cluster of `dev` keeps itself.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Folders {
    /// Folder of its data
    #[arg(
        long,
        env = "SHOAL_STATE_DIR",
        default_value = "/var/lib/shoal-dev",
        value_name = "FOLDER"
    )]
    state_dir: PathBuf,
    /// Folder of its sockets
    #[arg(
        long,
        env = "SHOAL_RUN_DIR",
        default_value = "/run/shoal-dev",
        value_name = "FOLDER"
    )]
    run_dir: PathBuf,
}

impl Folders {
    /// Absolute, since the daemon may look from elsewhere.
    fn absolute(mut self) -> Result<Self> {
        self.state_dir = std::path::absolute(&self.state_dir)?;
        self.run_dir = std::path::absolute(&self.run_dir)?;
        Ok(self)
    }

    fn socket(&self) -> PathBuf {
        self.run_dir.join("shoal.sock")
    }

    fn log(&self) -> PathBuf {
        self.state_dir.join("shoald.log")
    }
}

/// The daemon's program: beside this one, else on PATH.
fn shoald() -> Result<PathBuf> {
    let beside = env::current_exe()
        .ok()
        .and_then(|own| Some(own.parent()?.join("shoald")));
    if let Some(found) = beside.filter(|path| path.is_file()) {
        return Ok(found);
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|folder| folder.join("shoald"))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| {
            crate::failure::hinted(
                "there is no program shoald beside shoal or on PATH",
                "Install both (`make install`), or put the folder of shoald on PATH.",
            )
        })
}

/// Containers need root: said before anything is started.
#[cfg(unix)]
fn demand_root(what: &str) -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(crate::failure::hinted(
        format!("{what} needs root: the daemon makes namespaces, mounts and cgroups"),
        "Run it with sudo. Running without root is not built yet.",
    ))
}

#[cfg(not(unix))]
fn demand_root(what: &str) -> Result<()> {
    Err(crate::failure::hinted(
        format!("{what}: the daemon runs on Linux only"),
        "Use it from here with --host tcp://HOST:2377.",
    ))
}

/// What the daemon logged from this byte on, its last lines: why it does not serve.
fn log_tail(path: &Path, from: u64) -> String {
    const LINES: usize = 20;
    // A log may be large; its end is what counts.
    const BYTES: u64 = 16 << 10;
    use std::io::{Read, Seek, SeekFrom};
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|mut file| {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(from.max(length.saturating_sub(BYTES))))?;
        file.take(BYTES).read_to_end(&mut bytes)
    });
    if let Err(error) = read {
        return format!("(no log: {error})");
    }
    let text = String::from_utf8_lossy(&bytes);
    // A backtrace says nothing to a user; it stays in the log.
    let lines: Vec<_> = text
        .lines()
        .take_while(|line| *line != "Stack backtrace:")
        .collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
