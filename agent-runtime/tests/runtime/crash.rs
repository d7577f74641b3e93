//! Every crash point of create, start, exec, exit and remove: the process that reaches it dies by SIGKILL, and the
//! next daemon finds order.
//!
//! A driver in a process of its own plays the daemon through a container's whole life, beside a container that must
//! notice nothing. What the driver saw, what the next daemon finds, and what is left at the end are all checked.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use shoal_agent_runtime::{
    AttachSpec, ContainerId, ContainerSpec, ContainerState, ExecSpec, Network, PinnedImage, Runtime,
    RuntimeConfig, Signal,
};
use shoal_run_dir::crash;

use crate::world::{DEADLINE, World, daemon, fresh_id, log_of, remains, sweep};

/// Counts, so that a lost line shows.
const BYSTANDER: &str = "i=0; while true; do echo line $i; i=$((i+1)); sleep 0.05; done";
/// Ends with code 5 when asked to.
const SUBJECT: &str = "trap 'echo bye; exit 5' TERM; echo ready; while true; do sleep 0.02; done";
/// Nobody else sleeps this long.
const EXEC: [&str; 2] = ["sleep", "43217"];

/// What the driver is told, in its environment.
const DIRECTORY: &str = "SHOAL_TEST_DIRECTORY";
const TAG: &str = "SHOAL_TEST_TAG";
const DIGEST: &str = "SHOAL_TEST_DIGEST";
const ID: &str = "SHOAL_TEST_ID";

fn command(id: ContainerId, digest: &str, script: &str) -> ContainerSpec {
    let image = PinnedImage {
        reference: "busybox:test".to_owned(),
        digest: digest.to_owned(),
    };
    let mut spec = ContainerSpec::new(id, image, Network::None);
    spec.command = Some(["sh", "-c", script].map(str::to_owned).to_vec());
    spec
}

/// Nothing by itself; the daemon of one life when [`every_point`] starts it.
#[test]
fn driver() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let directory = PathBuf::from(directory);
    let mut config = crate::world::config(&directory);
    config.tag = std::env::var(TAG).unwrap();
    let id: ContainerId = std::env::var(ID).unwrap().parse().unwrap();
    let spec = command(id.clone(), &std::env::var(DIGEST).unwrap(), SUBJECT);
    let outcome = directory.join("outcome");
    let say = |line: String| {
        let known = fs::read_to_string(&outcome).unwrap_or_default();
        fs::write(&outcome, format!("{known}{line}\n")).unwrap();
    };
    daemon(async {
        let runtime = Runtime::open(config.clone()).await.unwrap();
        let created = runtime.create(spec).await;
        say(created.map_or_else(
            |error| format!("create failed: {error}"),
            |()| "created".to_owned(),
        ));
        let attached = runtime.attach(&id, AttachSpec::default()).await;
        say(attached.map_or_else(
            |error| format!("attach failed: {error}"),
            |_dropped| "attached".to_owned(),
        ));
        let started = runtime.start(&id).await;
        let runs = started.is_ok();
        say(started.map_or_else(|error| format!("start failed: {error}"), |_| "started".to_owned()));
        if runs {
            until(|| log_of(&config, &id).contains("ready")).await;
            say(exec(&runtime, &id).await);
            let _may_have_ended = runtime.kill(&id, Signal::TERM).await;
        }
        if let Ok(exit) = runtime.wait(&id).await {
            say(format!("ended {} {:?}", exit.code, exit.reason));
        }
        say(format!("removed {:?}", runtime.remove(&id).await));
    });
}

async fn exec(runtime: &Runtime, id: &ContainerId) -> String {
    let args = EXEC.map(str::to_owned).to_vec();
    let spec = ExecSpec {
        args,
        env: Vec::new(),
        workdir: None,
        user: None,
        tty: None,
        stdin: false,
    };
    match runtime.exec(id, spec).await {
        Err(error) => format!("exec failed: {error}"),
        Ok(mut session) => {
            let _may_have_ended = session.control.signal(Signal::KILL).await;
            format!("exec ended {:?}", session.exit.wait().await)
        }
    }
}

async fn until(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "a condition did not come true");
        tokio::task::yield_now().await;
    }
}

struct Lives {
    config: RuntimeConfig,
    directory: tempfile::TempDir,
    digest: String,
    bystander: ContainerId,
}

impl Drop for Lives {
    fn drop(&mut self) {
        sweep(&self.config);
    }
}

#[test]
fn every_point() {
    let lives = Lives::new();
    let before = daemon(lives.bystander());
    for point in crash::POINTS {
        let id = fresh_id();
        let said = lives.drive(point, &id);
        check_said(point, &said);
        daemon(lives.next_daemon(point, &id, &said));
        assert_eq!(
            daemon(lives.bystander()),
            before,
            "{point}: the bystander was disturbed"
        );
    }
    let log = log_of(&lives.config, &lives.bystander);
    for (number, line) in log.lines().enumerate() {
        assert_eq!(line, format!("line {number}"), "the bystander's log has a gap");
    }
    daemon(async {
        let runtime = Runtime::open(lives.config.clone()).await.unwrap();
        runtime.remove(&lives.bystander).await.unwrap();
    });
    assert_eq!(remains(&lives.config), Vec::<String>::new());
}

