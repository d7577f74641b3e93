//! Who holds which number of each network: an index over tasks and services.
//!
//! Held numbers are kept as runs too, so that the next free one is found in one step however full the network is.
//! A number that two hold, which no planner gives, stays held until both have let go.

use crate::model::{Attachment, NetworkId, Service, ServiceId, Task, TaskId};
use imbl::{OrdMap, OrdSet};

/// What an address in a network belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holder {
    Service(ServiceId),
    Task(TaskId),
}

#[derive(Clone, Default, PartialEq)]
pub(super) struct NumberIndex {
    holders: OrdSet<(NetworkId, u32, Holder)>,
    /// Runs of held numbers without a gap: the first of each, and its last.
    runs: OrdMap<(NetworkId, u32), u32>,
}

/// The places that a task holds: none once it has ended.
pub(crate) fn held_by_task(task: &Task) -> &[Attachment] {
    if task.status.state.is_terminal() {
        &[]
    } else {
        &task.attachments
    }
}

impl NumberIndex {
    /// A task was put in the place of `old`, or deleted.
    pub(super) fn task(&mut self, id: &TaskId, old: Option<&Task>, new: Option<&Task>) {
        let holder = Holder::Task(id.clone());
        let held = |task| held_by_task(task);
        self.change(&holder, old.map_or(&[], held), new.map_or(&[], held));
    }

    pub(super) fn service(&mut self, id: &ServiceId, old: Option<&Service>, new: Option<&Service>) {
        let holder = Holder::Service(id.clone());
        let old: &[Attachment] = old.map_or(&[], |service| &service.endpoint.vips);
        self.change(&holder, old, new.map_or(&[], |service| &service.endpoint.vips));
    }

    /// Who holds numbers of the network, by number.
    pub(super) fn of_network(&self, network: &NetworkId) -> impl Iterator<Item = (u32, &Holder)> {
        let network = network.clone();
        self.holders
            .range((network.clone(), 0, Holder::Service(ServiceId::LOWEST))..)
            .take_while(move |(of, _, _)| *of == network)
            .map(|(_, number, holder)| (*number, holder))
    }

    /// The first number from `number` on that nobody holds.
    pub(super) fn free_from(&self, network: &NetworkId, number: u32) -> u32 {
        self.run_with(network, number)
            .map_or(number, |(_, last)| last.saturating_add(1))
    }

    fn change(&mut self, holder: &Holder, old: &[Attachment], new: &[Attachment]) {
        if old == new {
            return;
        }
        for attachment in old {
            self.release(&attachment.network, attachment.number, holder);
        }
        for attachment in new {
            self.hold(&attachment.network, attachment.number, holder);
        }
    }

    fn hold(&mut self, network: &NetworkId, number: u32, holder: &Holder) {
        self.holders.insert((network.clone(), number, holder.clone()));
        if self.run_with(network, number).is_some() {
            return;
        }
        let before = number
            .checked_sub(1)
            .and_then(|before| self.run_with(network, before));
        let first = before.map_or(number, |(first, _)| first);
        let after = number.checked_add(1);
        let last = after.and_then(|after| self.runs.remove(&(network.clone(), after)));
        self.runs.insert((network.clone(), first), last.unwrap_or(number));
    }

    fn release(&mut self, network: &NetworkId, number: u32, holder: &Holder) {
        self.holders.remove(&(network.clone(), number, holder.clone()));
        let still = self.of_number(network, number);
        let Some((first, last)) = self.run_with(network, number).filter(|_| !still) else {
            return;
        };
        self.runs.remove(&(network.clone(), first));
        if first < number {
            self.runs.insert((network.clone(), first), number - 1);
        }
        if number < last {
            self.runs.insert((network.clone(), number + 1), last);
        }
    }

    fn of_number(&self, network: &NetworkId, number: u32) -> bool {
        let from = (network.clone(), number, Holder::Service(ServiceId::LOWEST));
        let next = self.holders.range(from..).next();
        next.is_some_and(|(of, at, _)| of == network && *at == number)
    }

    fn run_with(&self, network: &NetworkId, number: u32) -> Option<(u32, u32)> {
        let ((of, first), last) = self.runs.get_prev(&(network.clone(), number))?;
        (of == network && *last >= number).then_some((*first, *last))
    }
}
