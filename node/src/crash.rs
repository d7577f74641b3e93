//! Joins the crash points of a test build: the runtime's, the worker's and the manager's, on one trigger file.
//!
//! Compiled only with the feature `crash-points`. A test asks for the table, names one point in the trigger file
//! below the run directory, and watches what the next daemon makes of the remains.

use shoal_agent_runtime::crash;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

static RUN_DIR: OnceLock<PathBuf> = OnceLock::new();

/// Lets the points of all parts of this daemon look into this run directory.
pub fn install(run_dir: &Path) {
    RUN_DIR.get_or_init(|| run_dir.to_owned());
    shoal_manager::crash::install(strike);
    shoal_worker::crash::install(strike);
}

fn strike(point: &str) {
    if let Some(run_dir) = RUN_DIR.get() {
        crash::strike(run_dir, point);
    }
}

/// Prints every point, one a line.
pub fn print() -> io::Result<()> {
    let mut out = io::stdout().lock();
    let tables = [
        crash::POINTS,
        shoal_worker::crash::POINTS,
        shoal_manager::crash::POINTS,
    ];
    for point in tables.into_iter().flatten() {
        writeln!(out, "{point}")?;
    }
    out.flush()
}
