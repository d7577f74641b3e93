//! What a process sees, line by line, against what `docker run` and `docker exec` show: `tests/golden/README.md`.
//! Needs root, a C compiler and a static C library; differences are listed in `tests/golden/differences.txt`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use futures::StreamExt;
use shoal_agent_runtime::image::{ImportSpec, Progress};
use shoal_agent_runtime::{
    CgroupVersion, ContainerSpec, ExecOutput, ExecSpec, LogQuery, Mount, MountKind, Network, PinnedImage,
    Signal, TerminalSize, Ulimit,
};
use tokio::time::timeout;

use crate::world::{DEADLINE, World, fresh_id};

const MIB: u64 = 1 << 20;

/// Settings of the kernel and the machine, not of the runtime. They are compared only on the kernel that the golden
/// files were captured on.
const OF_THE_MACHINE: [&str; 12] = [
    "mount /proc/",
    "mount /sys/firmware",
    "mount /sys/devices",
    "mount /sys/fs/cgroup",
    "masked ",
    "cgroup ",
    "namespace cgroup",
    "write /proc/",
    "write /sys/",
    "mkdir /sys/",
    "device ",
    "call call 45",
];

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// A runtime with the probe's image.
struct Probed {
    world: World,
    image: PinnedImage,
    /// Of this process, which the containers inherit.
    limits: BTreeSet<String>,
}

impl Probed {
    async fn new() -> Self {
        let world = World::new().await;
        let directory = tempfile::tempdir().unwrap();
        let probe = directory.path().join("probe");
        let built = Command::new("cc")
            .args(["-static", "-O1", "-o"])
            .arg(&probe)
            .arg(golden().join("probe.c"))
            .status()
            .expect("the probe needs a C compiler, which Rust needs too");
        assert!(
            built.success(),
            "the probe does not compile; is libc6-dev installed?"
        );
        let archive = directory.path().join("root.tar");
        fs::write(&archive, root_archive(&probe)).unwrap();
        let file = tokio::fs::File::open(&archive).await.unwrap();
        let images = world.runtime.images();
        let imported = images
            .import(file, ImportSpec::default(), &Progress::none())
            .await
            .unwrap();
        let limits = Command::new(&probe).arg("limits").output().unwrap().stdout;
        Self {
            image: PinnedImage {
                reference: "probe:1".to_owned(),
                digest: imported.digest.to_string(),
            },
            limits: String::from_utf8(limits)
                .unwrap()
                .lines()
                .map(str::to_owned)
                .collect(),
            world,
        }
    }

    fn spec(&self, words: &[&str], network: Network) -> ContainerSpec {
        let mut spec = ContainerSpec::new(fresh_id(), self.image.clone(), network);
        spec.command = Some(words.iter().map(|word| (*word).to_owned()).collect());
        spec
    }

    /// Runs the probe as a container's first process.
    async fn first(&self, change: impl FnOnce(&mut ContainerSpec)) -> Vec<String> {
        let mut spec = self.spec(&["/bin/probe"], Network::Host);
        change(&mut spec);
        let id = spec.id.clone();
        let runtime = &self.world.runtime;
        runtime.create(spec).await.unwrap();
        runtime.start(&id).await.unwrap();
        let exit = timeout(DEADLINE, runtime.wait(&id)).await.unwrap().unwrap();
        let query = LogQuery {
            container: id.clone(),
            tail: None,
            since: None,
            follow: false,
        };
        let records = runtime.logs(query).await.unwrap();
        let text: Vec<u8> = records
            .map(|record| record.unwrap().text)
            .collect::<Vec<_>>()
            .await
            .concat();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(exit.code, 0, "{text}");
        runtime.remove(&id).await.unwrap();
        self.tidy(&text)
    }

    /// Runs the probe in containers that wait: one for each change of the container and of the exec.
    async fn exec(
        &self,
        container: impl FnOnce(&mut ContainerSpec),
        change: impl FnOnce(&mut ExecSpec),
    ) -> Vec<String> {
        let mut spec = self.spec(&["/bin/probe", "pause"], Network::Host);
        container(&mut spec);
        let id = spec.id.clone();
        let runtime = &self.world.runtime;
        runtime.create(spec).await.unwrap();
        runtime.start(&id).await.unwrap();
        let mut exec = ExecSpec {
            args: vec!["/bin/probe".to_owned()],
            env: Vec::new(),
            workdir: None,
            user: None,
            tty: None,
            stdin: false,
        };
        change(&mut exec);
        let mut session = runtime.exec(&id, exec).await.unwrap();
        let mut text = Vec::new();
        while let Some(output) = timeout(DEADLINE, session.output.next()).await.unwrap() {
            match output.unwrap() {
                ExecOutput::Stdout(bytes) | ExecOutput::Stderr(bytes) => text.extend_from_slice(&bytes),
            }
        }
        let code = timeout(DEADLINE, session.exit.wait()).await.unwrap().unwrap();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(code, 0, "{text}");
        runtime.kill(&id, Signal::KILL).await.unwrap();
        runtime.remove(&id).await.unwrap();
        self.tidy(&text)
    }

