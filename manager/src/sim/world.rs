//! The simulated world: members, workers and users around one queue of events in simulated time.
//!
//! Everything that happens is an event at a time; the seed decides the times and what goes wrong. Checks
//! run after every step of a member, and the first one that fails ends the run.

mod ending;
mod faults;
mod members;
mod membership;
mod outputs;
mod users;
mod workers;

use super::{
    Options, Outcome,
    bugs::PlantedBug,
    client::{Client, Operation},
    counters::Counters,
    history::History,
    network::{MS, Network},
    rng::Rng,
    trace::Trace,
    worker::{Down, Up, Worker},
};
use crate::machine::{Input, PeerMessage, ProposeError, SnapshotJob, Token};
use faults::Undo;
use members::SimMember;
use membership::Stage;
use raft::eraftpb::Message;
use shoal_core::{
    model::{IdGen, NodeId},
    request::Response,
};
use std::collections::BTreeMap;

/// Time that the cluster gets to come to rest once nothing goes wrong any more.
const REST: u64 = 200_000 * MS;

#[derive(Debug)]
enum Event {
    Tick(usize, u64),
    Wake(usize, u64),
    Raft {
        to: usize,
        message: Box<Message>,
    },
    Peer {
        to: usize,
        from: u64,
        message: Box<PeerMessage>,
    },
    Synced {
        member: usize,
        incarnation: u64,
        number: u64,
    },
    SnapshotWritten {
        member: usize,
        incarnation: u64,
        job: Box<SnapshotJob>,
    },
    Up {
        member: usize,
        worker: usize,
        session: u64,
        up: Up,
    },
    Down {
        worker: usize,
        session: u64,
        down: Down,
    },
    SessionGone {
        member: usize,
        worker: usize,
        session: u64,
    },
    SessionBroken {
        worker: usize,
        session: u64,
    },
    WorkerTurn(usize),
    UserTurn(usize),
    Ask {
        user: usize,
        member: usize,
        operation: Box<Operation>,
    },
    Answer {
        user: usize,
        operation: Box<Operation>,
        result: Box<Result<Response, ProposeError>>,
    },
    Fault,
    Feed {
        member: usize,
        incarnation: u64,
        input: Box<Input>,
    },
    PowerLoss(usize, u64),
    Membership,
    Retire(usize),
    Undo(Undo),
    /// Has the cluster come to rest?
    Look,
}

pub(super) struct World {
    options: Options,
    rng: Rng,
    now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    queued: u64,
    members: Vec<SimMember>,
    workers: Vec<Worker>,
    worker_of: BTreeMap<NodeId, usize>,
    opened_at: Vec<u64>,
    users: Vec<Client>,
    network: Network,
    history: History,
    counters: Counters,
    trace: Trace,
    failure: Option<String>,
    calm: bool,
    done: bool,
    steps: u64,
    stage: Stage,
    /// Membership changes asked for, and the one that waits for its answer.
    stages: u64,
    asked_stage: Option<(Token, Stage)>,
}

