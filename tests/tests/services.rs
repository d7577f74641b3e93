//! What a user does with services every day, and what becomes of their tasks.

use anyhow::{Context, Result, ensure};
use shoal_tests::{Host, HostOptions, PATIENCE, Registry, SLEEP, json_lines, until};

#[test]
fn scale_up_and_down_keeps_the_lowest_slots() -> Result<()> {
    let host = Host::with_busybox("scale")?;
    host.create("a", &["--replicas", "4"], &SLEEP)?;
    host.wait_running("a", 4)?;
    host.shoal(&["service", "scale", "a=1"])?;
    let left = host.wait_running("a", 1)?;
    ensure!(
        left[0]["Name"]
            .as_str()
            .is_some_and(|name| name.starts_with("a.1")),
        "{left:#?}"
    );
    host.shoal(&["service", "scale", "a=0"])?;
    host.wait_running("a", 0)?;
    host.finish()
}

#[test]
fn an_update_replaces_one_task_at_a_time() -> Result<()> {
    let host = Host::with_busybox("update")?;
    host.create(
        "a",
        &[
            "--replicas",
            "3",
            "--env",
            "COLOR=red",
            "--update-monitor",
            "100ms",
        ],
        &SLEEP,
    )?;
    host.wait_running("a", 3)?;
    let before: Vec<_> = host
        .wait_running("a", 3)?
        .iter()
        .map(|task| task["ID"].clone())
        .collect();
    host.shoal(&["service", "update", "-q", "--env-add", "COLOR=blue", "a"])?;
    let after = host.wait_running("a", 3)?;
    ensure!(
        after.iter().all(|task| !before.contains(&task["ID"])),
        "a task was kept: {after:#?}"
    );
    for task in &after {
        let id = task["ID"].as_str().context("no id")?;
        let color = host.shoal(&["exec", id, "sh", "-c", "echo $COLOR"])?;
        ensure!(color.trim() == "blue", "{color}");
    }
    // What does not concern tasks rolls nothing.
    host.shoal(&["service", "update", "-q", "--label-add", "team=one", "a"])?;
    let labelled = host.wait_running("a", 3)?;
    ensure!(
        labelled
            .iter()
            .zip(&after)
            .all(|(now, then)| now["ID"] == then["ID"]),
        "a label replaced tasks"
    );
    host.finish()
}

#[test]
fn a_task_that_ends_is_restarted_by_its_policy() -> Result<()> {
    let host = Host::with_busybox("restart")?;
    host.create(
        "brief",
        &["-d", "--restart-delay", "50ms", "--restart-max-attempts", "2"],
        &["sh", "-c", "exit 3"],
    )?;
    until("the attempts to be used up", PATIENCE, || {
        let tasks = host.tasks("brief")?;
        let failed = tasks.iter().filter(|task| {
            task["CurrentState"]
                .as_str()
                .is_some_and(|s| s.starts_with("Failed"))
        });
        ensure!(failed.count() == 3, "{tasks:#?}");
        ensure!(
            tasks.iter().all(|task| task["Error"]
                .as_str()
                .is_some_and(|error| error.contains("exit") && error.contains('3'))),
            "{tasks:#?}"
        );
        Ok(())
    })?;
    host.create("once", &["-d", "--restart-condition", "none"], &["true"])?;
    until("the task to complete", PATIENCE, || {
        let tasks = host.tasks("once")?;
        ensure!(tasks.len() == 1, "{tasks:#?}");
        ensure!(
            tasks[0]["CurrentState"]
                .as_str()
                .is_some_and(|state| state.starts_with("Complete")),
            "{tasks:#?}"
        );
        Ok(())
    })?;
    host.finish()
}

#[test]
fn a_container_that_is_killed_is_replaced() -> Result<()> {
    let host = Host::with_busybox("replace")?;
    host.create("a", &["--restart-delay", "0s"], &SLEEP)?;
    let first = host.wait_running("a", 1)?[0]["ID"].clone();
    let rows = json_lines(&host.shoal(&["ps", "--format", "json"])?)?;
    let pid = rows[0]["Pid"].to_string();
    ensure!(
        host.command("kill")
            .args(["-9", pid.trim_matches('"')])
            .status()?
            .success(),
        "cannot kill {pid}"
    );
    until("another task to run", PATIENCE, || {
        let running = host.wait_running("a", 1)?;
        ensure!(running[0]["ID"] != first, "the first task runs on");
        Ok(())
    })?;
    let ended = host
        .tasks("a")?
        .into_iter()
        .find(|task| task["ID"] == first)
        .context("no history")?;
    ensure!(
        ended["Error"].as_str().is_some_and(|error| error.contains("137")),
        "{ended:#?}"
    );
    host.finish()
}

