//! What goes wrong: one fault at a time or several on top of each other, each for a while.
//!
//! Called by the world between steps; never touches a machine from inside.

use super::{Event, World};
use crate::{
    machine::Input,
    sim::{
        counters::Fault,
        network::{Endpoint, MS},
    },
};

/// The end of a fault.
#[derive(Clone, Copy, Debug)]
pub(super) enum Undo {
    Mend(Endpoint, Endpoint),
    Restart(usize),
    RestartWorker(usize),
    Network,
    DiskRoom(usize),
    DiskSpeed(usize),
    Speed(usize),
}

impl World {
    /// Something goes wrong, and soon something else will.
    pub(super) fn strike(&mut self) {
        if self.calm {
            return;
        }
        let next = self.rng.between(150 * MS, 2500 * MS);
        self.after(next, Event::Fault);
        let member = self.rng.index(self.members.len());
        let leader = self.established_leader();
        match self.rng.between(0, 100) {
            0..4 => self.crash(member),
            4..12 => self.members[member].doomed = true,
            12..18 => {
                if let Some(leader) = leader {
                    self.counters.fault(Fault::LeaderCrashed);
                    self.crash(leader);
                    if self.rng.chance(600) {
                        self.trouble_election();
                    }
                }
            }
            18..24 => self.partition(),
            24..31 => self.cut_one_way(),
            31..37 => self.isolate(leader.unwrap_or(member)),
            37..47 => self.trouble_network(),
            47..53 => self.fill_disk(member),
            53..59 => self.stall_disk(member),
            59..64 => self.jump_clock(leader.unwrap_or(member)),
            64..69 => self.pause(leader.unwrap_or(member)),
            69..74 => self.slow_down(member),
            74..79 => self.stop_for_a_while(member),
            79..86 => self.restart_worker(),
            86..93 => self.cut_worker(),
            _ => self.inject_stale(),
        }
    }

