//! Single flag values: mounts, limits, pairs, hosts. Each parser names what it expected.
//!
//! Called by clap, so that a wrong value is a usage error before anything is asked of a daemon.

use shoal_core::model::{Bytes, Mount, MountSource, Preference, Ulimit};
use std::net::IpAddr;

/// `KEY=value` with a key; `KEY` alone is the caller's own variable (for `--env`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) key: String,
    pub(crate) value: Option<String>,
}

pub(crate) fn pair(text: &str) -> Result<Pair, String> {
    let (key, value) = match text.split_once('=') {
        Some((key, value)) => (key, Some(value.to_owned())),
        None => (text, None),
    };
    if key.is_empty() {
        return Err(format!("expected KEY=VALUE, found {text:?}"));
    }
    Ok(Pair {
        key: key.to_owned(),
        value,
    })
}

/// `type=bind|volume|tmpfs,source=…,target=…,readonly,…`; the type is volume if none is given.
pub(crate) fn mount(text: &str) -> Result<Mount, String> {
    let mut parts = MountParts::default();
    for part in text.split(',') {
        let (key, value) = part.split_once('=').unwrap_or((part, "true"));
        parts.take(&key.to_ascii_lowercase(), value, part)?;
    }
    let target = parts
        .target
        .take()
        .ok_or_else(|| format!("expected target=PATH in {text:?}"))?;
    if !target.starts_with('/') {
        return Err(format!("expected an absolute target, found {target:?}"));
    }
    let read_only = parts.read_only;
    Ok(Mount {
        source: parts.source_kind()?,
        target,
        read_only,
    })
}

/// `SOURCE:TARGET[:ro]`, or a target alone for an anonymous volume, as `docker run -v` takes them.
pub(crate) fn volume(text: &str) -> Result<Mount, String> {
    let fail = || format!("expected SOURCE:TARGET[:ro], found {text:?}");
    let (rest, read_only) = match text.rsplit_once(':') {
        Some((rest, "ro")) => (rest, true),
        Some((rest, "rw")) => (rest, false),
        _ => (text, false),
    };
    let (source, target) = match rest.split_once(':') {
        Some((source, target)) => (Some(source), target),
        None => (None, rest),
    };
    if !target.starts_with('/') || target.contains(':') || source == Some("") {
        return Err(fail());
    }
    let source = match source {
        Some(path) if path.starts_with(['/', '.']) => {
            let path = std::path::absolute(path).map_err(|error| error.to_string())?;
            // As Docker: a folder of the host that is missing is made.
            MountSource::Bind {
                path: path.display().to_string(),
                create: true,
            }
        }
        name => MountSource::Volume {
            name: name.map(str::to_owned),
            no_copy: false,
        },
    };
    Ok(Mount {
        source,
        target: target.to_owned(),
        read_only,
    })
}

#[derive(Default)]
struct MountParts {
    kind: Option<String>,
    source: Option<String>,
    target: Option<String>,
    read_only: bool,
    create: bool,
    no_copy: bool,
    size: Option<Bytes>,
    mode: Option<u32>,
}

impl MountParts {
    fn take(&mut self, key: &str, value: &str, part: &str) -> Result<(), String> {
        let switch = || match value {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(format!("expected true or false in {part:?}")),
        };
        match key {
            "type" => self.kind = Some(value.to_owned()),
            "source" | "src" => self.source = Some(value.to_owned()),
            "target" | "destination" | "dst" => self.target = Some(value.to_owned()),
            "readonly" | "ro" => self.read_only = switch()?,
            "bind-create-src" => self.create = switch()?,
            "volume-nocopy" => self.no_copy = switch()?,
            "tmpfs-size" => self.size = Some(value.parse::<Bytes>().map_err(|error| error.to_string())?),
            "tmpfs-mode" => {
                let mode = u32::from_str_radix(value, 8).ok().filter(|mode| *mode <= 0o7777);
                self.mode = Some(mode.ok_or_else(|| format!("expected an octal mode in {part:?}"))?);
            }
            "consistency" => {}
            "bind-propagation" if value == "rprivate" => {}
            "bind-propagation" | "bind-recursive" | "volume-driver" | "volume-opt" | "volume-label"
            | "volume-subpath" => {
                return Err(format!("{key} is not built yet"));
            }
            _ => return Err(format!("unknown option {part:?} of a mount")),
        }
        Ok(())
    }

