//! A fake worker: takes assignments, walks tasks through their states, reports, beats.
//!
//! It is as careful as the real one has to be: it refuses an assignment older than what it holds, asks
//! for everything when a diff does not fit, reports again what was not taken, and keeps its tasks and
//! assignments through a restart of its process.

mod held;

use super::{counters::Counters, network::MS, rng::Rng};
use held::Held;
use ipnet::{IpNet, Ipv4Net};
use shoal_core::{
    dispatcher::{Assignments, NetworkTables, Position, TablesDiff, TaskReport},
    model::{Bytes, CpuNanos, DesiredState, Labels, NodeDescription, NodeId, Platform, Resources, TaskId},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

/// Between two heartbeats.
const HEARTBEAT: u64 = 1000 * MS;
/// What was not taken is reported again after this.
const REPORT_AGAIN: u64 = 1500 * MS;
/// A session in which nothing is taken for so long is given up.
const SESSION_PATIENCE: u64 = 4000 * MS;

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) node: NodeId,
    pub(super) description: NodeDescription,
    pub(super) session: Option<Session>,
    /// Counts sessions, so that what belongs to an old one is known.
    pub(super) sessions: u64,
    pub(super) running: bool,
    pub(super) incarnation: u64,
    pub(super) held: Option<Position>,
    /// As of `held`.
    pub(super) tables: NetworkTables,
    pub(super) tasks: BTreeMap<TaskId, Held>,
    /// Tasks that were taken back: a careful manager never assigns them again.
    gone: BTreeSet<TaskId>,
    dirty: BTreeSet<TaskId>,
    sequence: u64,
    next_heartbeat: u64,
    /// A planted bug: an older assignment is taken.
    pub(super) takes_stale: bool,
    /// A planted bug: the tables of an older assignment are.
    pub(super) takes_stale_tables: bool,
    /// Tasks fail by themselves.
    pub(super) fails_tasks: bool,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: u64,
    pub(super) member: usize,
    /// Reports sent and not taken: their sequence and when they were sent first.
    unanswered: Option<(u64, u64)>,
    pub(super) opened: bool,
}

/// From a worker to a manager.
#[derive(Clone, Debug)]
pub(super) enum Up {
    Open(Box<NodeDescription>),
    Heartbeat,
    Reports { sequence: u64, reports: Vec<TaskReport> },
    Resync,
}

/// From a manager to a worker.
#[derive(Clone, Debug)]
pub(super) enum Down {
    Assignments(Box<Assignments>),
    ReportsTaken(u64),
}

impl Worker {
    pub(super) fn new(node: NodeId, rng: &mut Rng, number: usize) -> Self {
        let zone = if number.is_multiple_of(2) { "a" } else { "b" };
        let labels: Labels = [("zone".to_owned(), zone.to_owned())].into();
        Self {
            node,
            description: NodeDescription {
                hostname: format!("worker-{number}"),
                platform: Platform {
                    os: "linux".to_owned(),
                    arch: "amd64".to_owned(),
                },
                resources: Resources {
                    cpu: CpuNanos(rng.between(2, 5) * 1_000_000_000),
                    memory: Bytes(rng.between(2, 5) << 30),
                },
                engine_version: "0.1.0".to_owned(),
                engine_labels: labels,
                // The second subnet of the default pool is this host's own. Another is in a VPN that takes everything and has
                routes: match number {
                    0 => vec![taken_range()],
                    1 => ["0.0.0.0/1", "128.0.0.0/1", "10.128.0.0/9"]
                        .iter()
                        .filter_map(|route| route.parse().ok())
                        .collect(),
                    _ => Vec::new(),
                },
                ..NodeDescription::default()
            },
            session: None,
            sessions: 0,
            running: true,
            incarnation: 0,
            held: None,
            tables: NetworkTables::default(),
            tasks: BTreeMap::new(),
            gone: BTreeSet::new(),
            dirty: BTreeSet::new(),
            sequence: 0,
            next_heartbeat: 0,
            takes_stale: false,
            takes_stale_tables: false,
            fails_tasks: true,
        }
    }

    /// Opens a new session on that member.
    pub(super) fn connect(&mut self, member: usize) -> Vec<Up> {
        self.sessions += 1;
        self.session = Some(Session {
            id: self.sessions,
            member,
            unanswered: None,
            opened: false,
        });
        self.dirty.extend(self.tasks.keys().cloned());
        vec![Up::Open(Box::new(self.description.clone()))]
    }

    /// The process ends; containers and what was written of assignments stay.
    pub(super) fn restart(&mut self) {
        self.session = None;
        self.incarnation += 1;
        self.dirty.extend(self.tasks.keys().cloned());
    }

    /// What a manager said. Returns what to answer, or what is wrong with it.
    pub(super) fn hear(&mut self, down: Down, now: u64) -> Result<Vec<Up>, String> {
        match down {
            Down::ReportsTaken(sequence) => {
                if let Some(session) = &mut self.session
                    && session.unanswered.is_some_and(|(sent, _)| sent <= sequence)
                {
                    session.unanswered = None;
                }
                Ok(Vec::new())
            }
            Down::Assignments(assignments) => self.take(*assignments, now),
        }
    }

