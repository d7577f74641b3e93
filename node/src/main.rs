//! `shoald`: settings first, then either the daemon or one of its errands.
//!
//! It decides nothing else and fits on a screen.

use anyhow::Context;
use shoal_node::args::{NodeArgs, NodeCommand};
use shoal_node::config::NodeConfig;
use shoal_node::{daemon, down, file_limit, log};
use std::io::Write;
use std::process::ExitCode;

/// Threads for the daemon's tasks: it decides and waits, and blocking work has threads of its own.
const THREADS: usize = 4;

fn main() -> ExitCode {
    match run(NodeArgs::of_process()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // For the journal and for whoever started it by hand: one line with every cause. With stderr gone
            // there is nobody to tell.
            drop(writeln!(std::io::stderr(), "shoald: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(args: NodeArgs) -> anyhow::Result<()> {
    let command = args.command.clone();
    #[cfg(feature = "crash-points")]
    if matches!(command, Some(NodeCommand::CrashPoints)) {
        return Ok(shoal_node::crash::print()?);
    }
    let config = NodeConfig::load(args).context("cannot start with these settings")?;
    log::start(&config);
    file_limit::raise();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.min(THREADS))
        .enable_all()
        .build()?;
    let ended = runtime.block_on(async {
        match command {
            Some(NodeCommand::Down { purge }) => {
                down::down(&config, purge).await.context("not everything is down")
            }
            #[cfg(feature = "crash-points")]
            Some(NodeCommand::CrashPoints) => Ok(()),
            None => daemon::run(config).await.map_err(anyhow::Error::from),
        }
    });
    // Blocking work that a client no longer waits for must not keep the daemon.
    runtime.shutdown_background();
    ended
}
