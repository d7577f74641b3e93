//! `shoal run` and `shoal attach`, as people know them from Docker: what is said, how it ends, what stays.

use anyhow::{Context, Result, ensure};
use shoal_tests::{Host, PATIENCE, SLEEP, Typist, text, until};
use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Stdio},
};

fn services(host: &Host) -> Result<Vec<String>> {
    let listed = host.shoal(&["service", "ls", "--format", "{{.Name}}"])?;
    Ok(listed.lines().map(str::to_owned).collect())
}

fn is_gone(host: &Host, name: &str) -> Result<()> {
    until(&format!("{name} to be removed"), PATIENCE, || {
        let there = services(host)?;
        ensure!(!there.iter().any(|service| service == name), "{there:?}");
        Ok(())
    })
}

/// `run` of the image, on no network.
fn run<'a>(flags: &[&'a str], command: &[&'a str]) -> Vec<&'a str> {
    let mut words = vec!["run", "--network", "none"];
    words.extend(flags);
    words.push("busybox:1");
    words.extend(command);
    words
}

#[test]
fn only_the_program_is_heard_and_its_code_is_the_commands() -> Result<()> {
    let host = Host::with_busybox("run")?;
    for _ in 0..2 {
        let script = ["sh", "-c", "echo out; echo err >&2; exit 7"];
        let output = host.shoal_output(&run(&["--rm"], &script))?;
        let said = (output.stdout.as_slice(), output.stderr.as_slice());
        ensure!(
            output.status.code() == Some(7) && said == (b"out\n", b"err\n"),
            "{output:?}"
        );
    }
    for (command, code) in [("nosuch", 127), ("/etc", 126)] {
        for flags in [["--rm"].as_slice(), &["-d", "--rm"]] {
            let said = host.shoal_fails(code, &run(flags, &[command]))?;
            ensure!(said.contains(command), "{said}");
        }
    }
    until("all to be removed", PATIENCE, || {
        let left = services(&host)?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })?;
    host.finish()
}

#[test]
fn what_is_left_to_itself_is_removed_at_its_end_if_it_was_so_said() -> Result<()> {
    let host = Host::with_busybox("left")?;
    host.shoal(&run(&["-d", "--rm", "--name", "short"], &["true"]))?;
    is_gone(&host, "short")?;
    host.shoal(&run(&["-d", "--rm", "--name", "long"], &SLEEP))?;
    host.shoal(&run(&["-d", "--name", "kept"], &["true"]))?;
    host.wait_ended("kept", "Complete")?;
    ensure!(services(&host)? == ["kept", "long"], "{:?}", services(&host)?);
    let pid = host.task_pid(&text(&host.wait_running("long", 1)?[0], "ID"))?;
    host.signal("-KILL", &pid)?;
    is_gone(&host, "long")?;

    let mut typist = at_a_terminal(&host)?;
    typist.begin("shoal run --rm -ti --network none --name box busybox:1 sh")?;
    typist.wait_for("~ #", 1)?;
    let (code, said) = typist.leave()?;
    ensure!(code == 0 && said.contains("shoal attach box.1"), "{code} {said}");
    let pid = host.task_pid(&text(&host.wait_running("box", 1)?[0], "ID"))?;
    host.signal("-KILL", &pid)?;
    is_gone(&host, "box")?;
    drop(typist);
    host.finish()
}

/// Somebody who has the programs at hand.
fn at_a_terminal(host: &Host) -> Result<Typist> {
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", shoal_tests::dist().join("dev").display());
    Typist::new(host, "/", &[("PATH", path)])
}

#[test]
fn a_terminal_inside_has_the_size_of_the_one_outside_and_follows_it() -> Result<()> {
    let host = Host::with_busybox("sizes")?;
    host.create("box", &[], &SLEEP)?;
    let mut typist = at_a_terminal(&host)?;
    for line in [
        "shoal exec -it box.1 sh",
        "shoal run --rm -it --network none busybox:1 sh",
    ] {
        let (code, said) = typist.line("stty rows 21 cols 88")?;
        ensure!(code == 0, "{said}");
        typist.begin(line)?;
        // What is typed before the shell inside has its terminal would be lost.
        typist.wait_for("# ", 1)?;
        typist.begin("stty size")?;
        typist.wait_for("21 88", 1)?;
        // As the window's frame is drawn: whoever reads from it is told by a signal alone.
        let client = host.only_process("shoal")?;
        let terminal = fs::read_link(format!("/proc/{client}/fd/0"))?;
        let words = format!("-F {} rows 33 cols 77", terminal.display());
        host.run("stty", &words)?;
        typist.begin("until [ \"$(stty size)\" = '33 77' ]; do sleep 0.1; done; echo it-is-$((40 + 2))")?;
        typist.wait_for("it-is-42", 1).context(line)?;
        let (code, said) = typist.line("exit")?;
        ensure!(code == 0, "{line}: {code} {said}");
    }
    drop(typist);
    host.finish()
}

/// Sends the signal until the client has ended; its exit code.
fn insist(host: &Host, client: &mut Child, signal: &str) -> Result<Option<i32>> {
    let pid = client.id().to_string();
    let mut ended = None;
    until("the client to give up", PATIENCE, || {
        ended = client.try_wait()?;
        if ended.is_none() {
            host.signal(signal, &pid)?;
        }
        ended.map(|_| ()).context("it is still there")
    })?;
    Ok(ended.and_then(|ended| ended.code()))
}

#[test]
fn a_caller_who_insists_leaves_a_program_that_does_not_care() -> Result<()> {
    let host = Host::with_busybox("insist")?;
    let start = |words: &[&str]| {
        let mut command = host.shoal_command(words);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()
    };
    // A shell ends by SIGINT of itself.
    let script = "trap '' INT TERM; while :; do echo tick; sleep 0.1; done";
    let script = ["sh", "-c", script];
    for (words, signal, code) in [
        (run(&["--name", "kept"], &script), "-TERM", 143),
        (vec!["attach", "kept.1"], "-INT", 130),
    ] {
        let mut client = start(&words)?;
        let mut line = String::new();
        let mut heard = BufReader::new(client.stdout.take().context("no output")?);
        heard.read_line(&mut line)?;
        ensure!(line == "tick\n", "{line:?}");
        let ended = insist(&host, &mut client, signal)?;
        ensure!(ended == Some(code), "{words:?}: {ended:?}");
    }
    host.wait_running("kept", 1)?;
    let mut client = start(&run(&["--rm", "--name", "gone"], &SLEEP))?;
    host.wait_running("gone", 1)?;
    ensure!(insist(&host, &mut client, "-INT")? == Some(130));
    is_gone(&host, "gone")?;
    host.finish()
}

#[test]
fn a_task_is_known_by_its_service_and_slot() -> Result<()> {
    let host = Host::with_busybox("named")?;
    let script = "while :; do echo tick; sleep 0.1; done";
    host.shoal(&run(&["-d", "--name", "box"], &["sh", "-c", script]))?;
    let id = text(&host.wait_running("box", 1)?[0], "ID");
    let named = host.shoal(&["inspect", "--format", "{{.ID}}", "box.1"])?;
    ensure!(named.starts_with(&id), "{named} {id}");
    let mut attached = host.shoal_command(&["attach", "--no-stdin", "box.1"]);
    let mut attached = attached.stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(attached.stdout.take().context("no output")?).read_line(&mut line)?;
    ensure!(line == "tick\n", "{line:?}");
    // It goes on without its client, and ends for one that stays.
    attached.kill()?;
    attached.wait()?;
    host.shoal(&["exec", "box.1", "true"])?;
    let said = host.shoal_fails(1, &["attach", "box.2"])?;
    ensure!(said.contains("no task"), "{said}");
    host.finish()
}
