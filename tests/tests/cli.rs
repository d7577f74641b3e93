//! What an operator types: a client elsewhere, commands left running, removals that are waited for, an
//! installation below a prefix.

use anyhow::{Context, Result, ensure};
use shoal_tests::{Host, HostOptions, PATIENCE, dist, hello_image, until};
use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::Path,
    process::{Command, Stdio},
};

/// A shell in the host that finds the programs, with no daemon named.
fn at_home(host: &Host, script: &str) -> Result<std::process::Output> {
    let path = std::env::var("PATH")?;
    host.command("sh")
        .args(["-c", script])
        .env_remove("SHOAL_HOST")
        .env("PATH", format!("{}:{path}", dist().join("dev").display()))
        .env("SHOAL_STATE_DIR", host.state_dir())
        .env("XDG_CONFIG_HOME", host.folder().join("config"))
        .output()
        .context("cannot run sh")
}

#[test]
fn a_client_elsewhere_gets_in_by_its_certificate() -> Result<()> {
    let host = Host::with_cluster("remote")?;
    host.import_busybox("busybox:1")?;
    host.shoal(&[
        "service",
        "create",
        "--name",
        "web",
        "--network",
        "none",
        "busybox:1",
        "sleep",
        "1000",
    ])?;
    let file = host.folder().join("me.context");
    let shown = file.display().to_string();
    host.shoal(&["cluster", "client-cert", "--name", "me", "--output", &shown])?;
    let mode = fs::metadata(&file)?.permissions().mode() & 0o777;
    ensure!(mode == 0o600, "the key may be read by others: {mode:o}");
    // It is never written over.
    host.shoal_fails(1, &["cluster", "client-cert", "--output", &shown])?;

    let client = |words: &str| -> Result<(Option<i32>, String)> {
        let output = at_home(&host, &format!("shoal {words}"))?;
        let said = [output.stdout, output.stderr].concat();
        Ok((output.status.code(), String::from_utf8(said)?))
    };
    let expect = |words: &str, code: i32, text: &str| -> Result<()> {
        let (found, said) = client(words)?;
        ensure!(
            found == Some(code) && said.contains(text),
            "{words}: {found:?}: {said}"
        );
        Ok(())
    };
    expect("--context prod node ls", 1, "context import prod")?;
    expect(&format!("context import prod {shown}"), 0, "prod")?;
    expect(&format!("context import prod {shown}"), 1, "already")?;
    expect("--context prod node ls", 0, "remote")?;
    expect("--context prod context ls", 0, "prod *")?;
    expect(
        "--context prod exec web.1 sh -c 'echo inside; exit 7'",
        7,
        "inside",
    )?;
    // The line's context wins over the environment's daemon.
    let output = at_home(
        &host,
        "SHOAL_HOST=unix:///nowhere shoal --context prod node ls -q",
    )?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    refuses_a_stranger(&host, &shown)?;
    expect("context rm prod", 0, "prod")?;
    expect("context ls -q", 0, "")?;
    host.finish()
}

/// A certificate of another cluster is turned away, whatever address it comes to.
fn refuses_a_stranger(host: &Host, ours: &str) -> Result<()> {
    let other = Host::with_cluster("stranger")?;
    let theirs = other.shoal(&["cluster", "client-cert"])?;
    other.finish()?;
    let address = fs::read_to_string(ours)?;
    let address = address
        .lines()
        .find(|line| line.starts_with("host"))
        .context("no host")?;
    let forged: Vec<_> = theirs
        .lines()
        .map(|line| if line.starts_with("host") { address } else { line })
        .collect();
    let path = host.folder().join("forged");
    fs::write(&path, forged.join("\n"))?;
    let script = format!(
        "shoal context import forged {} && shoal --context forged node ls; code=$?; shoal context rm forged; exit $code",
        path.display()
    );
    let output = at_home(host, &script)?;
    ensure!(output.status.code() == Some(1), "a stranger got in: {output:?}");
    Ok(())
}

#[test]
fn a_detached_command_runs_on_and_an_unknown_user_is_named() -> Result<()> {
    let host = Host::with_cluster("detached")?;
    host.import_busybox("busybox:1")?;
    host.shoal(&[
        "service",
        "create",
        "--name",
        "web",
        "--network",
        "none",
        "busybox:1",
        "sleep",
        "1000",
    ])?;
    let script = "dd if=/dev/zero bs=64k count=64 2>/dev/null; sleep 1; echo yes > /done";
    let said = host.shoal(&["exec", "-d", "web.1", "sh", "-c", script])?;
    ensure!(said.is_empty(), "{said}");
    host.shoal_fails(1, &["exec", "web.1", "test", "-e", "/done"])?;
    until("the command to end", PATIENCE, || {
        host.shoal(&["exec", "web.1", "cat", "/done"]).map(drop)
    })?;
    host.shoal_fails(127, &["exec", "-d", "web.1", "nosuch"])?;
    let said = host.shoal_fails(126, &["exec", "-u", "nobody-here", "web.1", "id"])?;
    ensure!(
        said.contains("nobody-here") && !said.contains("manager went away"),
        "{said}"
    );
    host.finish()
}