    /// As `capture.sh` does with Docker's.
    fn tidy(&self, text: &str) -> Vec<String> {
        let host = format!("env HOSTNAME={}", self.world.runtime.facts().hostname);
        let is_short_id = |name: &str| name.len() == 12 && name.chars().all(|c| c.is_ascii_hexdigit());
        text.lines()
            .map(|line| {
                let line = line.trim_end_matches('\r');
                match line.split_once(": ") {
                    Some((name, _)) if self.limits.contains(line) => format!("{name}: inherited"),
                    _ if line == host => "env HOSTNAME=<host>".to_owned(),
                    _ if line.strip_prefix("env HOSTNAME=").is_some_and(is_short_id) => {
                        "env HOSTNAME=<short id>".to_owned()
                    }
                    _ => line.to_owned(),
                }
            })
            .collect()
    }
}

fn root_archive(probe: &Path) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |name: &str, mode: u32, kind: tar::EntryType, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, name, content).unwrap();
    };
    for name in ["bin", "etc", "proc", "sys", "dev", "srv", "data"] {
        add(name, 0o755, tar::EntryType::Directory, b"");
    }
    add("tmp", 0o1777, tar::EntryType::Directory, b"");
    add(
        "bin/probe",
        0o755,
        tar::EntryType::Regular,
        &fs::read(probe).unwrap(),
    );
    let passwd = b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:App:/home/app:/bin/sh\n";
    let group = b"root:x:0:\napp:x:1000:\naudio:x:29:app\nvideo:x:44:\n";
    add("etc/passwd", 0o644, tar::EntryType::Regular, passwd);
    add("etc/group", 0o644, tar::EntryType::Regular, group);
    archive.into_inner().unwrap()
}

