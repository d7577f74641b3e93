//! Membership changes: a spare member joins as a learner, gets a vote, and another member goes.
//!
//! Called by the world; never changes more than one member at a time.

use super::{Event, World};
use crate::{
    machine::{Input, MemberChange, ProposeError, Token},
    sim::{counters::Fault, network::MS},
};
use shoal_core::request::Response;

/// Tokens from here on are of membership changes.
pub(super) const MEMBERSHIP: Token = Token(1 << 40);

/// What comes next, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Join,
    Promote,
    Leave(usize),
    Done,
}

impl World {
    /// Asks for the next change, and again until it is done.
    pub(super) fn change_members(&mut self) {
        if self.stage == Stage::Done {
            return;
        }
        let again = self.rng.between(500 * MS, 2500 * MS);
        self.after(again, Event::Membership);
        let Some(leader) = self.established_leader() else {
            return;
        };
        let spare = self.options.members;
        let change = match self.stage {
            Stage::Join => {
                self.members[spare].active = true;
                self.start_member(spare);
                MemberChange::AddLearner(spare as u64 + 1)
            }
            Stage::Promote => MemberChange::Promote(spare as u64 + 1),
            Stage::Leave(member) if member == leader => {
                self.stage = Stage::Leave((member + 1) % self.options.members);
                return;
            }
            Stage::Leave(member) => MemberChange::Remove(member as u64 + 1),
            Stage::Done => return,
        };
        self.stages += 1;
        let token = Token(MEMBERSHIP.0 + self.stages);
        self.asked_stage = Some((token, self.stage));
        self.step(leader, Input::ChangeMembers { token, change });
    }

    pub(super) fn membership_answered(&mut self, token: Token, result: &Result<Response, ProposeError>) {
        let current = self.asked_stage == Some((token, self.stage));
        if !current || result.is_err() {
            return;
        }
        self.counters.fault(Fault::MembershipChanged);
        self.stage = match self.stage {
            Stage::Join => Stage::Promote,
            Stage::Promote => Stage::Leave(self.rng.index(self.options.members)),
            Stage::Leave(member) => {
                self.after(0, Event::Retire(member));
                Stage::Done
            }
            Stage::Done => Stage::Done,
        };
    }

    /// Members that were removed and could not be told, since nobody speaks to them any more, go.
    pub(super) fn retire_removed(&mut self) {
        let Some(leader) = self.established_leader() else {
            return;
        };
        let Some(members) = self.members[leader]
            .machine
            .as_ref()
            .map(|machine| machine.members())
        else {
            return;
        };
        for index in 0..self.members.len() {
            if self.members[index].active && !members.contains(&self.members[index].id) {
                self.retire(index);
            }
        }
    }

    /// The member is no longer of the cluster: its process ends for good.
    pub(super) fn retire(&mut self, member: usize) {
        self.members[member].active = false;
        self.stop_member(member);
    }
}
