//! `shoal-net`: what of a node's network needs a living process.
//!
//! Started by the node's network with a tag, which tells it from others in lists of processes, the file of the router's
//! namespace, and a socket as its standard input: the one that it is told by, or the one that its predecessor hands
//! everything over by. Outlives who started it.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use shoal_overlay_net::serve::{self, Router, Start};
use tokio::task::LocalSet;

/// The kernel's next-to-last choice when memory runs out: without it no container finds another.
const OOM_SCORE: &str = "-999";

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_target(false)
        // What cannot be written is lost: the library would say so on the same stream, and panic when that fails.
        .log_internal_errors(false)
        .init();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "ended");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    // A session of our own: a terminal or a service manager that stops the daemon does not mean us.
    let _leader_already = rustix::process::setsid();
    // Without CAP_SYS_RESOURCE it stays as it is.
    let _stays = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    more_descriptors()?;
    let mut arguments = std::env::args().skip(1);
    let mut expect = |what| {
        arguments
            .next()
            .ok_or_else(|| io::Error::other(format!("expected {what}")))
    };
    let tag = expect("a tag")?.parse().map_err(io::Error::other)?;
    let router = Router {
        tag,
        path: expect("the router's file")?.into(),
    };
    let socket = take_standard_input()?;
    let start = match arguments.next().as_deref() {
        None => Start::Fresh(socket.into()),
        Some("take-over") => Start::TakeOver(socket.into()),
        Some(other) => {
            return Err(io::Error::other(format!(
                "expected `take-over` or nothing, found `{other}`"
            )));
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, serve::run(start, router))
}

/// Each endpoint takes two, each proxied connection and each question that is passed on as well: more than all bounds
/// together, where that is allowed.
const DESCRIPTORS: u64 = 65_536;

fn more_descriptors() -> io::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let most = maximum.map(|maximum| maximum.max(DESCRIPTORS));
    let limit = |maximum| Rlimit {
        current: maximum,
        maximum,
    };
    if setrlimit(Resource::Nofile, limit(most)).is_err() {
        // Without CAP_SYS_RESOURCE.
        setrlimit(Resource::Nofile, limit(maximum))?;
    }
    Ok(())
}

/// The socket that was given, in whose place there is nothing.
fn take_standard_input() -> io::Result<OwnedFd> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    let nothing = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    Ok(socket)
}