    /// The end of a fault; in a calm world all have ended.
    pub(super) fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Mend(from, to) => self.network.mend(from, to),
            Undo::Restart(member) => self.start_member(member),
            Undo::RestartWorker(worker) => self.workers[worker].running = true,
            Undo::Network => (self.network.loss, self.network.repeat, self.network.late) = (0, 0, 0),
            Undo::DiskRoom(member) => self.make_room(member),
            Undo::DiskSpeed(member) => self.members[member].disk.stall = 0,
            Undo::Speed(member) => self.members[member].slow_by = 0,
        }
    }

    /// Nothing goes wrong from now on.
    pub(super) fn heal(&mut self) {
        self.calm = true;
        self.network.heal();
        for member in 0..self.members.len() {
            self.members[member].disk.stall = 0;
            self.members[member].slow_by = 0;
            self.make_room(member);
            self.start_member(member);
        }
        for worker in &mut self.workers {
            worker.running = true;
            worker.fails_tasks = false;
        }
    }

    fn crash(&mut self, member: usize) {
        if !self.is_up(member) {
            return;
        }
        self.counters.fault(Fault::MemberCrashed);
        self.stop_member(member);
        self.members[member].disk.crash(&mut self.rng, &mut self.counters);
        let down = if self.rng.chance(500) {
            self.rng.between(MS, 300 * MS)
        } else {
            self.rng.between(300 * MS, 6000 * MS)
        };
        self.after(down, Event::Undo(Undo::Restart(member)));
    }

    /// Votes arrive late, and voters lose power as they cast them.
    fn trouble_election(&mut self) {
        self.network.late = 400;
        self.after(3000 * MS, Event::Undo(Undo::Network));
        for member in &mut self.members {
            member.doomed = true;
        }
    }

    /// The power goes while this member writes.
    pub(super) fn lose_power(&mut self, member: usize, incarnation: u64) {
        if self.members[member].incarnation == incarnation && !self.calm {
            self.crash(member);
        }
    }

    fn stop_for_a_while(&mut self, member: usize) {
        if self.is_up(member) && !self.members[member].disk.full {
            self.counters.fault(Fault::MemberStopped);
            self.step(member, Input::Stop);
        }
    }

    fn cut_for(&mut self, from: Endpoint, to: Endpoint, time: u64) {
        self.network.cut(from, to);
        self.after(time, Event::Undo(Undo::Mend(from, to)));
    }

    fn partition(&mut self) {
        self.counters.fault(Fault::Partition);
        let time = self.rng.between(300 * MS, 6000 * MS);
        let count = self.members.len();
        let side: Vec<bool> = (0..count).map(|_| self.rng.chance(500)).collect();
        for a in 0..count {
            for b in 0..count {
                if side[a] != side[b] {
                    self.cut_for(Endpoint::Member(a), Endpoint::Member(b), time);
                }
            }
        }
    }

    fn cut_one_way(&mut self) {
        self.counters.fault(Fault::OneWayPartition);
        let time = self.rng.between(300 * MS, 6000 * MS);
        let (a, b) = (
            self.rng.index(self.members.len()),
            self.rng.index(self.members.len()),
        );
        self.cut_for(Endpoint::Member(a), Endpoint::Member(b), time);
    }

    fn isolate(&mut self, member: usize) {
        self.counters.fault(Fault::MemberIsolated);
        let time = self.rng.between(500 * MS, 8000 * MS);
        for other in (0..self.members.len()).filter(|other| *other != member) {
            self.cut_for(Endpoint::Member(member), Endpoint::Member(other), time);
            self.cut_for(Endpoint::Member(other), Endpoint::Member(member), time);
        }
    }

    fn trouble_network(&mut self) {
        self.network.loss = u32::try_from(self.rng.between(0, 250)).unwrap_or(0);
        self.network.repeat = u32::try_from(self.rng.between(0, 200)).unwrap_or(0);
        self.network.late = u32::try_from(self.rng.between(0, 200)).unwrap_or(0);
        let time = self.rng.between(300 * MS, 4000 * MS);
        self.after(time, Event::Undo(Undo::Network));
    }

    fn fill_disk(&mut self, member: usize) {
        if self.is_up(member) && !self.members[member].disk.full {
            self.counters.fault(Fault::DiskFull);
            self.members[member].disk.full = true;
            self.step(member, Input::Disk { full: true });
            let time = self.rng.between(200 * MS, 5000 * MS);
            self.after(time, Event::Undo(Undo::DiskRoom(member)));
        }
    }

    fn make_room(&mut self, index: usize) {
        let member = &mut self.members[index];
        if !std::mem::take(&mut member.disk.full) {
            return;
        }
        let incarnation = member.incarnation;
        if let Some(number) = member.disk.newest_unsynced() {
            self.after(
                MS,
                Event::Synced {
                    member: index,
                    incarnation,
                    number,
                },
            );
        }
        self.step(index, Input::Disk { full: false });
    }

    fn stall_disk(&mut self, member: usize) {
        self.counters.fault(Fault::DiskStalled);
        self.members[member].disk.stall = self.rng.between(20 * MS, 1500 * MS);
        let time = self.rng.between(200 * MS, 4000 * MS);
        self.after(time, Event::Undo(Undo::DiskSpeed(member)));
    }

    fn jump_clock(&mut self, member: usize) {
        if self.rng.chance(500) {
            self.counters.fault(Fault::ClockJumped);
            self.members[member].ahead += self.rng.between(1500 * MS, 60_000 * MS);
        } else {
            self.counters.fault(Fault::WallClockJumped);
            let by = i64::try_from(self.rng.between(0, 7_200_000 * MS)).unwrap_or(0);
            self.members[member].wall_ahead = by - 3_600_000_000_000;
        }
    }

    /// The process does not run: a suspended laptop, a stopped virtual machine.
    fn pause(&mut self, member: usize) {
        if self.is_paused(member) {
            return;
        }
        self.counters.fault(Fault::MemberPaused);
        let time = self.rng.between(200 * MS, 8000 * MS);
        self.members[member].paused_until = self.now + time;
    }

    fn slow_down(&mut self, member: usize) {
        self.counters.fault(Fault::MemberSlow);
        self.members[member].slow_by = self.rng.between(10 * MS, 400 * MS);
        let time = self.rng.between(300 * MS, 5000 * MS);
        self.after(time, Event::Undo(Undo::Speed(member)));
    }

    fn restart_worker(&mut self) {
        let worker = self.rng.index(self.workers.len());
        self.counters.fault(Fault::WorkerRestarted);
        self.break_session(worker);
        self.workers[worker].restart();
        self.workers[worker].running = false;
        let time = self.rng.between(50 * MS, 9000 * MS);
        self.after(time, Event::Undo(Undo::RestartWorker(worker)));
    }

    fn cut_worker(&mut self) {
        let worker = self.rng.index(self.workers.len());
        self.counters.fault(Fault::WorkerCut);
        let time = self.rng.between(500 * MS, 12_000 * MS);
        for member in 0..self.members.len() {
            self.cut_for(Endpoint::Worker(worker), Endpoint::Member(member), time);
            self.cut_for(Endpoint::Member(member), Endpoint::Worker(worker), time);
        }
    }

    /// An entry from the past is proposed once more, as a broken leader might.
    fn inject_stale(&mut self) {
        let Some(leader) = self
            .established_leader()
            .filter(|leader| !self.is_paused(*leader))
        else {
            return;
        };
        let Some(data) = self.members[leader].disk.any_entry(&mut self.rng) else {
            return;
        };
        let index = self.members[leader]
            .machine
            .as_mut()
            .and_then(|machine| machine.propose_raw(data));
        if let Some(index) = index {
            self.counters.fault(Fault::StaleProposal);
            self.history.injected.insert(index);
        }
    }
}
