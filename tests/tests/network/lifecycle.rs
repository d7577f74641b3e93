//! When a task is in the tables and when it is not, and what clients notice of updates, scaling and killed daemons.

use crate::{addresses, at, client, load_hello, v4, with_blue};
use anyhow::{Context, Result, ensure};
use shoal_tests::{ECHO, HOST_V4, Hammer, Host, Netns, Outside, PATIENCE, SLEEP, echo_over, text, until};
use std::{
    fs,
    net::TcpStream,
    time::{Duration, Instant},
};

#[test]
fn a_task_is_found_once_it_is_healthy() -> Result<()> {
    let host = with_blue("healthy")?;
    let asker = client(&host, "asker", &["blue"])?;
    host.create(
        "h",
        &[
            "-d",
            "--network",
            "blue",
            "--health-cmd",
            "test -e /tmp/well",
            "--health-interval",
            "100ms",
            "--health-retries",
            "3",
            "--health-start-period",
            "60s",
            "--health-start-interval",
            "100ms",
            "--restart-delay",
            "60s",
        ],
        &SLEEP,
    )?;
    let task = until("the container to be there", PATIENCE, || {
        let rows = host.containers()?;
        let row = rows.iter().find(|row| text(row, "Service") == "h");
        let task = text(row.context("not yet")?, "Task");
        host.shoal(&["exec", &task, "true"])?;
        Ok(task)
    })?;
    ensure!(asker.lookup("tasks.h")?.is_empty(), "found before it is healthy");
    // The service's own name is there, and leads nowhere yet.
    ensure!(asker.lookup("h")?.len() == 2, "{:?}", asker.lookup("h")?);
    host.shoal(&["exec", &task, "touch", "/tmp/well"])?;
    addresses(&asker, "tasks.h", 2)?;
    host.shoal(&["exec", &task, "rm", "/tmp/well"])?;
    addresses(&asker, "tasks.h", 0)?;
    host.finish()
}

#[test]
fn a_task_has_left_the_tables_when_it_is_asked_to_stop() -> Result<()> {
    let host = with_blue("leave")?;
    let last_words =
        "nslookup tasks.leaver > /kept/$(hostname) 2>&1; ip -o addr >> /kept/$(hostname); exit 0";
    let program = format!("trap '{last_words}' TERM; while true; do sleep 0.05; done");
    let flags = [
        "--network",
        "blue",
        "--replicas",
        "2",
        "--stop-signal",
        "TERM",
        "--mount",
        "type=volume,source=kept,target=/kept",
    ];
    host.create("leaver", &flags, &["sh", "-c", &program])?;
    let asker = client(&host, "asker", &["blue"])?;
    addresses(&asker, "tasks.leaver", 4)?;
    let tasks = host.running("leaver", 2)?;
    let (stays, leaves) = (
        host.task_net(&tasks[0])?.addresses()?,
        host.task_net(&tasks[1])?.addresses()?,
    );
    let page = host.page_of(&tasks[1])?;
    host.shoal(&["service", "scale", "leaver=1"])?;
    host.wait_running("leaver", 1)?;
    let said = until("its last words", PATIENCE, || {
        host.shoal(&["exec", &tasks[0], "cat", &format!("/kept/{page}")])
    })?;
    let (answer, own) = said.split_once("inet").context("it has no address")?;
    ensure!(
        stays.iter().any(|address| answer.contains(&address.to_string())),
        "{said}"
    );
    for address in leaves {
        ensure!(
            own.contains(&address.to_string()),
            "{address} is not its own: {said}"
        );
        ensure!(
            !answer.contains(&address.to_string()),
            "{address} was still given out: {said}"
        );
    }
    host.finish()
}

#[test]
fn scaling_and_updates_cost_no_request() -> Result<()> {
    let host = with_blue("smooth")?;
    let outside = Outside::new(&host)?;
    host.create_web(
        "web",
        &[
            "--network",
            "blue",
            "--replicas",
            "3",
            "-p",
            "8080:80",
            "--update-monitor",
            "100ms",
            "--health-cmd",
            "wget -q -O /dev/null http://127.0.0.1/",
            "--health-interval",
            "100ms",
            "--health-start-interval",
            "100ms",
            "--health-start-period",
            "30s",
        ],
    )?;
    let asker = client(&host, "asker", &["blue"])?;
    let vip = v4(&addresses(&asker, "web", 2)?, 80)?;
    let hammers = [
        Hammer::start(&asker, &vip)?,
        Hammer::start(&outside.net, &format!("{HOST_V4}:8080"))?,
        Hammer::start(&host.net()?, "127.0.0.1:8080")?,
    ];
    for replicas in [1, 4, 2] {
        host.shoal(&["service", "scale", &format!("web={replicas}")])?;
        host.wait_running("web", replicas)?;
    }
    host.shoal(&["service", "update", "-q", "--env-add", "COLOR=blue", "web"])?;
    let done = host.tasks("web")?.len();
    ensure!(done >= 4, "nothing was replaced: {done} tasks");
    for hammer in hammers {
        hammer.finish()?;
    }
    host.finish()
}

