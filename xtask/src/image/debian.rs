//! Programs out of Debian's own packages, downloaded and unpacked below `target/debian`, never installed.
//!
//! What is there once is not asked for again; a newer package is taken after the folder was deleted.

use super::archive::Layer;
use crate::command::{root, run as run_command};
use anyhow::{Context, Result, bail};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

/// Where Debian's libraries are.
const LIBRARIES: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];

/// The root folder of a package and of the libraries that it names itself.
pub(crate) fn unpacked(package: &str) -> Result<PathBuf> {
    let folder = root().join("target/debian").join(package);
    if folder.is_dir() {
        return Ok(folder);
    }
    let fresh = folder.with_extension("new");
    drop(fs::remove_dir_all(&fresh));
    fs::create_dir_all(&fresh).with_context(|| fresh.display().to_string())?;
    // As root: the folder need not be open to apt's own user.
    let mut download = Command::new("apt-get");
    download
        .args(["download", "-q", "-o", "APT::Sandbox::User=root", package])
        .args(libraries(package)?)
        .current_dir(&fresh);
    run_command(download).with_context(|| {
        format!("cannot fetch Debian's {package}: `apt-get update` makes its packages known")
    })?;
    for entry in fs::read_dir(&fresh)? {
        let archive = entry?.path();
        if archive.extension().is_some_and(|end| end == "deb") {
            let mut unpack = Command::new("dpkg-deb");
            unpack.arg("-x").arg(&archive).arg(&fresh);
            run_command(unpack)?;
            fs::remove_file(archive)?;
        }
    }
    fs::rename(&fresh, &folder)?;
    Ok(folder)
}

/// The packages of libraries that a package depends on.
fn libraries(package: &str) -> Result<Vec<String>> {
    let output = Command::new("apt-cache")
        .args(["depends", "--important", package])
        .output()
        .context("apt-cache")?;
    let text = String::from_utf8(output.stdout)?;
    Ok(text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: lib"))
        .map(|rest| format!("lib{rest}"))
        .collect())
}

/// Puts a program of an unpacked package into a layer, with every library that it is linked with.
pub(crate) fn add_program(layer: &mut Layer, package: &Path, program: &str) -> Result<()> {
    let path = package.join(program);
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    layer.file(program, 0o755, bytes);
    let places = LIBRARIES.map(|place| package.join(place).display().to_string());
    let output = Command::new("ldd")
        .arg(&path)
        .env("LD_LIBRARY_PATH", places.join(":"))
        .output()
        .context("ldd")?;
    for line in String::from_utf8(output.stdout)?.lines().map(str::trim) {
        if line.contains("not found") {
            bail!("a library of {} is not to be had: {line}", path.display());
        }
        if let Some(library) = line.split_whitespace().find(|word| word.starts_with('/')) {
            let to = Path::new(library)
                .strip_prefix(package)
                .or_else(|_| Path::new(library).strip_prefix("/"))?;
            let mode = fs::metadata(library)?.permissions().mode() & 0o777;
            let bytes = fs::read(library).with_context(|| format!("cannot read {library}"))?;
            layer.file(&to.display().to_string(), mode, bytes);
        }
    }
    Ok(())
}
