//! One manager without its input and output: Raft member, store, leader loop, sessions.
//!
//! The shell (and the simulator) owns sockets, disk and clocks and calls `step` with one input at a
//! time; what comes back is done in order. Same inputs and times, same outputs: the machine names no
//! async runtime, clock, socket or file, and draws no randomness of its own.

mod apply;
mod bugs;
mod codec;
mod config;
mod io;
mod leading;
mod log;
mod member;
mod planning;
mod propose;
mod reports;
mod sessions;
mod snapshots;
#[cfg(test)]
mod tests;
mod turns;

pub use bugs::{Bug, Planted};
pub use codec::{Codec, CodecError};
pub use config::{MAX_SYSTEM_ENTRY_BYTES, MAX_USER_CHANGES, MAX_USER_ENTRY_BYTES, MachineConfig, TICK};
pub use io::{
    Input, MemberChange, Now, Output, PeerMessage, PersistBatch, ProposeError, RestoreError, Restored,
    RestoredSnapshot, SnapshotJob, StopReason, Token,
};
pub use planning::{CorePlanning, PlannedRequest, Planning};

use config::{HANDOVER_PATIENCE, LOOP_GAP};
use leading::{Leadership, Leading};
use member::Member;
use propose::RequestQueue;
use reports::ReportTickets;
use sessions::OpenSessions;
use shoal_core::{
    liveness,
    model::Timestamp,
    planner::PlannerInput,
    store::{Store, StoreView},
};
use snapshots::Snapshots;
use std::time::Duration;

#[derive(Debug)]
pub struct Machine {
    config: MachineConfig,
    codec: Box<dyn Codec>,
    planning: Box<dyn Planning>,
    member: Member,
    store: Store,
    leadership: Leadership,
    requests: RequestQueue,
    reports: ReportTickets,
    sessions: OpenSessions,
    snapshots: Snapshots,
    digests: apply::Digests,
    announced: Option<(Option<u64>, u64, bool)>,
    last_step_ns: Option<u64>,
    disk_full: bool,
    stopping: Stopping,
    outputs: Vec<Output>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stopping {
    No,
    /// Leadership is being handed over, until then.
    Until(u64),
    Done,
}

impl Machine {
    /// A machine from what is on disk; `conf_state` names the first members when there is nothing else.
    pub fn new(
        config: MachineConfig,
        codec: Box<dyn Codec>,
        planning: Box<dyn Planning>,
        mut restored: Restored,
    ) -> Result<Self, RestoreError> {
        let store = restored
            .snapshot
            .as_mut()
            .map(|snapshot| std::mem::take(&mut snapshot.store));
        let member = Member::new(&config, restored)?;
        let store = store.unwrap_or_default();
        Ok(Self {
            snapshots: Snapshots::new(store.view().index()),
            config,
            codec,
            planning,
            member,
            store,
            leadership: Leadership::None,
            requests: RequestQueue::default(),
            reports: ReportTickets::default(),
            sessions: OpenSessions::default(),
            digests: apply::Digests::default(),
            announced: None,
            last_step_ns: None,
            disk_full: false,
            stopping: Stopping::No,
            outputs: Vec::new(),
        })
    }

    /// Takes one input; does what it leads to. Call it with `Tick` first: a sole voter leads at once.
    pub fn step(&mut self, input: Input, now: Now) -> Vec<Output> {
        if self.stopping == Stopping::Done {
            return Vec::new();
        }
        self.note_gap(now);
        self.handle(input, now);
        self.pump(now);
        self.work(now);
        self.pump(now);
        self.offer_snapshot();
        self.finish_stopping(now);
        std::mem::take(&mut self.outputs)
    }

    /// The applied state.
    pub fn view(&self) -> StoreView {
        self.store.snapshot()
    }

    pub fn digest(&self) -> [u8; 32] {
        self.store.digest()
    }

    pub fn raft_id(&self) -> u64 {
        self.member.id()
    }

