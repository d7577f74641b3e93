//! `volumes` (short and long), `tmpfs`, and the volumes that the file declares.
//!
//! Relative paths start in the project directory, `~` in the caller's home. A named volume must be
//! declared; its name in the cluster is `<stack>_<name>` unless the file gives one.

use super::{Scope, meant};
use crate::{
    keys,
    reader::{Field, Reader},
};
use shoal_core::model::{Bytes, ContainerSpec, Mount, MountSource};
use std::collections::BTreeMap;

/// A declared volume: its name in the cluster.
pub(crate) struct Volume {
    pub(crate) name: String,
}

/// Reads the top-level `volumes`.
pub(crate) fn volumes(reader: &mut Reader<'_>, field: &Field<'_>, stack: &str) -> BTreeMap<String, Volume> {
    let mut volumes = BTreeMap::new();
    for (name, inner) in reader.named(field) {
        let mut real: Option<String> = None;
        let mut external = false;
        for (key, value) in reader.entries(&inner, keys::VOLUME) {
            match key {
                "name" => real = reader.text(&value),
                "external" if value.is_mapping() => {
                    external = true;
                    for (_, name) in reader.entries(&value, keys::EXTERNAL) {
                        real = reader.text(&name);
                    }
                }
                "external" => external = reader.boolean(&value).unwrap_or_default(),
                _ => {
                    if reader.text(&value).is_some_and(|driver| driver != "local") {
                        reader.error(&value, "not supported: volumes are the node's own (driver local)");
                    }
                }
            }
        }
        if external {
            reader.warn(
                &inner,
                "external: it is made empty on a node that does not have it",
            );
        }
        let name_in_cluster = match (real, external) {
            (Some(real), _) => real,
            (None, true) => name.to_owned(),
            (None, false) => format!("{stack}_{name}"),
        };
        if !is_volume_name(&name_in_cluster) {
            reader.error(
                &inner,
                format!("{name_in_cluster:?} cannot be the name of a volume"),
            );
        }
        volumes.insert(
            name.to_owned(),
            Volume {
                name: name_in_cluster,
            },
        );
    }
    volumes
}

/// Takes the keys of this file; says whether `key` was one of them.
pub(super) fn take(
    reader: &mut Reader<'_>,
    container: &mut ContainerSpec,
    key: &str,
    (field, scope): (&Field<'_>, &Scope<'_>),
) -> bool {
    let items = match key {
        "volumes" => reader.list(field),
        "tmpfs" => reader.one_or_list(field),
        _ => return false,
    };
    for item in items {
        let mount = match key {
            "tmpfs" => short_tmpfs(reader, &item),
            _ if item.is_mapping() => long(reader, &item, scope),
            _ => short(reader, &item, scope),
        };
        let Some(mount) = mount else { continue };
        if !mount.target.starts_with('/') {
            reader.error(
                &item,
                format!(
                    "expected an absolute path in the container, found {:?}",
                    mount.target
                ),
            );
        } else if container.mounts.iter().any(|other| other.target == mount.target) {
            reader.error(&item, format!("{} is mounted twice", mount.target));
        } else {
            container.mounts.push(mount);
        }
    }
    true
}

