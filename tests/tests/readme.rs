//! README's first page, typed word for word by somebody who has just installed it.
//!
//! The fenced block under "Use it" is typed line by line at a terminal, and what `make install` put in place is what the
//! other lines use. What cargo makes was made by whoever runs the tests: it does nothing here. A line that says so is
//! ended by Ctrl-C; one that opens a shell in a container is left by `exit`; a page that is asked for must be the one.

use anyhow::{Context, Result, ensure};
use shoal_tests::{Host, HostOptions, Typist, dist};
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const README: &str = include_str!("../../README.md");

/// Whoever follows logs has seen enough of them then.
const ENOUGH_LINES: usize = 3;

/// The lines of the first fenced block under a heading.
fn block(heading: &str) -> Result<Vec<&'static str>> {
    let (_, section) = README
        .split_once(&format!("\n{heading}\n"))
        .context("no such heading")?;
    let (_, rest) = section.split_once("\n```\n").context("no block")?;
    let (block, _) = rest.split_once("\n```").context("the block has no end")?;
    Ok(block.lines().filter(|line| !line.trim().is_empty()).collect())
}

/// What the example's page says when it could count.
const PAGE: &str = "Visit ";

/// Makes a `cargo` that knows what it was used for already, and nothing else.
fn cargo(folder: &Path) -> Result<()> {
    fs::create_dir(folder)?;
    let cargo = folder.join("cargo");
    fs::write(
        &cargo,
        "#!/bin/sh\ncase \"$*\" in\n'xtask build' | 'xtask image') ;;\n*) exit 1 ;;\nesac\n",
    )?;
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

#[test]
fn the_first_page_is_what_a_newcomer_types() -> Result<()> {
    let host = Host::new("readme", HostOptions::default())?;
    let (made, root) = (host.folder().join("made"), host.folder().join("root"));
    cargo(&made)?;
    let bin = root.join("usr/local/bin");
    let path = [bin.display(), made.display()]
        .map(|folder| folder.to_string())
        .join(":");
    let environment = [
        ("PATH", format!("{path}:{}", std::env::var("PATH")?)),
        ("CARGO", made.join("cargo").display().to_string()),
        ("DESTDIR", root.display().to_string()),
        ("PROGRAMS", dist().join("dev").display().to_string()),
        ("SHOAL_STATE_DIR", host.state_dir().display().to_string()),
        ("SHOAL_RUN_DIR", host.run_dir().display().to_string()),
    ];
    // No variable of the tests' own says where the daemon is: `dev up` does.
    let mut typist = Typist::new(&host, ROOT, &environment)?;
    typist.line("unset SHOAL_HOST")?;
    let lines = block("## Use it")?;
    ensure!(lines.len() > 5, "{lines:?}");
    for line in lines {
        let (code, said) = type_line(&mut typist, line).with_context(|| line.to_owned())?;
        ensure!(code == 0, "{line}: exit code {code}\n{said}");
        ensure!(
            !line.starts_with("curl ") || said.contains(PAGE),
            "{line}\n{said}"
        );
        if line.starts_with("make install") {
            let (_, used) = typist.line("command -v shoal shoald")?;
            let expected = ["shoal", "shoald"].map(|name| bin.join(name).display().to_string());
            ensure!(
                expected.iter().all(|path| used.lines().any(|line| line == path)),
                "{used}"
            );
        }
    }
    drop(typist);
    host.finish_bare()
}

fn type_line(typist: &mut Typist, line: &str) -> Result<(i32, String)> {
    let (command, comment) = line.split_once('#').unwrap_or((line, ""));
    if comment.contains("Ctrl-C") {
        typist.begin(line)?;
        typist.wait_for("\n", ENOUGH_LINES + 1)?;
        let (code, said) = typist.interrupt()?;
        // 128 and the signal's number is how a shell says that Ctrl-C did it.
        return Ok((if code == 130 { 0 } else { code }, said));
    }
    if command.contains(" -it ") && command.trim_end().ends_with(" sh") {
        typist.begin(line)?;
        // What is typed before the shell inside has its terminal would be lost.
        typist.wait_for("# ", line.matches("# ").count() + 1)?;
        typist.begin("echo in-$((40 + 2))")?;
        typist.wait_for("in-42", 1)?;
        return typist.line("exit");
    }
    typist.line(line)
}
