//! Documents that name files of the tree must name files that exist.
//!
//! A path is a word in backquotes with a slash and a known ending, or one that ends in a slash.

use super::Finding;
use crate::command::root;
use anyhow::{Context, Result};
use std::fs;

const DOCUMENTS: [&str; 4] = [
    "ARCHITECTURE.md",
    "README.md",
    "CONTRIBUTING.md",
    "docs/benchmarks.md",
];
const ENDINGS: [&str; 7] = [".rs", ".toml", ".md", ".proto", ".yaml", ".txt", "/"];

pub(super) fn check() -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for document in DOCUMENTS {
        let text =
            fs::read_to_string(root().join(document)).with_context(|| format!("cannot read {document}"))?;
        findings.extend(
            paths(&text)
                .filter(|path| !root().join(path).exists())
                .map(|path| Finding {
                    place: document.to_owned(),
                    what: format!("names {path}, which does not exist"),
                    fatal: true,
                }),
        );
    }
    Ok(findings)
}

fn paths(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2).filter(|word| {
        word.contains('/')
            && !word.starts_with(['/', '~', '<', '$'])
            && !word.contains([' ', '*', '<', ':'])
            && ENDINGS.iter().any(|ending| word.ends_with(ending))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_paths_and_leaves_other_words_alone() {
        let text =
            "`core/src/lib.rs` and `core/` but not `/var/lib/shoal/`, `a b/c.rs`, `shoal dev up` or `x.rs`.";
        assert_eq!(paths(text).collect::<Vec<_>>(), ["core/src/lib.rs", "core/"]);
    }
}
