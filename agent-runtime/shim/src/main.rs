//! `shoal-shim`: one per container. Holds its streams, writes its log, reaps it, records its exit.
//!
//! Started by the daemon in the container's run directory, with the listening socket as standard input and the lock
//! of the container's snapshot as standard output. Single-threaded around one `poll`, without an allocator's worth
//! of dependencies: it is alive for as long as the container, once per container. It outlives the daemon.

mod connection;
mod follower;
mod log;
mod process;
mod reports;
mod shim;
mod stream;
mod sys;

use std::path::Path;
use std::process::ExitCode;

use shoal_run_dir::conf::ShimConf;
use shoal_run_dir::exit::ExitRecord;
use shoal_run_dir::layout;
use shoal_run_dir::pid::PidRecord;

/// The kernel's next-to-last choice when memory runs out: without its shim a container has no log and no exit code.
const OOM_SCORE: &str = "-999";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        // Nobody reads our standard error; the daemon sees that the socket answers no more.
        Err(_error) => ExitCode::FAILURE,
    }
}

fn run() -> std::io::Result<()> {
    // A session of our own: a terminal or a service manager that stops the daemon does not mean us.
    let _leader_already = rustix::process::setsid();
    // Without CAP_SYS_RESOURCE it stays as it is.
    let _stays = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    let here = Path::new(".");
    let conf = ShimConf::read(here).map_err(std::io::Error::other)?;
    let (listener, lock) = sys::take_standard_streams()?;
    PidRecord::of(std::process::id())?.write(Path::new(layout::SHIM_PID))?;
    ExitRecord::reserve(Path::new(layout::ENDING))?;
    shim::Shim::new(conf, listener, lock)?.run()
}
