//! What workers' sessions say to the leader, and what of it is written: nodes that come and go, reports.
//!
//! Heartbeats touch memory alone unless they bring a node back. Reports wait in a bounded queue and are
//! taken in the order in which they came.

use super::Draft;
use crate::{
    dispatcher::{TaskReport, report},
    liveness::{Liveness, Verdicts},
    model::{Node, NodeDescription, NodeId, NodeState, Timestamp},
    store::StoreView,
};
use std::collections::{BTreeMap, VecDeque};

/// Reports that wait to be planned. Every task of the largest cluster that is tested could report once.
const MAX_QUEUED_REPORTS: usize = 100_000;

/// What a worker's session says.
#[derive(Clone, Debug)]
pub enum PlannerInput {
    /// A session opened, or its node described itself anew.
    Opened {
        node: NodeId,
        description: NodeDescription,
    },
    Heartbeat {
        node: NodeId,
    },
    /// The node stops on purpose. A session that merely breaks says nothing: its expiry decides.
    Goodbye {
        node: NodeId,
    },
    Reports {
        node: NodeId,
        /// The caller's name for these, given back by `Plan::reports_taken`.
        ticket: u64,
        reports: Vec<TaskReport>,
    },
}

/// Why an input was not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refuse {
    #[error("the node is not of this cluster")]
    UnknownNode,
    #[error("too many reports wait: {queued} of at most {MAX_QUEUED_REPORTS}")]
    Busy { queued: usize },
}

#[derive(Debug)]
struct Batch {
    node: NodeId,
    ticket: u64,
    reports: Vec<TaskReport>,
    /// How many of them are planned.
    planned: usize,
}

/// What became of a node.
#[derive(Clone, Debug)]
enum Turned {
    /// Back, as far as its heartbeat tells.
    Heard,
    Opened(Box<NodeDescription>),
    Left,
}

#[derive(Debug, Default)]
pub(crate) struct Sessions {
    nodes: BTreeMap<NodeId, Turned>,
    /// What each node last said of itself to this leader.
    described: BTreeMap<NodeId, NodeDescription>,
    batches: VecDeque<Batch>,
    queued: usize,
}

/// Is the node one whose silence would be noticed?
pub(crate) fn is_watched(node: &Node) -> bool {
    node.description.is_some()
        && match node.status.state {
            NodeState::Ready | NodeState::Unknown => true,
            NodeState::Down => false,
        }
}

impl Sessions {
    pub(crate) fn has_work(&self) -> bool {
        !self.nodes.is_empty() || !self.batches.is_empty()
    }

    /// What nodes said of themselves may not have been written, nor the reports of a batch that is half
    /// planned: were only its rest planned again, its sender would hear that all of it is taken.
    pub(crate) fn say_again(&mut self, view: &StoreView) {
        if let Some(batch) = self.batches.front_mut() {
            batch.planned = 0;
        }
        self.described.retain(|node, _| view.node(node).is_some());
        for (id, description) in &self.described {
            let stored = view.node(id).and_then(|node| node.description.as_ref());
            if stored != Some(description) {
                self.nodes
                    .entry(id.clone())
                    .or_insert_with(|| Turned::Opened(Box::new(description.clone())));
            }
        }
    }

    pub(crate) fn handle(
        &mut self,
        view: &StoreView,
        input: PlannerInput,
        liveness: &mut Liveness,
        now: Timestamp,
    ) -> Result<(), Refuse> {
        let period = super::heartbeat_period(view);
        let known = |node: &NodeId| view.node(node).ok_or(Refuse::UnknownNode);
        match input {
            PlannerInput::Opened { node, description } => {
                known(&node)?;
                liveness.heard(&node, now, period);
                self.described.insert(node.clone(), description.clone());
                self.nodes.insert(node, Turned::Opened(Box::new(description)));
            }
            PlannerInput::Heartbeat { node } => {
                let stored = known(&node)?;
                liveness.heard(&node, now, period);
                if stored.status.state != NodeState::Ready && stored.description.is_some() {
                    self.nodes.entry(node).or_insert(Turned::Heard);
                }
            }
            PlannerInput::Goodbye { node } => {
                known(&node)?;
                liveness.forget(&node);
                self.described.remove(&node);
                self.nodes.insert(node, Turned::Left);
            }
            PlannerInput::Reports {
                node,
                ticket,
                reports,
            } => {
                known(&node)?;
                if self.queued + reports.len() > MAX_QUEUED_REPORTS {
                    return Err(Refuse::Busy { queued: self.queued });
                }
                self.queued += reports.len();
                self.batches.push_back(Batch {
                    node,
                    ticket,
                    reports,
                    planned: 0,
                });
            }
        }
        Ok(())
    }

    /// Writes what sessions said; gives the nodes that changed, the tickets done and what it cost.
    pub(crate) fn write(&mut self, draft: &mut Draft<'_>, budget: usize) -> (Vec<NodeId>, Vec<u64>, usize) {
        let mut changed = Vec::new();
        for (id, turned) in std::mem::take(&mut self.nodes) {
            if turn_node(draft, &id, turned) {
                changed.push(id);
            }
        }
        let (mut taken, mut used) = (Vec::new(), changed.len());
        while used < budget {
            let Some(batch) = self.batches.front_mut() else {
                break;
            };
            if let Some(next) = batch.reports.get(batch.planned) {
                batch.planned += 1;
                used += 1;
                // One that changes nothing is late, repeated or another's; its sender has nothing to do.
                if let Ok(task) = report::apply(draft.view(), &batch.node, next, draft.now) {
                    draft.put_task(task);
                }
            }
            if batch.planned == batch.reports.len() {
                self.queued -= batch.reports.len();
                taken.push(batch.ticket);
                self.batches.pop_front();
            }
        }
        (changed, taken, used)
    }

    /// Writes which nodes are down or silent; gives those that changed.
    pub(crate) fn write_verdicts(&mut self, draft: &mut Draft<'_>, verdicts: &Verdicts) -> Vec<NodeId> {
        let mut changed = Vec::new();
        for id in &verdicts.down {
            if set_state(draft, id, NodeState::Down, "three heartbeats were missed") {
                changed.push(id.clone());
            }
        }
        let (late, total) = verdicts.paused.unwrap_or_default();
        let message = format!("silent, as are {late} of {total} nodes: evictions are paused");
        for id in &verdicts.silent {
            if set_state(draft, id, NodeState::Unknown, &message) {
                changed.push(id.clone());
            }
        }
        changed
    }
}

fn turn_node(draft: &mut Draft<'_>, id: &NodeId, turned: Turned) -> bool {
    let (state, message) = match &turned {
        Turned::Heard | Turned::Opened(_) => (NodeState::Ready, ""),
        Turned::Left => (NodeState::Down, "the node was stopped"),
    };
    let moved = set_state(draft, id, state, message);
    let Turned::Opened(description) = turned else {
        return moved;
    };
    let Some(node) = draft.view().node(id) else {
        return moved;
    };
    if node.description.as_ref() == Some(&*description) {
        return moved;
    }
    let next = Node {
        description: Some(*description),
        ..Node::clone(node)
    };
    draft.put_node(next);
    true
}

fn set_state(draft: &mut Draft<'_>, id: &NodeId, state: NodeState, message: &str) -> bool {
    let Some(node) = draft.view().node(id) else {
        return false;
    };
    if node.status.state == state {
        return false;
    }
    let mut next = Node::clone(node);
    next.status.state = state;
    next.status.message = message.to_owned();
    next.status.at = draft.now;
    next.status.since = draft.wall;
    draft.put_node(next);
    true
}