#[test]
fn what_cannot_be_placed_says_why() -> Result<()> {
    let host = Host::with_busybox("why")?;
    for (name, flags, code, noun) in [
        (
            "zone",
            ["--constraint", "node.labels.zone==moon"],
            "constraint-unmet",
            "node.labels.zone",
        ),
        (
            "large",
            ["--reserve-memory", "900g"],
            "insufficient-resources",
            "memory",
        ),
    ] {
        let flags: Vec<_> = ["-d"].into_iter().chain(flags).collect();
        host.create(name, &flags, &SLEEP)?;
        until("the reason", PATIENCE, || {
            let why = host.shoal(&["service", "why", name])?;
            ensure!(why.contains(code) && why.contains(noun), "{why}");
            Ok(())
        })?;
    }
    // The condition comes true: the task runs.
    let node = host.shoal(&["node", "ls", "-q"])?;
    host.shoal(&["node", "update", "--label-add", "zone=moon", node.trim()])?;
    host.wait_running("zone", 1)?;
    host.finish()
}

#[test]
fn two_services_that_want_one_port_cannot_both_have_it() -> Result<()> {
    let host = Host::with_busybox("ports")?;
    let publish = [
        "-d",
        "--network",
        "host",
        "--publish",
        "published=7070,target=7070,mode=host",
    ];
    for name in ["a", "b"] {
        host.create(name, &publish, &SLEEP)?;
    }
    host.wait_running("a", 1)?;
    until("the reason", PATIENCE, || {
        let why = host.shoal(&["service", "why", "b"])?;
        ensure!(why.contains("host-port-taken") && why.contains("7070"), "{why}");
        Ok(())
    })?;
    host.shoal(&["service", "rm", "a"])?;
    host.wait_running("b", 1)?;
    host.finish()
}

#[test]
fn a_global_service_runs_once_on_every_node_and_a_drained_node_runs_nothing() -> Result<()> {
    let host = Host::with_busybox("global")?;
    host.create("g", &["--mode", "global"], &SLEEP)?;
    host.wait_running("g", 1)?;
    let node = host.shoal(&["node", "ls", "-q"])?;
    host.shoal(&["node", "update", "--availability", "drain", node.trim()])?;
    host.wait_running("g", 0)?;
    host.shoal(&["node", "update", "--availability", "active", node.trim()])?;
    host.wait_running("g", 1)?;
    host.finish()
}

#[test]
fn health_gates_running_and_an_unhealthy_task_is_replaced() -> Result<()> {
    let host = Host::with_busybox("health")?;
    host.create(
        "h",
        &[
            "-d",
            "--restart-delay",
            "0s",
            "--health-cmd",
            "test -e /tmp/well",
            "--health-interval",
            "100ms",
            "--health-timeout",
            "5s",
            "--health-retries",
            "3",
            "--health-start-period",
            "60s",
            "--health-start-interval",
            "100ms",
        ],
        &SLEEP,
    )?;
    let task = until("the task to start", PATIENCE, || {
        let tasks = host.tasks("h")?;
        let starting = tasks.iter().find(|task| {
            task["CurrentState"]
                .as_str()
                .is_some_and(|s| s.starts_with("Starting"))
        });
        starting
            .and_then(|task| task["ID"].as_str())
            .map(str::to_owned)
            .with_context(|| format!("{tasks:#?}"))
    })?;
    until("the container to be there", PATIENCE, || {
        host.shoal(&["exec", &task, "touch", "/tmp/well"]).map(drop)
    })?;
    host.wait_running("h", 1)?;
    host.shoal(&["exec", &task, "rm", "/tmp/well"])?;
    until("the task to be given up", PATIENCE, || {
        let tasks = host.tasks("h")?;
        let ended = tasks
            .iter()
            .find(|row| row["ID"] == task.as_str())
            .context("no history")?;
        let (state, error) = (
            ended["CurrentState"].as_str().unwrap_or_default(),
            ended["Error"].as_str().unwrap_or_default(),
        );
        ensure!(
            state.starts_with("Failed") && error.contains("unhealthy"),
            "{ended:#?}"
        );
        Ok(())
    })?;
    host.finish()
}