    fn take(&mut self, assignments: Assignments, now: u64) -> Result<Vec<Up>, String> {
        let stale = self.held.is_some_and(|held| assignments.position < held);
        if stale && !self.takes_stale {
            if self.takes_stale_tables {
                self.take_tables(assignments.prev, &assignments.tables);
            }
            return Ok(Vec::new());
        }
        if let Some(session) = &mut self.session {
            session.opened = true;
        }
        match assignments.prev {
            Some(prev) if Some(prev) != self.held => return Ok(vec![Up::Resync]),
            Some(_) => {}
            None => {
                let named: BTreeSet<&TaskId> = assignments.tasks.iter().map(|task| &task.task.id).collect();
                let missing = self
                    .tasks
                    .keys()
                    .filter(|id| !named.contains(id))
                    .cloned()
                    .collect::<Vec<_>>();
                for id in missing {
                    self.forget(&id);
                }
            }
        }
        // Before any task hears of it: what shall stop gets no new connections from here on.
        self.take_tables(assignments.prev, &assignments.tables);
        for assignment in &assignments.tasks {
            let task = &assignment.task;
            if task.node.as_ref() != Some(&self.node) {
                return Err(format!(
                    "task {} was assigned to {}, not its node",
                    task.id, self.node
                ));
            }
            let hold = u64::try_from(assignment.hold.as_nanos()).unwrap_or(u64::MAX);
            self.assign(&task.id, task.desired, now.saturating_add(hold), now)?;
        }
        for id in &assignments.removed {
            self.forget(id);
        }
        self.held = Some(assignments.position);
        self.check_stopping()?;
        Ok(Vec::new())
    }

    fn take_tables(&mut self, prev: Option<Position>, tables: &TablesDiff) {
        if prev.is_none() {
            self.tables = NetworkTables::default();
        }
        self.tables.apply(tables);
    }

    /// What was asked to stop is nobody's target any more.
    fn check_stopping(&self) -> Result<(), String> {
        let stopping = self
            .tasks
            .iter()
            .filter(|(_, held)| held.desired >= DesiredState::Shutdown);
        for (id, _) in stopping {
            if self
                .tables
                .endpoints
                .get(id)
                .is_some_and(|endpoint| !endpoint.draining)
            {
                return Err(format!("task {id} shall stop and still gets new connections"));
            }
        }
        Ok(())
    }

    fn assign(
        &mut self,
        id: &TaskId,
        desired: DesiredState,
        hold_until: u64,
        now: u64,
    ) -> Result<(), String> {
        if self.gone.contains(id) {
            return Err(format!("task {id} was assigned again after it was taken back"));
        }
        if let Some(held) = self.tasks.get_mut(id) {
            if desired < held.desired && held.desired >= DesiredState::Shutdown {
                return Err(format!(
                    "task {id} was asked to run again after it was asked to stop"
                ));
            }
            held.desired = desired;
            held.hold_until = hold_until;
            return Ok(());
        }
        self.tasks.insert(id.clone(), Held::new(desired, hold_until, now));
        Ok(())
    }

    fn forget(&mut self, id: &TaskId) {
        if self.tasks.remove(id).is_some() {
            self.dirty.remove(id);
            self.gone.insert(id.clone());
        }
    }

    /// A little later: tasks move, and what there is to say is said.
    pub(super) fn advance(&mut self, now: u64, rng: &mut Rng, counters: &mut Counters) -> Vec<Up> {
        let connected = self.session.as_ref().is_some_and(|session| session.opened);
        for (id, held) in &mut self.tasks {
            if held.next_move <= now && held.advance(now, connected, self.fails_tasks, (rng, counters)) {
                self.dirty.insert(id.clone());
            }
        }
        self.speak(now)
    }

    fn speak(&mut self, now: u64) -> Vec<Up> {
        let mut ups = Vec::new();
        let Some(session) = &mut self.session else {
            return ups;
        };
        if now >= self.next_heartbeat {
            self.next_heartbeat = now + HEARTBEAT;
            ups.push(Up::Heartbeat);
        }
        if session
            .unanswered
            .is_some_and(|(_, since)| now >= since + REPORT_AGAIN)
        {
            session.unanswered = None;
            self.dirty.extend(self.tasks.keys().cloned());
        }
        if session.unanswered.is_none() && !self.dirty.is_empty() {
            self.sequence += 1;
            session.unanswered = Some((self.sequence, now));
            let dirty = std::mem::take(&mut self.dirty);
            let reports = dirty
                .iter()
                .filter_map(|id| Some(self.tasks.get(id)?.report(id, now)))
                .collect();
            ups.push(Up::Reports {
                sequence: self.sequence,
                reports,
            });
        }
        ups
    }

    /// Has the session proved useless?
    pub(super) fn gives_up(&self, now: u64, opened_at: u64) -> bool {
        self.session.as_ref().is_some_and(|session| {
            let silent = session
                .unanswered
                .is_some_and(|(_, since)| now >= since + SESSION_PATIENCE);
            silent || (!session.opened && now >= opened_at + SESSION_PATIENCE)
        })
    }
}

fn taken_range() -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(10, 128, 4, 0), 24))
}
