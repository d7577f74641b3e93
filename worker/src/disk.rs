//! What the worker keeps on disk: assignments, network tables, last reports, and logs that wait to be forgotten.
//!
//! sled, with one writer thread: writes that arrive together share one flush, and nothing is answered before
//! the flush that covers it (sled loses what was not flushed when the process is killed). Values are JSON.

use crate::assignment::{AssignedTask, AssignmentSet, Position, Touched};
use crate::crash;
use crate::task::{Report, failing};
use ipnet::IpNet;
use serde::{Serialize, de::DeserializeOwned};
use shoal_agent_runtime::ContainerId;
use shoal_core::dispatcher::{NetworkTables, TablesDiff};
use shoal_core::model::{TaskId, WallTime};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tokio::sync::{mpsc, oneshot};

/// The layout of the trees; a later one is refused rather than misread.
const VERSION: u32 = 1;
/// Pages kept in memory; sled's default is a gigabyte.
const CACHE_BYTES: u64 = 4 * 1024 * 1024;
/// Writes that may wait for the writer before their senders wait too.
const QUEUE: usize = 1024;

/// The worker's disk could not be used.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    #[error("using {path}")]
    Open {
        path: PathBuf,
        #[source]
        source: sled::Error,
    },
    #[error(
        "{path} has layout {found}; this version reads up to {VERSION}: it was written by a newer shoald"
    )]
    Newer { path: PathBuf, found: u32 },
    #[error("{path} holds an entry that cannot be read ({tree} {key})")]
    Entry {
        path: PathBuf,
        tree: &'static str,
        key: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("writing the worker's state")]
    Write(#[source] sled::Error),
    #[error("the worker's disk has been closed")]
    Closed,
}

/// What was found on disk.
#[derive(Debug, Default)]
pub struct Kept {
    pub set: AssignmentSet,
    /// Of the same position.
    pub tables: NetworkTables,
    pub reports: BTreeMap<TaskId, Report>,
    /// When the containers of these logs were given up.
    pub logs: BTreeMap<ContainerId, WallTime>,
    /// The boot during which the assignments were last taken.
    pub boot: Option<String>,
}

impl Kept {
    /// The tasks whose stop was under way though nobody wants it: it goes on.
    pub(crate) fn failing(&self) -> Vec<TaskId> {
        let stopping =
            |(id, task): (&TaskId, &AssignedTask)| failing(task, self.reports.get(id)).map(|_why| id.clone());
        self.set.tasks.iter().filter_map(stopping).collect()
    }
}

#[derive(Clone, Copy, Debug)]
enum Tree {
    Meta,
    Tasks,
    Reports,
    Logs,
    Networks,
    Services,
    Endpoints,
}

const TREES: [&str; 7] = [
    "meta",
    "tasks",
    "reports",
    "logs",
    "networks",
    "services",
    "endpoints",
];

#[derive(Debug)]
struct Op {
    tree: Tree,
    key: String,
    /// Absent: removed.
    value: Option<Vec<u8>>,
}

#[derive(Debug)]
struct Write {
    ops: Vec<Op>,
    done: Option<oneshot::Sender<Result<(), DiskError>>>,
}

/// A handle on the writer; cheap to clone.
#[derive(Clone, Debug)]
pub struct Disk {
    writes: mpsc::Sender<Write>,
}

impl Disk {
    /// Opens the directory and reads everything. Blocks; the writer lives until the last handle is dropped.
    pub fn open(path: &Path) -> Result<(Self, Kept), DiskError> {
        let fail = |source| DiskError::Open {
            path: path.to_owned(),
            source,
        };
        let db = sled::Config::default()
            .path(path)
            .cache_capacity(CACHE_BYTES)
            // Every acknowledged write is flushed by the writer.
            .flush_every_ms(None)
            .open()
            .map_err(fail)?;
        let mut trees = Vec::with_capacity(TREES.len());
        for name in TREES {
            trees.push(db.open_tree(name).map_err(fail)?);
        }
        let kept = read(path, &trees)?;
        let (writes, queue) = mpsc::channel(QUEUE);
        std::thread::Builder::new()
            .name("worker-disk".to_owned())
            .spawn(move || write_all(&db, &trees, queue))
            .map_err(|source| fail(sled::Error::Io(source)))?;
        Ok((Self { writes }, kept))
    }