/// A web server on a port, whose page tells which port that is.
fn web_on(port: u16) -> String {
    format!(
        "mkdir -p /www && echo {port} > /www/index.html && httpd -f -p {port} -h /www & \
         trap 'sleep 0.3; exit 0' TERM; wait"
    )
}

#[test]
fn a_published_port_leads_to_old_and_new_targets_while_they_change() -> Result<()> {
    let host = with_blue("target")?;
    let outside = Outside::new(&host)?;
    let healthy = "wget -q -O /dev/null http://127.0.0.1:80/ || wget -q -O /dev/null http://127.0.0.1:81/";
    let mut flags = vec![
        "--stop-signal",
        "TERM",
        "--network",
        "blue",
        "--replicas",
        "3",
        "-p",
        "8080:80",
    ];
    flags.extend([
        "--update-monitor",
        "100ms",
        "--health-cmd",
        healthy,
        "--health-interval",
        "100ms",
    ]);
    flags.extend(["--health-start-interval", "100ms", "--health-start-period", "30s"]);
    host.create("web", &flags, &["sh", "-c", &web_on(80)])?;
    let port = format!("{HOST_V4}:8080");
    let hammers = [
        Hammer::start(&outside.net, &port)?,
        Hammer::start(&host.net()?, "127.0.0.1:8080")?,
    ];
    let both = std::thread::scope(|scope| {
        let update = scope.spawn(|| {
            let args = format!("sh -c \"{}\"", web_on(81));
            let ports = ["--publish-rm", "80", "--publish-add", "8080:81"];
            host.shoal(
                &[
                    &["service", "update", "-q", "--args", &args],
                    &ports[..],
                    &["web"],
                ]
                .concat(),
            )
        });
        let mut both = false;
        while !update.is_finished() {
            let pages = Host::pages(&outside.net, &port, 20)?;
            both |= pages.iter().map(|page| page.trim()).eq(["80", "81"]);
        }
        update
            .join()
            .map_err(|_panic| anyhow::anyhow!("the update panicked"))??;
        Ok::<_, anyhow::Error>(both)
    })?;
    ensure!(both, "old and new tasks were never seen together");
    let pages = Host::pages(&outside.net, &port, 20)?;
    ensure!(pages.iter().map(|page| page.trim()).eq(["81"]), "{pages:?}");
    for hammer in hammers {
        hammer.finish()?;
    }
    host.finish()
}

/// Connections that are to live on, and where new ones go.
struct Conversations {
    live: Vec<(String, TcpStream)>,
    places: Vec<(String, Netns, String)>,
    asker: Netns,
}

impl Conversations {
    /// With a service `echo` that is in `blue` and has port 7007.
    fn new(host: &Host, outside: &Outside) -> Result<Self> {
        host.create(
            "echo",
            &["--network", "blue", "--replicas", "2", "-p", "7007:7"],
            &ECHO,
        )?;
        let asker = client(host, "asker", &["blue"])?;
        let vip = addresses(&asker, "echo", 2)?;
        addresses(&asker, "tasks.echo", 4)?;
        let mut places = vec![
            (
                "outside".to_owned(),
                outside.net.again()?,
                format!("{HOST_V4}:7007"),
            ),
            ("the host".to_owned(), host.net()?, "127.0.0.1:7007".to_owned()),
            ("the host, IPv6".to_owned(), host.net()?, "[::1]:7007".to_owned()),
        ];
        for address in vip {
            places.push((format!("VIP {address}"), asker.again()?, at(address, 7)));
        }
        let mut live = Vec::new();
        for (who, net, place) in &places {
            let mut stream = until(who, PATIENCE, || net.connect(place))?;
            echo_over(&mut stream, "first").with_context(|| who.clone())?;
            live.push((who.clone(), stream));
        }
        Ok(Self { live, places, asker })
    }

    fn live_on(&mut self, but: &str) -> Result<()> {
        let live = self
            .live
            .iter_mut()
            .filter(|(who, _)| but.is_empty() || !who.starts_with(but));
        for (who, stream) in live {
            echo_over(stream, "still here?").with_context(|| format!("the connection of {who}"))?;
        }
        Ok(())
    }

    /// New ones come about as well, and names are answered.
    fn come_about(&self) -> Result<()> {
        for (who, net, place) in &self.places {
            echo_over(&mut net.connect(place)?, "new")
                .with_context(|| format!("a new connection of {who}"))?;
        }
        ensure!(
            self.asker.lookup("tasks.echo")?.len() == 4,
            "{:?}",
            self.asker.lookup("tasks.echo")?
        );
        Ok(())
    }
}

