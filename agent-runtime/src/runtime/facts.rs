//! What this host is and has, read once when the runtime opens.
//!
//! The worker reports it to the cluster; the container's spec depends on it (which cgroup version, which
//! security modules).

use std::fs;
use std::path::{Path, PathBuf};

use super::cgroup;
use super::open::OpenError;

/// What this host is and has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFacts {
    /// Cpus this daemon may use.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory: u64,
    /// Always `linux`.
    pub os: String,
    /// As image indexes name it: `amd64`, `arm64`.
    pub architecture: String,
    /// The kernel's release.
    pub kernel: String,
    /// The host's name.
    pub hostname: String,
    /// How control groups are mounted.
    pub cgroups: CgroupLayout,
    /// Whether AppArmor is active.
    pub apparmor: bool,
}

/// How control groups are mounted on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupLayout {
    /// Which version carries the controllers.
    pub version: CgroupVersion,
    /// The hierarchies that a container is placed in: one on v2, one per mounted v1 hierarchy else.
    pub hierarchies: Vec<CgroupHierarchy>,
}

/// Which version of control groups carries the controllers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupVersion {
    /// v1 only.
    V1,
    /// v2 only.
    V2,
    /// v1 controllers, and a v2 mount without any.
    Hybrid,
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupHierarchy {
    /// Its mount point.
    pub mount_point: PathBuf,
    /// Its controllers (`memory`, `cpu`, …); `name=systemd` for systemd's own.
    pub controllers: Vec<String>,
}

impl CgroupLayout {
    /// Whether a controller is there to be used.
    pub fn has(&self, controller: &str) -> bool {
        self.hierarchies
            .iter()
            .any(|h| h.controllers.iter().any(|c| c == controller))
    }
}

impl HostFacts {
    /// Reads them from the kernel.
    pub(super) fn probe() -> Result<Self, OpenError> {
        let read = |path: &str| {
            fs::read_to_string(path).map_err(|source| OpenError::Path {
                path: path.into(),
                source,
            })
        };
        let names = rustix::system::uname();
        let text = |name: &std::ffi::CStr| name.to_string_lossy().into_owned();
        let memory = read("/proc/meminfo")?;
        let memory = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        let memory = memory.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        let v2_controllers = |place: &Path| {
            let names = fs::read_to_string(place.join("cgroup.controllers")).unwrap_or_default();
            names.split_ascii_whitespace().map(str::to_owned).collect()
        };
        let cgroups =
            cgroup::probe(&read("/proc/self/mountinfo")?, v2_controllers).ok_or_else(|| OpenError::Host {
                missing: "no control groups are mounted below /sys/fs/cgroup".to_owned(),
                advice: "containers need them: mount cgroup2 there, or boot with them enabled".to_owned(),
            })?;
        if !cgroups.has("devices") {
            return Err(OpenError::Host {
                missing: "the devices cgroup controller is not mounted".to_owned(),
                advice: "without it a container could open every device of the host: enable it in the kernel"
                    .to_owned(),
            });
        }
        Ok(Self {
            cpus: std::thread::available_parallelism()
                .map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
            memory: memory.unwrap_or(0).saturating_mul(1024),
            os: "linux".to_owned(),
            architecture: architecture(names.machine().to_bytes()),
            kernel: text(names.release()),
            hostname: text(names.nodename()),
            cgroups,
            apparmor: fs::read_to_string("/sys/module/apparmor/parameters/enabled")
                .is_ok_and(|on| on.starts_with('Y')),
        })
    }
}

/// As Go and image indexes name it.
fn architecture(machine: &[u8]) -> String {
    match machine {
        b"x86_64" => "amd64".to_owned(),
        b"aarch64" => "arm64".to_owned(),
        other => String::from_utf8_lossy(other).into_owned(),
    }
}
