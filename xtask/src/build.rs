//! `cargo xtask build`: the five programs, each by the invocation its profile needs, in one folder.
//!
//! `shoal`, `shoald` and `shoal-net` are ordinary builds; `shoal-shim` and `shoal-spawn` are static, not
//! position-independent and built for size, because one shim stays with every container. `shoald`
//! finds its helpers beside itself, so a folder is an installation.

use crate::command::{cargo, root, run as run_command};
use anyhow::{Context, Result};
use clap::Args;
use std::{fs, path::PathBuf};

#[derive(Args, Default)]
pub(crate) struct BuildArgs {
    /// Unoptimised `shoal`, `shoald` and `shoal-net`, as the tests use them.
    #[arg(long)]
    pub(crate) dev: bool,
    /// With the named crash points compiled in; implies --dev.
    #[arg(long)]
    pub(crate) crash_points: bool,
}

/// Static linking makes the shim's memory its own and small; fixed addresses spare it the relocations.
const STATIC_FLAGS: &str = "-C target-feature=+crt-static -C relocation-model=static";

/// The packages of `shoal`, `shoald` and `shoal-net`.
pub(crate) const PRODUCT: [&str; 6] = [
    "--package",
    "shoal-cli",
    "--package",
    "shoal-node",
    "--package",
    "shoal-overlay-net",
];

const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// Builds and returns the folder.
pub(crate) fn run(args: &BuildArgs) -> Result<PathBuf> {
    let dev = args.dev || args.crash_points;
    let kind = match (args.crash_points, dev) {
        (true, _) => "crash-points",
        (false, true) => "dev",
        (false, false) => "release",
    };
    let dist = root().join("target/dist").join(kind);
    fs::create_dir_all(&dist).with_context(|| format!("cannot make {}", dist.display()))?;
    build_daemon_and_client(args, dev)?;
    build_static(args)?;
    let (profile_dir, tiny_dir) = (
        if dev { "debug" } else { "release" },
        format!("static/{TRIPLE}/tiny"),
    );
    for name in ["shoal", "shoald", "shoal-net"] {
        install(
            &root().join("target").join(profile_dir).join(name),
            &dist.join(name),
        )?;
    }
    for name in ["shoal-shim", "shoal-spawn"] {
        install(
            &root().join("target").join(&tiny_dir).join(name),
            &dist.join(name),
        )?;
    }
    Ok(dist)
}

fn build_daemon_and_client(args: &BuildArgs, dev: bool) -> Result<()> {
    let mut command = cargo(["build"]);
    command.args(PRODUCT);
    if dev {
        // Its dependencies ask for more of some that others share: without it those would be compiled once more after the
        // unit tests, and all that stands on them.
        command.args(["--package", "shoal-spawn"]);
    } else {
        command.arg("--release");
    }
    if args.crash_points {
        command.args(["--features", "shoal-node/crash-points"]);
    }
    run_command(command)
}

/// A target folder of its own: the flags would otherwise rebuild everything else back and forth.
fn build_static(args: &BuildArgs) -> Result<()> {
    let mut command = cargo(["build", "--profile", "tiny", "--target", TRIPLE]);
    command
        .args(["--package", "shoal-shim", "--package", "shoal-spawn"])
        .env("RUSTFLAGS", STATIC_FLAGS);
    command.arg("--target-dir").arg(root().join("target/static"));
    if args.crash_points {
        command.args(["--features", "shoal-shim/crash-points,shoal-spawn/crash-points"]);
    }
    run_command(command)
}

/// The demo's server: static as well, so that its image holds one file.
pub(crate) fn build_hello() -> Result<PathBuf> {
    let mut command = cargo([
        "build",
        "--profile",
        "tiny",
        "--target",
        TRIPLE,
        "--package",
        "hello",
    ]);
    command
        .env("RUSTFLAGS", STATIC_FLAGS)
        .arg("--target-dir")
        .arg(root().join("target/static"));
    run_command(command)?;
    Ok(root().join("target/static").join(TRIPLE).join("tiny/hello"))
}

/// Renames over what may be running: a program that is executed cannot be written to.
fn install(from: &PathBuf, to: &PathBuf) -> Result<()> {
    let fresh = to.with_extension("new");
    fs::copy(from, &fresh)
        .with_context(|| format!("cannot copy {} to {}", from.display(), fresh.display()))?;
    fs::rename(&fresh, to).with_context(|| format!("cannot replace {}", to.display()))
}
