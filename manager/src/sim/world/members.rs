//! Members in the world: their clocks and disks, and carrying out what their machines ask for.
//!
//! Called by the world; never lets a member see what it did not write or receive.

use super::{Event, World};
use crate::{
    machine::{CorePlanning, Input, Machine, MachineConfig, Now, Output, PeerMessage, Planted, Token},
    sim::{
        Options, PostcardCodec,
        bugs::{PlantedBug, Saboteur},
        client::Operation,
        counters::Fault,
        disk::Disk,
        network::MS,
        rng::Rng,
        worker::Up,
    },
};
use raft::eraftpb::Message;
use shoal_core::{
    model::{IdGen, NodeId, NodeState, Timestamp, WallTime},
    store::{Event as StoreEvent, Object},
};
use std::{
    collections::{BTreeMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
};

/// More than a verdict can be late.
const HEARD_KEPT: usize = 16;

pub(super) struct SimMember {
    pub(super) id: u64,
    /// Belongs to the cluster: not a spare one yet, and not removed.
    pub(super) active: bool,
    pub(super) machine: Option<Machine>,
    pub(super) incarnation: u64,
    pub(super) disk: Disk,
    pub(super) disk_free_at: u64,
    /// The monotonic clock is ahead of the world's by this.
    pub(super) ahead: u64,
    pub(super) wall_ahead: i64,
    pub(super) paused_until: u64,
    /// Everything that reaches this member takes so much longer.
    pub(super) slow_by: u64,
    wake_at: Option<u64>,
    /// The power goes while the next entries are written.
    pub(super) doomed: bool,
    /// Sessions of workers, by worker.
    pub(super) sessions: BTreeMap<usize, u64>,
    pub(super) questions: BTreeMap<Token, (usize, Operation)>,
    asked: u64,
    /// When this leader heard of each node lately, in cluster time.
    heard: BTreeMap<NodeId, VecDeque<Timestamp>>,
    /// When it began to lead and was forgiven gaps, in cluster time, and the index it began at.
    leads_since: Option<(Vec<Timestamp>, u64)>,
    last_step: u64,
    bug: Option<PlantedBug>,
    seed: u64,
    /// In some worlds turns are so short that plans are made in many pieces.
    turn_steps: usize,
}

impl SimMember {
    pub(super) fn new(index: usize, options: &Options, rng: &mut Rng) -> Self {
        let active = index < options.members;
        // One that joins later knows nobody: it is told.
        let voters = if active {
            (1..=options.members as u64).collect()
        } else {
            Vec::new()
        };
        let mut disk = Disk::new(voters);
        disk.accepts_torn = options.bug == Some(PlantedBug::TornWriteAccepted);
        Self {
            id: index as u64 + 1,
            active,
            machine: None,
            incarnation: 0,
            disk,
            disk_free_at: 0,
            ahead: rng.between(0, 1_000_000 * MS),
            wall_ahead: 0,
            paused_until: 0,
            slow_by: 0,
            wake_at: None,
            doomed: false,
            sessions: BTreeMap::new(),
            questions: BTreeMap::new(),
            asked: 0,
            heard: BTreeMap::new(),
            leads_since: None,
            last_step: 0,
            bug: options.bug,
            turn_steps: if options.seed.is_multiple_of(3) { 3 } else { 2000 },
            seed: options.seed.wrapping_mul(1009).wrapping_add(index as u64),
        }
    }

    fn clock(&self, now: u64) -> Now {
        let wall = i64::try_from(now).unwrap_or(0) + self.wall_ahead + 1_700_000_000_000_000_000;
        Now {
            mono_ns: now + self.ahead,
            wall: WallTime(wall),
        }
    }

    fn config(&self) -> MachineConfig {
        let seed = self.seed.wrapping_mul(7919).wrapping_add(self.incarnation);
        MachineConfig {
            snapshot_every_entries: 60,
            digest_every: 8,
            turn_steps: self.turn_steps,
            bugs: planted(self.bug),
            ..MachineConfig::new(self.id, seed, IdGen::from_number(seed))
        }
    }
}

#[cfg(feature = "planted-bugs")]
fn planted(bug: Option<PlantedBug>) -> Planted {
    bug.and_then(PlantedBug::in_machine)
        .map_or_else(Planted::none, Planted::one)
}

#[cfg(not(feature = "planted-bugs"))]
fn planted(_: Option<PlantedBug>) -> Planted {
    Planted::none()
}

impl World {
    pub(super) fn start_member(&mut self, index: usize) {
        let member = &mut self.members[index];
        if member.machine.is_some() || !member.active {
            return;
        }
        member.incarnation += 1;
        let incarnation = member.incarnation;
        let ids = IdGen::from_number(member.seed ^ 0xbad);
        let planning = Saboteur::new(CorePlanning::new(), member.bug, ids);
        let machine = member.disk.restore().and_then(|restored| {
            Machine::new(
                member.config(),
                Box::new(PostcardCodec),
                Box::new(planning),
                restored,
            )
            .map_err(|error| error.to_string())
        });
        match machine {
            Ok(machine) => {
                member.machine = Some(machine);
                member.wake_at = None;
                member.leads_since = None;
                member.last_step = self.now;
                self.after(0, Event::Tick(index, incarnation));
            }
            Err(reason) => self.check(Err(format!("member {} cannot start: {reason}", index + 1))),
        }
    }

    /// The machine is gone, with everything it had not written.
    pub(super) fn stop_member(&mut self, index: usize) {
        let member = &mut self.members[index];
        member.machine = None;
        member.incarnation += 1;
        member.questions.clear();
        member.heard.clear();
        member.disk_free_at = 0;
        let sessions = std::mem::take(&mut member.sessions);
        for (worker, session) in sessions {
            let delay = self.rng.between(MS, 500 * MS);
            self.after(delay, Event::SessionBroken { worker, session });
        }
    }

    pub(super) fn is_up(&self, index: usize) -> bool {
        self.members[index].machine.is_some()
    }

    /// The member that plans, if one does.
    pub(super) fn established_leader(&self) -> Option<usize> {
        let leads = |member: &SimMember| member.machine.as_ref().is_some_and(Machine::is_established);
        let newest = |member: &SimMember| member.machine.as_ref().map_or(0, Machine::term);
        (0..self.members.len())
            .filter(|index| leads(&self.members[*index]))
            .max_by_key(|index| newest(&self.members[*index]))
    }

    pub(super) fn tick(&mut self, index: usize, incarnation: u64) {
        if self.members[index].incarnation == incarnation {
            if self.is_paused(index) {
                let until = self.members[index].paused_until;
                self.at(until, Event::Tick(index, incarnation));
            } else {
                self.step(index, Input::Tick);
                self.after(50 * MS, Event::Tick(index, incarnation));
            }
        }
    }

    pub(super) fn fed(&mut self, index: usize, incarnation: u64, input: Input) {
        if self.members[index].incarnation == incarnation {
            self.step(index, input);
        }
    }

    pub(super) fn wake(&mut self, index: usize, incarnation: u64) {
        let member = &mut self.members[index];
        if member.incarnation == incarnation && member.wake_at.is_some_and(|at| at <= self.now) {
            member.wake_at = None;
            self.step(index, Input::Wake);
        }
    }

    pub(super) fn deliver_raft(&mut self, to: usize, message: Box<Message>) {
        if self.is_paused(to) {
            let until = self.members[to].paused_until;
            self.at(until, Event::Raft { to, message });
        } else {
            self.step(to, Input::Raft(message));
        }
    }

    pub(super) fn deliver_peer(&mut self, to: usize, from: u64, message: Box<PeerMessage>) {
        if self.is_paused(to) {
            let until = self.members[to].paused_until;
            self.at(until, Event::Peer { to, from, message });
            return;
        }
        match message.as_ref() {
            PeerMessage::Heartbeat(node) => self.heard_of(to, node),
            PeerMessage::SessionsOpen(sessions) => {
                for (node, _) in sessions {
                    self.heard_of(to, node);
                }
            }
            PeerMessage::Goodbye(_) | PeerMessage::Reports { .. } | PeerMessage::ReportsTaken { .. } => {}
        }
        self.step(to, Input::Peer { from, message });
    }

    pub(super) fn heard_of(&mut self, index: usize, node: &NodeId) {
        let member = &mut self.members[index];
        let clock = member.clock(self.now);
        if let Some(at) = member
            .machine
            .as_ref()
            .and_then(|machine| machine.cluster_time(clock))
        {
            let heard = member.heard.entry(node.clone()).or_default();
            heard.push_back(at);
            if heard.len() > HEARD_KEPT {
                heard.pop_front();
            }
        }
    }

    pub(super) fn is_paused(&self, index: usize) -> bool {
        self.members[index].paused_until > self.now
    }

    /// One input, everything that comes of it, and all the checks.
    pub(super) fn step(&mut self, index: usize, input: Input) {
        if self.is_paused(index) {
            // The process does not run: whatever reaches it waits.
            let incarnation = self.members[index].incarnation;
            let input = Box::new(input);
            let until = self.members[index].paused_until;
            self.at(
                until,
                Event::Feed {
                    member: index,
                    incarnation,
                    input,
                },
            );
            return;
        }
        let member = &mut self.members[index];
        let clock = member.clock(self.now);
        let Some(machine) = member.machine.as_mut() else {
            return;
        };
        self.steps += 1;
        let outputs = match catch_unwind(AssertUnwindSafe(|| machine.step(input, clock))) {
            Ok(outputs) => outputs,
            Err(panic) => {
                let reason = panic_text(panic.as_ref());
                self.check(Err(format!("member {} panicked: {reason}", index + 1)));
                return;
            }
        };
        self.inspect(index, &outputs);
        for output in outputs {
            self.perform(index, output);
        }
        self.schedule_wake(index);
    }

    fn inspect(&mut self, index: usize, outputs: &[Output]) {
        let Some(machine) = &self.members[index].machine else {
            return;
        };
        let (view, digest, term) = (machine.view(), machine.digest(), machine.term());
        let leads = machine.is_leader();
        self.trace
            .add((self.now, index, view.index(), term, digest, outputs.len()));
        for output in outputs {
            if let Output::Events(events) = output {
                let result = self.history.events(events, &view, &mut self.counters);
                self.check(result);
                self.check_verdicts(index, events);
            }
        }
        if leads {
            let result = self.history.leads(term, index as u64 + 1);
            self.check(result);
        }
        let at_index = view.index();
        let result = self.history.stand(view, digest);
        self.check(result);
        self.note_leadership(index, at_index);
    }

    fn note_leadership(&mut self, index: usize, at_index: u64) {
        let member = &mut self.members[index];
        let clock = member.clock(self.now);
        let at = member
            .machine
            .as_ref()
            .and_then(|machine| machine.cluster_time(clock));
        let stood_still = clock.mono_ns.saturating_sub(member.last_step) >= 1000 * MS;
        member.last_step = clock.mono_ns;
        match (&mut member.leads_since, at) {
            (None, Some(at)) => {
                member.leads_since = Some((vec![at], at_index));
                member.heard.clear();
            }
            (Some(_), None) => {
                member.leads_since = None;
                self.counters.fault(Fault::LeadershipLost);
            }
            // Nobody could be heard meanwhile.
            (Some((since, _)), Some(at)) if stood_still => since.push(at),
            (Some(_), Some(_)) | (None, None) => {}
        }
    }

    /// A node is called down only by a leader that had the time to hear of it and did not.
    fn check_verdicts(&mut self, index: usize, events: &[StoreEvent]) {
        let member = &self.members[index];
        let (Some((since, from)), Some(machine)) = (&member.leads_since, &member.machine) else {
            return;
        };
        let patience = machine.heartbeat_period() * 3;
        let wrong = events
            .iter()
            .filter(|event| event.index > *from)
            .find_map(|event| {
                let (Object::Node(new), Some(Object::Node(old))) = (&event.object, &event.old) else {
                    return None;
                };
                let judged = new.status.at;
                let turned = new.status.state != NodeState::Ready && old.status.state == NodeState::Ready;
                // What a member finds waiting when it runs again it hears all at one moment: after the verdict, too.
                let heard = member.heard.get(&new.id).into_iter().flatten();
                let heard = heard.filter(|at| **at < judged);
                let heard = heard.chain(since.iter().filter(|at| **at <= judged)).max()?;
                (turned && judged.since(*heard) < patience)
                    .then(|| (new.id.clone(), new.status.state, judged.since(*heard)))
            });
        if let Some((node, state, silent)) = wrong {
            self.check(Err(format!(
                "node {node} was called {state:?} after {silent:?} of silence"
            )));
        }
    }

    fn schedule_wake(&mut self, index: usize) {
        let member = &mut self.members[index];
        let Some(deadline) = member.machine.as_ref().and_then(Machine::next_deadline) else {
            return;
        };
        let at = deadline
            .saturating_sub(member.ahead)
            .max(self.now + MS / 10)
            .max(member.paused_until);
        if member
            .wake_at
            .is_none_or(|earlier| at < earlier || earlier < self.now)
        {
            member.wake_at = Some(at);
            let incarnation = member.incarnation;
            self.at(at, Event::Wake(index, incarnation));
        }
    }

    /// A user's write reaches a member.
    pub(super) fn question(&mut self, index: usize, user: usize, operation: Operation) {
        let member = &mut self.members[index];
        if member.machine.is_none() {
            return;
        }
        member.asked += 1;
        let token = Token(member.asked);
        let input = Input::Propose {
            token,
            request: Box::new(operation.request.clone()),
            id: Some(operation.id.clone()),
        };
        member.questions.insert(token, (user, operation));
        self.step(index, input);
    }

    pub(super) fn up_input(&mut self, index: usize, worker: usize, up: Up) {
        let node = self.workers[worker].node.clone();
        let input = match up {
            Up::Open(description) => {
                self.heard_of(index, &node);
                Input::SessionOpened { node, description }
            }
            Up::Heartbeat => {
                self.heard_of(index, &node);
                Input::Heartbeat { node }
            }
            Up::Reports { sequence, reports } => Input::Reports {
                node,
                sequence,
                reports,
            },
            Up::Resync => Input::Resync { node },
        };
        self.step(index, input);
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_default()
}
