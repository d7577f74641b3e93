//! What is wrong is named, with what to do; nothing is half-changed and nothing is left over.

use anyhow::{Result, bail, ensure};
use shoal_tests::{Host, HostOptions, PATIENCE, until};
use std::{fs, net::TcpListener, process::Stdio};

/// Every part must stand in the message.
fn expect(message: &str, parts: &[&str]) -> Result<()> {
    for part in parts {
        ensure!(message.contains(part), "{part:?} is not in {message:?}");
    }
    Ok(())
}

#[test]
fn a_malformed_compose_file_names_line_and_changes_nothing() -> Result<()> {
    let host = Host::with_cluster("compose")?;
    let file = host.folder().join("compose.yaml");
    let path = file.display().to_string();
    for (text, code, parts) in [
        (
            "services:\n  web:\n    image: [a\n",
            1,
            ["compose.yaml", ":"].as_slice(),
        ),
        (
            "services:\n  web:\n    imagee: a:1\n",
            1,
            &["compose.yaml:3", "imagee", "image"],
        ),
        (
            "services:\n  web:\n    build: .\n",
            1,
            &["compose.yaml:3", "docker save", "shoal image load"],
        ),
        (
            "services:\n  web:\n    image: nowhere.invalid/a:1\n    network_mode: host\n",
            1,
            &["nowhere.invalid/a:1"],
        ),
    ] {
        fs::write(&file, text)?;
        expect(
            &host.shoal_fails(code, &["stack", "deploy", "-c", &path, "app"])?,
            parts,
        )?;
        ensure!(
            host.shoal(&["stack", "ls", "-q"])?.trim().is_empty(),
            "a stack was half made from {text:?}"
        );
        ensure!(
            host.shoal(&["service", "ls", "-q"])?.trim().is_empty(),
            "a service was made from {text:?}"
        );
    }
    host.finish()
}

#[test]
fn an_unknown_image_is_refused_when_the_service_is_created() -> Result<()> {
    let host = Host::with_cluster("unknown")?;
    let message = host.shoal_fails(1, &["service", "create", "--name", "a", "127.0.0.1:9/none:1"])?;
    expect(&message, &["127.0.0.1:9/none:1"])?;
    ensure!(
        host.shoal(&["service", "ls", "-q"])?.trim().is_empty(),
        "the service was made"
    );
    host.finish()
}

#[test]
fn an_entrypoint_that_does_not_exist_is_named_on_the_task() -> Result<()> {
    let host = Host::with_busybox("entry")?;
    host.create("a", &["-d", "--restart-condition", "none"], &["/no/such"])?;
    expect_task_error(&host, "a", &["/no/such", "no such file"])?;
    host.finish()
}

/// Waits until a task of the service has ended with an error that has all parts.
fn expect_task_error(host: &Host, service: &str, parts: &[&str]) -> Result<()> {
    until("the task's error", PATIENCE, || {
        let tasks = host.tasks(service)?;
        for task in &tasks {
            let error = task["Error"].as_str().unwrap_or_default();
            if !error.is_empty() {
                return expect(
                    &error.to_lowercase(),
                    &parts
                        .iter()
                        .map(|part| part.to_lowercase())
                        .collect::<Vec<_>>()
                        .iter()
                        .map(String::as_str)
                        .collect::<Vec<_>>(),
                );
            }
        }
        bail!("{tasks:#?}")
    })
}

#[test]
fn a_port_in_use_is_named_before_the_container_starts() -> Result<()> {
    let host = Host::with_busybox("port")?;
    let mut holder = host
        .command("busybox")
        .args(["nc", "-l", "-p", "7777"])
        .stdin(Stdio::piped())
        .spawn()?;
    until("the port to be taken", PATIENCE, || {
        let table = fs::read_to_string(format!("/proc/{}/net/tcp6", holder.id()))?
            + &fs::read_to_string(format!("/proc/{}/net/tcp", holder.id()))?;
        ensure!(table.contains(&format!(":{:04X}", 7777)), "{table}");
        Ok(())
    })?;
    host.create(
        "a",
        &[
            "-d",
            "--network",
            "host",
            "--publish",
            "published=7777,target=7777,mode=host",
            "--restart-condition",
            "none",
        ],
        &["sleep", "1000"],
    )?;
    let named = expect_task_error(&host, "a", &["7777", "in use", "busybox"]);
    holder.kill()?;
    holder.wait()?;
    named?;
    host.finish()
}

