//! A runtime of its own for each test: directories, tag, an image made of busybox, and a look at what is left.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use shoal_agent_runtime::image::Progress;
use shoal_agent_runtime::{ContainerId, ContainerSpec, Network, PinnedImage, Runtime, RuntimeConfig};

/// Anything that waits longer than this has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// What the image's users and programs are.
const PROGRAMS: [&str; 20] = [
    "sh", "true", "false", "sleep", "cat", "echo", "id", "ps", "kill", "mount", "head", "dd", "stty", "tty",
    "grep", "ls", "wc", "env", "yes", "su",
];

/// One runtime.
pub(crate) struct World {
    pub(crate) runtime: Runtime,
    pub(crate) image: PinnedImage,
    pub(crate) config: RuntimeConfig,
    pub(crate) directory: tempfile::TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests make containers and need root"
        );
        let directory = tempfile::tempdir().unwrap();
        let config = config(directory.path());
        let runtime = Runtime::open(config.clone()).await.unwrap();
        let archive = directory.path().join("image.tar");
        fs::write(&archive, image_archive()).unwrap();
        let file = tokio::fs::File::open(&archive).await.unwrap();
        let loaded = runtime.images().load(file, &Progress::default()).await.unwrap();
        let image = PinnedImage {
            reference: "busybox:test".to_owned(),
            digest: loaded[0].digest.to_string(),
        };
        Self {
            runtime,
            image,
            config,
            directory,
        }
    }

    /// A container that runs this command.
    pub(crate) fn spec(&self, command: &[&str]) -> ContainerSpec {
        let mut spec = ContainerSpec::new(fresh_id(), self.image.clone(), Network::None);
        spec.command = Some(command.iter().map(|word| (*word).to_owned()).collect());
        spec
    }

    /// Creates, starts, waits and removes; returns the exit code and the log.
    pub(crate) async fn run(&self, spec: ContainerSpec) -> (shoal_agent_runtime::Exit, String) {
        let id = spec.id.clone();
        self.runtime.create(spec).await.unwrap();
        self.runtime.start(&id).await.unwrap();
        let exit = tokio::time::timeout(DEADLINE, self.runtime.wait(&id))
            .await
            .unwrap()
            .unwrap();
        let log = self.log(&id);
        self.runtime.remove(&id).await.unwrap();
        (exit, log)
    }

    /// The text of a container's log, both streams together.
    pub(crate) fn log(&self, id: &ContainerId) -> String {
        log_of(&self.config, id)
    }

    /// The directories with an image in them, the runtime closed.
    pub(crate) fn into_parts(mut self) -> (RuntimeConfig, tempfile::TempDir, String) {
        let other = tempfile::tempdir().unwrap();
        let directory = std::mem::replace(&mut self.directory, other);
        (self.config.clone(), directory, self.image.digest.clone())
    }

    /// What the host has of this runtime: run directories, cgroups, snapshots, processes, mounts.
    pub(crate) fn remains(&self) -> Vec<String> {
        remains(&self.config)
    }
}

/// A test that failed leaves nothing running either.
impl Drop for World {
    fn drop(&mut self) {
        sweep(&self.config);
    }
}

pub(crate) fn sweep(config: &RuntimeConfig) {
    let until = std::time::Instant::now() + DEADLINE;
    while !remains(config).iter().all(|remain| remain.starts_with('/')) && std::time::Instant::now() < until {
        processes(config).into_iter().for_each(kill);
    }
    let hierarchies = fs::read_dir("/sys/fs/cgroup").unwrap().flatten();
    for place in hierarchies
        .map(|h| h.path().join(format!("shoal-{}", config.tag)))
        .filter(|p| p.exists())
    {
        let groups: Vec<PathBuf> = fs::read_dir(&place)
            .unwrap()
            .flatten()
            .map(|g| g.path())
            .filter(|p| p.is_dir())
            .collect();
        for group in groups.iter().chain([&place]) {
            let members = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
            members.lines().filter_map(|pid| pid.parse().ok()).for_each(kill);
            while fs::remove_dir(group).is_err_and(|e| e.kind() != std::io::ErrorKind::NotFound)
                && std::time::Instant::now() < until
            {}
        }
    }
}

fn kill(pid: i32) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

/// The shims and helpers of a runtime, by the tag in their command lines.
pub(crate) fn processes(config: &RuntimeConfig) -> Vec<i32> {
    let needle = format!("\0{}\0", config.tag);
    let ours = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&needle)
    };
    let names = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|p| p.file_name().to_str()?.parse().ok());
    names.filter(ours).collect()
}

/// The text of a container's log, both streams together; a torn record fails the test.
pub(crate) fn log_of(config: &RuntimeConfig, id: &ContainerId) -> String {
    let path = config.logs_dir.join(id.as_str()).join(format!("{id}-json.log"));
    let text = fs::read_to_string(path).unwrap_or_default();
    let records = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let records = records.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    records
        .map(|record| record["log"].as_str().unwrap().to_owned())
        .collect()
}

pub(crate) fn remains(config: &RuntimeConfig) -> Vec<String> {
    let mut found = Vec::new();
    let mut list = |directory: &Path| {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        found.extend(entries.map(|entry| entry.path().display().to_string()));
    };
    list(&config.run_dir.join("containers"));
    list(&config.state_dir.join("containers"));
    for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        list(&hierarchy.path().join(format!("shoal-{}", config.tag)));
    }
    for pid in processes(config) {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        found.push(format!(
            "process {pid} {}",
            String::from_utf8_lossy(&line).replace('\0', " ")
        ));
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let ours = config.run_dir.display().to_string();
    found.extend(
        mounts
            .lines()
            .filter(|line| line.contains(&ours))
            .map(str::to_owned),
    );
    found
}

