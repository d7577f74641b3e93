//! SIGKILL at every numbered step of start, exec, update, end and removal, in every program of a node.
//!
//! Beside two containers that count, one service lives on; each point is armed in turn, and the operation that reaches
//! it is done by a user. Whoever died, the operation comes out as it was asked or can be asked again, exit codes are
//! right, logs are whole, and the two that count have noticed nothing.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use shoal_tests::{CRASH_POINTS, Host, HostOptions, Netns, PATIENCE, json_lines, text, until};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Output,
};

/// Counts, so that a lost line shows, or one said twice.
const COUNT: &str = "i=0; while true; do echo line $i; i=$((i+1)); sleep 0.05; done";
/// Ends with a code of its own when asked to.
const SUBJECT: &str = "trap 'echo bye; exit 7' TERM; echo ready; while true; do sleep 0.05; done";
/// Nobody else on the machine sleeps this long.
const EXEC: [&str; 2] = ["sleep", "43218"];

/// What a user does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// A further service.
    Create,
    /// The service gets another environment: its task is stopped and replaced.
    Update,
    Exec,
    /// Nobody: its program ends by itself, with code 7.
    End,
    Remove,
    /// A container of the user's own, whose streams are a terminal's.
    Run,
    /// `shoald` is started anew.
    Restart,
}

/// The acts that reach a point.
fn acts(point: &str) -> Result<&'static [Act]> {
    let step = point.rsplit_once('.').map_or(point, |(step, _)| step);
    Ok(match step {
        "shoald.create" | "shim.create" | "spawn.create" => &[Act::Create, Act::Update],
        "shoald.start" | "shim.start" | "spawn.start" => &[Act::Update, Act::Create],
        "shoald.exec" | "shim.exec" | "spawn.exec" => &[Act::Exec],
        "shoald.attach" | "shim.attach" => &[Act::Run],
        "shim.exit" | "worker.end" | "worker.remove" => &[Act::End],
        "shoald.remove" | "worker.stop" => &[Act::Remove, Act::Update],
        "worker.leave" | "worker.forget" => &[Act::Remove],
        "worker.open" => &[Act::Restart],
        "worker.assign" | "worker.disk" | "worker.take" | "worker.fetch" | "worker.create"
        | "worker.attach" | "worker.ports" | "worker.start" | "worker.report" => &[Act::Create, Act::Update],
        "worker.detach" => &[Act::End, Act::Update],
        "worker.tables" => &[Act::Create, Act::Update, Act::Remove],
        "manager.write" => &[Act::Create, Act::Remove, Act::Update],
        "manager.assign" | "manager.report" => &[Act::Create, Act::Update, Act::Remove],
        _ => bail!("{point}: no act is known that reaches it"),
    })
}

/// Who dies of a point.
fn kills_daemon(point: &str) -> bool {
    !point.starts_with("shim.") && !point.starts_with("spawn.")
}

/// One host that goes through many points.
struct Life {
    host: Host,
    bystanders: Vec<Bystander>,
    service: String,
    created: usize,
    updated: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Bystander {
    task: String,
    pid: String,
    /// In clock ticks since boot, as the kernel has it.
    started: String,
    created: String,
}

impl Life {
    fn new(name: &str) -> Result<Self> {
        let options = HostOptions {
            kind: CRASH_POINTS,
            ..HostOptions::default()
        };
        let mut host = Host::new(name, options)?;
        host.start_daemon()?;
        host.import_busybox("busybox:1")?;
        host.import_busybox("busybox:2")?;
        host.shoal(&["network", "create", "blue"])?;
        host.create(
            "count",
            &["--network", "blue", "--replicas", "2"],
            &["sh", "-c", COUNT],
        )?;
        let mut life = Self {
            host,
            bystanders: Vec::new(),
            service: String::new(),
            created: 0,
            updated: 0,
        };
        life.host.wait_running("count", 2)?;
        life.bystanders = life.look()?;
        life.fresh_subject()?;
        Ok(life)
    }