    fn source_kind(self) -> Result<MountSource, String> {
        match (self.kind.as_deref().unwrap_or("volume"), self.source) {
            ("bind", Some(path)) if path.starts_with('/') => Ok(MountSource::Bind {
                path,
                create: self.create,
            }),
            ("bind", Some(path)) => Err(format!("expected an absolute source for a bind, found {path:?}")),
            ("bind", None) => Err("expected source=PATH for a bind".to_owned()),
            ("volume", name) => Ok(MountSource::Volume {
                name,
                no_copy: self.no_copy,
            }),
            ("tmpfs", None) => Ok(MountSource::Tmpfs {
                size: self.size,
                mode: self.mode,
            }),
            ("tmpfs", Some(_)) => Err("a tmpfs has no source".to_owned()),
            (kind @ ("cluster" | "npipe" | "image"), _) => {
                Err(format!("mounts of type {kind} are not built yet"))
            }
            (kind, _) => Err(format!("expected the type bind, volume or tmpfs, found {kind:?}")),
        }
    }
}

/// `name=soft[:hard]`; -1 is no limit.
pub(crate) fn ulimit(text: &str) -> Result<(String, Ulimit), String> {
    let fail = || format!("expected NAME=SOFT[:HARD], found {text:?}");
    let limit = |text: &str| match text {
        "-1" | "unlimited" => Ok(u64::MAX),
        _ => text.parse().map_err(|_error| fail()),
    };
    let (name, limits) = text.split_once('=').ok_or_else(fail)?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let limits = Ulimit {
        soft: limit(soft)?,
        hard: limit(hard)?,
    };
    if name.is_empty() || limits.soft > limits.hard {
        return Err(fail());
    }
    Ok((name.to_owned(), limits))
}

/// `spread=node.labels.zone`.
pub(crate) fn preference(text: &str) -> Result<Preference, String> {
    match text.split_once('=') {
        Some(("spread", label)) if !label.is_empty() => Ok(Preference::Spread(label.to_owned())),
        _ => Err(format!("expected spread=node.labels.NAME, found {text:?}")),
    }
}

/// Stands for the address under which a container reaches its host.
const HOST_GATEWAY: &str = "host-gateway";

/// `name:address`, an IPv6 address perhaps in brackets.
pub(crate) fn host(text: &str) -> Result<(String, String), String> {
    let fail = || format!("expected NAME:ADDRESS or NAME:{HOST_GATEWAY}, found {text:?}");
    let (name, address) = text.split_once([':', '=']).ok_or_else(fail)?;
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let bare = bare.unwrap_or(address);
    if name.is_empty() || bare != HOST_GATEWAY && bare.parse::<IpAddr>().is_err() {
        return Err(fail());
    }
    Ok((name.to_owned(), bare.to_owned()))
}

/// A share between 0 and 1 in thousandths.
pub(crate) fn permille(text: &str) -> Result<u32, String> {
    let share: f64 = text.parse().unwrap_or(-1.0);
    if !(0.0..=1.0).contains(&share) {
        return Err(format!("expected a share between 0 and 1, found {text:?}"));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 1000 by the check above"
    )]
    let permille = (share * 1000.0).round() as u32;
    Ok(permille)
}

/// Words as a shell splits them: quotes and backslashes, nothing expanded.
pub(crate) fn split_words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(found) = chars.next() {
        match (quote, found) {
            (Some(open), found) if open == found => quote = None,
            (Some('"') | None, '\\') => word.get_or_insert_default().extend(chars.next()),
            (Some(_), found) => word.get_or_insert_default().push(found),
            (None, '"' | '\'') => {
                quote = Some(found);
                word.get_or_insert_default();
            }
            (None, ' ' | '\t' | '\n') => words.extend(word.take()),
            (None, found) => word.get_or_insert_default().push(found),
        }
    }
    words.extend(word);
    match quote {
        Some(open) => Err(format!("the quote {open} is never closed")),
        None => Ok(words),
    }
}

/// For flags of Docker's that are known and not built: a usage error with the reason.
pub(crate) fn not_built(
    reason: &'static str,
) -> impl Fn(&str) -> Result<String, String> + Clone + Send + Sync {
    move |_: &str| Err(reason.to_owned())
}
