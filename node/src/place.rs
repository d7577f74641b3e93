//! A node's place on its machine: directories, lock, tag, and the runtime opened in them.
//!
//! Shared by the daemon and by `shoald down`, which must find exactly what the daemon left.

use crate::config::NodeConfig;
use crate::files::{FileError, make_dir, read_file, write_file};
use crate::lock::{LockError, StateLock};
use sha2::{Digest, Sha256};
use shoal_agent_runtime::{OpenError, Runtime, RuntimeConfig};
use shoal_overlay_net::NetConfig;
use shoal_overlay_net::desired::{NameError, Tag};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// State is for root alone; the run directory lets the group of the socket through.
const STATE_MODE: u32 = 0o700;
const RUN_MODE: u32 = 0o755;
/// May group or others change what is in a directory, or look into it?
const OTHERS_WRITE: u32 = 0o022;
const OTHERS: u32 = 0o077;

/// Capabilities by their numbers (linux/capability.h): for networks, and for namespaces and mounts.
const NEEDED: [(u32, &str); 2] = [(12, "CAP_NET_ADMIN"), (21, "CAP_SYS_ADMIN")];

/// In the run directory: the state directory that its containers belong to.
const OWNER: &str = "owner";

/// The directories are there and this process holds them.
#[derive(Debug)]
pub struct Place {
    pub tag: Tag,
    _state: StateLock,
    _run: StateLock,
}

