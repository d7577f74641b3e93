//! The runtime: one file per operation, all on a handle that is cheap to clone.
//!
//! Ground state is the run directories and the kernel; what is kept in memory is what saves asking them again. Steps
//! on one container take turns; containers do not wait for each other.

mod attach;
mod bundle;
mod cgroup;
mod client;
pub(crate) mod config;
pub(crate) mod create;
pub(crate) mod exec;
pub(crate) mod facts;
pub(crate) mod kill;
pub(crate) mod list;
pub(crate) mod logs;
pub(crate) mod namespace;
pub(crate) mod open;
mod process;
pub(crate) mod remove;
mod settle;
pub(crate) mod start;
pub(crate) mod stats;
mod volumes;
pub(crate) mod wait;

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use shoal_run_dir::layout::RunDir;
use tokio::sync::watch;

use crate::apparmor::{AppArmor, HostProblem};
use crate::container::id::ContainerId;
use crate::container::status::Exit;
use crate::image::Images;
use crate::oci_spec::KernelFacts;
use crate::seccomp::SeccompFilters;
use crate::snapshot::Snapshots;
use crate::volumes::Volumes;

use config::RuntimeConfig;
use facts::HostFacts;

/// The runtime of one node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Runtime {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: RuntimeConfig,
    facts: HostFacts,
    kernel: KernelFacts,
    /// `shoal-spawn`, sealed in memory.
    spawn: OwnedFd,
    images: Images,
    snapshots: Snapshots,
    volumes: Volumes,
    seccomp: SeccompFilters,
    apparmor: AppArmor,
    entries: Mutex<HashMap<ContainerId, Arc<Entry>>>,
}

/// What is kept of one container.
#[derive(Debug)]
struct Entry {
    turn: tokio::sync::Mutex<()>,
    watched: AtomicBool,
    end: watch::Sender<End>,
}

#[derive(Debug, Clone, Default)]
enum End {
    #[default]
    NotYet,
    Exited(Exit),
    Removed,
}

impl Runtime {
    /// What this host is and has.
    pub fn facts(&self) -> &HostFacts {
        &self.inner.facts
    }

    /// What about this host takes away from what containers should have; changes while the runtime is open.
    pub async fn problems(&self) -> Vec<HostProblem> {
        self.inner.apparmor.problem().await.into_iter().collect()
    }

    /// What the runtime was told.
    pub fn config(&self) -> &RuntimeConfig {
        &self.inner.config
    }

    /// The volumes of this node.
    pub fn volumes(&self) -> &Volumes {
        &self.inner.volumes
    }

    /// The images of this node.
    pub fn images(&self) -> &Images {
        &self.inner.images
    }
}

impl Inner {
    fn new(
        config: RuntimeConfig,
        facts: HostFacts,
        kernel: KernelFacts,
        spawn: OwnedFd,
        (images, volumes, seccomp): (Images, Volumes, SeccompFilters),
    ) -> Self {
        Self {
            apparmor: AppArmor::new(facts.apparmor),
            config,
            facts,
            kernel,
            spawn,
            snapshots: images.snapshots(),
            images,
            volumes,
            seccomp,
            entries: Mutex::default(),
        }
    }

    fn run_dir(&self, id: &ContainerId) -> RunDir {
        RunDir::new(&self.config.run_dir, id.as_str())
    }

    fn entry(&self, id: &ContainerId) -> Arc<Entry> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(
            entries
                .entry(id.clone())
                .or_insert_with(|| Arc::new(Entry::new())),
        )
    }

    /// Forgets a removed container, unless somebody is about to make it again.
    fn forget(&self, id: &ContainerId) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries
            .get(id)
            .is_some_and(|entry| matches!(*entry.end.borrow(), End::Removed))
        {
            entries.remove(id);
        }
    }

    /// Sees to it that the end of a container is noticed.
    fn monitor(self: &Arc<Self>, entry: &Arc<Entry>, id: &ContainerId) {
        if !entry.watched.swap(true, Ordering::AcqRel) {
            entry.end.send_replace(End::NotYet);
            tokio::spawn(settle::watch(Arc::clone(self), Arc::clone(entry), id.clone()));
        }
    }

    fn crash_point(&self, point: &str) {
        shoal_run_dir::crash::reached(&self.config.run_dir, point);
    }
}

impl Entry {
    fn new() -> Self {
        Self {
            turn: tokio::sync::Mutex::new(()),
            watched: AtomicBool::new(false),
            end: watch::Sender::default(),
        }
    }

    /// Steps on one container take turns.
    async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    fn publish(&self, exit: Exit) {
        self.end.send_if_modified(|end| {
            let news = matches!(end, End::NotYet);
            if news {
                *end = End::Exited(exit);
            }
            news
        });
    }

    fn removed(&self) {
        self.end.send_replace(End::Removed);
    }

    fn is_removed(&self) -> bool {
        matches!(*self.end.borrow(), End::Removed)
    }

    /// `None` if it was removed before anybody saw how it ended.
    async fn ended(&self) -> Option<Exit> {
        let mut end = self.end.subscribe();
        let end = end.wait_for(|end| !matches!(end, End::NotYet)).await.ok()?;
        match &*end {
            End::Exited(exit) => Some(exit.clone()),
            End::NotYet | End::Removed => None,
        }
    }
}
