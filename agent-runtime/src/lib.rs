//! Images, snapshots and containers of one node.
//!
//! [`Runtime`] is the only door: the worker hands it a [`ContainerSpec`] and gets a container that outlives the
//! daemon. This crate knows nothing of services, tasks or clusters, and speaks to its containers only through
//! their run directories and shims (`shoal-run-dir`), so a daemon that comes back needs nothing but the disk.

mod apparmor;
pub(crate) mod archive;
mod attach;
pub mod caps;
mod container;
pub(crate) mod content;
mod exec;
#[cfg(test)]
mod fixtures;
pub mod image;
pub mod logs;
pub mod oci_spec;
pub(crate) mod registry;
mod runtime;
pub mod seccomp;
pub mod snapshot;
pub mod stats;
mod sys;
pub mod unpack;
pub mod user;
pub mod volumes;

pub use apparmor::{HostProblem, PROFILE as APPARMOR_PROFILE};
pub use attach::{AttachControl, AttachError, AttachSession, AttachSpec, AttachStream};
pub use container::id::{ContainerId, ContainerIdError};
pub use container::limits::{Limits, LogLimits, Ulimit};
pub use container::mount::{Mount, MountKind};
pub use container::signal::{Signal, SignalError};
pub use container::spec::{ContainerSpec, Dns, Network, PinnedImage};
pub use container::status::{ContainerState, ContainerStatus, Exit, ExitReason};
pub use exec::{
    ExecControl, ExecError, ExecExit, ExecOutput, ExecSession, ExecSpec, ExecStdin, ExecStream, TerminalSize,
};
pub use logs::{LogError, LogQuery, LogRecord, LogStream};
pub use runtime::Runtime;
pub use runtime::config::RuntimeConfig;
pub use runtime::create::CreateError;
pub use runtime::facts::{CgroupHierarchy, CgroupLayout, CgroupVersion, HostFacts};
pub use runtime::kill::KillError;
pub use runtime::list::ListError;
pub use runtime::namespace::NamespaceError;
pub use runtime::open::OpenError;
pub use runtime::remove::RemoveError;
pub use runtime::start::{StartError, Started};
pub use runtime::wait::WaitError;
pub use shoal_run_dir::pid::has_ended;
pub use stats::{Stats, StatsError};

/// The points at which a test build ends itself: the daemon around this runtime has more of its own.
#[cfg(feature = "crash-points")]
pub use shoal_run_dir::crash;