    /// Makes an accepted update durable, together with the boot it was taken in: one write per changed key.
    pub async fn put_assignments(
        &self,
        set: &AssignmentSet,
        touched: &Touched,
        tables: &TablesDiff,
        boot: &str,
    ) -> Result<(), DiskError> {
        let mut ops = vec![
            put(Tree::Meta, "position", &set.at),
            put(Tree::Meta, "boot", &boot),
        ];
        for id in &touched.put {
            if let Some(task) = set.tasks.get(id) {
                ops.push(put(Tree::Tasks, id.as_str(), task));
            }
        }
        ops.extend(touched.removed.iter().map(|id| remove(Tree::Tasks, id.as_str())));
        if let Some(pools) = &tables.pools {
            ops.push(put(Tree::Meta, "pools", pools));
        }
        let networks = tables.networks.iter();
        ops.extend(networks.map(|(id, value)| change(Tree::Networks, id.as_str(), value.as_ref())));
        let services = tables.services.iter();
        ops.extend(services.map(|(id, value)| change(Tree::Services, id.as_str(), value.as_ref())));
        let endpoints = tables.endpoints.iter();
        ops.extend(endpoints.map(|(id, value)| change(Tree::Endpoints, id.as_str(), value.as_ref())));
        self.write(ops).await
    }

    /// Makes a report durable.
    pub async fn put_report(&self, task: &TaskId, report: &Report) -> Result<(), DiskError> {
        self.write(vec![put(Tree::Reports, task.as_str(), report)]).await
    }

    /// Notes a report that may be lost: it spares guessing after a restart, no more.
    pub fn note_report(&self, task: &TaskId, report: &Report) {
        let note = Write {
            ops: vec![put(Tree::Reports, task.as_str(), report)],
            done: None,
        };
        // A full queue loses the note, which is what a note may be.
        drop(self.writes.try_send(note));
    }

    /// A task is gone: its report goes, and the log of its container begins to age.
    pub async fn retire(
        &self,
        task: &TaskId,
        containers: &[ContainerId],
        at: WallTime,
    ) -> Result<(), DiskError> {
        let mut ops = vec![remove(Tree::Reports, task.as_str())];
        ops.extend(containers.iter().map(|id| put(Tree::Logs, id.as_str(), &at)));
        self.write(ops).await
    }

    /// The logs of these containers begin to age.
    pub async fn note_logs(&self, containers: &[ContainerId], at: WallTime) -> Result<(), DiskError> {
        let ops = containers.iter().map(|id| put(Tree::Logs, id.as_str(), &at));
        self.write(ops.collect()).await
    }

    /// The logs are forgotten.
    pub async fn forget_logs(&self, containers: &[ContainerId]) -> Result<(), DiskError> {
        let ops = containers
            .iter()
            .map(|id| remove(Tree::Logs, id.as_str()))
            .collect();
        self.write(ops).await
    }

    async fn write(&self, ops: Vec<Op>) -> Result<(), DiskError> {
        let (done, answer) = oneshot::channel();
        let write = Write {
            ops,
            done: Some(done),
        };
        self.writes.send(write).await.or(Err(DiskError::Closed))?;
        answer.await.or(Err(DiskError::Closed))?
    }
}

fn put(tree: Tree, key: &str, value: &impl Serialize) -> Op {
    Op {
        tree,
        key: key.to_owned(),
        // These types have no maps with keys other than strings, which is all that JSON refuses.
        value: serde_json::to_vec(value).ok(),
    }
}

fn change(tree: Tree, key: &str, value: Option<&impl Serialize>) -> Op {
    match value {
        Some(value) => put(tree, key, value),
        None => remove(tree, key),
    }
}

fn remove(tree: Tree, key: &str) -> Op {
    Op {
        tree,
        key: key.to_owned(),
        value: None,
    }
}

fn write_all(db: &sled::Db, trees: &[sled::Tree], mut queue: mpsc::Receiver<Write>) {
    while let Some(first) = queue.blocking_recv() {
        let mut batch = vec![first];
        while batch.len() < QUEUE {
            let Ok(next) = queue.try_recv() else { break };
            batch.push(next);
        }
        let written = batch
            .iter()
            .flat_map(|write| &write.ops)
            .try_for_each(|op| apply(trees, op));
        crash::reached("worker.disk.1-written");
        let wanted = batch.iter().any(|write| write.done.is_some());
        let result = match written {
            Ok(()) if wanted => db.flush().map(drop),
            other => other,
        };
        crash::reached("worker.disk.2-flushed");
        for done in batch.into_iter().filter_map(|write| write.done) {
            let answer = result.clone().map_err(DiskError::Write);
            // Whoever asked may have gone.
            drop(done.send(answer));
        }
    }
}

fn apply(trees: &[sled::Tree], op: &Op) -> Result<(), sled::Error> {
    let Some(tree) = trees.get(op.tree as usize) else {
        return Ok(());
    };
    match &op.value {
        Some(value) => tree.insert(&op.key, value.as_slice()).map(drop),
        None => tree.remove(&op.key).map(drop),
    }
}

