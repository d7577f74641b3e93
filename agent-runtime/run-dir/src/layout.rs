//! Where everything of a container is: `<run>/containers/<id>/…`.
//!
//! The shim and `shoal-spawn` run with the directory as their working directory and use the bare names; the daemon
//! joins them to the path.

use std::path::{Path, PathBuf};

/// Below the daemon's run directory: a directory per container.
pub const CONTAINERS: &str = "containers";
/// What the caller asked for (daemon only).
pub const SPEC: &str = "spec.json";
/// The configuration of its image (daemon only).
pub const IMAGE: &str = "image.json";
/// The file bound to the container's `/etc/hostname`; beside its upper layer, not here.
pub const HOSTNAME: &str = "hostname";
/// The file bound to the container's `/etc/hosts`; beside its upper layer, not here.
pub const HOSTS: &str = "hosts";
/// The file bound to the container's `/etc/resolv.conf`; beside its upper layer, not here.
pub const RESOLV_CONF: &str = "resolv.conf";
/// The OCI bundle that `libcontainer` reads.
pub const BUNDLE: &str = "bundle";
/// `libcontainer`'s configuration inside [`BUNDLE`].
pub const CONFIG: &str = "config.json";
/// The mount point of the root file system, in the container's own mount namespace only.
pub const ROOTFS: &str = "rootfs";
/// The mount point of the read-only cgroup v1 tree, in the same namespace.
pub const CGROUP_STAGE: &str = "cgroup";
/// The [`crate::process::FinalProcess`] of the container.
pub const PROCESS: &str = "process.json";
/// The [`crate::request::CreateRequest`].
pub const CREATE: &str = "create.json";
/// The seccomp program, as the kernel takes it.
pub const SECCOMP: &str = "seccomp.bpf";
/// `libcontainer`'s state directory.
pub const STATE: &str = "state";
/// The name of the container in [`STATE`]: short, for its socket's path is bounded by 108 bytes.
pub const STATE_ID: &str = "c";
/// The socket in `STATE/STATE_ID` that starts the program when somebody connects.
pub const NOTIFY: &str = "state/c/notify.sock";
/// The socket through which a container's terminal arrives at the shim.
pub const CONSOLE: &str = "console.sock";
/// The [`crate::conf::ShimConf`].
pub const SHIM_CONF: &str = "shim.conf";
/// The shim's socket.
pub const SHIM_SOCKET: &str = "shim.sock";
/// The shim's [`crate::pid::PidRecord`].
pub const SHIM_PID: &str = "shim.pid";
/// The first process's [`crate::pid::PidRecord`]; its presence says that the container is created.
pub const INIT_PID: &str = "init.pid";
/// When the program was started, in nanoseconds since 1970; its presence says that it was.
pub const STARTED: &str = "started";
/// The [`crate::exit::ExitRecord`] before the last of the log is written: what is known if the shim dies meanwhile.
pub const ENDING: &str = "ending";
/// The [`crate::exit::ExitRecord`]; its presence says that the container has ended.
pub const EXIT: &str = "exit";

/// The run directory of one container, from the daemon's side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// The directory of container `id` below `<run>`.
    pub fn new(run: &Path, id: &str) -> Self {
        Self {
            path: run.join(CONTAINERS).join(id),
        }
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// One of the names of this module in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}