    /// The two that must notice nothing.
    fn look(&self) -> Result<Vec<Bystander>> {
        let mut found = Vec::new();
        for row in self.containers()? {
            if row["Service"] != "count" {
                continue;
            }
            let pid = text(&row, "Pid");
            let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
            let started = stat
                .rsplit_once(')')
                .and_then(|(_, rest)| rest.split(' ').nth(20));
            found.push(Bystander {
                task: text(&row, "Task"),
                started: started.context("no start time")?.to_owned(),
                created: text(&row, "CreatedAt"),
                pid,
            });
        }
        found.sort_by(|a, b| a.task.cmp(&b.task));
        ensure!(found.len() == 2, "{found:?}");
        Ok(found)
    }

    fn containers(&self) -> Result<Vec<Value>> {
        json_lines(&self.host.shoal(&["ps", "--no-trunc", "--format", "json"])?)
    }

    fn create(&self, name: &str) -> Result<Output> {
        let flags = [
            "-d",
            "--network",
            "blue",
            "--stop-signal",
            "TERM",
            "--restart-delay",
            "0s",
            "--update-monitor",
            "100ms",
        ];
        self.host.try_create(name, &flags, &["sh", "-c", SUBJECT])
    }

    fn next_name(&mut self) -> String {
        self.created += 1;
        format!("s{}", self.created)
    }

    /// A service to act on, and its task ready for it.
    fn fresh_subject(&mut self) -> Result<()> {
        self.service = self.next_name();
        let output = self.create(&self.service)?;
        ensure!(output.status.success(), "{output:?}");
        self.ready(&self.service).map(drop)
    }

    /// The one running task of a service, once its program listens.
    fn ready(&self, service: &str) -> Result<String> {
        let task = text(&self.host.wait_running(service, 1)?[0], "ID");
        until("the program to be ready", PATIENCE, || {
            let log = self.host.shoal(&["logs", &task])?;
            ensure!(log == "ready\n", "{log:?}");
            Ok(())
        })?;
        Ok(task)
    }

    /// Until there are these containers and no other, the run directories included.
    fn settle(&self, services: &[&str]) -> Result<()> {
        let wanted: BTreeSet<&str> = services.iter().copied().chain(["count"]).collect();
        until("only the wanted containers to be there", PATIENCE, || {
            let rows = self.containers()?;
            let found: BTreeSet<_> = rows.iter().filter_map(|row| row["Service"].as_str()).collect();
            ensure!(found == wanted && rows.len() == services.len() + 2, "{rows:#?}");
            let folder = self.host.outside(&self.host.run_dir().join("containers"));
            let folders = fs::read_dir(folder)?.count();
            ensure!(
                folders == rows.len(),
                "{folders} run directories, {} containers",
                rows.len()
            );
            Ok(())
        })
        .with_context(|| self.host.daemon_log())
    }

    fn listed(&self, service: &str) -> Result<bool> {
        let names = self.host.shoal(&["service", "ls", "--format", "{{.Name}}"])?;
        Ok(names.lines().any(|name| name == service))
    }

    /// Arms a point, acts, and sees to it that all is well.
    fn through(&mut self, point: &str, act: Act) -> Result<()> {
        self.settle(&[&self.service.clone()])?;
        let task = self.ready(&self.service)?;
        let before = self.history(&self.service)?;
        self.host.arm(point)?;
        match act {
            Act::Create => self.create_at(point)?,
            Act::Update => self.update_at(point, &task)?,
            Act::Exec => self.exec_at(point, &task)?,
            Act::End => self.end_at(point, &task)?,
            Act::Remove => self.remove_at(point)?,
            Act::Run => self.run_at(point)?,
            Act::Restart => self.restart_at(point, &task)?,
        }
        if kills_daemon(point) && act != Act::Remove {
            self.nothing_failed(&before)?;
        }
        let now = self.look()?;
        ensure!(
            now == self.bystanders,
            "disturbed: {now:?}, before {:?}",
            self.bystanders
        );
        ensure!(self.host.daemon_lives()?, "{}", self.host.daemon_log());
        self.found_by_name()
    }

