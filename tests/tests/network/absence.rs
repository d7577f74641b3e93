//! A laptop that is shut for a while, and one that is switched off: names and ports go on, or come back by themselves.
//! So do those of a node whose daemon is away when a container dies.
//!
//! A suspended machine is one whose processes all stand still while time passes; of one that was switched off only what
//! is on disk is left.

use crate::{addresses, client, v4, with_blue};
use anyhow::{Context, Result, ensure};
use shoal_tests::{HOST_V4, Host, Netns, Outside, PATIENCE, text, until};
use std::{
    collections::BTreeSet,
    fs,
    time::{Duration, Instant},
};

/// Longer than three heartbeats: whoever is silent for so long is down, if it is silent alone.
const OVERDUE: Duration = Duration::from_secs(5);

/// The process that holds a container: the parent of its first one.
fn shim_of(pid: &str) -> Result<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").context("no name in stat")?;
    Ok(fields.split(' ').nth(1).context("no parent in stat")?.to_owned())
}

/// Every process of the node: shims and their containers, shoal-net, the daemon.
fn processes(host: &Host) -> Result<Vec<String>> {
    let mut all = vec![
        host.daemon_pid()?.to_string(),
        host.only_process("shoal-net")?.to_string(),
    ];
    for row in host.containers()? {
        let pid = text(&row, "Pid");
        all.extend([shim_of(&pid)?, pid]);
    }
    Ok(all)
}

#[test]
fn a_suspended_machine_goes_on_where_it_stood() -> Result<()> {
    let host = with_blue("suspend")?;
    let outside = Outside::new(&host)?;
    host.create_web("web", &["--network", "blue", "--replicas", "2", "-p", "8080:80"])?;
    let asker = client(&host, "asker", &["blue"])?;
    addresses(&asker, "tasks.web", 4)?;
    let before = host.running("web", 2)?;
    let all = processes(&host)?;
    for pid in &all {
        host.signal("-STOP", pid)?;
    }
    let shut = Instant::now();
    until("heartbeats to be overdue", PATIENCE, || {
        ensure!(shut.elapsed() > OVERDUE);
        Ok(())
    })?;
    // The daemon wakes first: the others have not said anything yet.
    for pid in &all {
        host.signal("-CONT", pid)?;
    }
    until("the port", PATIENCE, || {
        outside.net.get(&format!("{HOST_V4}:8080"))?;
        host.net()?.get("127.0.0.1:8080")
    })?;
    addresses(&asker, "tasks.web", 4)?;
    host.shoal(&["service", "scale", "web=3"])?;
    addresses(&asker, "tasks.web", 6)?;
    let after = host.running("web", 3)?;
    ensure!(
        before.iter().all(|task| after.contains(task)),
        "{before:?} became {after:?}"
    );
    host.finish()
}

/// The two tasks of `web`, once none of these is among them: the managers think that it runs until its node has said
/// otherwise.
fn replaced(host: &Host, before: &[String]) -> Result<Vec<String>> {
    until("other tasks in their place", PATIENCE, || {
        let now = host.running("web", 2)?;
        ensure!(
            now.iter().all(|task| !before.contains(task)),
            "{before:?} became {now:?}"
        );
        Ok(now)
    })
}

#[test]
fn a_machine_that_was_switched_off_has_its_services_again() -> Result<()> {
    let mut host = with_blue("reboot")?;
    let outside = Outside::new(&host)?;
    host.create_web("web", &["--network", "blue", "--replicas", "2", "-p", "8080:80"])?;
    client(&host, "asker", &["blue"])?;
    until("the port", PATIENCE, || {
        outside.net.get(&format!("{HOST_V4}:8080"))
    })?;
    let before = host.running("web", 2)?;
    let mut all = processes(&host)?;
    // The daemon first, so that it takes no note of the others' ends.
    all.remove(0);
    host.kill_daemon()?;
    for pid in &all {
        // A container ends with its shim, which may be quicker.
        host.command("kill").args(["-9", pid]).output()?;
    }
    host.run("nft", "flush ruleset")?;
    let run = host.run_dir().display().to_string();
    host.run("umount", &format!("{run}/net/router"))?;
    host.command("rm").args(["-rf", &run]).output()?;
    host.start_daemon()?;
    replaced(&host, &before)?;
    until("the port again", PATIENCE, || {
        outside.net.get(&format!("{HOST_V4}:8080"))?;
        host.net()?.get("127.0.0.1:8080")
    })?;
    let asker = host.task_net(&host.running("asker", 1)?[0])?;
    asker.get(&v4(&addresses(&asker, "web", 2)?, 80)?)?;
    host.finish()
}

/// In this time nobody is sent to a container that is gone, whoever may be away.
const NOTICED: Duration = Duration::from_secs(5);

/// The service's VIP, its port and its names lead to these and to nobody else.
fn leads_to(host: &Host, outside: &Outside, asker: &Netns, pages: &BTreeSet<String>) -> Result<()> {
    let vip = v4(&asker.lookup("web")?, 80)?;
    for (who, net, place) in [
        ("a container", asker, vip),
        ("outside", &outside.net, format!("{HOST_V4}:8080")),
        ("the host", &host.net()?, "127.0.0.1:8080".to_owned()),
    ] {
        let found = Host::pages(net, &place, 20).with_context(|| who.to_owned())?;
        ensure!(found == *pages, "{who}: {found:?}, expected {pages:?}");
    }
    let found = asker.lookup("tasks.web")?;
    ensure!(found.len() == 2 * pages.len(), "{found:?}");
    Ok(())
}

#[test]
fn a_container_that_dies_while_the_daemon_is_away_is_asked_no_more() -> Result<()> {
    let mut host = with_blue("away")?;
    let outside = Outside::new(&host)?;
    host.create_web("web", &["--network", "blue", "--replicas", "2", "-p", "8080:80"])?;
    let asker = client(&host, "asker", &["blue"])?;
    let tasks = host.running("web", 2)?;
    let pages: Vec<_> = tasks
        .iter()
        .map(|task| host.page_of(task))
        .collect::<Result<_>>()?;
    until("both to answer", PATIENCE, || {
        leads_to(&host, &outside, &asker, &pages.iter().cloned().collect())
    })?;
    let dies = host.task_pid(&tasks[0])?;
    host.kill_daemon()?;
    host.signal("-KILL", &dies)?;
    let died = Instant::now();
    let rest = BTreeSet::from([pages[1].clone()]);
    until("the rest to answer alone", NOTICED, || {
        leads_to(&host, &outside, &asker, &rest)
    })?;
    ensure!(died.elapsed() < NOTICED, "after {:?}", died.elapsed());
    host.start_daemon()?;
    let now = replaced(&host, &tasks[..1])?;
    let mut both = BTreeSet::new();
    for task in now {
        both.insert(host.page_of(&task)?);
    }
    until("both to answer again", PATIENCE, || {
        leads_to(&host, &outside, &asker, &both)
    })?;
    host.finish()
}