#[test]
fn a_killed_daemon_is_missed_by_nobody() -> Result<()> {
    let mut host = with_blue("absent")?;
    let outside = Outside::new(&host)?;
    let mut all = Conversations::new(&host, &outside)?;
    let before = host.running("echo", 2)?;
    host.kill_daemon()?;
    all.live_on("")?;
    all.come_about()?;
    host.start_daemon()?;
    ensure!(host.running("echo", 2)? == before, "tasks were replaced");
    all.live_on("")?;
    all.come_about()?;
    // It is in command again.
    host.shoal(&["service", "scale", "echo=3"])?;
    addresses(&all.asker, "tasks.echo", 6)?;
    host.shoal(&["service", "scale", "echo=2"])?;
    addresses(&all.asker, "tasks.echo", 4)?;
    all.come_about()?;
    drop(all);
    host.finish()
}

#[test]
fn an_upgrade_is_missed_by_nobody() -> Result<()> {
    let mut host = with_blue("upgrade")?;
    let outside = Outside::new(&host)?;
    let mut all = Conversations::new(&host, &outside)?;
    let before = host.running("echo", 2)?;
    let folder = host.install_anew()?;
    host.kill_daemon()?;
    all.come_about()?;
    host.start_daemon()?;
    all.come_about()?;
    until("the new shoal-net to have taken over", PATIENCE, || {
        all.come_about()?;
        for pid in host.processes("shoal-net")? {
            let program = fs::read_link(format!("/proc/{pid}/exe"))?;
            ensure!(program.starts_with(&folder), "{}", program.display());
        }
        Ok(())
    })?;
    ensure!(host.running("echo", 2)? == before, "tasks were replaced");
    all.live_on("")?;
    all.come_about()?;
    // What comes now comes from the new programs, beside what there was.
    host.shoal(&["service", "scale", "echo=3"])?;
    addresses(&all.asker, "tasks.echo", 6)?;
    host.shoal(&["service", "scale", "echo=2"])?;
    addresses(&all.asker, "tasks.echo", 4)?;
    all.live_on("")?;
    all.come_about()?;
    drop(all);
    host.finish()
}

#[test]
fn a_killed_shoal_net_is_back_within_a_second() -> Result<()> {
    let host = with_blue("helper")?;
    let outside = Outside::new(&host)?;
    let mut all = Conversations::new(&host, &outside)?;
    host.create_web("web", &["--network", "blue", "--replicas", "2", "-p", "8080:80"])?;
    addresses(&all.asker, "tasks.web", 4)?;
    let vip = v4(&addresses(&all.asker, "web", 2)?, 80)?;
    let port = format!("{HOST_V4}:8080");
    until("both to answer", PATIENCE, || {
        ensure!(Host::pages(&outside.net, &port, 20)?.len() == 2);
        Ok(())
    })?;
    // What the kernel does is never gone: over all three deaths not a single connection fails.
    let hammers = [
        Hammer::start(&outside.net, &port)?,
        Hammer::start(&all.asker, &vip)?,
    ];
    for _ in 0..3 {
        let helper = host.only_process("shoal-net")?;
        host.signal("-KILL", &helper.to_string())?;
        let killed = Instant::now();
        // Only what it passes on itself ends with it.
        all.live_on("the host")?;
        until("names and ports again", PATIENCE, || all.come_about())?;
        let took = killed.elapsed();
        ensure!(took < Duration::from_secs(1), "back after {took:?}");
    }
    for hammer in hammers {
        hammer.finish()?;
    }
    drop(all);
    host.finish()
}

#[test]
fn backends_that_go_let_their_clients_know() -> Result<()> {
    let host = with_blue("gone")?;
    load_hello(&host)?;
    host.create("echo", &["--network", "blue", "--restart-delay", "0s"], &ECHO)?;
    let asker = client(&host, "asker", &["blue"])?;
    let vip = v4(&addresses(&asker, "echo", 2)?, 7)?;
    addresses(&asker, "tasks.echo", 2)?;
    let mut stream = asker.connect(&vip)?;
    echo_over(&mut stream, "here")?;
    let task = host.running("echo", 1)?.remove(0);
    host.signal("-KILL", &host.task_pid(&task)?)?;
    host.wait_replaced("echo", &task)?;
    // The old connection ends; it does not hang.
    let ended = until("the old connection to end", PATIENCE, || {
        let error = echo_over(&mut stream, "here").err().context("it is answered")?;
        Ok(format!("{error:#}"))
    })?;
    ensure!(
        !ended.contains("timed out") && !ended.contains("os error 11"),
        "{ended}"
    );
    until("a new one", PATIENCE, || {
        echo_over(&mut asker.connect(&vip)?, "new")
    })?;
    host.finish()
}
