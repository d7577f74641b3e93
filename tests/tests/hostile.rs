//! What a hostile image or container tries against its node: nothing of the host is reached, filled or kept.
//!
//! The containers run as root with the default confinement.

use anyhow::{Context, Result, ensure};
use shoal_tests::{Host, PATIENCE, busybox_root, until};
use std::{fs, process::Stdio};

/// A running service of one task; gives the task.
fn run(host: &Host, name: &str, image: &str, script: &str) -> Result<String> {
    host.shoal(&[
        "service",
        "create",
        "-q",
        "--name",
        name,
        "--network",
        "none",
        "--restart-condition",
        "none",
        "--stop-signal",
        "KILL",
        image,
        "sh",
        "-c",
        script,
    ])?;
    let tasks = host.shoal(&["service", "ps", "-q", name])?;
    Ok(tasks.lines().next().context("no task")?.to_owned())
}

/// Kilobytes of the host's /run that are taken.
fn run_taken(host: &Host) -> Result<u64> {
    let output = host
        .command("df")
        .args(["-k", "--output=used", "/run"])
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    text.lines()
        .nth(1)
        .and_then(|line| line.trim().parse().ok())
        .with_context(|| text.clone())
}

#[test]
fn a_container_cannot_fill_the_run_directory() -> Result<()> {
    let host = Host::with_cluster("fill-run")?;
    host.import_busybox("busybox:1")?;
    let task = run(&host, "a", "busybox:1", "sleep 1000000")?;
    let before = run_taken(&host)?;
    for file in ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"] {
        let fill = format!("dd if=/dev/zero of={file} bs=1M count=8");
        host.shoal(&["exec", &task, "sh", "-c", &fill])?;
    }
    let after = run_taken(&host)?;
    ensure!(after < before + 1024, "/run: {before} KiB became {after}");
    host.finish()
}

#[test]
fn an_exit_is_known_although_run_is_full() -> Result<()> {
    let host = Host::with_cluster("full-run")?;
    host.import_busybox("busybox:1")?;
    let script = "while [ ! -e /go ]; do sleep 0.1; done; exit 42";
    let task = run(&host, "a", "busybox:1", script)?;
    let shrunk = host
        .command("mount")
        .args(["-o", "remount,size=4m", "/run"])
        .status()?;
    ensure!(shrunk.success(), "mount: {shrunk}");
    for size in ["64k", "1"] {
        // It ends with an error when nothing is left, which is the point.
        host.command("dd")
            .args([
                "if=/dev/zero",
                &format!("of=/run/filler{size}"),
                &format!("bs={size}"),
            ])
            .stderr(Stdio::null())
            .status()?;
    }
    host.shoal(&["exec", &task, "touch", "/go"])?;
    until("the exit", PATIENCE, || {
        let tasks = host.tasks("a")?;
        let error = tasks
            .first()
            .and_then(|task| task["Error"].as_str())
            .unwrap_or_default();
        ensure!(error.contains("exited with code 42"), "{tasks:#?}");
        Ok(())
    })?;
    let freed = host
        .command("rm")
        .args(["/run/filler64k", "/run/filler1"])
        .status()?;
    ensure!(freed.success(), "rm: {freed}");
    host.shoal(&["service", "rm", "a"])?;
    host.finish()
}

#[test]
fn programs_hold_their_three_streams_and_nothing_of_ours() -> Result<()> {
    let host = Host::with_cluster("descriptors")?;
    host.import_busybox("busybox:1")?;
    let task = run(&host, "a", "busybox:1", "sleep 1000000")?;
    let first = host.shoal(&["exec", &task, "ls", "/proc/1/fd"])?;
    ensure!(first.split_whitespace().eq(["0", "1", "2"]), "{first:?}");
    // The shell's own, listed by its child.
    let own = host.shoal(&["exec", &task, "sh", "-c", "ls /proc/$$/fd; true"])?;
    ensure!(own.split_whitespace().eq(["0", "1", "2"]), "{own:?}");
    let words = host.shoal(&["exec", &task, "cat", "/proc/1/environ"])?;
    let mut names: Vec<_> = words
        .split('\0')
        .filter_map(|word| word.split_once('='))
        .map(|(name, _)| name)
        .collect();
    names.sort_unstable();
    // The last two are the shell's.
    ensure!(names == ["HOME", "HOSTNAME", "PATH", "PWD", "SHLVL"], "{names:?}");
    host.finish()
}

#[test]
fn an_image_whose_proc_is_a_link_is_refused_by_name() -> Result<()> {
    let host = Host::with_cluster("proc-link")?;
    let root = busybox_root()?;
    let mut archive = tar::Archive::new(&root[..]);
    let mut hostile = tar::Builder::new(Vec::new());
    for entry in archive.entries()? {
        let entry = entry?;
        let path = entry.path()?.into_owned();
        if !path.components().any(|part| part.as_os_str() == "proc") {
            let header = entry.header().clone();
            hostile.append(&header, entry)?;
        }
    }
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    link.set_mode(0o777);
    hostile.append_link(&mut link, "proc", "/tmp")?;
    let path = host.folder().join("hostile.tar");
    fs::write(&path, hostile.into_inner()?)?;
    host.shoal(&["image", "import", &path.display().to_string(), "hostile:1"])?;
    host.shoal(&[
        "service",
        "create",
        "-d",
        "--name",
        "a",
        "--network",
        "none",
        "--restart-condition",
        "none",
        "hostile:1",
        "true",
    ])?;
    until("the reason", PATIENCE, || {
        let tasks = host.tasks("a")?;
        let error = tasks
            .first()
            .and_then(|task| task["Error"].as_str())
            .unwrap_or_default();
        ensure!(
            error.contains("/proc of the image is a symbolic link"),
            "{tasks:#?}"
        );
        Ok(())
    })?;
    host.finish()
}