#[test]
fn removals_are_waited_for_when_asked() -> Result<()> {
    let host = Host::with_cluster("gone")?;
    host.import_busybox("busybox:1")?;
    // Deaf to its stop signal: it is there until its grace has passed.
    let deaf = ["busybox:1", "sleep", "1000"];
    let create = [
        "service",
        "create",
        "-q",
        "--network",
        "none",
        "--stop-grace-period",
        "1s",
        "--replicas",
        "2",
    ];
    host.shoal(&[&create[..], &["--name", "web"], &deaf].concat())?;
    host.shoal(&["service", "rm", "--detach=false", "web"])?;
    ensure!(host.shoal(&["ps", "-q"])?.is_empty(), "containers run on");
    host.shoal_fails(1, &["service", "rm", "--detach=false", "web"])?;

    let file = host.folder().join("compose.yaml");
    fs::write(
        &file,
        "services: {web: {image: busybox:1, command: sleep 1000, network_mode: none, stop_grace_period: 1s}}\n",
    )?;
    host.shoal(&["stack", "deploy", "-c", &file.display().to_string(), "app"])?;
    host.shoal(&["stack", "rm", "--detach=false", "app"])?;
    ensure!(host.shoal(&["ps", "-q"])?.is_empty(), "containers run on");
    host.finish()
}

#[test]
fn a_program_that_is_not_there_is_tried_again_and_again() -> Result<()> {
    let host = Host::with_cluster("nosuch")?;
    host.import_busybox("busybox:1")?;
    let create = [
        "service",
        "create",
        "-d",
        "--network",
        "none",
        "--restart-delay",
        "100ms",
    ];
    let names = ["a", "b", "c", "d"];
    for name in names {
        host.shoal(&[&create[..], &["--name", name, "busybox:1", "/nosuch"]].concat())?;
    }
    for name in names {
        until("three rejected tasks", PATIENCE, || {
            let tasks = host.tasks(name)?;
            let rejected = tasks.iter().filter(|task| {
                task["CurrentState"]
                    .as_str()
                    .is_some_and(|state| state.starts_with("Rejected"))
            });
            ensure!(rejected.count() >= 3, "{tasks:#?}");
            Ok(())
        })?;
    }
    let script = format!("shoal service rm {}", names.join(" "));
    ensure!(
        at_home(
            &host,
            &format!(
                "SHOAL_HOST=unix://{}/shoal.sock {script}",
                host.run_dir().display()
            )
        )?
        .status
        .success()
    );
    host.finish()
}

#[test]
fn installed_below_a_prefix_the_programs_find_each_other() -> Result<()> {
    let host = Host::new("installed", HostOptions::default())?;
    let prefix = host.folder().join("usr");
    for (program, folder) in [
        ("shoal", "bin"),
        ("shoald", "bin"),
        ("shoal-shim", "libexec/shoal"),
        ("shoal-spawn", "libexec/shoal"),
        ("shoal-net", "libexec/shoal"),
    ] {
        fs::create_dir_all(prefix.join(folder))?;
        fs::copy(
            dist().join("dev").join(program),
            prefix.join(folder).join(program),
        )?;
    }
    let run = |program: &Path, words: &[&str]| -> Result<()> {
        let mut command: Command = host.command(program);
        let output = command
            .args(words)
            .env_remove("SHOAL_HOST")
            .env("SHOAL_STATE_DIR", host.state_dir())
            .output()?;
        ensure!(
            output.status.success(),
            "{words:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    };
    let shoal = prefix.join("bin/shoal");
    run(&shoal, &["dev", "up", "--detach"])?;
    run(
        &shoal,
        &[
            "image",
            "load",
            "--input",
            &hello_image(&dist())?.display().to_string(),
        ],
    )?;
    run(
        &shoal,
        &[
            "service",
            "create",
            "--network",
            "none",
            "hello:1",
            "serve",
            "127.0.0.1:1",
        ],
    )?;
    run(&shoal, &["dev", "down", "--purge"])?;
    host.finish_bare()
}

#[test]
fn a_daemon_on_its_way_out_is_followed_by_another() -> Result<()> {
    let host = Host::new("leaving", HostOptions::default())?;
    // What goes by the daemon's name, and stays until it is told to go.
    let program = host.folder().join("shoald");
    fs::copy("/bin/sleep", &program)?;
    let mut leaving = host.command(&program).arg("1000").spawn()?;
    let comm = format!("/proc/{}/comm", leaving.id());
    until("it to have its name", PATIENCE, || {
        ensure!(fs::read_to_string(&comm)?.trim() == "shoald");
        Ok(())
    })?;
    let run_dir = host.outside(&host.run_dir());
    fs::create_dir_all(&run_dir)?;
    fs::write(run_dir.join("shoald.pid"), leaving.id().to_string())?;
    let socket = UnixListener::bind(run_dir.join("shoal.sock"))?;
    socket.set_nonblocking(true)?;
    let shoal = |words: &[&str]| {
        let mut command = host.command(dist().join("dev/shoal"));
        command.args(words).env_remove("SHOAL_HOST");
        command.env("SHOAL_STATE_DIR", host.state_dir());
        command.env("SHOAL_RUN_DIR", host.run_dir());
        command
    };
    let up = shoal(&["dev", "up", "--detach"]).stderr(Stdio::piped()).spawn()?;
    // From its first question on it waits for that one.
    let asked = until("it to be asked whether it serves", PATIENCE, || {
        Ok(socket.accept().map(drop)?)
    });
    drop(socket);
    leaving.kill()?;
    leaving.wait()?;
    let output = up.wait_with_output()?;
    asked?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    ensure!(said.contains("The cluster is up"), "{said}");
    let down = shoal(&["dev", "down", "--purge"]).output()?;
    ensure!(down.status.success(), "{}", String::from_utf8_lossy(&down.stderr));
    host.finish_bare()
}