    /// The members that this one knows of, those without a vote too.
    pub fn members(&self) -> Vec<u64> {
        let conf_state = self.member.conf_state();
        conf_state
            .voters
            .iter()
            .chain(&conf_state.learners)
            .copied()
            .collect()
    }

    /// Whoever leads, as far as this member knows.
    pub fn leader(&self) -> Option<u64> {
        self.member.leader()
    }

    pub fn term(&self) -> u64 {
        self.member.term()
    }

    /// Leads and has caught up.
    pub fn is_established(&self) -> bool {
        matches!(self.leadership, Leadership::Leading(_))
    }

    /// Is this member the leader of its term, established or not?
    pub fn is_leader(&self) -> bool {
        self.member.is_leader()
    }

    /// Cluster time at a moment, while this member leads and has caught up.
    pub fn cluster_time(&self, now: Now) -> Option<Timestamp> {
        match &self.leadership {
            Leadership::Leading(leading) => Some(leading.cluster_time(now)),
            Leadership::Awaiting { .. } | Leadership::None => None,
        }
    }

    /// How often a worker shall be heard of, in a cluster of this size.
    pub fn heartbeat_period(&self) -> Duration {
        let view = self.store.view();
        let configured = view
            .cluster()
            .map_or(Duration::from_secs(1), |cluster| cluster.spec.heartbeat_period);
        liveness::period(configured, view.node_count())
    }

    /// When to call `step(Input::Wake)` at the latest, in the caller's monotonic nanoseconds; a time
    /// that has passed means at once.
    pub fn next_deadline(&self) -> Option<u64> {
        let Leadership::Leading(leading) = &self.leadership else {
            return None;
        };
        if !self.may_propose() {
            return None;
        }
        if self.planning.has_work() || !self.requests.is_empty() {
            return Some(0);
        }
        self.planning
            .next_deadline()
            .map(|deadline| leading.mono_ns_of(deadline))
    }

    fn handle(&mut self, input: Input, now: Now) {
        match input {
            Input::Tick => self.member.tick(),
            Input::Wake => {}
            Input::Raft(message) => self.receive(*message),
            Input::Persisted { number } => {
                let messages = self.member.persisted(number);
                self.send(messages);
            }
            Input::SnapshotSaved { index } => self.snapshot_saved(index),
            Input::SnapshotNotSaved { index } => self.snapshots.not_saved(index),
            Input::Unreachable { member } => self.member.unreachable(member),
            Input::SnapshotSent { member, arrived } => self.member.snapshot_sent(member, arrived),
            Input::Propose { token, request, id } => self.take_request(token, request, id),
            Input::SessionOpened { node, description } => self.open_session(node, *description, now),
            Input::Described { node, description } => self.describe(node, *description, now),
            Input::SessionClosed { node, goodbye } => self.close_session(&node, goodbye, now),
            Input::Resync { node } => self.resync_session(&node),
            Input::Heartbeat { node } => self.heartbeat(node, now),
            Input::Reports {
                node,
                sequence,
                reports,
            } => self.take_reports(None, (node, sequence), reports, now),
            Input::Peer { from, message } => self.hear_peer(from, *message, now),
            Input::Disk { full } => self.set_disk(full),
            Input::ChangeMembers { token, change } => self.change_members(token, change),
            Input::Stop => self.begin_stopping(now),
        }
    }

    /// Carries out whatever Raft wants done, until it wants nothing more.
    fn pump(&mut self, now: Now) {
        while self.stopping != Stopping::Done {
            let Some(work) = self.member.work() else { break };
            if let Some(snapshot) = work.snapshot {
                self.install(snapshot);
            }
            if let Some(batch) = work.persist {
                self.outputs.push(Output::Persist(Box::new(batch)));
            }
            self.send(work.send);
            self.follow_leadership(now);
            self.apply_committed(&work.committed, now);
        }
        self.announce(now);
    }

    fn send(&mut self, messages: Vec<raft::eraftpb::Message>) {
        if !messages.is_empty() {
            self.outputs.push(Output::Send(messages));
        }
    }