    /// The subject's names lead to the one task that it has, and nowhere else.
    fn found_by_name(&self) -> Result<()> {
        let task = self.ready(&self.service)?;
        let mut own = self.host.task_net(&task)?.addresses()?;
        own.sort();
        let asker = Netns::of(&self.bystanders[0].pid)?;
        until("the name to lead to the task", PATIENCE, || {
            let found = asker.lookup(&format!("tasks.{}", self.service))?;
            ensure!(found == own, "{found:?}, expected {own:?}");
            Ok(())
        })
    }

    /// Somebody has died at the point; a daemon that did is started anew.
    fn struck(&mut self, point: &str) -> Result<()> {
        self.host.wait_struck(point)?;
        if kills_daemon(point) {
            self.host.wait_daemon_killed()?;
            self.host.start_daemon()?;
        }
        ensure!(self.host.daemon_lives()?, "{}", self.host.daemon_log());
        Ok(())
    }

    /// State and error by task.
    fn history(&self, service: &str) -> Result<BTreeMap<String, (String, String)>> {
        let rows = self.host.tasks(service)?;
        let row = |row: &Value| (text(row, "ID"), (text(row, "CurrentState"), text(row, "Error")));
        Ok(rows.iter().map(row).collect())
    }

    /// The daemon's death is no reason for any task to fail, but for the one that ended by itself.
    fn nothing_failed(&self, before: &BTreeMap<String, (String, String)>) -> Result<()> {
        for (task, (state, error)) in self.history(&self.service)? {
            ensure!(
                before
                    .get(&task)
                    .is_some_and(|(state, _)| !state.starts_with("Running"))
                    || error.is_empty()
                    || error.contains("exited with code 7"),
                "{task}: {state} {error}"
            );
        }
        Ok(())
    }

    fn create_at(&mut self, point: &str) -> Result<()> {
        let name = self.next_name();
        let output = self.create(&name)?;
        self.struck(point)?;
        let there = self.listed(&name)?;
        ensure!(
            there || !output.status.success(),
            "an acknowledged service is lost: {output:?}"
        );
        if !there {
            let again = self.create(&name)?;
            ensure!(again.status.success(), "{again:?}");
        }
        let task = self.ready(&name)?;
        let history = self.history(&name)?;
        if kills_daemon(point) {
            ensure!(history.len() == 1, "the daemon's death cost a task: {history:#?}");
        } else {
            ensure!(history.len() == 2, "{history:#?}");
            let failed = history
                .iter()
                .find(|(id, _)| **id != task)
                .context("no other task")?;
            ensure!(
                [
                    "creating container",
                    "starting container",
                    "talking to the shim",
                    "its shim was killed"
                ]
                .iter()
                .any(|what| failed.1.1.contains(what)),
                "what was under way is not named: {failed:?}"
            );
        }
        self.settle(&[&self.service, &name])?;
        self.host.shoal(&["service", "rm", &name])?;
        self.settle(&[&self.service])
    }

    fn update_at(&mut self, point: &str, old: &str) -> Result<()> {
        let variable = format!("AT={point}");
        self.updated += 1;
        let image = format!("busybox:{}", 1 + self.updated % 2);
        let service = self.service.clone();
        let words = [
            "service",
            "update",
            "-q",
            "-d",
            "--env-add",
            &variable,
            "--image",
            &image,
            &service,
        ];
        let output = self.host.shoal_output(&words)?;
        self.struck(point)?;
        let inspected = self.host.shoal(&["service", "inspect", &self.service])?;
        let taken = inspected.contains(&variable);
        ensure!(
            taken || !output.status.success(),
            "an acknowledged update is lost: {inspected}"
        );
        if !taken {
            self.host.shoal(&words)?;
        }
        self.host.wait_replaced(&self.service, old)?;
        let new = self.ready(&self.service)?;
        let said = self.host.shoal(&["exec", &new, "sh", "-c", "echo AT=$AT"])?;
        ensure!(said.trim() == variable, "{said}");
        let running = self.host.wait_running(&self.service, 1)?;
        ensure!(running[0]["Image"] == image.as_str(), "{running:#?}");
        self.ended_whole(old, "")?;
        self.settle(&[&self.service.clone()])
    }

