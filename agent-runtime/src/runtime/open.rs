//! Opening the runtime: probing the host, loading `shoal-spawn`, taking up what an earlier daemon left.
//!
//! Called once by the node; removes only what carries its own tag and belongs to no container.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::mount::{MountFlags, mount_remount};
use shoal_run_dir::layout::{self, CONTAINERS};

use crate::container::id::ContainerId;
use crate::image::{Images, ImagesConfig, StoreError};
use crate::oci_spec::KernelFacts;
use crate::seccomp::{KernelVersion, SeccompFilters};
use crate::volumes::{VolumeError, Volumes};

use super::config::RuntimeConfig;
use super::create::chain;
use super::facts::HostFacts;
use super::{Inner, Runtime, cgroup};

/// The runtime could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Not root.
    #[error("containers need root: run the daemon as root (rootless operation is not built yet)")]
    NotRoot,
    /// The tag would not be safe in a path.
    #[error("{tag:?} is not a tag: expected eight hexadecimal characters")]
    Tag {
        /// What was given.
        tag: String,
    },
    /// A directory or file could not be used.
    #[error("using {path}")]
    Path {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The host lacks something that containers need.
    #[error("{missing}: {advice}")]
    Host {
        /// What is missing.
        missing: String,
        /// What to do.
        advice: String,
    },
    /// The image store could not be opened.
    #[error("opening the image store")]
    Images(#[source] StoreError),
    /// The volumes could not be opened.
    #[error("opening the volumes")]
    Volumes(#[source] VolumeError),
}

impl Runtime {
    /// Probes the host, loads `shoal-spawn`, and takes up the containers that an earlier daemon left.
    pub async fn open(mut config: RuntimeConfig) -> Result<Runtime, OpenError> {
        if !rustix::process::geteuid().is_root() {
            return Err(OpenError::NotRoot);
        }
        if config.tag.len() != 8 || !config.tag.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(OpenError::Tag { tag: config.tag });
        }
        make_directories(&mut config)?;
        let facts = HostFacts::probe()?;
        let kernel = KernelFacts::probe(&facts.cgroups).map_err(|source| OpenError::Path {
            path: "/proc/self/status".into(),
            source,
        })?;
        let spawn = seal(&config.spawn).map_err(|source| OpenError::Path {
            path: config.spawn.clone(),
            source,
        })?;
        if config.favordynmods {
            favor_dynamic_modifications(&facts);
        }
        let images = Images::open(ImagesConfig {
            dir: config.state_dir.clone(),
            insecure_registries: config.insecure_registries.clone(),
        });
        let images = images.await.map_err(OpenError::Images)?;
        let seccomp = SeccompFilters::new(
            config.state_dir.join("seccomp"),
            KernelVersion::parse(&facts.kernel).unwrap_or(KernelVersion { major: 5, minor: 10 }),
        );
        let volumes = Volumes::open(&config.volumes_dir)
            .await
            .map_err(OpenError::Volumes)?;
        let runtime = Runtime {
            inner: Arc::new(Inner::new(
                config,
                facts,
                kernel,
                spawn,
                (images, volumes, seccomp),
            )),
        };
        runtime.inner.apparmor.load().await;
        runtime.adopt().await;
        Ok(runtime)
    }

    /// Watches over what lives, and sweeps what never came to be or has no run directory: of our tag only.
    async fn adopt(&self) {
        let known = self.inner.known().unwrap_or_default();
        for id in &known {
            let directory = self.inner.run_dir(id);
            let complete = [layout::INIT_PID, layout::EXIT]
                .iter()
                .any(|name| directory.join(name).exists());
            if complete {
                let entry = self.inner.entry(id);
                self.inner.monitor(&entry, id);
            } else {
                self.sweep(id).await;
            }
        }
        let placed = cgroup::known(&self.inner.facts.cgroups, &self.inner.config.tag);
        let leased = self
            .inner
            .snapshots
            .leases()
            .await
            .unwrap_or_default()
            .into_iter()
            .map(|(id, _)| id);
        let remains: BTreeSet<String> = placed.into_iter().chain(leased).collect();
        for id in remains
            .iter()
            .filter_map(|id| id.parse::<ContainerId>().ok())
            .filter(|id| !known.contains(id))
        {
            self.sweep(&id).await;
        }
    }

    async fn sweep(&self, id: &ContainerId) {
        match self.take_away(id).await {
            Ok(()) => tracing::info!(container = %id, "removed what an unfinished step left of a container"),
            Err(error) => {
                tracing::warn!(container = %id, error = %chain(&error), "remains of a container stay for now");
            }
        }
    }
}

/// Makes what is missing, and every path absolute: the shim works in another directory than ours.
fn make_directories(config: &mut RuntimeConfig) -> Result<(), OpenError> {
    let containers = config.run_dir.join(CONTAINERS);
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::Path { path, source }
    };
    for path in [
        &containers,
        &config.state_dir,
        &config.logs_dir,
        &config.volumes_dir,
    ] {
        let made = fs::DirBuilder::new().recursive(true).mode(0o711).create(path);
        made.map_err(failed(path))?;
    }
    let paths = [
        &mut config.run_dir,
        &mut config.state_dir,
        &mut config.logs_dir,
        &mut config.volumes_dir,
        &mut config.shim,
    ];
    for path in paths {
        *path = fs::canonicalize(&*path).map_err(failed(path))?;
    }
    Ok(())
}

/// A copy of the program in memory that nobody can change: what enters a container must not be a file of the host
/// that the container could write to (CVE-2019-5736).
fn seal(program: &Path) -> io::Result<OwnedFd> {
    let memory = memfd_create("shoal-spawn", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = fs::File::from(memory);
    file.write_all(&fs::read(program)?)?;
    // FUTURE_WRITE rather than WRITE, which fails while any page is still on its way through the kernel's lists: with
    // nobody holding a writable mapping they say the same.
    fcntl_add_seals(
        &file,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE,
    )?;
    // Executed through a read-only descriptor: a writable one would make the kernel say "text file busy".
    let read_only = fs::File::open(format!(
        "/proc/self/fd/{}",
        std::os::fd::AsRawFd::as_raw_fd(&file)
    ))?;
    Ok(read_only.into())
}

/// Makes moving into cgroups cheap on the whole machine (13 ms to 0.3 ms), at a cost for fork and exit that could not
/// be measured. Older kernels (before 6.0) do not know it.
fn favor_dynamic_modifications(facts: &HostFacts) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let v2 = mounts
        .lines()
        .filter(|line| line.contains(" - cgroup2 "))
        .find_map(|line| line.split(' ').nth(4));
    let outcome = match v2 {
        Some(place) => mount_remount(place, MountFlags::empty(), c"favordynmods").map_err(io::Error::from),
        None => Err(io::ErrorKind::NotFound.into()),
    };
    if let Err(error) = outcome {
        tracing::warn!(%error, kernel = facts.kernel, "cgroup2 cannot be remounted with favordynmods");
    }
}