#[test]
fn a_limit_below_what_starts_is_named() -> Result<()> {
    let host = Host::with_busybox("limit")?;
    expect(
        &host.shoal_fails(
            1,
            &[
                "service",
                "create",
                "--name",
                "a",
                "--limit-memory",
                "1m",
                "busybox:1",
                "true",
            ],
        )?,
        &["memory", "4MiB"],
    )?;
    host.create(
        "b",
        &["-d", "--limit-memory", "6m", "--restart-condition", "none"],
        &[
            "sh",
            "-c",
            "x=$(head -c 50000000 /dev/zero | tr '\\0' a); echo ${#x}",
        ],
    )?;
    expect_task_error(&host, "b", &["memory"])?;
    host.finish()
}

#[test]
fn a_second_daemon_on_the_same_data_is_refused_and_harms_nothing() -> Result<()> {
    let mut host = Host::with_cluster("second")?;
    let first = host.daemon_pid()?;
    let program = shoal_tests::dist().join("dev/shoald");
    let output = host
        .command(program)
        .args([
            "--dev",
            "--state-dir",
            &host.state_dir().display().to_string(),
            "--run-dir",
            "/run/other",
        ])
        .output()?;
    ensure!(output.status.code() == Some(1), "{}", output.status);
    expect(
        &String::from_utf8_lossy(&output.stderr),
        &[&host.state_dir().display().to_string(), &first.to_string()],
    )?;
    host.shoal(&["node", "ls"])?;
    host.kill_daemon()?;
    host.start_daemon()?;
    host.finish()
}

#[test]
fn without_a_daemon_or_with_a_socket_that_refuses_the_client_says_what_to_do() -> Result<()> {
    let host = Host::new("nobody", HostOptions::default())?;
    expect(
        &host.shoal_fails(1, &["node", "ls"])?,
        &["/run/shoal/shoal.sock", "shoal dev up"],
    )?;
    fs::create_dir_all(host.folder().join("s"))?;
    let refused = host.folder().join("s/refuse.sock");
    drop(std::os::unix::net::UnixListener::bind(&refused)?);
    let address = format!("unix://{}", refused.display());
    expect(
        &host.shoal_fails(1, &["--host", &address, "node", "ls"])?,
        &["refuse"],
    )?;
    // Somebody listens, and is no shoald.
    let listener = TcpListener::bind("127.0.0.1:0")?;
    drop(listener);
    ensure!(
        host.shoal_output(&["node", "lss"])?.status.code() == Some(2),
        "a usage error exits with 2"
    );
    ensure!(
        host.shoal_output(&["service", "scale", "a"])?.status.code() == Some(2),
        "a usage error exits with 2"
    );
    host.finish_bare()
}

#[test]
fn broken_and_lying_archives_are_named_and_leave_no_image() -> Result<()> {
    let host = Host::with_cluster("archive")?;
    let path = host.folder().join("bad.tar");
    let text = path.display().to_string();
    let good = fs::read(shoal_tests::hello_image(&shoal_tests::dist())?)?;
    let truncated = good[..good.len() / 2].to_vec();
    for (what, bytes) in [
        ("nothing", Vec::new()),
        ("noise", vec![7; 100_000]),
        ("half an image", truncated),
    ] {
        fs::write(&path, bytes)?;
        let message = host.shoal_fails(1, &["image", "load", "--input", &text])?;
        ensure!(!message.trim().is_empty(), "{what}: no message");
        ensure!(
            host.shoal(&["image", "ls", "-q"])?.trim().is_empty(),
            "{what}: an image was left"
        );
    }
    host.finish()
}