fn limited(spec: &mut ContainerSpec) {
    let mount = |kind, source: &str, target: &str, read_only, options: &[&str]| Mount {
        kind,
        source: source.to_owned(),
        target: target.into(),
        read_only,
        options: options.iter().map(|option| (*option).to_owned()).collect(),
    };
    spec.network = Network::None;
    spec.user = Some("app".to_owned());
    spec.groups = vec!["video".to_owned()];
    spec.limits.memory = Some(64 * MIB);
    spec.limits.cpu_nanos = Some(500_000_000);
    spec.limits.pids = Some(50);
    spec.limits.ulimits = vec![Ulimit {
        name: "nofile".to_owned(),
        soft: 1000,
        hard: 2000,
    }];
    spec.read_only_root = true;
    spec.mounts = vec![
        mount(MountKind::Tmpfs, "", "/tmp", false, &["size=1m"]),
        mount(MountKind::Volume, "probe-volume", "/data", false, &[]),
        mount(MountKind::Bind, "/etc", "/srv/etc", true, &[]),
    ];
    spec.cap_drop = vec!["ALL".to_owned()];
    spec.cap_add = vec!["NET_BIND_SERVICE".to_owned()];
    spec.no_new_privileges = true;
    spec.oom_score_adj = Some(100);
    spec.env = vec![("A".to_owned(), "b".to_owned())];
    spec.workdir = Some("/srv/made".to_owned());
    spec.hostname = Some("inside".to_owned());
    spec.sysctls = BTreeMap::from([("kernel.shmmax".to_owned(), "12345".to_owned())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_processes_see_what_dockers_see() {
    let probed = Probed::new().await;
    let mut seen = BTreeMap::new();
    seen.insert("root-first", probed.first(|_| ()).await);
    seen.insert(
        "user-first",
        probed.first(|spec| spec.user = Some("app".to_owned())).await,
    );
    seen.insert(
        "number-first",
        probed
            .first(|spec| spec.user = Some("1000:1000".to_owned()))
            .await,
    );
    seen.insert("tty-first", probed.first(|spec| spec.tty = true).await);
    seen.insert("limited-first", probed.first(limited).await);
    let some_limits = |spec: &mut ContainerSpec| {
        spec.network = Network::None;
        spec.cap_add = vec!["SYS_ADMIN".to_owned()];
        spec.cap_drop = vec!["CHOWN".to_owned()];
        spec.limits.memory = Some(64 * MIB);
        spec.limits.memory_swap = Some(64 << 20);
    };
    seen.insert("root-limited-first", probed.first(some_limits).await);
    compare(&probed, &seen);
    // Before anybody gives it links, a private network is as good as none.
    let private = |spec: &mut ContainerSpec| {
        some_limits(spec);
        spec.network = Network::Private;
    };
    let seen = BTreeMap::from([("root-limited-first", probed.first(private).await)]);
    compare(&probed, &seen);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exec_processes_see_what_dockers_see() {
    let probed = Probed::new().await;
    let as_user = |spec: &mut ContainerSpec| {
        spec.user = Some("app".to_owned());
        spec.env = vec![("HOME".to_owned(), "/elsewhere".to_owned())];
    };
    let mut seen = BTreeMap::new();
    seen.insert("root-exec", probed.exec(|_| (), |_| ()).await);
    let other = |exec: &mut ExecSpec| {
        exec.user = Some("app".to_owned());
        exec.workdir = Some("/tmp".to_owned());
        exec.env = vec![("B".to_owned(), "c".to_owned())];
    };
    seen.insert("user-in-root-exec", probed.exec(|_| (), other).await);
    let tty = |exec: &mut ExecSpec| {
        exec.tty = Some(TerminalSize {
            columns: 80,
            rows: 24,
        });
    };
    seen.insert("tty-exec", probed.exec(|_| (), tty).await);
    seen.insert("user-exec", probed.exec(as_user, |_| ()).await);
    let root = |exec: &mut ExecSpec| exec.user = Some("0".to_owned());
    seen.insert("root-in-user-exec", probed.exec(as_user, root).await);
    compare(&probed, &seen);
}

/// One block of `differences.txt`.
struct Listed {
    cases: Vec<String>,
    docker: Vec<String>,
    ours: Vec<String>,
    reason: String,
}

fn listed() -> Vec<Listed> {
    let text = fs::read_to_string(golden().join("differences.txt")).unwrap();
    let mut all: Vec<Listed> = Vec::new();
    for line in text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let block = all.last_mut();
        match (line.split_once(' ').unwrap(), block) {
            (("because:", reason), _) => all.push(Listed {
                cases: Vec::new(),
                docker: Vec::new(),
                ours: Vec::new(),
                reason: reason.to_owned(),
            }),
            (("in:", cases), Some(block)) => block.cases = cases.split(' ').map(str::to_owned).collect(),
            (("-", line), Some(block)) => block.docker.push(line.to_owned()),
            (("+", line), Some(block)) => block.ours.push(line.to_owned()),
            _ => panic!(
                "differences.txt: {line:?} is not because:, in:, - or +, or comes before the first reason"
            ),
        }
    }
    all
}

/// Fails on every difference that is not listed, and on every listed one that did not show.
fn compare(probed: &Probed, seen: &BTreeMap<&str, Vec<String>>) {
    let facts = probed.world.runtime.facts();
    let golden = golden().join("docker-v1");
    let version = fs::read_to_string(golden.join("VERSION")).unwrap();
    let same_machine = version.trim().ends_with(&facts.kernel) && facts.cgroups.version != CgroupVersion::V2;
    let counts = |line: &&String| same_machine || !OF_THE_MACHINE.iter().any(|start| line.starts_with(start));
    let listed = listed();
    let mut report = String::new();
    for (case, ours) in seen {
        let docker = fs::read_to_string(golden.join(format!("{case}.txt"))).unwrap();
        let docker: Vec<String> = docker.lines().map(str::to_owned).collect();
        let mut missing: Vec<&String> = beyond(&docker, ours).into_iter().filter(counts).collect();
        let mut added: Vec<&String> = beyond(ours, &docker).into_iter().filter(counts).collect();
        for block in listed
            .iter()
            .filter(|block| block.cases.iter().any(|one| one == case || one == "all"))
        {
            take(
                &mut missing,
                &block.docker,
                same_machine,
                (case, &block.reason),
                &mut report,
            );
            take(
                &mut added,
                &block.ours,
                same_machine,
                (case, &block.reason),
                &mut report,
            );
        }
        for line in missing {
            writeln!(report, "{case}: - {line}").unwrap();
        }
        for line in added {
            writeln!(report, "{case}: + {line}").unwrap();
        }
        if mount_order(&docker, ours) != mount_order(ours, &docker) {
            writeln!(report, "{case}: mounts are in another order").unwrap();
        }
    }
    assert!(report.is_empty(), "not as under Docker:\n{report}");
    assert_eq!(probed.world.remains(), Vec::<String>::new());
}

/// What is in the first and not in the second, each as often as it is.
fn beyond<'a>(one: &'a [String], other: &[String]) -> Vec<&'a String> {
    let mut rest: Vec<&String> = other.iter().collect();
    one.iter()
        .filter(|line| match rest.iter().position(|known| known == line) {
            Some(at) => {
                rest.swap_remove(at);
                false
            }
            None => true,
        })
        .collect()
}

fn take(
    found: &mut Vec<&String>,
    listed: &[String],
    must_show: bool,
    (case, reason): (&str, &str),
    report: &mut String,
) {
    for line in listed {
        match found.iter().position(|known| *known == line) {
            Some(at) => {
                found.remove(at);
            }
            None if must_show => {
                writeln!(report, "{case}: listed ({reason}), but not there: {line}").unwrap();
            }
            None => {}
        }
    }
}

/// The targets that both have, in the order of the first. On v1 the control groups come last: `shoal-spawn`
/// attaches them when `libcontainer` is done with the rest.
fn mount_order<'a>(one: &'a [String], other: &[String]) -> Vec<&'a str> {
    let target = |line: &'a String| {
        let target = line.strip_prefix("mount ")?.split(' ').next()?;
        (!target.starts_with("/sys/fs/cgroup")).then_some(target)
    };
    let has = |wanted: &&str| {
        other
            .iter()
            .any(|line| line.starts_with(&format!("mount {wanted} ")))
    };
    one.iter().filter_map(target).filter(has).collect()
}