    /// A task that has ended, with this error and all that it had to say.
    fn ended_whole(&self, task: &str, error: &str) -> Result<()> {
        let history = self.history(&self.service)?;
        let ended = history.get(task).context("it is not in the history")?;
        ensure!(
            ended.1.contains(error) && ended.1.is_empty() == error.is_empty(),
            "{ended:?}"
        );
        let log = self.host.shoal(&["logs", task])?;
        ensure!(log == "ready\nbye\n", "{log:?}");
        Ok(())
    }

    fn exec_at(&mut self, point: &str, task: &str) -> Result<()> {
        let output = self.host.shoal_output(&["exec", task, EXEC[0], EXEC[1]])?;
        ensure!(!output.status.success(), "{output:?}");
        self.struck(point)?;
        if point.starts_with("shim.") {
            self.host.wait_replaced(&self.service, task)?;
            let history = self.history(&self.service)?;
            let lost = history.get(task).context("it is not in the history")?;
            ensure!(lost.1.contains("shim was killed"), "{lost:?}");
        }
        let task = self.ready(&self.service)?;
        let again = self.host.shoal_output(&["exec", &task, "sh", "-c", "exit 9"])?;
        ensure!(again.status.code() == Some(9), "{again:?}");
        until("the exec to be gone", PATIENCE, || {
            let runs = processes()?.iter().any(|line| line.contains(&EXEC.join("\0")));
            ensure!(!runs, "it runs on");
            Ok(())
        })
    }

    /// Whoever waits for the container hears that it failed, and nothing of it stays.
    fn run_at(&mut self, point: &str) -> Result<()> {
        let run = [
            "run",
            "--rm",
            "--network",
            "blue",
            "busybox:1",
            "sh",
            "-c",
            "echo here; exit 9",
        ];
        let output = self.host.shoal_output(&run)?;
        self.struck(point)?;
        ensure!(!output.status.success(), "{output:?}");
        self.settle(&[&self.service.clone()])?;
        let again = self.host.shoal_output(&run)?;
        ensure!(
            again.status.code() == Some(9) && again.stdout == b"here\n",
            "{again:?}"
        );
        self.settle(&[&self.service.clone()])
    }

    fn end_at(&mut self, point: &str, task: &str) -> Result<()> {
        self.host.signal("-TERM", &self.host.task_pid(task)?)?;
        self.struck(point)?;
        self.host.wait_replaced(&self.service, task)?;
        self.ready(&self.service)?;
        match point {
            // Nobody but the shim can have read the last of its pipes, so only the code is asked for.
            "shim.exit.1-ended" | "shim.exit.2-noted" => {
                let history = self.history(&self.service)?;
                let ended = history.get(task).context("it is not in the history")?;
                let known = point != "shim.exit.1-ended" || kernel_keeps_exits()?;
                let error = if known {
                    "exited with code 7"
                } else {
                    "its shim was killed"
                };
                ensure!(ended.1.contains(error), "{ended:?}");
                Ok(())
            }
            _ => self.ended_whole(task, "exited with code 7"),
        }
    }

    fn remove_at(&mut self, point: &str) -> Result<()> {
        let output = self.host.shoal_output(&["service", "rm", &self.service])?;
        self.struck(point)?;
        let there = self.listed(&self.service)?;
        ensure!(
            !there || !output.status.success(),
            "an acknowledged removal is lost: {output:?}"
        );
        if there {
            self.host.shoal(&["service", "rm", &self.service])?;
        }
        self.settle(&[])?;
        self.fresh_subject()
    }

