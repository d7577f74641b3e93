//! Named ways to clusters: `~/.config/shoal/contexts/NAME.toml` with a host and the files of a client.
//!
//! Read here; written by hand for now. Relative paths start in the folder of the file.

use crate::failure::hinted;
use anyhow::{Context as _, Result};
use serde::Deserialize;
use std::{env, fs, path::PathBuf};

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    pub(crate) host: String,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
}

impl Context {
    pub(crate) fn read(name: &str) -> Result<Self> {
        let folder = folder();
        let valid = !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        let path = folder.join(format!("{name}.toml"));
        if !valid || !path.exists() {
            return Err(hinted(
                format!("there is no context {name:?}"),
                format!(
                    "A context is a file {}/NAME.toml with the keys host, ca, cert and key.",
                    folder.display()
                ),
            ));
        }
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut context: Self =
            toml::from_str(&text).with_context(|| format!("{} is not a context", path.display()))?;
        for file in [&mut context.ca, &mut context.cert, &mut context.key] {
            *file = file.take().map(|file| folder.join(file));
        }
        Ok(context)
    }
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
    fn a_context_names_its_parts() {
        let context: Context = toml::from_str("host = \"tcp://a:1\"\nca = \"ca.pem\"").unwrap();
        assert_eq!(context.host, "tcp://a:1");
        assert_eq!(context.ca, Some("ca.pem".into()));
        assert!(toml::from_str::<Context>("host = \"x\"\nkeys = \"y\"").is_err());
        assert!(Context::read("../../etc/passwd").is_err());
    }
}
