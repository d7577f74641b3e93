//! What the process is told: command line, environment, working directory, host name. Docker's rules.
//! Pure, and used for first processes and for exec alike.

use std::path::{Component, Path};

use super::SpecError;
use crate::container::spec::{ContainerSpec, Network};
use crate::image::ImageConfig;
use crate::runtime::facts::HostFacts;

/// What Docker sets where neither image nor user do.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The kernel's bound on a host name.
const MAX_HOSTNAME: usize = 64;

/// Entrypoint and command. An entrypoint given replaces the image's and with it the image's command, unless it
/// is empty; one of a single empty string clears both.
pub(super) fn args(spec: &ContainerSpec, image: &ImageConfig) -> Result<Vec<String>, SpecError> {
    let wanted = spec.entrypoint.as_deref();
    let mut command = spec.command.clone().unwrap_or_default();
    let mut entrypoint = wanted.unwrap_or_default().to_vec();
    if entrypoint.is_empty() {
        if command.is_empty() {
            command = image.cmd.clone().unwrap_or_default();
        }
        if wanted.is_none() {
            entrypoint = image.entrypoint.clone().unwrap_or_default();
        }
    }
    if entrypoint.len() == 1 && entrypoint[0].is_empty() {
        entrypoint.clear();
    }
    entrypoint.append(&mut command);
    if entrypoint.is_empty() {
        return Err(SpecError::new(
            "command",
            "neither the image nor the spec names a program to run; give a command",
        ));
    }
    for argument in &entrypoint {
        no_nul("command", argument)?;
    }
    Ok(entrypoint)
}

/// The whole environment: Docker's own variables, the image's, the user's, and HOME where nobody set it.
pub(super) fn env(
    spec: &ContainerSpec,
    image: &ImageConfig,
    hostname: &str,
    home: &str,
) -> Result<Vec<String>, SpecError> {
    let mut all = vec![DEFAULT_PATH.to_owned(), format!("HOSTNAME={hostname}")];
    if spec.tty {
        all.push("TERM=xterm".to_owned());
    }
    for entry in &image.env {
        // An entry without a value says nothing that a container's own environment could carry.
        if let Some((name, value)) = entry.split_once('=') {
            no_nul("image env", entry)?;
            set(&mut all, name, value);
        }
    }
    for (index, (name, value)) in spec.env.iter().enumerate() {
        check_variable(index, name, value)?;
        set(&mut all, name, value);
    }
    set_home(&mut all, home);
    Ok(all)
}

/// HOME is the user's, unless something set it to more than nothing.
pub(super) fn set_home(env: &mut Vec<String>, home: &str) {
    if !env
        .iter()
        .any(|entry| is_named(entry, "HOME") && entry.len() > "HOME=".len())
    {
        set(env, "HOME", home);
    }
}

/// Replaces a variable in its place, or adds it.
pub(super) fn set(env: &mut Vec<String>, name: &str, value: &str) {
    let entry = format!("{name}={value}");
    match env.iter_mut().find(|known| is_named(known, name)) {
        Some(known) => *known = entry,
        None => env.push(entry),
    }
}

fn is_named(entry: &str, name: &str) -> bool {
    entry.strip_prefix(name).is_some_and(|rest| rest.starts_with('='))
}

pub(super) fn check_variable(index: usize, name: &str, value: &str) -> Result<(), SpecError> {
    let field = format!("env[{index}]");
    if name.is_empty() || name.contains('=') {
        return Err(SpecError::new(
            field,
            format!("{name:?} is not the name of a variable: expected one without '='"),
        ));
    }
    no_nul(&field, name)?;
    no_nul(&field, value)
}

/// The working directory, cleaned; an image's relative one counts from the root, as Docker takes it.
pub(super) fn workdir(spec: &ContainerSpec, image: &ImageConfig) -> Result<String, SpecError> {
    match spec.workdir.as_deref().filter(|path| !path.is_empty()) {
        Some(path) => absolute("workdir", path),
        None => Ok(clean(&image.working_dir)),
    }
}

/// A user's path: absolute, cleaned, without a NUL.
pub(super) fn absolute(field: &str, path: &str) -> Result<String, SpecError> {
    no_nul(field, path)?;
    if path.starts_with('/') {
        Ok(clean(path))
    } else {
        Err(SpecError::new(
            field,
            format!("expected an absolute path, found {path:?}"),
        ))
    }
}

fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => parts.extend(name.to_str()),
            Component::ParentDir => {
                parts.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    format!("/{}", parts.join("/"))
}

/// The host name: what was asked for, else the host's on the host's network, else the short id.
pub(super) fn hostname(spec: &ContainerSpec, host: &HostFacts) -> Result<String, SpecError> {
    let name = match (spec.hostname.as_deref(), spec.network) {
        (Some(name), _) if !name.is_empty() => name,
        (_, Network::Host) => host.hostname.as_str(),
        (_, Network::None | Network::Private) => spec.id.short(),
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if !name.is_empty() && name.len() <= MAX_HOSTNAME && name.chars().all(fits) {
        Ok(name.to_owned())
    } else {
        Err(SpecError::new(
            "hostname",
            format!(
                "{name:?} is not a host name: expected 1 to {MAX_HOSTNAME} letters, digits, '-', '.' or '_'"
            ),
        ))
    }
}

pub(super) fn no_nul(field: &str, text: &str) -> Result<(), SpecError> {
    if text.contains('\0') {
        return Err(SpecError::new(field, "must not contain a NUL character"));
    }
    Ok(())
}
