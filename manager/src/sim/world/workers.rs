//! Workers in the world: their sessions with members, over streams that may break.
//!
//! Called by the world; never passes on what a broken stream has lost.

use super::{Event, World};
use crate::{
    machine::Input,
    sim::{
        addresses::tables_agree,
        counters::Fault,
        network::{Endpoint, MS},
        worker::{Down, Up, Worker},
    },
};
use shoal_core::model::NodeId;

impl World {
    pub(super) fn worker_turn(&mut self, index: usize) {
        let delay = self.rng.between(60 * MS, 140 * MS);
        self.after(delay, Event::WorkerTurn(index));
        if !self.workers[index].running {
            return;
        }
        if self.workers[index].gives_up(self.now, self.opened_at[index]) {
            self.break_session(index);
        }
        if self.workers[index].session.is_none() {
            let member = self.rng.index(self.members.len());
            let ups = self.workers[index].connect(member);
            self.opened_at[index] = self.now;
            self.send_ups(index, ups);
        }
        let ups = self.workers[index].advance(self.now, &mut self.rng, &mut self.counters);
        self.send_ups(index, ups);
    }

    fn send_ups(&mut self, index: usize, ups: Vec<Up>) {
        for up in ups {
            let Some(session) = &self.workers[index].session else {
                return;
            };
            let (member, id) = (session.member, session.id);
            let link = (Endpoint::Worker(index), Endpoint::Member(member));
            match self.network.stream(&mut self.rng, self.now, link) {
                Some(at) => {
                    let at = at + self.members[member].slow_by;
                    self.at(
                        at,
                        Event::Up {
                            member,
                            worker: index,
                            session: id,
                            up,
                        },
                    );
                }
                None => self.lose_session(index, id),
            }
        }
    }

    pub(super) fn deliver_up(&mut self, member: usize, worker: usize, session: u64, up: Up) {
        if !self.is_up(member) {
            self.lose_session(worker, session);
            return;
        }
        if self.is_paused(member) {
            let until = self.members[member].paused_until;
            self.at(
                until,
                Event::Up {
                    member,
                    worker,
                    session,
                    up,
                },
            );
            return;
        }
        if matches!(up, Up::Open(_)) {
            self.members[member].sessions.insert(worker, session);
        }
        if self.members[member].sessions.get(&worker) == Some(&session) {
            self.up_input(member, worker, up);
        }
    }

    pub(super) fn send_down(&mut self, member: usize, node: &NodeId, down: Down) {
        let Some(worker) = self.worker_of.get(node).copied() else {
            return;
        };
        let Some(session) = self.members[member].sessions.get(&worker).copied() else {
            return;
        };
        let link = (Endpoint::Member(member), Endpoint::Worker(worker));
        match self.network.stream(&mut self.rng, self.now, link) {
            Some(at) => self.at(
                at,
                Event::Down {
                    worker,
                    session,
                    down,
                },
            ),
            None => {
                self.lose_session(worker, session);
                let delay = self.rng.between(100 * MS, 3000 * MS);
                self.after(
                    delay,
                    Event::SessionGone {
                        member,
                        worker,
                        session,
                    },
                );
            }
        }
    }

    pub(super) fn deliver_down(&mut self, worker: usize, session: u64, down: Down) {
        let target = &mut self.workers[worker];
        let current = target.session.as_ref().is_some_and(|open| open.id == session);
        if !current || !target.running {
            return;
        }
        match target.hear(down, self.now) {
            Ok(ups) => {
                self.check_tables(worker);
                self.send_ups(worker, ups);
            }
            Err(reason) => self.check(Err(format!("worker {worker}: {reason}"))),
        }
    }

    /// What the worker holds is what the state says that it holds the position of.
    fn check_tables(&mut self, worker: usize) {
        let Worker {
            node, held, tables, ..
        } = &self.workers[worker];
        let Some(view) = held.and_then(|held| self.history.at(held)) else {
            return;
        };
        let result = tables_agree(view, node, tables);
        self.counters.tables += 1;
        self.check(result.map_err(|reason| format!("worker {worker}: {reason}")));
    }

    /// Something in the stream was lost: its end will notice after a while.
    fn lose_session(&mut self, worker: usize, session: u64) {
        let delay = self.rng.between(50 * MS, 2000 * MS);
        self.after(delay, Event::SessionBroken { worker, session });
    }

    pub(super) fn session_broken(&mut self, worker: usize, session: u64) {
        let open = self.workers[worker].session.as_ref();
        if open.is_some_and(|open| open.id == session) {
            self.break_session(worker);
        }
    }

    pub(super) fn break_session(&mut self, worker: usize) {
        let Some(session) = self.workers[worker].session.take() else {
            return;
        };
        self.counters.fault(Fault::SessionBroken);
        let (member, session) = (session.member, session.id);
        let delay = self.rng.between(MS, 1000 * MS);
        self.after(
            delay,
            Event::SessionGone {
                member,
                worker,
                session,
            },
        );
    }

    /// A member notices that a session is no more.
    pub(super) fn session_gone(&mut self, member: usize, worker: usize, session: u64) {
        if self.is_paused(member) {
            let until = self.members[member].paused_until;
            self.at(
                until,
                Event::SessionGone {
                    member,
                    worker,
                    session,
                },
            );
            return;
        }
        let target = &mut self.members[member];
        if target.sessions.get(&worker) == Some(&session) {
            target.sessions.remove(&worker);
            let node = self.workers[worker].node.clone();
            self.step(member, Input::SessionClosed { node, goodbye: false });
        }
    }
}
