//! runc through the steps of our own runtime, the way an engine takes it through them.
//!
//! The same image, mounted for each run as an overlay of the same layers, and the same confinement: namespaces,
//! mounts, masked paths, limits and capabilities are read from what our runtime wrote for an equal container, the
//! filter is the same profile in OCI's form. Not timed, to runc's advantage: removing the upper directory. There is
//! no process that stays with the container and no log: its output goes to `/dev/null`.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::{Pid, WaitOptions, set_child_subreaper, waitpid};
use serde_json::{Value, json};
use shoal_agent_runtime::caps::CapabilitySet;
use shoal_agent_runtime::seccomp::{Action, Arch, Compare, KernelVersion, Profile, Rule, docker_default};
use shoal_run_dir::layout;
use shoal_run_dir::process::FinalProcess;
use shoal_run_dir::request::CreateRequest;

/// How runc is called.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    /// `create`, `start`, waiting, `delete`: what an engine does, and what our runtime's calls do.
    Steps,
    /// `run`, which does all of it in one process and never lets go of the container.
    Once,
}

/// A bundle for runc and what its root file system is mounted of.
pub(crate) struct Peer {
    bundle: PathBuf,
    state: PathBuf,
    lowers: Vec<PathBuf>,
}

/// A mounted root file system, which is not left behind where a step fails.
struct Mounted<'a>(&'a Path);

impl Peer {
    /// A bundle equal to the container of this run directory.
    pub(crate) fn like(container: &Path, folder: &Path) -> Result<Self, Box<dyn Error>> {
        let bundle = folder.join("bundle");
        fs::create_dir_all(bundle.join("rootfs"))?;
        let create: CreateRequest = serde_json::from_slice(&fs::read(container.join(layout::CREATE))?)?;
        let process: FinalProcess = serde_json::from_slice(&fs::read(container.join(layout::PROCESS))?)?;
        let config = container.join(layout::BUNDLE).join(layout::CONFIG);
        let mut config: Value = serde_json::from_slice(&fs::read(config)?)?;
        config["root"]["path"] = json!("rootfs");
        config["process"] = process_of(&process);
        config["linux"]["resources"] = serde_json::from_str(&create.resources)?;
        config["linux"]["cgroupsPath"] = json!(format!("/shoal-peer-{}", std::process::id()));
        config["linux"]["seccomp"] = seccomp(docker_default(), process.capabilities.bounding)?;
        let mounts = config["mounts"]
            .as_array_mut()
            .ok_or("a specification without mounts")?;
        for file in [layout::HOSTNAME, layout::HOSTS, layout::RESOLV_CONF] {
            let destination = json!(format!("/etc/{file}"));
            let mount = mounts
                .iter_mut()
                .find(|mount| mount["destination"] == destination)
                .ok_or("a container without the files that every container gets")?;
            let to = bundle.join(file);
            fs::copy(mount["source"].as_str().unwrap_or_default(), &to)?;
            mount["source"] = json!(to);
        }
        if create.mount_cgroups {
            mounts.push(json!({
                "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                "options": ["ro", "nosuid", "noexec", "nodev"],
            }));
        }
        fs::write(bundle.join("config.json"), serde_json::to_vec(&config)?)?;
        // What `runc create` leaves to whoever called it, we reap, as an engine's shim does.
        set_child_subreaper(Some(rustix::process::getpid()))?;
        Ok(Self {
            bundle,
            state: folder.join("runc"),
            lowers: create.lowers,
        })
    }

    /// From making the root file system to its end; what took so long.
    pub(crate) fn run(&self, way: Way) -> Result<Duration, Box<dyn Error>> {
        let (upper, work) = (self.bundle.join("upper"), self.bundle.join("work"));
        let root = self.bundle.join("rootfs");
        let begun = Instant::now();
        fs::create_dir(&upper)?;
        fs::create_dir(&work)?;
        let lowers: Vec<String> = self.lowers.iter().map(|l| l.display().to_string()).collect();
        let options = format!(
            "lowerdir={},upperdir={},workdir={},volatile",
            lowers.join(":"),
            upper.display(),
            work.display()
        );
        let options = std::ffi::CString::new(options)?;
        mount(
            "overlay",
            &root,
            "overlay",
            MountFlags::empty(),
            options.as_c_str(),
        )?;
        let mounted = Mounted(&root);
        match way {
            Way::Steps => self.steps()?,
            Way::Once => self.runc(&["run", "--bundle", &self.bundle.display().to_string(), "c"])?,
        }
        drop(mounted);
        let took = begun.elapsed();
        fs::remove_dir_all(&upper)?;
        fs::remove_dir_all(&work)?;
        Ok(took)
    }