fn read(path: &Path, trees: &[sled::Tree]) -> Result<Kept, DiskError> {
    let fail = |source| DiskError::Open {
        path: path.to_owned(),
        source,
    };
    let [meta, tasks, reports, logs, networks, services, endpoints] = trees else {
        return Ok(Kept::default());
    };
    let found: u32 = one(path, meta, "version")?.unwrap_or(VERSION);
    if found > VERSION {
        return Err(DiskError::Newer {
            path: path.to_owned(),
            found,
        });
    }
    if meta.is_empty() {
        meta.insert("version", VERSION.to_string().as_bytes())
            .map_err(fail)?;
    }
    let at: Position = one(path, meta, "position")?.unwrap_or_default();
    let tasks: BTreeMap<TaskId, AssignedTask> = all(path, tasks, "tasks")?;
    Ok(Kept {
        set: AssignmentSet { at, tasks },
        tables: NetworkTables {
            pools: one::<Vec<IpNet>>(path, meta, "pools")?.unwrap_or_default(),
            networks: all(path, networks, "networks")?,
            services: all(path, services, "services")?,
            endpoints: all(path, endpoints, "endpoints")?,
        },
        reports: all(path, reports, "reports")?,
        logs: all(path, logs, "logs")?,
        boot: one(path, meta, "boot")?,
    })
}

fn one<T: DeserializeOwned>(path: &Path, tree: &sled::Tree, key: &str) -> Result<Option<T>, DiskError> {
    let value = tree.get(key).map_err(|source| DiskError::Open {
        path: path.to_owned(),
        source,
    })?;
    value.map(|value| parse(path, "meta", key, &value)).transpose()
}

fn all<K: std::str::FromStr + Ord, T: DeserializeOwned>(
    path: &Path,
    tree: &sled::Tree,
    name: &'static str,
) -> Result<BTreeMap<K, T>, DiskError> {
    let mut out = BTreeMap::new();
    for entry in tree {
        let (key, value) = entry.map_err(|source| DiskError::Open {
            path: path.to_owned(),
            source,
        })?;
        let key = String::from_utf8_lossy(&key).into_owned();
        // A key that is no id was not written by this layout; it is left alone.
        if let Ok(id) = key.parse() {
            out.insert(id, parse(path, name, &key, &value)?);
        }
    }
    Ok(out)
}

fn parse<T: DeserializeOwned>(
    path: &Path,
    tree: &'static str,
    key: &str,
    value: &[u8],
) -> Result<T, DiskError> {
    serde_json::from_slice(value).map_err(|source| DiskError::Entry {
        path: path.to_owned(),
        tree,
        key: key.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::network::{NET, Sketch, node};
    use crate::{assignment::AssignmentUpdate, name::container_of, task::Origin, testing::assigned};
    use shoal_core::model::Slot;

    #[tokio::test]
    async fn what_was_answered_is_there_again() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, kept) = Disk::open(dir.path()).unwrap();
        assert!(kept.set.tasks.is_empty() && kept.boot.is_none());
        let mut set = AssignmentSet::default();
        let at = Position { epoch: 2, index: 9 };
        let tasks = vec![assigned(1), assigned(2)];
        let mut sketch = Sketch::new();
        sketch.service(1, "web", &[NET], &["www"]);
        sketch.endpoint(1, 1, Slot::Replica(1), node(1), false);
        let tables = crate::network::whole(&sketch.tables());
        let full = AssignmentUpdate::Full {
            at,
            tasks,
            tables: TablesDiff::default(),
        };
        let touched = set.apply(full).unwrap();
        disk.put_assignments(&set, &touched, &tables, "boot-1")
            .await
            .unwrap();
        let gone = sketch.change(|sketch| sketch.remove_endpoint(1));
        disk.put_assignments(&set, &Touched::default(), &gone, "boot-1")
            .await
            .unwrap();
        let report = Report::new(&Origin::Fresh);
        let container = container_of(&assigned(2).id, 0).unwrap();
        disk.put_report(&assigned(1).id, &report).await.unwrap();
        disk.put_report(&assigned(2).id, &report).await.unwrap();
        disk.retire(&assigned(2).id, std::slice::from_ref(&container), WallTime(5))
            .await
            .unwrap();
        drop(disk);
        // The writer closes the database a moment after the last handle went.
        let (_disk, kept) = reopen(dir.path());
        assert_eq!(kept.set, set);
        assert_eq!(kept.tables, sketch.tables());
        assert_eq!(kept.reports, BTreeMap::from([(assigned(1).id, report)]));
        assert_eq!(kept.logs, BTreeMap::from([(container, WallTime(5))]));
        assert_eq!(kept.boot.as_deref(), Some("boot-1"));
    }

    fn reopen(path: &Path) -> (Disk, Kept) {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        loop {
            match Disk::open(path) {
                Ok(opened) => return opened,
                Err(error) if std::time::Instant::now() > deadline => panic!("{error:?}"),
                Err(_) => std::thread::yield_now(),
            }
        }
    }
}