/// Runs with an event loop of its own, and ends everything that it started: a daemon's life.
pub(crate) fn daemon<T>(life: impl Future<Output = T>) -> T {
    // What cargo still has to build is nobody's fault.
    binaries();
    let threads = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    threads.block_on(async { tokio::time::timeout(DEADLINE, life).await.unwrap() })
}

/// Directories below one, and the binaries with crash points in them.
pub(crate) fn config(directory: &Path) -> RuntimeConfig {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let (shim, spawn) = binaries();
    RuntimeConfig {
        state_dir: directory.join("state"),
        run_dir: directory.join("run"),
        logs_dir: directory.join("logs"),
        volumes_dir: directory.join("volumes"),
        tag: format!(
            "{:08x}",
            std::process::id().wrapping_mul(4096).wrapping_add(count)
        ),
        shim,
        spawn,
        insecure_registries: Vec::new(),
        favordynmods: false,
    }
}

pub(crate) fn fresh_id() -> ContainerId {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let hash = Sha256::digest(format!("{} {count}", std::process::id()));
    hex::encode(hash).parse().unwrap()
}

/// Built once: cargo puts other packages' binaries nowhere that a test could name.
fn binaries() -> (PathBuf, PathBuf) {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let directory = BUILT.get_or_init(|| {
        if let Some(given) = std::env::var_os("SHOAL_TEST_BINARIES") {
            return PathBuf::from(given);
        }
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "-p", "shoal-shim", "-p", "shoal-spawn"])
            .args(["--features", "shoal-shim/crash-points,shoal-spawn/crash-points"])
            .status()
            .unwrap();
        assert!(status.success(), "the shim and shoal-spawn do not build");
        let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
        for name in ["shoal-shim", "shoal-spawn"] {
            // Renamed into place: another test process may be running the one that is there.
            let staged = target.join(format!("{name}.{}", std::process::id()));
            fs::copy(target.parent().unwrap().join("debug").join(name), &staged).unwrap();
            fs::rename(&staged, target.join(name)).unwrap();
        }
        target.to_owned()
    });
    (directory.join("shoal-shim"), directory.join("shoal-spawn"))
}

/// `docker save` of an image with a static busybox and two users.
fn image_archive() -> Vec<u8> {
    let layer = layer();
    let diff_id = format!("sha256:{}", hex::encode(Sha256::digest(&layer)));
    let image = serde_json::json!({
        "architecture": if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" }, "os": "linux",
        "config": { "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["sh"],
            "StopSignal": "SIGQUIT" },
        "rootfs": { "type": "layers", "diff_ids": [diff_id] },
    });
    let image = serde_json::to_vec(&image).unwrap();
    let config = format!("{}.json", hex::encode(Sha256::digest(&image)));
    let manifest =
        serde_json::json!([{ "Config": config, "RepoTags": ["busybox:test"], "Layers": ["layer.tar"] }]);
    let mut archive = tar::Builder::new(Vec::new());
    file(&mut archive, &config, 0o644, &image);
    file(&mut archive, "layer.tar", 0o644, &layer);
    file(
        &mut archive,
        "manifest.json",
        0o644,
        &serde_json::to_vec(&manifest).unwrap(),
    );
    archive.into_inner().unwrap()
}

fn layer() -> Vec<u8> {
    let busybox = fs::read("/bin/busybox").expect("these tests need the Debian package busybox-static");
    let mut layer = tar::Builder::new(Vec::new());
    for directory in ["bin/", "etc/", "tmp/", "proc/", "sys/", "dev/", "root/"] {
        append(
            &mut layer,
            directory,
            (tar::EntryType::Directory, 0o755),
            b"",
            None,
        );
    }
    file(&mut layer, "bin/busybox", 0o755, &busybox);
    for program in PROGRAMS {
        append(
            &mut layer,
            &format!("bin/{program}"),
            (tar::EntryType::Symlink, 0o777),
            b"",
            Some("busybox"),
        );
    }
    file(
        &mut layer,
        "etc/passwd",
        0o644,
        b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n",
    );
    file(
        &mut layer,
        "etc/group",
        0o644,
        b"root:x:0:\nuser:x:1000:\nextra:x:77:user\n",
    );
    file(&mut layer, "bin/broken", 0o755, b"#!/no/such/interpreter\n");
    file(&mut layer, "bin/plain", 0o755, b"not a program");
    layer.into_inner().unwrap()
}

fn file(builder: &mut tar::Builder<Vec<u8>>, name: &str, mode: u32, data: &[u8]) {
    append(builder, name, (tar::EntryType::Regular, mode), data, None);
}

fn append(
    builder: &mut tar::Builder<Vec<u8>>,
    name: &str,
    (kind, mode): (tar::EntryType, u32),
    data: &[u8],
    link: Option<&str>,
) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_700_000_000);
    header.set_size(data.len() as u64);
    header.set_path(name).unwrap();
    if let Some(link) = link {
        header.set_link_name(link).unwrap();
    }
    header.set_cksum();
    builder.append(&header, data).unwrap();
}
