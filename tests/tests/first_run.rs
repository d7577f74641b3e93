//! The main job through every layer: a compose file becomes running containers, and a killed daemon
//! takes them up again.

use anyhow::{Context, Result, bail, ensure};
use shoal_tests::{Host, PATIENCE, dist, hello_image, json_lines, until};
use std::{collections::BTreeMap, fs, process::Stdio};

const COMPOSE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../compose-examples/hello/compose.yaml"
);

#[test]
fn a_compose_file_becomes_running_containers() -> Result<()> {
    let host = Host::with_cluster("first")?;
    host.shoal(&[
        "image",
        "load",
        "--input",
        &hello_image(&dist())?.display().to_string(),
    ])?;
    host.shoal(&["stack", "deploy", "-c", COMPOSE, "hello"])?;
    host.wait_running("hello_web", 1)?;
    host.wait_running("hello_worker", 2)?;

    let services = json_lines(&host.shoal(&["service", "ls", "--format", "json"])?)?;
    let replicas: BTreeMap<_, _> = services
        .iter()
        .map(|row| (row["Name"].as_str(), row["Replicas"].as_str()))
        .collect();
    ensure!(
        replicas
            == BTreeMap::from([
                (Some("hello_web"), Some("1/1")),
                (Some("hello_worker"), Some("2/2"))
            ]),
        "{replicas:?}"
    );

    host.shoal(&["service", "scale", "hello_worker=5"])?;
    host.wait_running("hello_worker", 5)?;
    until("every worker to have fetched", PATIENCE, || {
        let logs = host.shoal(&["service", "logs", "hello_worker"])?;
        let speakers: std::collections::BTreeSet<_> = logs
            .lines()
            .filter(|line| line.contains("fetched: hello from"))
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        ensure!(speakers.len() == 5, "{speakers:?}");
        Ok(())
    })?;

    let task = host.shoal(&[
        "service",
        "ps",
        "-q",
        "--filter",
        "desired-state=running",
        "hello_web",
    ])?;
    let about = host.shoal(&["exec", task.trim(), "/hello", "about"])?;
    ensure!(about.starts_with("host "), "{about}");

    host.shoal(&["stack", "rm", "hello"])?;
    until("the containers to go", PATIENCE, || {
        let left = host.shoal(&["ps", "-q"])?;
        if left.trim().is_empty() {
            Ok(())
        } else {
            bail!("{left}")
        }
    })?;
    host.finish()
}

#[test]
fn a_killed_daemon_takes_up_what_it_left() -> Result<()> {
    let mut host = Host::with_busybox("killed")?;
    host.create(
        "count",
        &["--network", "host", "--replicas", "3"],
        &["sh", "-c", "i=0; while sleep 0.05; do i=$((i+1)); echo $i; done"],
    )?;
    host.wait_running("count", 3)?;
    let before = processes(&host)?;
    ensure!(before.len() == 3, "{before:?}");

    host.kill_daemon()?;
    for pid in before.values() {
        ensure!(
            fs::metadata(format!("/proc/{pid}")).is_ok(),
            "process {pid} went with the daemon"
        );
    }
    host.start_daemon()?;
    host.wait_running("count", 3)?;
    ensure!(before == processes(&host)?, "containers were replaced");

    // What was said while nobody listened is in the logs, in order and without a gap.
    let task = host.tasks("count")?[0]["ID"]
        .as_str()
        .context("no id")?
        .to_owned();
    let logs = host.shoal(&["logs", &task])?;
    let numbers: Vec<u64> = logs.lines().filter_map(|line| line.trim().parse().ok()).collect();
    ensure!(
        !numbers.is_empty() && numbers.iter().zip(1..).all(|(number, expect)| *number == expect),
        "{logs}"
    );
    host.finish()
}

/// Task to process id, of every container.
fn processes(host: &Host) -> Result<BTreeMap<String, String>> {
    let rows = json_lines(&host.shoal(&["ps", "--no-trunc", "--format", "json"])?)?;
    rows.iter()
        .map(|row| {
            let id = row["ID"].as_str().context("a row without an id")?.to_owned();
            Ok((id, row["Pid"].to_string()))
        })
        .collect()
}

#[test]
fn logs_follow_until_the_reader_goes() -> Result<()> {
    let host = Host::with_busybox("follow")?;
    host.create("talk", &[], &["sh", "-c", "while sleep 0.1; do echo word; done"])?;
    host.wait_running("talk", 1)?;
    let log = host.folder().join("followed");
    let mut follow = host
        .shoal_command(&["service", "logs", "-f", "talk"])
        .stdout(fs::File::create(&log)?)
        .stderr(Stdio::null())
        .spawn()?;
    let seen = until("twenty lines", PATIENCE, || {
        let lines = fs::read_to_string(&log)?.lines().count();
        ensure!(lines >= 20, "{lines} lines");
        Ok(())
    });
    follow.kill()?;
    follow.wait()?;
    seen?;
    host.finish()
}