impl World {
    pub(super) fn new(options: Options) -> Self {
        let mut rng = Rng::new(options.seed);
        let mut ids = IdGen::from_number(options.seed);
        let workers: Vec<Worker> = (0..options.workers)
            .map(|number| {
                let mut worker = Worker::new(NodeId::mint(&mut ids), &mut rng, number);
                worker.takes_stale = options.bug == Some(PlantedBug::StaleAssignmentAccepted);
                worker.takes_stale_tables = options.bug == Some(PlantedBug::StaleTablesAccepted);
                worker
            })
            .collect();
        let nodes: Vec<NodeId> = workers.iter().map(|worker| worker.node.clone()).collect();
        let users = (0..3)
            .map(|number| {
                let ids = IdGen::from_number(options.seed.wrapping_mul(31).wrapping_add(number + 1_000_000));
                if number == 0 {
                    Client::founder(ids, &nodes)
                } else {
                    Client::new(ids, number)
                }
            })
            .collect();
        let members = (0..options.members + usize::from(options.membership))
            .map(|index| SimMember::new(index, &options, &mut rng))
            .collect();
        let mut world = Self {
            worker_of: nodes
                .into_iter()
                .enumerate()
                .map(|(index, node)| (node, index))
                .collect(),
            opened_at: vec![0; workers.len()],
            options,
            rng,
            now: 0,
            queue: BTreeMap::new(),
            queued: 0,
            members,
            workers,
            users,
            network: Network::default(),
            history: History::default(),
            counters: Counters::default(),
            trace: Trace::default(),
            failure: None,
            calm: false,
            done: false,
            steps: 0,
            stage: Stage::Join,
            stages: 0,
            asked_stage: None,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for member in 0..self.members.len() {
            self.start_member(member);
        }
        for worker in 0..self.workers.len() {
            let at = self.rng.between(0, 300 * MS);
            self.at(at, Event::WorkerTurn(worker));
        }
        for user in 0..self.users.len() {
            let at = self.rng.between(0, 100 * MS);
            self.at(at, Event::UserTurn(user));
        }
        if self.options.faults {
            self.at(1500 * MS, Event::Fault);
        }
        if self.options.membership {
            let at = self.rng.between(3000 * MS, 15_000 * MS);
            self.at(at, Event::Membership);
        }
        self.at(self.options.duration, Event::Look);
    }

    /// Runs until the cluster has come to rest, or a check failed.
    pub(super) fn run(mut self) -> Outcome {
        while self.failure.is_none() && !self.done {
            let Some(((at, _), event)) = self.queue.pop_first() else {
                break;
            };
            self.now = self.now.max(at);
            self.handle(event);
        }
        Outcome {
            seed: self.options.seed,
            trace: self.trace.finish(),
            steps: self.steps,
            failure: self.failure,
            counters: self.counters,
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Tick(member, incarnation) => self.tick(member, incarnation),
            Event::Wake(member, incarnation) => self.wake(member, incarnation),
            Event::Raft { to, message } => self.deliver_raft(to, message),
            Event::Peer { to, from, message } => self.deliver_peer(to, from, message),
            Event::Synced {
                member,
                incarnation,
                number,
            } => self.synced(member, incarnation, number),
            Event::SnapshotWritten {
                member,
                incarnation,
                job,
            } => {
                self.snapshot_written(member, incarnation, &job);
            }
            Event::Up {
                member,
                worker,
                session,
                up,
            } => self.deliver_up(member, worker, session, up),
            Event::Down {
                worker,
                session,
                down,
            } => self.deliver_down(worker, session, down),
            Event::SessionGone {
                member,
                worker,
                session,
            } => self.session_gone(member, worker, session),
            Event::SessionBroken { worker, session } => self.session_broken(worker, session),
            Event::WorkerTurn(worker) => self.worker_turn(worker),
            Event::UserTurn(user) => self.user_turn(user),
            Event::Ask {
                user,
                member,
                operation,
            } => self.ask(user, member, *operation),
            Event::Answer {
                user,
                operation,
                result,
            } => self.answer(user, &operation, &result),
            Event::Fault => self.strike(),
            Event::PowerLoss(member, incarnation) => self.lose_power(member, incarnation),
            Event::Feed {
                member,
                incarnation,
                input,
            } => self.fed(member, incarnation, *input),
            Event::Membership => self.change_members(),
            Event::Retire(member) => self.retire(member),
            Event::Undo(undo) => self.undo(undo),
            Event::Look => self.look(),
        }
    }

    fn at(&mut self, time: u64, event: Event) {
        self.queued += 1;
        self.queue.insert((time.max(self.now), self.queued), event);
    }

    fn after(&mut self, delay: u64, event: Event) {
        self.at(self.now + delay, event);
    }

    /// The outcome of a check.
    fn check(&mut self, result: Result<(), String>) {
        if let Err(reason) = result
            && self.failure.is_none()
        {
            self.failure = Some(format!("at {:.3} s: {reason}", self.now as f64 / 1e9));
        }
    }
}
