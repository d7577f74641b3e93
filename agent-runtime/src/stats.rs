//! What a container uses: cpu time, memory, processes, and how often it ran out of memory.
//!
//! Read from its control groups, v1 or v2. The files are small and read whole; parsing is pure. A number that
//! its controller does not give is left out rather than made up.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use crate::runtime::facts::{CgroupLayout, CgroupVersion};

/// `memory.stat` is the longest of these files, about 2 kB.
const MAX_FILE: u64 = 64 * 1024;
/// Where v1 says "no limit": the largest multiple of a page that fits.
const V1_UNLIMITED: u64 = 0x7fff_ffff_ffff_0000;

/// What a container uses right now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Cpu time of all its processes, those that have ended included.
    pub cpu: Option<Duration>,
    /// Bytes in use, without file pages that nobody has asked for lately: what `docker stats` shows.
    pub memory: Option<u64>,
    /// Bytes that it may use; none where unlimited.
    pub memory_limit: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Processes of it that the kernel has killed for want of memory.
    pub oom_kills: Option<u64>,
}

/// Why nothing could be read.
#[derive(Debug, Error)]
pub enum StatsError {
    /// The container has no control group: it is not running.
    #[error("no control group {}: the container is not running", group.display())]
    NotRunning {
        /// The group, within its hierarchies.
        group: PathBuf,
    },
    /// A file could not be read.
    #[error("reading {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Reads the control groups at `group` (absolute within each hierarchy). Blocking, a fraction of a millisecond.
pub fn read(layout: &CgroupLayout, group: &Path) -> Result<Stats, StatsError> {
    let places = Places { layout, group };
    if !places.any_exists() {
        return Err(StatsError::NotRunning {
            group: group.to_owned(),
        });
    }
    match layout.version {
        CgroupVersion::V2 => read_v2(&places),
        CgroupVersion::V1 | CgroupVersion::Hybrid => read_v1(&places),
    }
}

/// How many processes of the group the kernel has killed for want of memory; none without a memory controller.
/// To be asked after the first process has ended and before the group is removed.
pub fn oom_kills(layout: &CgroupLayout, group: &Path) -> Result<Option<u64>, StatsError> {
    Ok(read(layout, group)?.oom_kills)
}

fn read_v1(places: &Places<'_>) -> Result<Stats, StatsError> {
    let memory_stat = places.file("memory", "memory.stat")?;
    let used = places.number("memory", "memory.usage_in_bytes")?;
    let inactive = memory_stat
        .as_deref()
        .and_then(|text| keyed(text, "total_inactive_file"));
    let limit = places.number("memory", "memory.limit_in_bytes")?;
    let out_of_memory = places.file("memory", "memory.oom_control")?;
    Ok(Stats {
        cpu: places
            .number("cpuacct", "cpuacct.usage")?
            .map(Duration::from_nanos),
        memory: without(used, inactive),
        memory_limit: limit.filter(|limit| *limit < V1_UNLIMITED),
        pids: places.number("pids", "pids.current")?,
        oom_kills: out_of_memory.as_deref().and_then(|text| keyed(text, "oom_kill")),
    })
}

fn read_v2(places: &Places<'_>) -> Result<Stats, StatsError> {
    let cpu_stat = places.file("cpu", "cpu.stat")?;
    let memory_stat = places.file("memory", "memory.stat")?;
    let used = places.number("memory", "memory.current")?;
    let inactive = memory_stat
        .as_deref()
        .and_then(|text| keyed(text, "inactive_file"));
    let events = places.file("memory", "memory.events")?;
    Ok(Stats {
        cpu: cpu_stat
            .as_deref()
            .and_then(|text| keyed(text, "usage_usec"))
            .map(Duration::from_micros),
        memory: without(used, inactive),
        // The word is `max` where there is no limit.
        memory_limit: places.number("memory", "memory.max")?,
        pids: places.number("pids", "pids.current")?,
        oom_kills: events.as_deref().and_then(|text| keyed(text, "oom_kill")),
    })
}

fn without(used: Option<u64>, inactive: Option<u64>) -> Option<u64> {
    used.map(|used| used.saturating_sub(inactive.unwrap_or(0)))
}

/// The number after a word at the start of a line.
fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then(|| value.trim().parse().ok()).flatten()
    })
}

/// A container's directory in each hierarchy.
struct Places<'a> {
    layout: &'a CgroupLayout,
    group: &'a Path,
}

