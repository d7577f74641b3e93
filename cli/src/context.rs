//! Named ways to clusters: `~/.config/shoal/contexts/NAME.toml` with a host and a client's certificates.
//!
//! `cluster client-cert` writes one, `context import` takes it in, `connect` uses it. A certificate stands
//! in the file itself, or the file names another; relative paths start in the folder of contexts.

use crate::failure::hinted;
use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use std::{
    env, fs,
    io::Write,
    path::{Path, PathBuf},
};

#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    pub(crate) host: String,
    pub(crate) ca: Option<Pem>,
    pub(crate) cert: Option<Pem>,
    pub(crate) key: Option<Pem>,
}

/// PEM text, or the file that holds it.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(from = "String", into = "String")]
pub(crate) enum Pem {
    File(PathBuf),
    Text(String),
}

impl From<String> for Pem {
    fn from(text: String) -> Self {
        if text.trim_start().starts_with("-----BEGIN ") {
            Self::Text(text)
        } else {
            Self::File(text.into())
        }
    }
}

impl From<Pem> for String {
    fn from(pem: Pem) -> Self {
        match pem {
            Pem::File(path) => path.display().to_string(),
            Pem::Text(text) => text,
        }
    }
}

impl Pem {
    pub(crate) fn read(&self) -> Result<String> {
        match self {
            Self::File(path) => {
                fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
            }
            Self::Text(text) => Ok(text.clone()),
        }
    }
}

/// For messages: never the text, which may be a key.
impl std::fmt::Display for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Text(_) => f.write_str("the context's own"),
        }
    }
}

impl Context {
    /// The context of this name, its paths absolute.
    pub(crate) fn read(name: &str) -> Result<Self> {
        let folder = folder();
        let path = path_of(name)?;
        if !path.exists() {
            return Err(hinted(
                format!("there is no context {name:?}"),
                format!(
                    "`shoal context ls` shows those of {}. Make one: `shoal cluster client-cert` on a manager writes it,\n\
                     `shoal context import {name} FILE` takes it in.",
                    folder.display()
                ),
            ));
        }
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut context =
            Self::parse(&text).with_context(|| format!("{} is not a context", path.display()))?;
        for file in [&mut context.ca, &mut context.cert, &mut context.key] {
            if let Some(Pem::File(path)) = file {
                *path = folder.join(&*path);
            }
        }
        Ok(context)
    }

    pub(crate) fn parse(text: &str) -> Result<Self> {
        Ok(toml::from_str(text)?)
    }

    pub(crate) fn text(&self) -> Result<String> {
        Ok(toml::to_string(self)?)
    }

    /// Keeps it under this name, which must be free; it may hold a key and is the user's alone.
    pub(crate) fn save(&self, name: &str) -> Result<PathBuf> {
        let path = path_of(name)?;
        let folder = folder();
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        if path.exists() {
            bail!("there is a context {name:?} already; `shoal context rm {name}` removes it");
        }
        write_private(&path, &self.text()?)?;
        Ok(path)
    }
}

/// Removes the context of this name.
pub(crate) fn remove(name: &str) -> Result<()> {
    Context::read(name)?;
    let path = path_of(name)?;
    fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
}

/// The names of all contexts, sorted.
pub(crate) fn names() -> Result<Vec<String>> {
    let folder = folder();
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", folder.display())),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".toml").map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// A new file that only its owner may read.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<()> {
    let mut options = fs::File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let shown = path.display();
    let mut file = options
        .open(path)
        .with_context(|| format!("cannot make {shown}"))?;
    file.write_all(text.as_bytes())
        .with_context(|| format!("cannot write {shown}"))
}

fn path_of(name: &str) -> Result<PathBuf> {
    let valid = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if !valid {
        return Err(crate::failure::usage(format!(
            "a context is named with letters, digits, '-', '_' and '.'; found {name:?}"
        )));
    }
    Ok(folder().join(format!("{name}.toml")))
}

fn folder() -> PathBuf {
    let config = env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let home = || {
        env::var_os("HOME")
            .map_or_else(|| PathBuf::from("/"), PathBuf::from)
            .join(".config")
    };
    config.unwrap_or_else(home).join("shoal/contexts")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_names_its_parts_or_holds_them() {
        let context = Context::parse("host = \"tcp://a:1\"\nca = \"ca.pem\"").unwrap();
        assert_eq!(context.host, "tcp://a:1");
        assert_eq!(context.ca, Some(Pem::File("ca.pem".into())));
        assert!(Context::parse("host = \"x\"\nkeys = \"y\"").is_err());
        assert!(Context::read("../../etc/passwd").is_err());
        let whole = Context {
            host: "tcp://a:1".to_owned(),
            ca: Some(Pem::Text("-----BEGIN CERTIFICATE-----\nMIIB\n".to_owned())),
            ..Context::default()
        };
        assert_eq!(Context::parse(&whole.text().unwrap()).unwrap(), whole);
        assert!(
            !whole.ca.unwrap().to_string().contains("MIIB"),
            "a key is never shown"
        );
    }
}
