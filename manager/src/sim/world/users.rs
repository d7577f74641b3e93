//! Users in the world: they ask any member, again after a while without an answer, and elsewhere when
//! told to.

use super::{Event, World};
use crate::{
    machine::ProposeError,
    sim::{
        client::{Operation, Verdict},
        network::{Endpoint, MS},
    },
};
use shoal_core::request::Response;

/// Without an answer a user asks again after this.
const PATIENCE: u64 = 1500 * MS;

impl World {
    pub(super) fn user_turn(&mut self, index: usize) {
        let delay = self.rng.between(50 * MS, 700 * MS);
        self.after(delay, Event::UserTurn(index));
        let user = &mut self.users[index];
        if let Some(pending) = &mut user.pending {
            if self.now < pending.tried_at + PATIENCE {
                return;
            }
            pending.tried_at = self.now;
            let operation = pending.clone();
            self.send_question(index, operation);
            return;
        }
        // Users look at any member, which may be behind.
        let member = self.rng.index(self.members.len());
        let Some(view) = self.members[member]
            .machine
            .as_ref()
            .map(|machine| machine.view())
        else {
            return;
        };
        let ready = index == 0 || view.cluster().is_some();
        if ready && let Some(operation) = self.users[index].next(&view, &mut self.rng, self.now, self.calm) {
            self.send_question(index, operation);
        }
    }

    fn send_question(&mut self, user: usize, operation: Operation) {
        let random = self.rng.index(self.members.len());
        // Most clients remember who led last.
        let member = if self.rng.chance(700) {
            self.established_leader().unwrap_or(random)
        } else {
            random
        };
        // They think about what they have seen before they write; meanwhile it may change.
        let thought = if self.rng.chance(300) {
            self.rng.between(0, 1200 * MS)
        } else {
            0
        };
        let link = (Endpoint::Client, Endpoint::Member(member));
        for at in self
            .network
            .datagram(&mut self.rng, self.now, link, &mut self.counters)
        {
            let at = at + thought + self.members[member].slow_by;
            self.at(
                at,
                Event::Ask {
                    user,
                    member,
                    operation: Box::new(operation.clone()),
                },
            );
        }
    }

    pub(super) fn ask(&mut self, user: usize, member: usize, operation: Operation) {
        if self.is_paused(member) {
            let until = self.members[member].paused_until;
            self.at(
                until,
                Event::Ask {
                    user,
                    member,
                    operation: Box::new(operation),
                },
            );
        } else {
            self.question(member, user, operation);
        }
    }

    pub(super) fn send_answer(
        &mut self,
        member: usize,
        user: usize,
        operation: Operation,
        result: Result<Response, ProposeError>,
    ) {
        if result.is_ok() {
            let acknowledged = self.history.acknowledge(&operation.id);
            self.check(acknowledged);
        }
        let link = (Endpoint::Member(member), Endpoint::Client);
        for at in self
            .network
            .datagram(&mut self.rng, self.now, link, &mut self.counters)
        {
            let (operation, result) = (Box::new(operation.clone()), Box::new(result.clone()));
            self.at(
                at,
                Event::Answer {
                    user,
                    operation,
                    result,
                },
            );
        }
    }

    pub(super) fn answer(
        &mut self,
        user: usize,
        operation: &Operation,
        result: &Result<Response, ProposeError>,
    ) {
        let verdict = match self.users[user].judge(operation, result) {
            Ok(verdict) => verdict,
            Err(reason) => return self.check(Err(reason)),
        };
        if *result == Err(ProposeError::OutcomeUnknown) {
            self.counters.outcome_unknown += 1;
        }
        let waits = self.users[user]
            .pending
            .as_ref()
            .is_some_and(|pending| pending.id == operation.id);
        if !waits {
            return;
        }
        match verdict {
            Verdict::Done => {
                self.counters.acknowledged += 1;
                self.users[user].pending = None;
            }
            Verdict::Refused => {
                self.counters.refused += 1;
                self.users[user].refused(operation);
            }
            Verdict::TryAgain => {
                if let Some(pending) = &mut self.users[user].pending {
                    // At the next turn.
                    pending.tried_at = self.now.saturating_sub(PATIENCE - 50 * MS);
                }
            }
        }
    }
}
