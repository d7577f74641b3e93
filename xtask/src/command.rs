//! Running other programs: said aloud, timed, and an error that names the command.
//!
//! Used by every verb that calls cargo; nothing else in the tool starts a process.

use anyhow::{Context, Result, bail};
use std::{ffi::OsStr, path::PathBuf, process::Command, time::Instant};

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map_or_else(PathBuf::new, PathBuf::from)
}

/// The cargo that called us.
pub(crate) fn cargo<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(root());
    command
}

/// Runs to the end; an exit code other than 0 is an error.
pub(crate) fn run(mut command: Command) -> Result<()> {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let line = words.join(" ");
    eprintln!("xtask: {line}");
    let begun = Instant::now();
    let status = command.status().with_context(|| format!("cannot start {line}"))?;
    eprintln!("xtask: {:.1} s", begun.elapsed().as_secs_f64());
    if !status.success() {
        bail!("{line}: {status}");
    }
    Ok(())
}
