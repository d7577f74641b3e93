//! Workers' sessions on this member: assignments out of the applied store, liveness on to the leader.
//!
//! Any member serves sessions. What the leader must know of them (that they are open, that they live,
//! what they report) is passed on to it, and told again to every new one.

use super::{Bug, Leadership, Machine, Now, Output, PeerMessage};
use shoal_core::{
    dispatcher::{Assignments, Sessions},
    model::{NodeDescription, NodeId},
    planner::PlannerInput,
    store::{Event, StoreView},
};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct OpenSessions {
    assigned: Sessions,
    descriptions: BTreeMap<NodeId, NodeDescription>,
}

impl OpenSessions {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&NodeId, &NodeDescription)> {
        self.descriptions.iter()
    }
}

impl Machine {
    pub(super) fn open_session(&mut self, node: NodeId, description: NodeDescription, now: Now) {
        self.sessions
            .descriptions
            .insert(node.clone(), description.clone());
        let assignments = self.sessions.assigned.open(self.store.view(), &node);
        self.send_assignments(node.clone(), assignments);
        self.tell_of_session(node, description, now);
    }

    pub(super) fn describe(&mut self, node: NodeId, description: NodeDescription, now: Now) {
        if self.sessions.descriptions.contains_key(&node) {
            self.sessions
                .descriptions
                .insert(node.clone(), description.clone());
            self.tell_of_session(node, description, now);
        }
    }

    pub(super) fn close_session(&mut self, node: &NodeId, goodbye: bool, now: Now) {
        self.sessions.assigned.close(node);
        if self.sessions.descriptions.remove(node).is_none() {
            return;
        }
        if goodbye && !self.tell_planner(PlannerInput::Goodbye { node: node.clone() }, now) {
            self.pass_on(PeerMessage::Goodbye(node.clone()));
        }
    }

    pub(super) fn resync_session(&mut self, node: &NodeId) {
        if self.sessions.assigned.is_open(node) {
            let assignments = self.sessions.assigned.open(self.store.view(), node);
            self.send_assignments(node.clone(), assignments);
        }
    }

    /// The store was replaced: everyone is told everything.
    pub(super) fn resync_all_sessions(&mut self) {
        let nodes: Vec<NodeId> = self.sessions.descriptions.keys().cloned().collect();
        for node in nodes {
            self.resync_session(&node);
        }
    }

    /// A sign of life. It is also what brings a description through that got lost on its way to the
    /// leader, or came before its node was known.
    pub(super) fn heartbeat(&mut self, node: NodeId, now: Now) {
        let stored = self
            .store
            .view()
            .node(&node)
            .and_then(|node| node.description.as_ref());
        let described = self.sessions.descriptions.get(&node);
        match described.filter(|described| stored != Some(described)).cloned() {
            Some(description) => self.tell_of_session(node, description, now),
            None if self.is_established() => {
                self.tell_planner(PlannerInput::Heartbeat { node }, now);
            }
            None => self.pass_on(PeerMessage::Heartbeat(node)),
        }
    }

    /// What new events mean for the sessions here.
    pub(super) fn assign(&mut self, view: &StoreView, events: &[Event]) {
        for (node, assignments) in self.sessions.assigned.handle(view, events) {
            self.send_assignments(node, assignments);
        }
    }

    /// Tells a new leader of every session here.
    pub(super) fn announce_sessions(&mut self) {
        if !self.member.is_leader() && !self.sessions.descriptions.is_empty() {
            let sessions = self.sessions.descriptions.clone().into_iter().collect();
            self.pass_on(PeerMessage::SessionsOpen(sessions));
        }
    }

    pub(super) fn hear_peer(&mut self, from: u64, message: PeerMessage, now: Now) {
        match message {
            PeerMessage::ReportsTaken { node, sequence } => {
                self.outputs.push(Output::ReportsTaken { node, sequence });
            }
            PeerMessage::Reports {
                node,
                sequence,
                reports,
            } => {
                self.take_reports(Some(from), (node, sequence), reports, now);
            }
            PeerMessage::Heartbeat(node) => {
                self.tell_planner(PlannerInput::Heartbeat { node }, now);
            }
            PeerMessage::SessionsOpen(sessions) => {
                for (node, description) in sessions {
                    self.tell_planner(PlannerInput::Opened { node, description }, now);
                }
            }
            PeerMessage::Goodbye(node) => {
                self.tell_planner(PlannerInput::Goodbye { node }, now);
            }
        }
    }

    /// To the leader, if one is known and it is another member. What is lost is said again later.
    pub(super) fn pass_on(&mut self, message: PeerMessage) {
        if let Some(to) = self.member.leader().filter(|leader| *leader != self.member.id()) {
            self.outputs.push(Output::Peer {
                to,
                message: Box::new(message),
            });
        }
    }

    fn tell_of_session(&mut self, node: NodeId, description: NodeDescription, now: Now) {
        if self.is_established() {
            self.tell_planner(PlannerInput::Opened { node, description }, now);
        } else {
            self.pass_on(PeerMessage::SessionsOpen(vec![(node, description)]));
        }
    }

    /// Lets the planner hear something while this member leads; otherwise it is nobody's business. False
    /// if it was not taken in: whoever said it says it again.
    pub(super) fn tell_planner(&mut self, input: PlannerInput, now: Now) -> bool {
        let Leadership::Leading(leading) = &self.leadership else {
            return false;
        };
        let cluster_now = leading.cluster_time(now);
        self.planning.handle(&leading.overlay, input, cluster_now).is_ok()
    }

    fn send_assignments(&mut self, node: NodeId, mut assignments: Assignments) {
        if self.config.bugs.has(Bug::VipOfRemovedService) {
            assignments.tables.services.retain(|_, service| service.is_some());
        }
        self.outputs.push(Output::Assignments {
            node,
            assignments: Box::new(assignments),
        });
    }
}