#[test]
fn exec_carries_input_output_exit_code_and_user() -> Result<()> {
    let host = Host::with_busybox("exec")?;
    host.create("a", &["--user", "1000:2000"], &SLEEP)?;
    let task = host.wait_running("a", 1)?[0]["ID"]
        .as_str()
        .context("no id")?
        .to_owned();
    let output = host.shoal_output(&["exec", &task, "sh", "-c", "id -u; echo oops >&2; exit 7"])?;
    ensure!(output.status.code() == Some(7), "{}", output.status);
    ensure!(
        output.stdout == b"1000\n" && output.stderr == b"oops\n",
        "{output:?}"
    );
    let mut cat = host.shoal_command(&["exec", "-i", &task, "cat"]);
    let mut child = cat
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()?;
    std::io::Write::write_all(&mut child.stdin.take().context("no stdin")?, &[b'x'; 300_000])?;
    let echoed = child.wait_with_output()?;
    ensure!(
        echoed.stdout.len() == 300_000,
        "{} bytes came back",
        echoed.stdout.len()
    );
    let missing = host.shoal_output(&["exec", &task, "/no/such"])?;
    ensure!(missing.status.code() == Some(127), "{missing:?}");
    host.finish()
}

#[test]
fn volumes_outlive_tasks_and_are_removed_by_name() -> Result<()> {
    let host = Host::with_busybox("volume")?;
    host.create("a", &["--mount", "type=volume,source=data,target=/data"], &SLEEP)?;
    let task = host.wait_running("a", 1)?[0]["ID"]
        .as_str()
        .context("no id")?
        .to_owned();
    host.shoal(&["exec", &task, "sh", "-c", "echo kept > /data/file"])?;
    let refused = host.shoal_fails(1, &["volume", "rm", "data"])?;
    ensure!(refused.contains("in use"), "{refused}");
    host.shoal(&["service", "rm", "a"])?;
    host.create("b", &["--mount", "type=volume,source=data,target=/data"], &SLEEP)?;
    let task = host.wait_running("b", 1)?[0]["ID"]
        .as_str()
        .context("no id")?
        .to_owned();
    ensure!(
        host.shoal(&["exec", &task, "cat", "/data/file"])? == "kept\n",
        "the data is gone"
    );
    host.shoal(&["service", "rm", "b"])?;
    until("the volume to be free", PATIENCE, || {
        host.shoal(&["volume", "rm", "data"]).map(drop)
    })?;
    ensure!(
        !host.shoal(&["volume", "ls"])?.contains("data"),
        "the volume is listed"
    );
    host.finish()
}

#[test]
fn an_image_comes_from_a_plain_registry_that_was_named() -> Result<()> {
    let options = HostOptions {
        daemon_args: Registry::daemon_args(),
        ..Default::default()
    };
    let mut host = Host::new("registry", options)?;
    host.start_daemon()?;
    let registry = Registry::start(&host)?;
    host.shoal(&["image", "pull", "127.0.0.1:5000/hello:1"])?;
    ensure!(
        host.shoal(&["image", "ls"])?.contains("127.0.0.1:5000/hello"),
        "not listed"
    );
    let missing = host.shoal_fails(1, &["image", "pull", "127.0.0.1:5000/none:1"])?;
    ensure!(missing.contains("127.0.0.1:5000/none:1"), "{missing}");
    // A service pulls by itself.
    host.shoal(&["image", "rm", "127.0.0.1:5000/hello:1"])?;
    host.shoal(&[
        "service",
        "create",
        "-q",
        "--name",
        "a",
        "--network",
        "none",
        "--stop-signal",
        "KILL",
        "127.0.0.1:5000/hello:1",
        "stamp",
    ])?;
    host.wait_running("a", 1)?;
    drop(registry);
    host.finish()
}
