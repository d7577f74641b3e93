//! Which nodes are alive: a table in the leader's memory, touched by heartbeats, never replicated.
//!
//! A node that misses three heartbeats is down. A new leader, and one whose own loop stood still, starts
//! every expiry anew with a grace. If more than a third of the nodes fall silent together, or the only one, the fault
//! is rather the leader's or the network's: they are called silent, which takes no task from them, and only
//! after a while are they believed dead. Called by the planner, which writes the verdicts.

use crate::model::{NodeId, Timestamp};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Missed heartbeats that make a node down, as in Swarm.
pub const MISSED: u32 = 3;

/// Periods a node has to come back to a new leader: election and reconnecting come on top of a heartbeat.
pub const GRACE: u32 = 2 * MISSED;

/// A mass silence is believed after this.
pub const EVICTION_PAUSE: Duration = Duration::from_secs(60);

/// The heartbeat period for a cluster of this size: a thousand heartbeats a second is what one leader
/// shall have to take at most.
pub fn period(configured: Duration, nodes: usize) -> Duration {
    configured.max(Duration::from_millis(u64::try_from(nodes).unwrap_or(u64::MAX)))
}

/// When each node that is believed alive expires.
#[derive(Debug, Default)]
pub struct Liveness {
    expiries: BTreeMap<NodeId, Timestamp>,
    by_expiry: BTreeSet<(Timestamp, NodeId)>,
    paused_since: Option<Timestamp>,
    /// Nobody expires before.
    grace: Timestamp,
    /// Overdue nodes that were called silent already.
    silent: BTreeSet<NodeId>,
}

/// What has to be written about overdue nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdicts {
    pub down: Vec<NodeId>,
    /// Overdue, but evictions are paused.
    pub silent: Vec<NodeId>,
    /// How many nodes were silent of how many, where evictions are paused.
    pub paused: Option<(usize, usize)>,
}

impl Liveness {
    /// Starts every expiry anew with a grace.
    pub fn restart(&mut self, nodes: impl Iterator<Item = NodeId>, now: Timestamp, period: Duration) {
        *self = Self::default();
        self.grace = now.after(period * GRACE);
        for node in nodes {
            self.expire_at(node, self.grace);
        }
    }

    /// What was judged may not have been written: those watched that are not known expire as soon as a grace is over,
    /// and who was called silent is called so again.
    pub fn judge_again(&mut self, nodes: impl Iterator<Item = NodeId>, now: Timestamp) {
        self.silent.clear();
        for node in nodes {
            if !self.expiries.contains_key(&node) {
                self.expire_at(node, now.max(self.grace));
            }
        }
    }

    /// A sign of life.
    pub fn heard(&mut self, node: &NodeId, now: Timestamp, period: Duration) {
        self.silent.remove(node);
        self.expire_at(node.clone(), now.after(period * MISSED));
    }

    /// The node is down or gone, and known to be.
    pub fn forget(&mut self, node: &NodeId) {
        self.silent.remove(node);
        if let Some(at) = self.expiries.remove(node) {
            self.by_expiry.remove(&(at, node.clone()));
        }
    }

    fn expire_at(&mut self, node: NodeId, at: Timestamp) {
        if let Some(old) = self.expiries.insert(node.clone(), at) {
            self.by_expiry.remove(&(old, node.clone()));
        }
        self.by_expiry.insert((at, node));
    }

    /// Judges the nodes that are overdue. Those called down are forgotten.
    pub fn judge(&mut self, now: Timestamp, period: Duration) -> Verdicts {
        let overdue = self.before(now);
        if overdue.is_empty() {
            self.paused_since = None;
            return Verdicts::default();
        }
        // Those that fell silent together are late by one heartbeat within a period of each other.
        let late = self.before(now.after(period)).len();
        let total = self.expiries.len();
        // Nobody is left to take over from the last one: its tasks are best where they are.
        let together = late == total || late > (total / 3).max(1);
        if together || self.paused_since.is_some() {
            let since = *self.paused_since.get_or_insert(now);
            if now < since.after(EVICTION_PAUSE) {
                let silent: Vec<_> = overdue
                    .into_iter()
                    .filter(|node| self.silent.insert(node.clone()))
                    .collect();
                return Verdicts {
                    down: Vec::new(),
                    silent,
                    paused: Some((late, total)),
                };
            }
            self.paused_since = None;
        }
        for node in &overdue {
            self.forget(node);
        }
        Verdicts {
            down: overdue,
            ..Verdicts::default()
        }
    }

    fn before(&self, at: Timestamp) -> Vec<NodeId> {
        self.by_expiry
            .iter()
            .take_while(|(expiry, _)| *expiry <= at)
            .map(|(_, node)| node.clone())
            .collect()
    }

    /// Since when evictions are paused, if they are.
    pub fn paused_since(&self) -> Option<Timestamp> {
        self.paused_since
    }

