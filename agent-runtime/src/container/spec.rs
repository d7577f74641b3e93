//! What the caller wants run: complete, resolved, and free of anything that belongs to a cluster.
//!
//! Made by the worker, kept in the run directory; never changed once a container is created from it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::id::ContainerId;
use super::limits::{Limits, LogLimits};
use super::mount::Mount;
use super::signal::Signal;
use crate::exec::TerminalSize;

/// One container, as its caller wants it. Fields that are `None` or empty take the image's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Chosen by the caller; creating the same id with the same spec again changes nothing.
    pub id: ContainerId,
    /// What its file system is made of.
    pub image: PinnedImage,
    /// The caller's own marks, given back by `list`.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Default, as Docker's: on the host's network the host's, else the first twelve characters of the id.
    #[serde(default)]
    pub hostname: Option<String>,
    /// Replaces the image's entrypoint, and then its command too, as Docker does.
    #[serde(default)]
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the image's command.
    #[serde(default)]
    pub command: Option<Vec<String>>,
    /// Added to the image's environment; the last of a name wins.
    #[serde(default)]
    pub env: Vec<(String, String)>,
    /// Absolute; made if it does not exist.
    #[serde(default)]
    pub workdir: Option<String>,
    /// `user`, `uid`, `user:group` or `uid:gid`, resolved inside the image.
    #[serde(default)]
    pub user: Option<String>,
    /// Further groups, by name or number, resolved inside the image.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Mounts beyond the ones that every container gets.
    #[serde(default)]
    pub mounts: Vec<Mount>,
    /// Which network it sees.
    pub network: Network,
    /// The addresses that its host name stands for in its `/etc/hosts`; of a [`Network::Private`] only.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// What it may use.
    #[serde(default)]
    pub limits: Limits,
    /// Capabilities beyond Docker's default ones (`NET_ADMIN`, `CAP_NET_ADMIN`, `ALL`).
    #[serde(default)]
    pub cap_add: Vec<String>,
    /// Capabilities taken away.
    #[serde(default)]
    pub cap_drop: Vec<String>,
    /// Whether its root file system may not be written.
    #[serde(default)]
    pub read_only_root: bool,
    /// Whether a small init is process 1, which passes signals on to the program and reaps what it leaves.
    #[serde(default)]
    pub init: bool,
    /// Whether it gets a terminal; stdout and stderr are then one stream, and whoever attaches can write to it.
    #[serde(default)]
    pub tty: bool,
    /// The size of its terminal when its program starts; without one it has none, as Docker's.
    #[serde(default)]
    pub terminal_size: Option<TerminalSize>,
    /// Whether its standard input stays open for those who attach, until it is closed; else it reads from `/dev/null`.
    #[serde(default)]
    pub stdin_open: bool,
    /// Default: the image's, else SIGTERM.
    #[serde(default)]
    pub stop_signal: Option<Signal>,
    /// How long it has to end by that signal before it is killed. Kept for its caller, who stops it.
    #[serde(default)]
    pub stop_grace: Option<Duration>,
    /// Namespaced kernel settings.
    #[serde(default)]
    pub sysctls: BTreeMap<String, String>,
    /// Name servers and hosts beyond the host's own.
    #[serde(default)]
    pub dns: Dns,
    /// -1000 to 1000.
    #[serde(default)]
    pub oom_score_adj: Option<i32>,
    /// Whether no program may gain privileges.
    #[serde(default)]
    pub no_new_privileges: bool,
    /// How much log is kept.
    #[serde(default)]
    pub log_limits: LogLimits,
}

/// An image by what it was called and what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedImage {
    /// What the user called it.
    pub reference: String,
    /// The digest of its manifest (`sha256:…`).
    pub digest: String,
}

/// Which network a container sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// The host's own.
    Host,
    /// A network namespace with a loopback device only.
    None,
    /// A network namespace that the caller gives links between the creation and the start of the container, and whose
    /// names are answered at 127.0.0.11; with a loopback device only until then.
    Private,
}

/// What goes into `/etc/resolv.conf` and `/etc/hosts`; where empty, the host's files are copied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    /// Name servers. A [`Network::Private`] asks 127.0.0.11 alone, which its caller lets forward to these.
    pub servers: Vec<String>,
    /// Search domains; `.` alone for none.
    pub search: Vec<String>,
    /// Resolver options. A [`Network::Private`] has `ndots:0` where they say nothing of dots.
    pub options: Vec<String>,
    /// Further lines of `/etc/hosts`: (name, address).
    pub extra_hosts: Vec<(String, String)>,
}

impl ContainerSpec {
    /// A container of this image with nothing else said: the starting point of most callers.
    pub fn new(id: ContainerId, image: PinnedImage, network: Network) -> Self {
        Self {
            id,
            image,
            labels: BTreeMap::new(),
            hostname: None,
            entrypoint: None,
            command: None,
            env: Vec::new(),
            workdir: None,
            user: None,
            groups: Vec::new(),
            mounts: Vec::new(),
            network,
            addresses: Vec::new(),
            limits: Limits::default(),
            cap_add: Vec::new(),
            cap_drop: Vec::new(),
            read_only_root: false,
            init: false,
            tty: false,
            terminal_size: None,
            stdin_open: false,
            stop_signal: None,
            stop_grace: None,
            sysctls: BTreeMap::new(),
            dns: Dns::default(),
            oom_score_adj: None,
            no_new_privileges: false,
            log_limits: LogLimits::default(),
        }
    }

    /// The volumes this container uses, by name.
    pub fn volumes(&self) -> impl Iterator<Item = &str> {
        self.mounts
            .iter()
            .filter(|m| m.kind == super::mount::MountKind::Volume)
            .map(|m| m.source.as_str())
    }
}
