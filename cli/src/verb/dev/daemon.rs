//! The daemon as a process: started, found by its pid file, told to end.
//!
//! Detached means a session of its own: `shoal dev detached` (hidden) makes one and becomes the daemon.

use super::{Folders, shoald};
use anyhow::{Context, Result, bail};
use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DetachedArgs {
    program: PathBuf,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Becomes the daemon, in a session without a terminal. Only returns on failure.
#[cfg(unix)]
pub(super) fn run_detached(args: &DetachedArgs) -> Result<()> {
    use std::os::unix::process::CommandExt;
    rustix::process::setsid().context("cannot make a session")?;
    let error = Command::new(&args.program).args(&args.arguments).exec();
    Err(error).with_context(|| format!("cannot run {}", args.program.display()))
}

#[cfg(not(unix))]
pub(super) fn run_detached(_args: &DetachedArgs) -> Result<()> {
    bail!("the daemon runs on Linux only")
}

/// Starts the daemon with these flags too; detached, its output goes to its log, else to this terminal.
pub(super) fn start(folders: &Folders, more: Vec<String>, detach: bool) -> Result<Child> {
    let program = shoald()?;
    let arguments = [
        "--dev".into(),
        "--state-dir".into(),
        folders.state_dir.clone().into_os_string(),
    ];
    let mut run = vec!["--run-dir".into(), folders.run_dir.clone().into_os_string()];
    run.extend(more.into_iter().map(Into::into));
    let mut command;
    if detach {
        fs::create_dir_all(&folders.state_dir)
            .with_context(|| format!("cannot make {}", folders.state_dir.display()))?;
        let path = folders.log();
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        command = Command::new(std::env::current_exe().context("cannot find this program")?);
        command
            .args(["dev", "detached"])
            .arg(&program)
            .args(arguments)
            .args(run);
        command.stdout(log.try_clone().context("the log")?).stderr(log);
    } else {
        command = Command::new(&program);
        command.args(arguments).args(run);
        // An interrupt at the terminal is for this program, which then ends the daemon in order.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
    }
    command
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))
}

/// The process that serves these folders, by its pid file; none if it is gone.
pub(super) fn running(folders: &Folders) -> Option<u32> {
    let text = fs::read_to_string(folders.run_dir.join("shoald.pid")).ok()?;
    let pid: u32 = text.trim().parse().ok()?;
    is_daemon(pid).then_some(pid)
}

/// A pid may have been given to another program since.
fn is_daemon(pid: u32) -> bool {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    name.trim() == "shoald" && !is_over(&stat)
}

/// A zombie has ended, its parent only has not looked; but one whose other threads are still on their way out
/// holds its files and locks. The thread count is field 20 of proc(5)'s stat, the state field 3.
fn is_over(stat: &str) -> bool {
    let fields = stat.rsplit(") ").next().unwrap_or_default();
    let mut fields = fields.split(' ');
    let zombie = fields.next() == Some("Z");
    let threads = fields.nth(16).and_then(|count| count.parse::<u32>().ok());
    zombie && threads.is_none_or(|count| count <= 1)
}

/// Asks the daemon to end and waits until it has.
#[cfg(unix)]
pub(super) async fn end(pid: u32) -> Result<()> {
    use rustix::process::{Pid, Signal, kill_process};
    use std::time::{Duration, Instant};
    // Longer than anything the daemon drains.
    const PATIENCE: Duration = Duration::from_secs(20);
    let raw = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .context("no process id")?;
    kill_process(raw, Signal::TERM).context("cannot signal the daemon")?;
    let asked = Instant::now();
    while is_daemon(pid) {
        if asked.elapsed() > PATIENCE {
            bail!("the daemon (process {pid}) did not end within {PATIENCE:?}; its log says why");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

#[cfg(not(unix))]
#[expect(clippy::unused_async, reason = "the other systems' form awaits")]
pub(super) async fn end(_pid: u32) -> Result<()> {
    bail!("the daemon runs on Linux only")
}

#[cfg(test)]
mod tests {
    use super::is_over;

    #[test]
    fn a_process_is_over_with_its_last_thread() {
        let stat = |state: &str, threads: u32| {
            format!("7 (a) Z b) {state} 1 7 7 0 -1 4194304 1 0 0 0 1 2 0 0 20 0 {threads} 0 99 0")
        };
        assert!(!is_over(&stat("S", 1)) && !is_over(&stat("S", 9)));
        assert!(!is_over(&stat("Z", 2)), "its files are still open");
        assert!(is_over(&stat("Z", 1)) && is_over(&stat("Z", 0)));
        assert!(!is_over(""), "gone: there is no name either");
    }
}
