//! `cargo xtask tidy`: the rules of the house that no lint can check.
//!
//! File sizes, module headers, the direction of dependencies, programs that the network may run, the paths that
//! documents name.
//! Each rule is a file that returns what it found; a finding names the place and what to do.

use crate::command::root;
use anyhow::{Result, bail};
use std::{fs, path::Path};

mod documents;
mod edges;
mod files;
mod programs;

/// A broken rule.
pub(crate) struct Finding {
    pub(crate) place: String,
    pub(crate) what: String,
    /// A warning is shown and passes.
    pub(crate) fatal: bool,
}

pub(crate) fn run() -> Result<()> {
    let sources = sources()?;
    let mut findings = files::check(&sources);
    findings.extend(programs::check(&sources));
    findings.extend(edges::check()?);
    findings.extend(documents::check()?);
    for finding in &findings {
        let weight = if finding.fatal { "error" } else { "warning" };
        println!("{weight}: {}: {}", finding.place, finding.what);
    }
    let fatal = findings.iter().filter(|finding| finding.fatal).count();
    if fatal > 0 {
        bail!("{fatal} rule(s) of the house broken in {} files", sources.len());
    }
    println!("tidy: {} files, {} warning(s)", sources.len(), findings.len());
    Ok(())
}

/// A Rust source file of the tree.
pub(crate) struct Source {
    /// Relative to the root.
    pub(crate) path: String,
    pub(crate) text: String,
}

fn sources() -> Result<Vec<Source>> {
    let mut found = Vec::new();
    let mut open = vec![root()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                open.push(path);
            } else if name.ends_with(".rs") {
                found.push(Source {
                    path: relative(&path),
                    text: fs::read_to_string(&path)?,
                });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}