    /// Notices that Raft's idea of who leads has changed.
    fn follow_leadership(&mut self, now: Now) {
        let (leads, term) = (self.member.is_leader(), self.member.term());
        let stale = match &self.leadership {
            Leadership::None => false,
            Leadership::Awaiting { term: of } => !leads || *of != term,
            Leadership::Leading(leading) => !leads || leading.term != term,
        };
        if stale {
            self.lose_leadership();
        }
        if leads && matches!(self.leadership, Leadership::None) {
            self.leadership = Leadership::Awaiting { term };
            if self.config.bugs.has(Bug::PlansBeforeEmptyEntry) {
                self.establish(now);
            }
        }
    }

    /// The own term's empty entry is applied: everything before it is too. From here on this member plans.
    fn establish(&mut self, now: Now) {
        let leading = Leading::new(self.member.term(), self.store.snapshot(), now);
        let (view, at) = (&leading.overlay, leading.cluster_time(now));
        if self.config.bugs.has(Bug::LivenessNotRestarted) {
            self.planning.replan(view, at);
        } else {
            self.planning.lead(view, at);
        }
        for (node, description) in self.sessions.iter() {
            let (node, description) = (node.clone(), description.clone());
            // Refused only for a node that the cluster does not have: nothing is owed to it.
            self.planning
                .handle(view, PlannerInput::Opened { node, description }, at)
                .ok();
        }
        self.leadership = Leadership::Leading(Box::new(leading));
    }

    /// Throws away what was planned. Whoever waits for an answer is told how much is known.
    fn lose_leadership(&mut self) {
        let leadership = std::mem::replace(&mut self.leadership, Leadership::None);
        if let Leadership::Leading(leading) = leadership {
            for waiting in leading.in_flight.into_iter().flat_map(|entry| entry.waiting) {
                self.answer_lost(waiting);
            }
        }
        self.reports.clear();
        self.refuse_queued();
    }

    fn announce(&mut self, _now: Now) {
        let state = (self.member.leader(), self.member.term(), self.is_established());
        if self.announced == Some(state) {
            return;
        }
        let leader_changed = self.announced.map(|(leader, _, _)| leader) != Some(state.0);
        self.announced = Some(state);
        let (leader, term, established) = state;
        self.outputs.push(Output::Leader {
            leader,
            term,
            established,
        });
        if leader_changed {
            self.announce_sessions();
        }
        if leader != Some(self.member.id()) && !self.member.is_leader() {
            self.refuse_queued();
        }
    }

    fn note_gap(&mut self, now: Now) {
        let last = self.last_step_ns.replace(now.mono_ns);
        let gap = last.map_or(0, |last| now.mono_ns.saturating_sub(last));
        if u128::from(gap) < LOOP_GAP.as_nanos() {
            return;
        }
        if let Leadership::Leading(leading) = &self.leadership {
            self.planning
                .restart_liveness(&leading.overlay, leading.cluster_time(now));
        }
    }

    fn set_disk(&mut self, full: bool) {
        self.disk_full = full;
        if full {
            // Another member may still be able to write.
            self.member.hand_over();
        }
    }

    fn begin_stopping(&mut self, now: Now) {
        let patience = u64::try_from(HANDOVER_PATIENCE.as_nanos()).unwrap_or(u64::MAX);
        self.member.hand_over();
        self.stopping = Stopping::Until(now.mono_ns.saturating_add(patience));
        self.refuse_queued();
    }

    fn finish_stopping(&mut self, now: Now) {
        let Stopping::Until(end) = self.stopping else {
            return;
        };
        if !self.member.hands_over() || now.mono_ns >= end {
            self.lose_leadership();
            self.halt(StopReason::Requested);
        }
    }

    fn halt(&mut self, reason: StopReason) {
        self.stopping = Stopping::Done;
        self.outputs.push(Output::Stopped(reason));
    }
}