    /// When to judge next though nothing is heard.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let next = self
            .by_expiry
            .iter()
            .find(|(_, node)| !self.silent.contains(node));
        let next = next.map(|(at, _)| *at);
        let end = self.paused_since.map(|since| since.after(EVICTION_PAUSE));
        [next, end].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::IdGen;

    const PERIOD: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Timestamp {
        Timestamp(seconds * 1_000_000_000)
    }

    fn cluster(count: usize) -> (Liveness, Vec<NodeId>) {
        let mut ids = IdGen::from_number(1);
        let nodes: BTreeSet<_> = (0..count).map(|_| NodeId::mint(&mut ids)).collect();
        let nodes: Vec<_> = nodes.into_iter().collect();
        let mut liveness = Liveness::default();
        liveness.restart(nodes.iter().cloned(), at(0), PERIOD);
        (liveness, nodes)
    }

    fn hear(liveness: &mut Liveness, nodes: &[NodeId], from: u64, to: u64) {
        for second in from..=to {
            for node in nodes {
                liveness.heard(node, at(second), PERIOD);
            }
        }
    }

    #[test]
    fn three_missed_heartbeats_are_down() {
        let (mut liveness, nodes) = cluster(6);
        hear(&mut liveness, &nodes, 1, 1);
        hear(&mut liveness, &nodes[1..], 2, 4);
        assert_eq!(liveness.next_deadline(), Some(at(4)));
        assert_eq!(liveness.judge(at(3), PERIOD), Verdicts::default());
        assert_eq!(liveness.judge(at(4), PERIOD).down, vec![nodes[0].clone()]);
        assert_eq!(liveness.judge(at(5), PERIOD), Verdicts::default());
    }

    #[test]
    fn a_new_leader_gives_grace() {
        let (mut liveness, nodes) = cluster(2);
        hear(&mut liveness, &nodes[1..], 1, 6);
        assert_eq!(liveness.judge(at(5), PERIOD), Verdicts::default());
        assert_eq!(liveness.judge(at(6), PERIOD).down, nodes[..1].to_vec());
    }

    #[test]
    fn the_only_node_may_take_its_time() {
        let (mut liveness, nodes) = cluster(1);
        assert_eq!(liveness.judge(at(6), PERIOD).silent, nodes);
        assert_eq!(
            liveness.judge(at(65), PERIOD),
            Verdicts {
                paused: Some((1, 1)),
                ..Verdicts::default()
            }
        );
        assert_eq!(liveness.judge(at(66), PERIOD).down, nodes);
    }

    #[test]
    fn a_verdict_that_came_to_nothing_is_under_the_grace_too() {
        let (mut liveness, nodes) = cluster(6);
        hear(&mut liveness, &nodes[1..], 1, 6);
        assert_eq!(liveness.judge(at(6), PERIOD).down, nodes[..1].to_vec());
        // The verdict is on its way when the loop finds that it stood still, and is thrown away then.
        liveness.restart(nodes[1..].iter().cloned(), at(20), PERIOD);
        liveness.judge_again(nodes.iter().cloned(), at(20));
        hear(&mut liveness, &nodes[1..], 20, 26);
        assert_eq!(liveness.judge(at(25), PERIOD), Verdicts::default());
        assert_eq!(liveness.judge(at(26), PERIOD).down, nodes[..1].to_vec());
        liveness.judge_again(nodes.iter().cloned(), at(27));
        assert_eq!(liveness.judge(at(27), PERIOD).down, nodes[..1].to_vec());
    }

    #[test]
    fn a_mass_silence_pauses_evictions_for_a_while() {
        let (mut liveness, nodes) = cluster(6);
        hear(&mut liveness, &nodes, 1, 1);
        hear(&mut liveness, &nodes[3..], 2, 4);
        let verdicts = liveness.judge(at(4), PERIOD);
        assert_eq!(verdicts.silent, nodes[..3].to_vec());
        assert_eq!((verdicts.down.len(), verdicts.paused), (0, Some((3, 6))));
        hear(&mut liveness, &nodes[2..], 5, 63);
        assert!(liveness.judge(at(63), PERIOD).silent.is_empty(), "said once");
        hear(&mut liveness, &nodes[2..], 64, 64);
        assert_eq!(liveness.judge(at(64), PERIOD).down, nodes[..2].to_vec());
        assert_eq!(liveness.paused_since(), None);
    }

    #[test]
    fn one_of_two_may_always_die() {
        let (mut liveness, nodes) = cluster(2);
        hear(&mut liveness, &nodes, 1, 1);
        hear(&mut liveness, &nodes[1..], 2, 4);
        assert_eq!(liveness.judge(at(4), PERIOD).down, nodes[..1].to_vec());
    }

    #[test]
    fn the_period_grows_with_the_cluster() {
        assert_eq!(period(PERIOD, 10), PERIOD);
        assert_eq!(period(PERIOD, 5000), Duration::from_secs(5));
    }
}
