//! What a client that goes leaves behind: of a `run --rm`, and of a cluster in the foreground.

use anyhow::{Context, Result, ensure};
use shoal_tests::{Host, HostOptions, PATIENCE, SLEEP, dist, until};
use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

fn services(host: &Host) -> Result<Vec<String>> {
    let listed = host.shoal(&["service", "ls", "--format", "{{.Name}}"])?;
    Ok(listed.lines().map(str::to_owned).collect())
}

fn wait_for_services(host: &Host, expect: &[&str]) -> Result<()> {
    until(&format!("the services to be {expect:?}"), PATIENCE, || {
        let there = services(host)?;
        ensure!(there == expect, "{there:?}");
        Ok(())
    })
}

const RUN: [&str; 4] = ["run", "--rm", "--network", "none"];

/// A run of this name whose program is there: it has said so.
fn started(host: &Host, name: &str) -> Result<(Child, BufReader<ChildStdout>)> {
    let mut command = host.shoal_command(&RUN);
    command.args([
        "--name",
        name,
        "busybox:1",
        "sh",
        "-c",
        "echo up; exec sleep 100000",
    ]);
    let mut client = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut line = String::new();
    let mut heard = BufReader::new(client.stdout.take().context("no output")?);
    heard.read_line(&mut line)?;
    ensure!(line == "up\n", "{line:?}");
    Ok((client, heard))
}

#[test]
fn a_closed_terminal_ends_a_run_that_waits_unless_that_was_to_outlive_it() -> Result<()> {
    let host = Host::with_busybox("hangup")?;
    // As `nohup` leaves it, SIGHUP is for nobody.
    for (setting, code) in [("--default-signal=HUP", 129), ("--ignore-signal=HUP", 143)] {
        let mut command = host.command("env");
        command.arg(setting).arg(dist().join("dev/shoal")).args(RUN);
        command.args([
            "--name",
            "waits",
            "--constraint",
            "node.labels.room==yes",
            "busybox:1",
        ]);
        command.args(SLEEP).stdin(Stdio::null());
        let mut client = command.stderr(Stdio::piped()).spawn()?;
        // It listens by the time that it says so.
        let mut line = String::new();
        let mut heard = BufReader::new(client.stderr.take().context("no standard error")?);
        heard.read_line(&mut line)?;
        ensure!(line.starts_with("Waiting: "), "{line:?}");
        let pid = client.id().to_string();
        host.signal("-HUP", &pid)?;
        if code == 143 {
            host.signal("-TERM", &pid)?;
        }
        let ended = client.wait()?;
        ensure!(ended.code() == Some(code), "{setting}: {ended:?}");
        wait_for_services(&host, &[])?;
    }
    host.finish()
}

#[test]
fn a_client_that_is_killed_leaves_the_removal_to_the_managers() -> Result<()> {
    let host = Host::with_busybox("killed")?;
    let (mut client, heard) = started(&host, "box")?;
    let labelled = ["service", "inspect", "--format", "{{.Spec.Labels}}", "box"];
    until("the managers to know", PATIENCE, || {
        let labels = host.shoal(&labelled)?;
        ensure!(labels.contains("shoal.remove-at-end"), "{labels}");
        Ok(())
    })?;
    client.kill()?;
    client.wait()?;
    drop(heard);
    let task = host.wait_running("box", 1)?;
    let pid = host.task_pid(&shoal_tests::text(&task[0], "ID"))?;
    host.signal("-KILL", &pid)?;
    wait_for_services(&host, &[])?;
    host.finish()
}

#[test]
fn a_session_that_breaks_off_says_so_and_what_is_left() -> Result<()> {
    let mut host = Host::with_busybox("broken")?;
    let (client, heard) = started(&host, "box")?;
    host.kill_daemon()?;
    let output = client.wait_with_output()?;
    drop(heard);
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1), "{output:?}");
    for part in ["broke", "box is left", "`shoal service rm box`"] {
        ensure!(said.contains(part), "{part:?} is not in {said}");
    }
    host.start_daemon()?;
    host.wait_running("box", 1)?;
    host.finish()
}

/// `dev up` in the foreground, of the programs in a folder; it hears SIGHUP whatever the tests do.
fn up_in_foreground(host: &Host, programs: &Path) -> Command {
    let mut command = host.command("env");
    command
        .arg("--default-signal=HUP")
        .arg(programs.join("shoal"))
        .args(["dev", "up"])
        .env_remove("SHOAL_HOST")
        .env("SHOAL_STATE_DIR", host.state_dir())
        .env("SHOAL_RUN_DIR", host.run_dir())
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    command
}

#[test]
fn a_daemon_in_the_foreground_does_not_outlive_a_start_that_is_broken_off() -> Result<()> {
    let host = Host::new("unborn", HostOptions::default())?;
    // A daemon that never serves, and says what it was asked for.
    let programs = host.folder().join("programs");
    fs::create_dir(&programs)?;
    fs::copy(dist().join("dev/shoal"), programs.join("shoal"))?;
    let asked = host.folder().join("asked");
    let daemon = programs.join("shoald");
    let script = format!(
        "#!/bin/sh\necho \"$$ $1 $2\" >> {}\n[ \"$2\" = down ] && exit\ntrap 'kill $!; exit' TERM\nsleep 1000 &\nwait\n",
        asked.display()
    );
    fs::write(&daemon, script)?;
    fs::set_permissions(&daemon, fs::Permissions::from_mode(0o755))?;
    fs::create_dir_all(host.outside(&host.run_dir()))?;
    let mut up = up_in_foreground(&host, &programs).spawn()?;
    let first = until("the daemon to be started", PATIENCE, || {
        let asked = fs::read_to_string(&asked)?;
        let line = asked.lines().next().context("nothing was asked")?;
        Ok(line.to_owned())
    })?;
    let (pid, word) = first.split_once(' ').context("no process")?;
    ensure!(word == "--dev --state-dir", "{first}");
    host.signal("-INT", &up.id().to_string())?;
    let ended = up.wait()?;
    ensure!(ended.code() == Some(130), "{ended:?}");
    ensure!(!Path::new("/proc").join(pid).exists(), "{pid} is still there");
    let asked = fs::read_to_string(&asked)?;
    ensure!(asked.trim_end().ends_with(" down"), "{asked}");
    host.finish_bare()
}

#[test]
fn a_cluster_in_the_foreground_ends_with_its_terminal() -> Result<()> {
    let host = Host::new("foreground", HostOptions::default())?;
    for signal in ["-HUP", "-TERM", "-INT"] {
        let mut up = up_in_foreground(&host, &dist().join("dev")).spawn()?;
        let mut heard = BufReader::new(up.stderr.take().context("no standard error")?);
        let mut said = String::new();
        while !said.contains("Interrupt (Ctrl-C) ends it") {
            ensure!(heard.read_line(&mut said)? > 0, "{said}");
        }
        host.signal(signal, &up.id().to_string())?;
        heard.read_to_string(&mut said)?;
        let ended = up.wait()?;
        ensure!(ended.success(), "{signal}: {ended:?} {said}");
        ensure!(said.contains("The cluster is down"), "{signal}: {said}");
        ensure!(
            !host.outside(&host.run_dir()).join("shoal.sock").exists(),
            "{signal}"
        );
    }
    host.finish_bare()
}
