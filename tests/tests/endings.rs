//! How tasks end, in the words that `service ps` has for it.

use anyhow::{Context, Result, ensure};
use shoal_tests::{Host, PATIENCE, SLEEP, text, until};
use std::{
    fs,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

const ONCE: [&str; 3] = ["-d", "--restart-condition", "none"];
const AGAIN: [&str; 2] = ["--restart-delay", "0s"];

/// The exit code that the cluster has of a task.
fn exit_code(host: &Host, task: &str) -> Result<String> {
    let format = "{{.Status.ContainerStatus.ExitCode}}";
    Ok(host
        .shoal(&["inspect", "--format", format, task])?
        .trim()
        .to_owned())
}

#[test]
fn exit_codes_signals_and_want_of_memory_are_named() -> Result<()> {
    let host = Host::with_busybox("ends")?;
    // Several programs, of which the kernel kills the one that eats; the first process goes on and says so.
    let eats = "x=$(head -c 100000000 /dev/zero | tr '\\0' a); echo ${#x}";
    for (name, flags, script, state, code, error) in [
        ("well", [].as_slice(), "exit 0", "Complete", "0", [].as_slice()),
        ("code", &[], "exit 7", "Failed", "7", &["exited with code 7"]),
        (
            "signal",
            &[],
            "kill -SEGV $$",
            "Failed",
            "139",
            &["SIGSEGV", "139"],
        ),
        (
            "memory",
            &["--limit-memory", "12m"],
            eats,
            "Failed",
            "137",
            &["out of memory", "12MiB", "137", "raise the memory limit"],
        ),
    ] {
        let flags: Vec<_> = ONCE.iter().chain(flags).copied().collect();
        // A process of its own below the container's first, which the kernel does not protect from its signals.
        let script = format!("sh -c '{}'; exit $?", script.replace('\'', "'\\''"));
        host.create(name, &flags, &["sh", "-c", &script])?;
        let ended = host.wait_ended(name, state)?;
        let said = text(&ended, "Error");
        ensure!(said.is_empty() == error.is_empty(), "{ended:#?}");
        let shown = if name == "signal" {
            &["exited with code 139"]
        } else {
            error
        };
        for part in shown {
            ensure!(said.contains(part), "{part:?} is not in {said:?}");
        }
        ensure!(exit_code(&host, &text(&ended, "ID"))? == code, "{ended:#?}");
    }
    host.finish()
}

/// The shim of a task's container.
fn shim_of(host: &Host, task: &str) -> Result<String> {
    let pid = host.task_pid(task)?;
    let status = fs::read_to_string(Path::new("/proc").join(&pid).join("status"))?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    let parent = parent.context("no parent")?.trim().to_owned();
    let name = fs::read_to_string(format!("/proc/{parent}/comm"))?;
    ensure!(name.trim() == "shoal-shim", "{parent} is {name}");
    Ok(parent)
}

#[test]
fn a_shim_that_is_killed_is_named_and_costs_its_own_task_only() -> Result<()> {
    let mut host = Host::with_busybox("lost")?;
    host.create("other", &[], &SLEEP)?;
    let other = host.wait_running("other", 1)?;
    let pid = host.task_pid(&text(&other[0], "ID"))?;
    host.create("a", &AGAIN, &SLEEP)?;
    // Once with the daemon there, once while it is away.
    for away in [false, true] {
        let task = text(&host.wait_running("a", 1)?[0], "ID");
        let shim = shim_of(&host, &task)?;
        if away {
            host.kill_daemon()?;
        }
        host.signal("-KILL", &shim)?;
        if away {
            host.start_daemon()?;
        }
        host.wait_replaced("a", &task)?;
        let rows = host.tasks("a")?;
        let lost = rows
            .iter()
            .find(|row| text(row, "ID") == task)
            .context("no history")?;
        ensure!(text(lost, "Error").contains("its shim was killed"), "{lost:#?}");
        ensure!(exit_code(&host, &task)? == "137", "{lost:#?}");
    }
    let still = host.wait_running("other", 1)?;
    ensure!(still[0]["ID"] == other[0]["ID"], "another task was replaced");
    ensure!(
        host.task_pid(&text(&other[0], "ID"))? == pid,
        "another container was replaced"
    );
    host.finish()
}

#[test]
fn what_ends_while_the_daemon_is_away_says_how_and_when() -> Result<()> {
    let mut host = Host::with_busybox("away")?;
    let script = "trap 'echo bye; exit 7' TERM; echo ready; while true; do sleep 0.05; done";
    host.create("a", &["--restart-condition", "none"], &["sh", "-c", script])?;
    let task = text(&host.wait_running("a", 1)?[0], "ID");
    until("the program to listen", PATIENCE, || {
        ensure!(host.shoal(&["logs", &task])? == "ready\n", "not yet");
        Ok(())
    })?;
    let (pid, shim) = (host.task_pid(&task)?, shim_of(&host, &task)?);
    host.kill_daemon()?;
    host.signal("-TERM", &pid)?;
    until("the shim to end", PATIENCE, || {
        ensure!(!Path::new("/proc").join(&shim).exists(), "it lives");
        Ok(())
    })?;
    let over = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    until("the clock to be well past it", PATIENCE, || {
        ensure!(
            SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() > over + 300,
            "not yet"
        );
        Ok(())
    })?;
    host.start_daemon()?;
    let ended = host.wait_ended("a", "Failed")?;
    ensure!(text(&ended, "Error").contains("exited with code 7"), "{ended:#?}");
    ensure!(exit_code(&host, &task)? == "7", "{ended:#?}");
    ensure!(
        host.shoal(&["logs", &task])? == "ready\nbye\n",
        "the log is not whole"
    );
    let at = host.shoal(&["inspect", "--format", "{{.Status.Timestamp}}", &task])?;
    let at = host.command("date").args(["-d", at.trim(), "+%s%3N"]).output()?;
    let at: u128 = String::from_utf8(at.stdout)?.trim().parse()?;
    ensure!(
        at <= over + 50,
        "it had ended at {over} and is said to have at {at}"
    );
    host.finish()
}
