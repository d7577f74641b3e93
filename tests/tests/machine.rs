//! A machine that lacks something: a full disk, a missing controller, a user without rights.

use anyhow::{Context, Result, bail, ensure};
use shoal_tests::{Host, HostOptions, PATIENCE, dist, hello_image, until};
use std::{fs, os::unix::fs::PermissionsExt};

#[test]
fn a_full_disk_serves_reads_refuses_writes_and_heals_by_itself() -> Result<()> {
    let mut host = Host::new(
        "full",
        HostOptions {
            disk: Some("96m"),
            ..HostOptions::default()
        },
    )?;
    host.start_daemon()?;
    host.shoal(&[
        "image",
        "load",
        "--input",
        &hello_image(&dist())?.display().to_string(),
    ])?;
    let create = |name: &str| {
        host.shoal_output(&[
            "service",
            "create",
            "-q",
            "-d",
            "--name",
            name,
            "--network",
            "none",
            "--stop-signal",
            "KILL",
            "hello:1",
            "stamp",
        ])
    };
    ensure!(create("before")?.status.success(), "{}", host.daemon_log());
    host.wait_running("before", 1)?;

    host.fill_disk()?;
    let mut acknowledged = vec!["before".to_owned()];
    // The store may still have room in pages that it holds: some writes can succeed, and then must last.
    let refused = until("a write to be refused", PATIENCE, || {
        let name = format!("full{}", acknowledged.len());
        let output = create(&name)?;
        if output.status.success() {
            acknowledged.push(name);
            bail!("accepted");
        }
        Ok(String::from_utf8(output.stderr)?)
    })?;
    ensure!(refused.contains("disk") && refused.contains("full"), "{refused}");
    ensure!(
        host.shoal(&["service", "ls"])?.contains("before"),
        "reads are not served"
    );

    host.free_disk()?;
    until("writes to be taken again", PATIENCE, || {
        let output = create("after")?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    })?;
    acknowledged.push("after".to_owned());
    host.wait_running("after", 1)?;
    host.kill_daemon()?;
    host.start_daemon()?;
    let listed = host.shoal(&["service", "ls", "--format", "{{.Name}}"])?;
    for name in acknowledged {
        ensure!(
            listed.lines().any(|line| line == name),
            "{name} was acknowledged and is lost: {listed}"
        );
    }
    host.finish()
}

#[test]
fn a_limit_whose_controller_is_missing_is_refused_by_name() -> Result<()> {
    let mut host = Host::new("controller", HostOptions::default())?;
    let hidden = host.command("umount").arg("/sys/fs/cgroup/pids").status()?;
    ensure!(hidden.success(), "umount: {hidden}");
    host.start_daemon()?;
    host.import_busybox("busybox:1")?;
    host.shoal(&[
        "service",
        "create",
        "-d",
        "--name",
        "a",
        "--network",
        "none",
        "--limit-pids",
        "50",
        "--restart-condition",
        "none",
        "busybox:1",
        "sleep",
        "1000",
    ])?;
    until("the reason", PATIENCE, || {
        let tasks = host.tasks("a")?;
        let error = tasks
            .first()
            .and_then(|task| task["Error"].as_str())
            .unwrap_or_default();
        ensure!(
            error.contains("pids") && error.contains("controller"),
            "{tasks:#?}"
        );
        Ok(())
    })?;
    // What needs no such limit runs.
    host.shoal(&[
        "service",
        "create",
        "-q",
        "--name",
        "b",
        "--network",
        "none",
        "--stop-signal",
        "KILL",
        "busybox:1",
        "sleep",
        "1000",
    ])?;
    host.wait_running("b", 1)?;
    host.finish()
}

#[test]
fn without_root_client_and_daemon_say_so() -> Result<()> {
    let host = Host::with_cluster("nobody")?;
    // The programs may lie where only root can read.
    let folder = host.folder().join("programs");
    fs::create_dir(&folder)?;
    for path in [host.folder().to_owned(), folder.clone()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    }
    for name in ["shoal", "shoald", "shoal-net", "shoal-shim", "shoal-spawn"] {
        fs::copy(dist().join("dev").join(name), folder.join(name)).context(name)?;
    }
    let nobody = |name: &str, words: &[&str]| {
        let mut command = host.command("setpriv");
        command
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"])
            .arg(folder.join(name))
            .args(words);
        command.output()
    };
    let client = nobody("shoal", &["node", "ls"])?;
    let message = String::from_utf8(client.stderr)?;
    ensure!(client.status.code() == Some(1), "{}: {message}", client.status);
    ensure!(
        message.contains("may not use") && message.contains("group"),
        "{message}"
    );
    let daemon = nobody(
        "shoald",
        &[
            "--dev",
            "--state-dir",
            "/var/tmp/shoal-nobody",
            "--run-dir",
            "/run/shoal-nobody",
        ],
    )?;
    let message = String::from_utf8(daemon.stderr)?;
    ensure!(
        daemon.status.code() == Some(1) && message.contains("root"),
        "{}: {message}",
        daemon.status
    );
    host.finish()
}