/// The place could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    #[error(
        "shoald needs root to make containers, and runs as user id {uid}: start it with sudo or as a system service (rootless operation is not built yet)"
    )]
    NotRoot { uid: String },
    #[error(
        "shoald runs as root without {missing}, which it needs for containers and their networks: give it to the service or container that it runs in (CapabilityBoundingSet=, --privileged)"
    )]
    NotCapable { missing: String },
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error("marking what belongs to the state directory")]
    Tag(#[from] NameError),
    #[error(
        "{run_dir} holds the containers of another Shoal, whose state is in {owner}: give this one its own --run-dir, or end that one first with --state-dir {owner}"
    )]
    OthersRun { run_dir: PathBuf, owner: String },
    #[error(
        "{path} belongs to user id {uid} and has mode {mode:o}, so that others than root can put programs and keys into it: run `chown root {path}` and `chmod go-w {path}`, or name another directory"
    )]
    Open { path: PathBuf, uid: u32, mode: u32 },
    #[error("looking at {path}")]
    Look {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("resolving {path}")]
    Canonical {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

impl Place {
    /// Makes the directories and locks them.
    pub fn take(config: &NodeConfig) -> Result<Self, PlaceError> {
        refuse_unprivileged()?;
        refuse_others_run(config)?;
        make_dir(&config.state_dir, STATE_MODE)?;
        refuse_open(&config.state_dir)?;
        let state = StateLock::take(&config.state_dir)?;
        close(&config.state_dir)?;
        for name in ["node", "raft", "runtime", "worker", "logs", "volumes"] {
            make_dir(&config.state(name), STATE_MODE)?;
        }
        make_dir(&config.run_dir, RUN_MODE)?;
        refuse_open(&config.run_dir)?;
        let run = StateLock::take(&config.run_dir)?;
        let owner = canonical(&config.state_dir)?;
        write_file(&config.run_dir.join(OWNER), owner.as_os_str().as_bytes())?;
        Ok(Self {
            tag: tag(&owner)?,
            _state: state,
            _run: run,
        })
    }

    /// Opens the runtime in these directories.
    pub async fn open_runtime(&self, config: &NodeConfig) -> Result<Runtime, OpenError> {
        Runtime::open(RuntimeConfig {
            state_dir: config.state("runtime"),
            run_dir: config.run_dir.clone(),
            logs_dir: config.state("logs"),
            volumes_dir: config.state("volumes"),
            tag: self.tag.to_string(),
            shim: config.programs.shim.clone(),
            spawn: config.programs.spawn.clone(),
            insecure_registries: config.insecure_registries.clone(),
            favordynmods: config.favordynmods,
        })
        .await
    }

    /// Where the network of this place is.
    pub fn net(&self, config: &NodeConfig) -> NetConfig {
        NetConfig {
            tag: self.tag.clone(),
            run_dir: config.run_dir.join("net"),
            program: config.programs.net.clone(),
        }
    }
}

/// The mark of this state directory in every cgroup, link, name and title that is made here.
fn tag(state_dir: &Path) -> Result<Tag, PlaceError> {
    let digest = Sha256::digest(state_dir.as_os_str().as_bytes());
    Ok(hex::encode(digest.get(..4).unwrap_or_default()).parse()?)
}

fn canonical(path: &Path) -> Result<PathBuf, PlaceError> {
    path.canonicalize().map_err(|source| PlaceError::Canonical {
        path: path.to_owned(),
        source,
    })
}

/// Whoever opens the runtime takes up the containers of the run directory, and ends those that it does not know:
/// they must be its own. Before anything is made or changed.
fn refuse_others_run(config: &NodeConfig) -> Result<(), PlaceError> {
    let Some(owner) = read_file(&config.run_dir.join(OWNER))? else {
        return Ok(());
    };
    // A state directory that does not exist yet owns nothing.
    if config
        .state_dir
        .canonicalize()
        .is_ok_and(|own| own == Path::new(&owner))
    {
        return Ok(());
    }
    let containers = std::fs::read_dir(config.run_dir.join("containers"));
    let has_containers = containers.is_ok_and(|mut entries| entries.next().is_some());
    if has_containers || StateLock::is_held(&config.run_dir) {
        let run_dir = config.run_dir.clone();
        return Err(PlaceError::OthersRun { run_dir, owner });
    }
    Ok(())
}

/// A directory that was there before may be anybody's.
fn refuse_open(path: &Path) -> Result<(), PlaceError> {
    let found = look(path)?;
    let (uid, mode) = (found.uid(), found.mode() & 0o7777);
    if uid == 0 && mode & OTHERS_WRITE == 0 {
        return Ok(());
    }
    let path = path.to_owned();
    Err(PlaceError::Open { path, uid, mode })
}

/// Image layers hold set-id programs, logs hold what containers said: nobody else's to read or run.
fn close(state_dir: &Path) -> Result<(), PlaceError> {
    let mode = look(state_dir)?.mode() & 0o7777;
    if mode & OTHERS == 0 {
        return Ok(());
    }
    let closed = std::fs::Permissions::from_mode(mode & !OTHERS);
    std::fs::set_permissions(state_dir, closed).map_err(|source| PlaceError::Look {
        path: state_dir.to_owned(),
        source,
    })
}

fn look(path: &Path) -> Result<std::fs::Metadata, PlaceError> {
    std::fs::metadata(path).map_err(|source| PlaceError::Look {
        path: path.to_owned(),
        source,
    })
}

fn refuse_unprivileged() -> Result<(), PlaceError> {
    // The effective user id: the second number of the line, as proc(5) has it.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uid = status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().nth(1))
        .unwrap_or("unknown");
    if uid != "0" {
        return Err(PlaceError::NotRoot { uid: uid.to_owned() });
    }
    let missing = missing_capabilities(&status);
    if missing.is_empty() {
        Ok(())
    } else {
        Err(PlaceError::NotCapable {
            missing: missing.join(" and "),
        })
    }
}

/// Of those that nothing works without, the ones that a process does not have.
fn missing_capabilities(status: &str) -> Vec<&'static str> {
    let effective = status
        .lines()
        .find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok())
        .unwrap_or(u64::MAX);
    let missing = NEEDED.iter().filter(|(bit, _)| effective & (1 << bit) == 0);
    missing.map(|(_, name)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::NodeArgs;
    use crate::lock::tests::released;
    use std::os::unix::fs::chown;

    fn config(root: &Path, state: &str) -> NodeConfig {
        for name in ["shoal-shim", "shoal-spawn", "shoal-net"] {
            std::fs::write(root.join(name), "").unwrap();
        }
        NodeConfig::load(NodeArgs {
            dev: Some(true),
            state_dir: Some(root.join(state)),
            run_dir: Some(root.join("run")),
            shim: Some(root.join("shoal-shim")),
            spawn: Some(root.join("shoal-spawn")),
            net: Some(root.join("shoal-net")),
            ..NodeArgs::default()
        })
        .unwrap()
    }

    #[test]
    fn what_root_lacks_is_named() {
        for (effective, expect) in [
            ("CapEff:\t000001ffffffffff\n", vec![]),
            ("Uid:\t0\nCapEff:\t000001ffffffefff\n", vec!["CAP_NET_ADMIN"]),
            (
                "CapEff:\t0000000000000000\n",
                vec!["CAP_NET_ADMIN", "CAP_SYS_ADMIN"],
            ),
            ("", vec![]),
        ] {
            assert_eq!(missing_capabilities(effective), expect, "{effective}");
        }
    }

    #[test]
    fn a_run_directory_has_one_owner() {
        let root = tempfile::tempdir().unwrap();
        let (ours, theirs) = (config(root.path(), "a"), config(root.path(), "b"));
        let held = Place::take(&ours).unwrap();
        let error = Place::take(&theirs).unwrap_err();
        assert!(matches!(error, PlaceError::OthersRun { .. }), "{error}");
        assert!(!theirs.state_dir.exists(), "a refused start left a directory");
        let leave = |place: Place| {
            drop(place);
            released(&ours.run_dir);
            released(&ours.state_dir);
        };
        leave(held);
        // Its containers outlive a daemon.
        let container = ours.run_dir.join("containers/c");
        std::fs::create_dir_all(&container).unwrap();
        let error = Place::take(&theirs).unwrap_err().to_string();
        assert!(error.contains(&ours.state_dir.display().to_string()), "{error}");
        leave(Place::take(&ours).unwrap());
        std::fs::remove_dir(container).unwrap();
        Place::take(&theirs).unwrap();
    }

    #[test]
    fn directories_of_others_are_refused_and_open_ones_closed() {
        let root = tempfile::tempdir().unwrap();
        let config = config(root.path(), "state");
        let mode = |mode| std::fs::Permissions::from_mode(mode);
        for dir in [&config.state_dir, &config.run_dir] {
            std::fs::create_dir(dir).unwrap();
            std::fs::set_permissions(dir, mode(0o775)).unwrap();
            let error = Place::take(&config).unwrap_err();
            assert!(
                matches!(&error, PlaceError::Open { path, .. } if path == dir),
                "{error}"
            );
            std::fs::set_permissions(dir, mode(0o755)).unwrap();
            chown(dir, Some(1000), None).unwrap();
            let error = Place::take(&config).unwrap_err();
            assert!(matches!(error, PlaceError::Open { uid: 1000, .. }), "{error}");
            chown(dir, Some(0), None).unwrap();
        }
        drop(Place::take(&config).unwrap());
        assert_eq!(look(&config.state_dir).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_tag_follows_the_real_path() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::fs::create_dir(dir.path().join("real")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("real"), &link).unwrap();
        let of = |path: &Path| tag(&canonical(path).unwrap()).unwrap();
        let one = of(&link);
        assert_eq!(one, of(&dir.path().join("real")));
        assert_ne!(one, of(dir.path()));
    }
}