    fn restart_at(&mut self, point: &str, task: &str) -> Result<()> {
        self.host.kill_daemon()?;
        self.host.spawn_daemon()?;
        self.struck(point)?;
        let running = self.ready(&self.service)?;
        ensure!(running == task, "another task runs");
        Ok(())
    }

    /// Everything that the two said, in order, none lost and none twice; then down with all.
    fn finish(self) -> Result<()> {
        for bystander in &self.bystanders {
            let log = self.host.shoal(&["logs", &bystander.task])?;
            for (number, line) in log.lines().enumerate() {
                ensure!(
                    line == format!("line {number}"),
                    "line {number} of {bystander:?} is {line:?}"
                );
            }
            ensure!(log.lines().count() > 20, "{log}");
        }
        ensure!(
            self.history("count")?
                .values()
                .all(|(state, _)| state.starts_with("Running")),
            "a task that counts was replaced"
        );
        self.host.finish()
    }
}

/// From Linux 6.15 on the daemon can ask how a process ended that another has reaped.
fn kernel_keeps_exits() -> Result<bool> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers = release.split('.').map_while(|part| part.parse::<u32>().ok());
    Ok((numbers.next(), numbers.next()) >= (Some(6), Some(15)))
}

/// The command lines of all processes.
fn processes() -> Result<Vec<String>> {
    let entries = fs::read_dir("/proc")?.flatten();
    // A process may end while it is looked at.
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    Ok(lines
        .map(|line| String::from_utf8_lossy(&line).into_owned())
        .collect())
}

/// Goes through every point of a group on one host.
fn go_through(name: &str, group: impl Fn(&str) -> bool) -> Result<()> {
    let mut life = Life::new(name)?;
    let points = life.host.crash_points()?;
    let ours: Vec<_> = points.iter().filter(|point| group(point)).collect();
    ensure!(!ours.is_empty(), "no point of this group in {points:?}");
    for point in ours {
        for act in acts(point)? {
            life.through(point, *act)
                .with_context(|| format!("{point}, {act:?}"))?;
        }
    }
    life.finish()
}

/// The groups, each a test of its own: together they have every point exactly once.
const GROUPS: [(&str, &[&str]); 4] = [
    ("crash-helpers", &["shim.", "spawn."]),
    ("crash-shoald", &["shoald."]),
    ("crash-worker", &["worker."]),
    ("crash-manager", &["manager."]),
];

fn group(name: &str) -> Result<()> {
    let (_, prefixes) = GROUPS
        .iter()
        .find(|(group, _)| *group == name)
        .context("no such group")?;
    go_through(name, |point| {
        prefixes.iter().any(|prefix| point.starts_with(prefix))
    })
}

#[test]
fn every_point_is_in_one_group_and_has_an_act() -> Result<()> {
    let options = HostOptions {
        kind: CRASH_POINTS,
        ..HostOptions::default()
    };
    let host = Host::new("crash-table", options)?;
    let points = host.crash_points()?;
    ensure!(
        points.iter().collect::<BTreeSet<_>>().len() == points.len(),
        "{points:?}"
    );
    for point in &points {
        ensure!(!acts(point)?.is_empty(), "{point} has no act");
        let groups = GROUPS
            .iter()
            .filter(|(_, prefixes)| prefixes.iter().any(|prefix| point.starts_with(prefix)))
            .count();
        ensure!(groups == 1, "{point} is in {groups} groups");
    }
    host.finish_bare()
}

#[test]
fn a_shim_or_a_spawner_is_killed_at_every_step() -> Result<()> {
    group("crash-helpers")
}

#[test]
fn shoald_is_killed_at_every_step_of_the_runtime() -> Result<()> {
    group("crash-shoald")
}

#[test]
fn shoald_is_killed_at_every_step_of_the_worker() -> Result<()> {
    group("crash-worker")
}

#[test]
fn shoald_is_killed_at_every_step_of_a_write() -> Result<()> {
    group("crash-manager")
}
