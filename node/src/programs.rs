//! Where `shoal-shim`, `shoal-spawn` and `shoal-net` are: named by a setting, beside `shoald`, or in the libexec
//! directory.
//!
//! Asked once at the start; never searches `PATH`.

use std::path::{Path, PathBuf};

/// The programs that containers and their networks are made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    pub shim: PathBuf,
    pub spawn: PathBuf,
    pub net: PathBuf,
}

/// Programs that a setting names.
#[derive(Clone, Debug, Default)]
pub struct NamedPrograms {
    pub shim: Option<PathBuf>,
    pub spawn: Option<PathBuf>,
    pub net: Option<PathBuf>,
}

/// A program is missing.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    #[error("{flag}: there is no file {path}")]
    Named { flag: &'static str, path: PathBuf },
    #[error(
        "{name} was not found in {}: install it beside shoald, or name it with {flag}",
        searched.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" or ")
    )]
    Missing {
        name: &'static str,
        flag: &'static str,
        searched: Vec<PathBuf>,
    },
}

impl Programs {
    /// `own` is the path of the running `shoald`.
    pub fn find(named: NamedPrograms, own: &Path) -> Result<Self, ProgramError> {
        Ok(Self {
            shim: find(named.shim, "shoal-shim", "--shim", own)?,
            spawn: find(named.spawn, "shoal-spawn", "--spawn", own)?,
            net: find(named.net, "shoal-net", "--net", own)?,
        })
    }
}

fn find(
    named: Option<PathBuf>,
    name: &'static str,
    flag: &'static str,
    own: &Path,
) -> Result<PathBuf, ProgramError> {
    if let Some(path) = named {
        return if path.is_file() {
            Ok(path)
        } else {
            Err(ProgramError::Named { flag, path })
        };
    }
    let beside = own.parent().unwrap_or(Path::new("/"));
    let libexec = beside.parent().unwrap_or(Path::new("/")).join("libexec/shoal");
    let searched = vec![beside.to_owned(), libexec];
    searched
        .iter()
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
        .ok_or(ProgramError::Missing { name, flag, searched })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beside_shoald_then_libexec_then_a_clear_error() {
        let root = tempfile::tempdir().unwrap();
        let (bin, libexec) = (root.path().join("bin"), root.path().join("libexec/shoal"));
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::create_dir_all(&libexec).unwrap();
        let own = bin.join("shoald");
        let find = |named: NamedPrograms| Programs::find(named, &own);
        let error = find(NamedPrograms::default()).unwrap_err().to_string();
        assert!(error.starts_with("shoal-shim was not found in "), "{error}");
        assert!(
            error.ends_with("install it beside shoald, or name it with --shim"),
            "{error}"
        );
        std::fs::write(libexec.join("shoal-shim"), "").unwrap();
        std::fs::write(bin.join("shoal-spawn"), "").unwrap();
        std::fs::write(bin.join("shoal-net"), "").unwrap();
        let found = find(NamedPrograms::default()).unwrap();
        assert_eq!(found.shim, libexec.join("shoal-shim"));
        assert_eq!(
            (found.spawn, found.net),
            (bin.join("shoal-spawn"), bin.join("shoal-net"))
        );
        let named = find(NamedPrograms {
            shim: Some(root.path().join("nope")),
            ..NamedPrograms::default()
        });
        assert!(matches!(named, Err(ProgramError::Named { .. })));
    }
}