impl Lives {
    fn new() -> Self {
        let bystander = fresh_id();
        daemon(async {
            let (config, directory, digest) = World::new().await.into_parts();
            let runtime = Runtime::open(config.clone()).await.unwrap();
            runtime
                .create(command(bystander.clone(), &digest, BYSTANDER))
                .await
                .unwrap();
            runtime.start(&bystander).await.unwrap();
            Self {
                config,
                directory,
                digest,
                bystander,
            }
        })
    }

    async fn bystander(&self) -> (Option<u32>, Option<std::time::SystemTime>) {
        let runtime = Runtime::open(self.config.clone()).await.unwrap();
        let all = runtime.list().await.unwrap();
        let status = all.iter().find(|status| status.id == self.bystander).unwrap();
        assert_eq!(status.state, ContainerState::Running);
        (status.pid, status.started_at)
    }

    /// One life of a daemon in which somebody dies at this point; returns what the daemon could say of it.
    fn drive(&self, point: &str, id: &ContainerId) -> String {
        let outcome = self.directory.path().join("outcome");
        let _from_before = fs::remove_file(&outcome);
        let trigger = self.config.run_dir.join(crash::FILE);
        fs::write(&trigger, point).unwrap();
        let mut driver = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::driver", "--nocapture", "--quiet"])
            .env(DIRECTORY, self.directory.path())
            .env(TAG, &self.config.tag)
            .env(DIGEST, &self.digest)
            .env(ID, id.as_str())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let status = driver.wait().unwrap();
        let said = fs::read_to_string(&outcome).unwrap_or_default();
        assert!(!trigger.exists(), "{point} was never reached: {said}");
        assert_eq!(
            status.success(),
            !point.starts_with("shoald."),
            "{point}: {status} {said}"
        );
        said
    }

    /// What the daemon after it finds, and that it can take it away.
    async fn next_daemon(&self, point: &str, id: &ContainerId, said: &str) {
        let runtime = Runtime::open(self.config.clone()).await.unwrap();
        let all = runtime.list().await.unwrap();
        let state = all
            .iter()
            .find(|status| status.id == *id)
            .map(|status| status.state.clone());
        match point {
            "shoald.create.6-created" | "shoald.attach.1-attached" | "shoald.start.1-asked" => {
                assert_eq!(state, Some(ContainerState::Created), "{point}");
                runtime.start(id).await.unwrap();
            }
            "shoald.start.2-started" | "shoald.exec.1-asked" | "shoald.exec.2-started" => {
                assert_eq!(state, Some(ContainerState::Running), "{point}");
                until(|| !exec_runs()).await;
                until(|| log_of(&self.config, id).contains("ready")).await;
                runtime.kill(id, Signal::TERM).await.unwrap();
                assert_eq!(runtime.wait(id).await.unwrap().code, 5, "{point}");
                assert_eq!(log_of(&self.config, id), "ready\nbye\n", "{point}");
            }
            "shoald.remove.1-asked" => assert!(
                matches!(state, Some(ContainerState::Exited(_))),
                "{point} {state:?}"
            ),
            _ if point.starts_with("shoald.create") => assert_eq!(state, None, "{point}"),
            _ if !point.starts_with("shoald.") => assert_eq!(state, None, "{point}: {said}"),
            _ => {}
        }
        runtime.remove(id).await.unwrap();
        let left: Vec<String> = remains(&self.config)
            .into_iter()
            .filter(|remain| remain.contains(id.as_str()))
            .collect();
        assert_eq!(left, Vec::<String>::new(), "{point}");
    }
}

/// What a daemon that lived on saw, by who died and when.
fn check_said(point: &str, said: &str) {
    let expected: &[&str] = match point {
        _ if point.starts_with("shoald.") => return,
        _ if point.starts_with("spawn.create.") || point.starts_with("shim.create.") => &["create failed"],
        _ if point.starts_with("shim.attach.") => &["created", "attach failed", "ended 137 ShimLost"],
        _ if point.starts_with("shim.start.") => &["created", "start failed", "ended 137 ShimLost"],
        _ if point.starts_with("spawn.start.") => &["created", "start failed", "ended"],
        _ if point.starts_with("shim.exec.") => &["started", "exec failed", "ended 137 ShimLost"],
        _ if point.starts_with("spawn.exec.") => &["started", "exec failed", "ended 5 Exited"],
        // Before Linux 6.15 nobody can say how a process ended that another has reaped.
        "shim.exit.1-ended" if !kernel_keeps_exits() => &["exec ended Ok(137)", "ended 137 ShimLost"],
        _ => &["exec ended Ok(137)", "ended 5 Exited"],
    };
    for text in expected.iter().chain(&["removed Ok"]) {
        assert!(said.contains(text), "{point}: expected {text:?} in {said}");
    }
}

fn kernel_keeps_exits() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split('.').map_while(|part| part.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(15))
}

fn exec_runs() -> bool {
    let needle = EXEC.join("\0");
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| fs::read(Path::new(&process.path()).join("cmdline")).ok());
    lines
        .map(|line| String::from_utf8_lossy(&line).into_owned())
        .any(|line| line.contains(&needle))
}
