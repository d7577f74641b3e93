//! Workers' reports on their way to the planner, and the answers that they are durable.
//!
//! The planner keeps the latest of each task and writes many with one entry. A report is said to be
//! taken once what it changes is durable, or once it changes nothing of what is. A member that does not
//! lead passes reports on; what is lost on the way the worker sends again.

use super::{Machine, Now, Output, PeerMessage, leading::Waiting};
use shoal_core::{dispatcher::TaskReport, model::NodeId, planner::PlannerInput};
use std::collections::BTreeMap;

/// Reports that the planner has and that are not yet answered, by ticket. The planner's own bound on
/// reports bounds this too.
#[derive(Debug, Default)]
pub(super) struct ReportTickets {
    issued: u64,
    open: BTreeMap<u64, Waiting>,
}

impl ReportTickets {
    pub(super) fn clear(&mut self) {
        self.open.clear();
    }
}

impl Machine {
    /// Reports from a session of this member (`via` is `None`) or of another.
    pub(super) fn take_reports(
        &mut self,
        via: Option<u64>,
        (node, sequence): (NodeId, u64),
        reports: Vec<TaskReport>,
        now: Now,
    ) {
        if !self.is_established() {
            if via.is_none() {
                self.pass_on(PeerMessage::Reports {
                    node,
                    sequence,
                    reports,
                });
            }
            return;
        }
        self.reports.issued += 1;
        let ticket = self.reports.issued;
        let input = PlannerInput::Reports {
            node: node.clone(),
            ticket,
            reports,
        };
        if self.tell_planner(input, now) {
            self.reports
                .open
                .insert(ticket, Waiting::Reports { via, node, sequence });
        }
    }

    /// The planner has dealt with these; they are durable once everything in flight is.
    pub(super) fn reports_planned(&mut self, tickets: &[u64]) {
        for ticket in tickets {
            if let Some(waiting) = self.reports.open.remove(ticket) {
                self.after_flight(waiting);
            }
        }
    }

    pub(super) fn reports_taken(&mut self, via: Option<u64>, node: NodeId, sequence: u64) {
        self.outputs.push(match via {
            None => Output::ReportsTaken { node, sequence },
            Some(to) => Output::Peer {
                to,
                message: Box::new(PeerMessage::ReportsTaken { node, sequence }),
            },
        });
    }
}