/// `[source:]target[:option,…]`.
fn short(reader: &mut Reader<'_>, field: &Field<'_>, scope: &Scope<'_>) -> Option<Mount> {
    let text = reader.text(field)?;
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [target] => (None, *target, ""),
        [source, target] => (Some(*source), *target, ""),
        [source, target, options] => (Some(*source), *target, *options),
        _ => {
            reader.error(
                field,
                format!("expected [source:]target[:options], found {text:?}"),
            );
            return None;
        }
    };
    let (mut read_only, mut no_copy) = (false, false);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => read_only = true,
            "rw" | "cached" | "delegated" | "consistent" | "rprivate" => {}
            "nocopy" => no_copy = true,
            "z" | "Z" => reader.warn(
                field,
                format!("{option} is not carried out: SELinux labels are not built yet"),
            ),
            _ => reader.error(field, format!("the option {option:?} is not supported")),
        }
    }
    let source = match source {
        None => MountSource::Volume { name: None, no_copy },
        Some("") => {
            reader.error(
                field,
                format!("expected [source:]target[:options], found {text:?}"),
            );
            return None;
        }
        Some(path) if is_path(path) => MountSource::Bind {
            path: absolute(path, scope),
            create: true,
        },
        Some(name) => MountSource::Volume {
            name: Some(declared(reader, field, name, scope)?),
            no_copy,
        },
    };
    Some(Mount {
        source,
        target: target.to_owned(),
        read_only,
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum MountType {
    Bind,
    Volume,
    Tmpfs,
    NotBuilt,
}

#[derive(Default)]
struct Long {
    source: Option<String>,
    target: Option<String>,
    read_only: bool,
    create: Option<bool>,
    no_copy: bool,
    size: Option<Bytes>,
    mode: Option<u32>,
}

fn long(reader: &mut Reader<'_>, field: &Field<'_>, scope: &Scope<'_>) -> Option<Mount> {
    let types = [
        ("bind", MountType::Bind),
        ("volume", MountType::Volume),
        ("tmpfs", MountType::Tmpfs),
        ("cluster", MountType::NotBuilt),
        ("npipe", MountType::NotBuilt),
        ("image", MountType::NotBuilt),
    ];
    let mut kind = None;
    let mut read = Long::default();
    for (key, inner) in reader.entries(field, keys::MOUNT) {
        match key {
            "type" => kind = reader.word(&inner, &types),
            "source" => read.source = reader.text(&inner),
            "target" => read.target = reader.text(&inner),
            "read_only" => read.read_only = reader.boolean(&inner).unwrap_or_default(),
            "bind" => bind_options(reader, &inner, &mut read),
            "volume" => {
                for (_, value) in reader.entries(&inner, keys::MOUNT_VOLUME) {
                    read.no_copy = reader.boolean(&value).unwrap_or_default();
                }
            }
            _ => {
                for (key, value) in reader.entries(&inner, keys::MOUNT_TMPFS) {
                    match key {
                        "size" => read.size = reader.bytes(&value),
                        _ => read.mode = mode(reader, &value),
                    }
                }
            }
        }
    }
    let Some(kind) = kind else {
        if field.node.get("type").is_none() {
            reader.error(field, "the mount names no type (bind, volume or tmpfs)");
        }
        return None;
    };
    let Some(target) = read.target.take() else {
        reader.error(field, "the mount names no target");
        return None;
    };
    let source = source_of(reader, field, kind, (read.source.take(), &read), scope)?;
    Some(Mount {
        source,
        target,
        read_only: read.read_only,
    })
}

fn source_of(
    reader: &mut Reader<'_>,
    field: &Field<'_>,
    kind: MountType,
    (source, read): (Option<String>, &Long),
    scope: &Scope<'_>,
) -> Option<MountSource> {
    match (kind, source) {
        (MountType::Bind, Some(path)) => Some(MountSource::Bind {
            path: absolute(&path, scope),
            create: read.create.unwrap_or(true),
        }),
        (MountType::Bind, None) => {
            reader.error(field, "the bind names no source");
            None
        }
        (MountType::Volume, name) => Some(MountSource::Volume {
            name: match name {
                Some(name) => Some(declared(reader, field, &name, scope)?),
                None => None,
            },
            no_copy: read.no_copy,
        }),
        (MountType::Tmpfs, _) => Some(MountSource::Tmpfs {
            size: read.size,
            mode: read.mode,
        }),
        (MountType::NotBuilt, _) => {
            reader.error(field, "not supported: mounts are of type bind, volume or tmpfs");
            None
        }
    }
}

fn bind_options(reader: &mut Reader<'_>, field: &Field<'_>, read: &mut Long) {
    for (key, value) in reader.entries(field, keys::MOUNT_BIND) {
        match key {
            "create_host_path" => read.create = reader.boolean(&value),
            _ => {
                if reader.text(&value).is_some_and(|mode| mode != "rprivate") {
                    reader.error(
                        &value,
                        "not supported: a bind is rprivate; other propagation is not built yet",
                    );
                }
            }
        }
    }
}

/// `target[:size=64m,mode=1777]`.
fn short_tmpfs(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<Mount> {
    let text = reader.text(field)?;
    let (target, options) = text.split_once(':').unwrap_or((&text, ""));
    let (mut size, mut mode, mut read_only) = (None, None, false);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("size", value)) if value.parse::<Bytes>().is_ok() => size = value.parse().ok(),
            Some(("mode", value)) if u32::from_str_radix(value, 8).is_ok() => {
                mode = u32::from_str_radix(value, 8).ok();
            }
            None if option == "ro" => read_only = true,
            // What every tmpfs of a container has anyway.
            None if matches!(option, "rw" | "noexec" | "nosuid" | "nodev") => {}
            _ => reader.error(
                field,
                format!("the option {option:?} is not supported; expected size= or mode="),
            ),
        }
    }
    Some(Mount {
        source: MountSource::Tmpfs { size, mode },
        target: target.to_owned(),
        read_only,
    })
}

/// A file mode: `0o1777` and `01777` are octal, and so is any number, as people mean it.
fn mode(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<u32> {
    let text = reader.text(field)?;
    let digits = text.trim_start_matches("0o");
    match u32::from_str_radix(digits, 8) {
        Ok(mode) if mode <= 0o7777 => Some(mode),
        _ => {
            reader.error(
                field,
                format!("expected an octal file mode such as 1777, found {text:?}"),
            );
            None
        }
    }
}

fn declared(reader: &mut Reader<'_>, field: &Field<'_>, name: &str, scope: &Scope<'_>) -> Option<String> {
    if let Some(volume) = scope.volumes.get(name) {
        return Some(volume.name.clone());
    }
    let hint = meant(name, scope.volumes.keys());
    reader.error(
        field,
        format!("the volume {name:?} is not declared under `volumes:`{hint}"),
    );
    None
}

fn is_path(source: &str) -> bool {
    source.starts_with(['/', '.', '~'])
}

fn is_volume_name(name: &str) -> bool {
    name.len() <= 255
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

/// An absolute path without `.` and `..`, from the project directory or the caller's home.
pub(super) fn absolute(path: &str, scope: &Scope<'_>) -> String {
    let home = scope.environment.get("HOME").map_or("/", String::as_str);
    let joined = match path.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("{home}{rest}"),
        _ if path.starts_with('/') => path.to_owned(),
        _ => format!("{}/{path}", scope.project_dir),
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}
