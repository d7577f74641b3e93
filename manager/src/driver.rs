//! Runs the machine: one task that owns it, a thread that owns the disk, and handles for everyone else.
//!
//! The loop is the design's: the next input, one step, its outputs carried out in order. It decides
//! nothing. The RPC services hold a `Handle`; `shoald` starts the driver and waits for its end.

mod disk;
mod events;
mod handle;
mod sessions;
#[cfg(test)]
mod tests;

pub use events::{Live, NeedsResync, Subscription};
pub use handle::{Handle, LeaderState, SessionFeed, SessionMessage, WriteError};

use crate::{
    crash,
    machine::{
        Codec, CodecError, Input, Machine, MachineConfig, Now, Output, Planning, ProposeError, RestoreError,
        Restored, RestoredSnapshot, StopReason, TICK, Token,
    },
    storage::{LogStore, Restore, Room, Storage, StorageError},
};
use disk::{Disk, Done};
use events::EventLog;
use handle::Command;
use raft::eraftpb::ConfState;
use sessions::Sessions;
use shoal_core::{
    model::WallTime,
    request::Response,
    store::{ImportError, Store},
};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::{MissedTickBehavior, interval, sleep_until},
};

/// Commands of services that wait for the loop; more of them wait with their callers.
const COMMANDS: usize = 1024;

/// What a driver is started with.
#[derive(Debug)]
pub struct DriverConfig {
    pub machine: MachineConfig,
    /// The members of a cluster that begins; what is on disk wins.
    pub first_voters: Vec<u64>,
    /// Makes codecs: the machine has one, the writer of snapshots another.
    pub codec: fn() -> Box<dyn Codec>,
    pub planning: Box<dyn Planning>,
    pub storage: Storage,
}

/// Why a manager cannot start from its disk.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("the snapshot at index {index} cannot be read")]
    Snapshot {
        index: u64,
        #[source]
        source: CodecError,
    },
    #[error("the snapshot at index {index} does not hold together")]
    Import {
        index: u64,
        #[source]
        source: ImportError,
    },
    #[error(transparent)]
    Restore(#[from] RestoreError),
}

