//! Carrying out what machines ask for: their disks, their messages, their answers.
//!
//! Called by the world after each step, in the order in which the machine gave them.

use super::{Event, Undo, World, membership::MEMBERSHIP};
use crate::{
    machine::{Input, Output, PeerMessage, PersistBatch, SnapshotJob, StopReason},
    sim::{
        counters::Fault,
        network::{Endpoint, MS},
        worker::Down,
    },
};
use raft::eraftpb::{Message, MessageType};

impl World {
    pub(super) fn perform(&mut self, index: usize, output: Output) {
        match output {
            Output::Persist(batch) => self.persist(index, *batch),
            Output::SaveSnapshot(job) => self.save_snapshot(index, job),
            Output::Send(messages) => {
                for message in messages {
                    self.send_raft(index, message);
                }
            }
            Output::Peer { to, message } => self.send_peer(index, to, message),
            Output::Reply { token, result } if token >= MEMBERSHIP => {
                self.membership_answered(token, &result);
            }
            Output::Reply { token, result } => {
                if let Some((user, operation)) = self.members[index].questions.remove(&token) {
                    self.send_answer(index, user, operation, result);
                }
            }
            Output::Resync => self.counters.fault(Fault::SnapshotInstalled),
            Output::Assignments { node, assignments } => {
                self.send_down(index, &node, Down::Assignments(assignments));
            }
            Output::ReportsTaken { node, sequence } => {
                self.send_down(index, &node, Down::ReportsTaken(sequence));
            }
            Output::Dropped { index: at, reason: _ } => {
                let result = self.history.dropped(at);
                self.check(result);
            }
            Output::Stopped(reason) => self.stopped(index, &reason),
            Output::Events(_) | Output::Leader { .. } => {}
        }
    }

    fn persist(&mut self, index: usize, batch: PersistBatch) {
        let delay = if batch.sync {
            self.rng.between(MS / 20, 3 * MS)
        } else {
            MS / 50
        };
        let member = &mut self.members[index];
        let number = batch.number;
        let votes = batch
            .hard_state
            .as_ref()
            .is_some_and(|hard_state| hard_state.vote != 0);
        if (votes || !batch.entries.is_empty()) && std::mem::take(&mut member.doomed) {
            let incarnation = member.incarnation;
            let delay = self.rng.between(0, 2 * delay + 2 * MS);
            self.after(delay, Event::PowerLoss(index, incarnation));
        }
        let member = &mut self.members[index];
        let at = member.disk_free_at.max(self.now + delay + member.disk.stall);
        member.disk_free_at = at;
        member.disk.write(batch);
        if !member.disk.full {
            let incarnation = member.incarnation;
            self.at(
                at,
                Event::Synced {
                    member: index,
                    incarnation,
                    number,
                },
            );
        }
    }

    pub(super) fn synced(&mut self, index: usize, incarnation: u64, number: u64) {
        let member = &mut self.members[index];
        if member.incarnation != incarnation || member.disk.full {
            return;
        }
        if self.is_paused(index) {
            let until = self.members[index].paused_until;
            self.at(
                until,
                Event::Synced {
                    member: index,
                    incarnation,
                    number,
                },
            );
            return;
        }
        self.members[index].disk.synced(number);
        self.step(index, Input::Persisted { number });
    }

    fn save_snapshot(&mut self, index: usize, job: Box<SnapshotJob>) {
        let delay = self.rng.between(MS, 80 * MS);
        let incarnation = self.members[index].incarnation;
        self.after(
            delay,
            Event::SnapshotWritten {
                member: index,
                incarnation,
                job,
            },
        );
    }

    pub(super) fn snapshot_written(&mut self, index: usize, incarnation: u64, job: &SnapshotJob) {
        let member = &mut self.members[index];
        if member.incarnation != incarnation {
            return;
        }
        if member.disk.full {
            self.step(index, Input::SnapshotNotSaved { index: job.index });
            return;
        }
        member.disk.save_snapshot(job);
        self.step(index, Input::SnapshotSaved { index: job.index });
    }

    fn send_raft(&mut self, index: usize, message: Message) {
        let to = usize::try_from(message.to).unwrap_or(1) - 1;
        let link = (Endpoint::Member(index), Endpoint::Member(to));
        let times = self
            .network
            .datagram(&mut self.rng, self.now, link, &mut self.counters);
        let is_snapshot = message.get_msg_type() == MessageType::MsgSnapshot;
        let slow = self.members[to].slow_by;
        let arrives = !times.is_empty() && self.is_up(to);
        for at in times {
            self.at(
                at + slow,
                Event::Raft {
                    to,
                    message: Box::new(message.clone()),
                },
            );
        }
        let member = to as u64 + 1;
        if is_snapshot {
            // The transport knows whether the stream went through.
            self.feed(
                index,
                Input::SnapshotSent {
                    member,
                    arrived: arrives,
                },
            );
        } else if !self.is_up(to) && self.rng.chance(200) {
            self.feed(index, Input::Unreachable { member });
        }
    }

    /// An input that follows from an output: after everything else that came with that.
    fn feed(&mut self, member: usize, input: Input) {
        let incarnation = self.members[member].incarnation;
        self.after(
            0,
            Event::Feed {
                member,
                incarnation,
                input: Box::new(input),
            },
        );
    }

    fn send_peer(&mut self, index: usize, to: u64, message: Box<PeerMessage>) {
        let to = usize::try_from(to).unwrap_or(1) - 1;
        let link = (Endpoint::Member(index), Endpoint::Member(to));
        let from = index as u64 + 1;
        let slow = self.members[to].slow_by;
        for at in self
            .network
            .datagram(&mut self.rng, self.now, link, &mut self.counters)
        {
            self.at(
                at + slow,
                Event::Peer {
                    to,
                    from,
                    message: message.clone(),
                },
            );
        }
    }

    fn stopped(&mut self, index: usize, reason: &StopReason) {
        if *reason == StopReason::Removed {
            self.retire(index);
        } else if *reason == StopReason::Requested {
            self.members[index].disk.process_ended();
            self.stop_member(index);
            let down = self.rng.between(MS, 3000 * MS);
            self.after(down, Event::Undo(Undo::Restart(index)));
        } else {
            self.check(Err(format!("member {} stopped: {reason}", index + 1)));
        }
    }
}