    fn steps(&self) -> Result<(), Box<dyn Error>> {
        let pid_file = self.bundle.join("pid");
        let (bundle, file) = (self.bundle.display().to_string(), pid_file.display().to_string());
        self.runc(&["create", "--bundle", &bundle, "--pid-file", &file, "c"])?;
        self.runc(&["start", "c"])?;
        let pid = fs::read_to_string(&pid_file)?.trim().parse()?;
        let status = waitpid(Pid::from_raw(pid), WaitOptions::empty())?;
        let code = status.and_then(|(_, status)| status.exit_status());
        self.runc(&["delete", "c"])?;
        match code {
            Some(0) => Ok(()),
            other => Err(format!("runc's container ended with {other:?}").into()),
        }
    }

    fn runc(&self, words: &[&str]) -> Result<(), Box<dyn Error>> {
        let status = Command::new("runc")
            .arg("--root")
            .arg(&self.state)
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("runc {}: {status}", words.join(" ")).into())
        }
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        // Refused only where it is gone already.
        let _gone = unmount(self.0, UnmountFlags::DETACH);
    }
}

/// What our runtime makes of the process at last, as runc is told it.
fn process_of(process: &FinalProcess) -> Value {
    let names = |bits: u64| -> Vec<&'static str> {
        CapabilitySet::from_bits(bits)
            .iter()
            .map(|capability| capability.name())
            .collect()
    };
    let capabilities = process.capabilities;
    json!({
        "terminal": false,
        "user": {
            "uid": process.uid, "gid": process.gid, "additionalGids": process.groups, "umask": process.umask,
        },
        "args": process.args,
        "env": process.env,
        "cwd": process.cwd,
        "capabilities": {
            "bounding": names(capabilities.bounding),
            "effective": names(capabilities.effective),
            "permitted": names(capabilities.permitted),
            "inheritable": names(capabilities.inheritable),
            "ambient": names(capabilities.ambient),
        },
        "noNewPrivileges": process.no_new_privileges,
        "oomScoreAdj": process.oom_score_adj,
    })
}

/// The profile as an engine resolves it for one container.
fn seccomp(profile: &Profile, capabilities: u64) -> Result<Value, Box<dyn Error>> {
    let native = Arch::native().ok_or("no seccomp profile for this machine's architecture")?;
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let kernel = KernelVersion::parse(&release).ok_or("a kernel release without a version")?;
    let capabilities = CapabilitySet::from_bits(capabilities);
    let rules: Vec<Value> = profile
        .rules_for(capabilities, native, kernel)
        .map(rule)
        .collect();
    let (action, errno) = action(profile.default_action);
    Ok(json!({
        "defaultAction": action,
        "defaultErrnoRet": errno,
        "architectures": profile.architectures(native).into_iter().map(architecture).collect::<Vec<_>>(),
        "syscalls": rules,
    }))
}

fn rule(rule: &Rule) -> Value {
    let (action, errno) = action(rule.action);
    let tests = rule.args.iter().map(|test| {
        let (operator, value, second) = match test.compare {
            Compare::Ne => ("SCMP_CMP_NE", test.value, 0),
            Compare::Lt => ("SCMP_CMP_LT", test.value, 0),
            Compare::Le => ("SCMP_CMP_LE", test.value, 0),
            Compare::Eq => ("SCMP_CMP_EQ", test.value, 0),
            Compare::Ge => ("SCMP_CMP_GE", test.value, 0),
            Compare::Gt => ("SCMP_CMP_GT", test.value, 0),
            Compare::MaskedEq { mask } => ("SCMP_CMP_MASKED_EQ", mask, test.value),
        };
        json!({"index": test.index, "op": operator, "value": value, "valueTwo": second})
    });
    let mut value = json!({"names": rule.names, "action": action, "args": tests.collect::<Vec<_>>()});
    if let Some(errno) = errno {
        value["errnoRet"] = json!(errno);
    }
    value
}

fn action(action: Action) -> (&'static str, Option<u16>) {
    match action {
        Action::Allow => ("SCMP_ACT_ALLOW", None),
        Action::Errno(errno) => ("SCMP_ACT_ERRNO", Some(errno)),
        Action::KillThread => ("SCMP_ACT_KILL_THREAD", None),
        Action::KillProcess => ("SCMP_ACT_KILL_PROCESS", None),
        Action::Trap => ("SCMP_ACT_TRAP", None),
        Action::Trace(number) => ("SCMP_ACT_TRACE", Some(number)),
        Action::Log => ("SCMP_ACT_LOG", None),
    }
}

fn architecture(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "SCMP_ARCH_X86_64",
        Arch::X86 => "SCMP_ARCH_X86",
        Arch::X32 => "SCMP_ARCH_X32",
        Arch::Aarch64 => "SCMP_ARCH_AARCH64",
        Arch::Arm => "SCMP_ARCH_ARM",
    }
}