impl Places<'_> {
    fn directories(&self) -> impl Iterator<Item = (&[String], PathBuf)> {
        let own = self.group.strip_prefix("/").unwrap_or(self.group);
        let hierarchies = self.layout.hierarchies.iter();
        hierarchies.map(move |one| (one.controllers.as_slice(), one.mount_point.join(own)))
    }

    fn any_exists(&self) -> bool {
        self.directories().any(|(_, directory)| directory.is_dir())
    }

    /// The file of a controller; none if the host or the group has no such controller.
    fn file(&self, controller: &str, name: &str) -> Result<Option<String>, StatsError> {
        let with = self
            .directories()
            .find(|(controllers, _)| controllers.iter().any(|known| known == controller));
        // `cpu.stat` of v2 is there without the controller.
        let first = || {
            self.directories()
                .next()
                .filter(|_| self.layout.version == CgroupVersion::V2)
        };
        let Some((_, directory)) = with.or_else(first) else {
            return Ok(None);
        };
        let path = directory.join(name);
        let mut text = String::new();
        let read = File::open(&path).and_then(|file| file.take(MAX_FILE).read_to_string(&mut text));
        match read {
            Ok(_) => Ok(Some(text)),
            // Gone with its container between two files, or never there.
            Err(error) if is_absent(&error) => Ok(None),
            Err(source) => Err(StatsError::Read { path, source }),
        }
    }

    fn number(&self, controller: &str, name: &str) -> Result<Option<u64>, StatsError> {
        let text = self.file(controller, name)?;
        Ok(text.and_then(|text| text.trim().parse().ok()))
    }
}

fn is_absent(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::facts::CgroupHierarchy;
    use proptest::prelude::*;

    struct Host {
        root: tempfile::TempDir,
        layout: CgroupLayout,
    }

    /// Hierarchies of these controllers, each a directory, with these files in the group `/g`.
    fn host(version: CgroupVersion, hierarchies: &[&str], files: &[(&str, &str)]) -> Host {
        let root = tempfile::tempdir().unwrap();
        let layout = CgroupLayout {
            version,
            hierarchies: hierarchies
                .iter()
                .map(|names| CgroupHierarchy {
                    mount_point: root.path().join(names),
                    controllers: names.split(',').map(str::to_owned).collect(),
                })
                .collect(),
        };
        for names in hierarchies {
            std::fs::create_dir_all(root.path().join(names).join("g")).unwrap();
        }
        for (file, text) in files {
            let (hierarchy, name) = file.split_once('/').unwrap();
            std::fs::write(root.path().join(hierarchy).join("g").join(name), text).unwrap();
        }
        Host { root, layout }
    }

    #[test]
    fn v1_is_read() {
        let files = [
            ("cpu,cpuacct/cpuacct.usage", "1500000000\n"),
            ("memory/memory.usage_in_bytes", "1000\n"),
            ("memory/memory.limit_in_bytes", "67108864\n"),
            ("memory/memory.stat", "inactive_file 1\ntotal_inactive_file 300\n"),
            (
                "memory/memory.oom_control",
                "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
            ),
        ];
        let host = host(CgroupVersion::Hybrid, &["cpu,cpuacct", "memory", "pids"], &files);
        let stats = read(&host.layout, Path::new("/g")).unwrap();
        let expect = Stats {
            cpu: Some(Duration::from_millis(1500)),
            memory: Some(700),
            memory_limit: Some(67_108_864),
            pids: None,
            oom_kills: Some(2),
        };
        assert_eq!(stats, expect);
        let unlimited = host.root.path().join("memory/g/memory.limit_in_bytes");
        std::fs::write(unlimited, "9223372036854771712\n").unwrap();
        assert_eq!(read(&host.layout, Path::new("/g")).unwrap().memory_limit, None);
    }

    #[test]
    fn v2_is_read() {
        let files = [
            ("cpu,memory,pids/cpu.stat", "usage_usec 2500000\nuser_usec 1\n"),
            ("cpu,memory,pids/memory.current", "1000\n"),
            ("cpu,memory,pids/memory.max", "max\n"),
            ("cpu,memory,pids/memory.stat", "anon 1\ninactive_file 2000\n"),
            (
                "cpu,memory,pids/memory.events",
                "low 0\noom 3\noom_kill 1\noom_group_kill 0\n",
            ),
            ("cpu,memory,pids/pids.current", "7\n"),
        ];
        let host = host(CgroupVersion::V2, &["cpu,memory,pids"], &files);
        let stats = read(&host.layout, Path::new("/g")).unwrap();
        let expect = Stats {
            cpu: Some(Duration::from_millis(2500)),
            memory: Some(0),
            memory_limit: None,
            pids: Some(7),
            oom_kills: Some(1),
        };
        assert_eq!(stats, expect);
        assert_eq!(oom_kills(&host.layout, Path::new("/g")).unwrap(), Some(1));
    }

    #[test]
    fn a_container_that_is_gone_is_said_to_be() {
        let host = host(CgroupVersion::V2, &["cpu"], &[]);
        let error = read(&host.layout, Path::new("/other")).unwrap_err();
        assert!(matches!(error, StatsError::NotRunning { .. }));
        assert_eq!(read(&host.layout, Path::new("/g")).unwrap(), Stats::default());
    }

    proptest! {
        #[test]
        fn any_contents_are_read(text in ".{0,80}", key in "[a-z_]{1,12}", value in any::<u64>()) {
            let files = [
                ("cpu,memory,pids/cpu.stat", text.as_str()),
                ("cpu,memory,pids/memory.current", text.as_str()),
                ("cpu,memory,pids/memory.events", text.as_str()),
            ];
            let host = host(CgroupVersion::V2, &["cpu,memory,pids"], &files);
            prop_assert!(read(&host.layout, Path::new("/g")).is_ok());
            let line = format!("other 1\n{key} {value}\n");
            prop_assert_eq!(keyed(&line, &key), if key == "other" { Some(1) } else { Some(value) });
        }
    }
}
