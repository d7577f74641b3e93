//! The leader's own work in one step: users' requests, then bounded planning turns.
//!
//! What one turn plans is proposed and laid over the state before the next, so that a request, its
//! tasks and their placement go to the disk together.

use super::{
    Leadership, Machine, Now,
    config::{MAX_SYSTEM_ENTRY_BYTES, TURNS_PER_STEP},
    propose::Origin,
};
use shoal_core::{planner::TurnContext, store::Change};

impl Machine {
    pub(super) fn work(&mut self, now: Now) {
        self.propose_requests(now);
        self.plan(now);
    }

    fn plan(&mut self, now: Now) {
        for _ in 0..TURNS_PER_STEP {
            if !self.may_propose() {
                break;
            }
            let Leadership::Leading(leading) = &mut self.leadership else {
                break;
            };
            let cluster_now = leading.cluster_time(now);
            let due = self
                .planning
                .next_deadline()
                .is_some_and(|deadline| deadline <= cluster_now);
            if !self.planning.has_work() && !due {
                break;
            }
            let ctx = TurnContext {
                ids: &mut self.config.ids,
                now: cluster_now,
                wall: now.wall,
                budget: self.config.turn_steps,
            };
            let plan = self.planning.turn(&leading.overlay, ctx);
            self.propose_system(plan.changes, now);
            self.reports_planned(&plan.reports_taken);
        }
    }

    /// Proposes the system's own changes, in as many entries as their size takes.
    fn propose_system(&mut self, changes: Vec<Change>, now: Now) {
        let mut pieces = vec![changes];
        while let Some(mut piece) = pieces.pop() {
            if piece.is_empty() {
                continue;
            }
            let Some(mut encoded) = self.encode(None, piece, now) else {
                return;
            };
            let count = encoded.entry.changes.len();
            if encoded.data.len() > MAX_SYSTEM_ENTRY_BYTES && count > 1 {
                piece = std::mem::take(&mut encoded.entry.changes);
                let tail = piece.split_off(count / 2);
                pieces.push(tail);
                pieces.push(piece);
            } else {
                self.propose_encoded(encoded, Vec::new(), Origin::Planner);
            }
        }
    }
}