/// Why a manager ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    #[error(transparent)]
    Stopped(#[from] StopReason),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Restores the machine and starts its loop. The task ends after `Handle::stop`, or with a reason to go.
pub fn start(mut config: DriverConfig) -> Result<(Handle, JoinHandle<Ended>), StartError> {
    let restored = restore(&mut config)?;
    let machine = Machine::new(config.machine, (config.codec)(), config.planning, restored)?;
    let events = Arc::new(EventLog::new(machine.view(), machine.digest()));
    let (commands, received) = mpsc::channel(COMMANDS);
    let (leader, leader_seen) = watch::channel(LeaderState::default());
    let room = config.storage.room();
    let driver = Driver {
        events: Arc::clone(&events),
        disk: Disk::start(config.storage, config.codec),
        sessions: Sessions::default(),
        waiting: BTreeMap::new(),
        next_token: 0,
        epoch: Instant::now(),
        leader,
        room,
        full: None,
        machine,
    };
    let task = tokio::spawn(driver.run(received));
    Ok((Handle::new(commands, events, leader_seen), task))
}

fn restore(config: &mut DriverConfig) -> Result<Restored, StartError> {
    let Restore {
        hard_state,
        mut conf_state,
        snapshot,
        entries,
    } = config.storage.restore()?;
    if conf_state.voters.is_empty() {
        conf_state = ConfState {
            voters: config.first_voters.clone(),
            ..ConfState::default()
        };
    }
    let codec = (config.codec)();
    let snapshot = snapshot
        .map(|saved| {
            let index = saved.index;
            let export = codec
                .decode_snapshot(&saved.data)
                .map_err(|source| StartError::Snapshot { index, source })?;
            let store = Store::import(export).map_err(|source| StartError::Import { index, source })?;
            Ok::<_, StartError>(RestoredSnapshot {
                index,
                term: saved.term,
                store,
            })
        })
        .transpose()?;
    Ok(Restored {
        hard_state,
        conf_state,
        snapshot,
        entries,
    })
}

#[derive(Debug)]
struct Driver {
    machine: Machine,
    disk: Disk,
    events: Arc<EventLog>,
    sessions: Sessions,
    waiting: BTreeMap<Token, oneshot::Sender<Result<Response, WriteError>>>,
    next_token: u64,
    /// Zero of the monotonic clock that the machine is given.
    epoch: Instant,
    leader: watch::Sender<LeaderState>,
    room: Room,
    /// What the disk said when it was found full; writes are refused with it.
    full: Option<String>,
}

impl Driver {
    async fn run(mut self, commands: mpsc::Receiver<Command>) -> Ended {
        let ended = self.run_to_end(commands).await;
        self.disk.close().await;
        ended
    }

    async fn run_to_end(&mut self, mut commands: mpsc::Receiver<Command>) -> Ended {
        let mut ticks = interval(TICK);
        // After a pause the missed ticks are not made up for: they would expire what was only asleep.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let deadline = self.machine.next_deadline().map(|at| self.instant(at));
            let wake = async {
                match deadline {
                    Some(at) => sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            let ended = tokio::select! {
                biased;
                _ = ticks.tick() => self.step(Input::Tick),
                done = self.disk.next() => self.disk_said(done),
                Some(command) = commands.recv() => self.take(command),
                () = wake => self.step(Input::Wake),
            };
            if let Some(ended) = ended {
                return ended;
            }
        }
    }

    fn take(&mut self, command: Command) -> Option<Ended> {
        match command {
            Command::Propose { request, id, answer } => {
                self.check_room();
                if let Some(message) = &self.full {
                    drop(answer.send(Err(WriteError::DiskFull(message.clone()))));
                    return None;
                }
                self.next_token += 1;
                let token = Token(self.next_token);
                self.waiting.insert(token, answer);
                crash::reached("manager.write.1-asked");
                self.step(Input::Propose { token, request, id })
            }
            Command::OpenSession {
                node,
                description,
                number,
                messages,
            } => {
                self.sessions.open(node.clone(), number, messages);
                self.step(Input::SessionOpened { node, description })
            }
            Command::CloseSession {
                node,
                number,
                goodbye,
            } => {
                if self.sessions.close(&node, number) {
                    self.step(Input::SessionClosed { node, goodbye })
                } else {
                    None
                }
            }
            Command::Input(input) => self.step(*input),
        }
    }

    fn disk_said(&mut self, done: Done) -> Option<Ended> {
        match done {
            Done::Written { last } => {
                if self.full.take().is_some() {
                    tracing::info!("the disk has room again: writes are taken");
                    if let Some(ended) = self.step(Input::Disk { full: false }) {
                        return Some(ended);
                    }
                }
                self.step(Input::Persisted { number: last })
            }
            Done::Full(error) => {
                self.found_full(&error);
                None
            }
            Done::Failed(error) => Some(Ended::Storage(error)),
            Done::SnapshotSaved { index } => self.step(Input::SnapshotSaved { index }),
            Done::SnapshotNotSaved { index, error } => {
                tracing::warn!(index, %error, "a snapshot could not be saved; it is tried again later");
                self.step(Input::SnapshotNotSaved { index })
            }
        }
    }

    /// Looks before a user's write, so that it is refused rather than left hanging.
    fn check_room(&mut self) {
        match self.room.check() {
            Err(error) => self.found_full(&error),
            // A batch that waits for room clears the state itself, once it is written.
            Ok(()) if self.full.is_some() && !self.disk.waits_for_room() => {
                self.full = None;
                drop(self.step(Input::Disk { full: false }));
            }
            Ok(()) => {}
        }
    }

    fn found_full(&mut self, error: &StorageError) {
        if self.full.is_none() {
            tracing::warn!(%error, "the disk is full: writes are refused");
            drop(self.step(Input::Disk { full: true }));
        }
        let message = error.to_string();
        for (_, answer) in std::mem::take(&mut self.waiting) {
            let message = format!("{message}; this write was under way already and may still take effect");
            drop(answer.send(Err(WriteError::DiskFull(message))));
        }
        self.full = Some(message);
    }

    fn step(&mut self, input: Input) -> Option<Ended> {
        let now = Now {
            mono_ns: self.mono_ns(),
            wall: wall_now(),
        };
        let outputs = self.machine.step(input, now);
        let mut ended = None;
        for output in outputs {
            if let Some(reason) = self.perform(output) {
                ended = Some(Ended::Stopped(reason));
            }
        }
        ended
    }

    fn perform(&mut self, output: Output) -> Option<StopReason> {
        match output {
            Output::Persist(batch) => self.disk.write(*batch),
            Output::SaveSnapshot(job) => self.disk.save_snapshot(*job),
            Output::Send(messages) => {
                // A sole voter has nobody to write to.
                for message in messages {
                    tracing::warn!(to = message.to, "a Raft message to a member without a connection");
                }
            }
            Output::Peer { to, .. } => tracing::warn!(to, "a message to a manager without a connection"),
            Output::Reply { token, result } => self.answer(token, result),
            Output::Events(events) => self.publish(events),
            Output::Resync => self.events.restart(self.machine.view(), self.machine.digest()),
            Output::Assignments { node, assignments } => {
                crash::reached("manager.assign.1-made");
                if self
                    .sessions
                    .send(&node, SessionMessage::Assignments(assignments))
                {
                    return None;
                }
                tracing::warn!(%node, "a session that does not keep up is closed");
            }
            Output::ReportsTaken { node, sequence } => {
                crash::reached("manager.report.1-durable");
                if !self
                    .sessions
                    .send(&node, SessionMessage::ReportsTaken { sequence })
                {
                    tracing::warn!(%node, "a session that does not keep up is closed");
                }
            }
            Output::Dropped { index, reason } => {
                tracing::warn!(index, ?reason, "a committed entry had no effect");
            }
            Output::Leader {
                leader,
                term,
                established,
            } => {
                self.leader.send_replace(LeaderState {
                    leader,
                    term,
                    established,
                });
            }
            Output::Stopped(reason) => return Some(reason),
        }
        None
    }

    fn publish(&self, events: Vec<shoal_core::store::Event>) {
        crash::reached("manager.write.4-applied");
        self.events
            .publish(events, self.machine.view(), self.machine.digest());
        crash::reached("manager.write.5-published");
    }

    fn answer(&mut self, token: Token, result: Result<Response, ProposeError>) {
        // Nobody waits any more if the disk was found full meanwhile or the client has gone.
        if let Some(answer) = self.waiting.remove(&token) {
            drop(answer.send(result.map_err(WriteError::Propose)));
            crash::reached("manager.write.6-answered");
        }
    }

    fn mono_ns(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn instant(&self, mono_ns: u64) -> Instant {
        self.epoch + std::time::Duration::from_nanos(mono_ns)
    }
}

pub(crate) fn wall_now() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
