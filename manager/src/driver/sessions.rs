//! The way back to each open session.
//!
//! A node that opens a second session (its first connection is dead and nobody has noticed) takes the
//! place of its first; the first one's end then closes nothing. A session that does not read is closed
//! and comes back for everything.

use super::handle::SessionMessage;
use shoal_core::model::NodeId;
use std::collections::BTreeMap;
use tokio::sync::mpsc;

#[derive(Debug, Default)]
pub(super) struct Sessions(BTreeMap<NodeId, Open>);

#[derive(Debug)]
struct Open {
    number: u64,
    messages: mpsc::Sender<SessionMessage>,
}

impl Sessions {
    pub(super) fn open(&mut self, node: NodeId, number: u64, messages: mpsc::Sender<SessionMessage>) {
        self.0.insert(node, Open { number, messages });
    }

    /// Was it the node's present session?
    pub(super) fn close(&mut self, node: &NodeId, number: u64) -> bool {
        let present = self.0.get(node).is_some_and(|open| open.number == number);
        if present {
            self.0.remove(node);
        }
        present
    }

    /// False if the session took no more and was dropped, which ends its stream.
    pub(super) fn send(&mut self, node: &NodeId, message: SessionMessage) -> bool {
        let Some(open) = self.0.get(node) else { return true };
        let sent = open.messages.try_send(message).is_ok();
        if !sent {
            self.0.remove(node);
        }
        sent
    }
}
