//! The end of a run: nothing goes wrong any more, and the cluster must come to what its users asked for.
//!
//! Called once by the world; whatever has not settled by its deadline is a failure.

use super::{Event, REST, World};
use crate::sim::{client::Client, network::MS};
use shoal_core::{
    model::{DesiredState, Mode, NodeState, Service, Task, TaskState, UpdateState, WaitOwner},
    store::StoreView,
};

impl World {
    /// Heals the world once its time is over; from then on looks whether it has come to rest.
    pub(super) fn look(&mut self) {
        if !self.calm {
            self.heal();
        }
        // What users had asked for before may pause a node still.
        if self.users.iter().all(Client::is_idle) {
            let view = self.history.view.clone();
            self.users[0].calm(&view);
        }
        if self.now > self.options.duration + REST / 2 {
            self.retire_removed();
        }
        match self.is_at_rest() {
            Ok(()) => {
                self.done = true;
                let lost = self.history.all_acknowledged_in(&self.history.view);
                self.check(lost);
            }
            Err(reason) if self.now > self.options.duration + REST => {
                self.check(Err(format!("did not come to rest: {reason}")));
            }
            Err(_) => self.after(500 * MS, Event::Look),
        }
    }

    fn is_at_rest(&self) -> Result<(), String> {
        if self.established_leader().is_none() {
            return Err("there is no leader".to_owned());
        }
        if let Some(user) = self.users.iter().position(|user| !user.is_idle()) {
            return Err(format!(
                "user {user} still waits for {:?}",
                self.users[user].pending
            ));
        }
        let view = &self.history.view;
        for member in self.members.iter().filter(|member| member.active) {
            let machine = member
                .machine
                .as_ref()
                .ok_or_else(|| format!("member {} is down", member.id))?;
            if machine.view().index() != view.index() {
                return Err(format!(
                    "member {} is at {}, not {}",
                    member.id,
                    machine.view().index(),
                    view.index()
                ));
            }
        }
        for service in view.services() {
            check_service(view, service)?;
        }
        if let Some(task) = view.tasks().find(|task| view.service(&task.service).is_none()) {
            return Err(format!("task {} of a removed service is still there", task.id));
        }
        self.check_workers(view)
    }

    /// What runs is what is assigned, and nothing else.
    fn check_workers(&self, view: &StoreView) -> Result<(), String> {
        for (number, worker) in self.workers.iter().enumerate() {
            let ready = view
                .node(&worker.node)
                .is_some_and(|node| node.status.state == NodeState::Ready);
            if !ready {
                let node = view.node(&worker.node);
                return Err(format!(
                    "node {number} is not ready: {node:?}, session {:?}",
                    worker.session
                ));
            }
            let assigned = view
                .tasks_on_node(&worker.node)
                .filter(|task| task.status.state >= TaskState::Assigned && !task.status.state.is_terminal());
            let mut count = 0;
            for task in assigned {
                count += 1;
                let held = worker.tasks.get(&task.id);
                let held = held.ok_or_else(|| format!("worker {number} does not know task {}", task.id))?;
                if held.desired != task.desired || held.state != task.status.state {
                    return Err(format!(
                        "worker {number} has task {} as {held:?}, not {task:?}",
                        task.id
                    ));
                }
            }
            let live = worker
                .tasks
                .values()
                .filter(|held| !held.state.is_terminal())
                .count();
            if live != count {
                return Err(format!("worker {number} runs {live} tasks, {count} are assigned"));
            }
        }
        Ok(())
    }
}

fn check_service(view: &StoreView, service: &Service) -> Result<(), String> {
    let name = &service.spec.name;
    let live: Vec<&Task> = view
        .tasks_of_service(&service.id)
        .map(AsRef::as_ref)
        .filter(|task| task.desired < DesiredState::Shutdown && !task.status.state.is_terminal())
        .collect();
    let waits_for_user = |task: &Task| {
        task.wait
            .as_ref()
            .is_some_and(|wait| wait.code.owner() == WaitOwner::User)
    };
    let updating = service
        .update
        .as_ref()
        .is_some_and(|update| update.state == UpdateState::Updating);
    if updating && !live.iter().any(|task| waits_for_user(task)) {
        return Err(format!(
            "service {name} is still updating: {:?}, {live:?}",
            service.update
        ));
    }
    let stuck = live
        .iter()
        .find(|task| task.status.state != TaskState::Running && !waits_for_user(task));
    if let Some(task) = stuck {
        return Err(format!("a task of {name} neither runs nor says why: {task:?}"));
    }
    if let Mode::Replicated { replicas } = service.spec.mode {
        let ended = slots_that_ended(view, service);
        if live.len() + ended < usize::try_from(replicas).unwrap_or(0) {
            return Err(format!("service {name} has {} of {replicas} tasks", live.len()));
        }
    }
    Ok(())
}

/// Slots whose last task ended for good: by itself, where the policy asks for no restart.
fn slots_that_ended(view: &StoreView, service: &Service) -> usize {
    use shoal_core::model::RestartCondition;
    if service.spec.task.restart.condition == RestartCondition::Any {
        return 0;
    }
    let ended: std::collections::BTreeSet<_> = view
        .tasks_of_service(&service.id)
        .filter(|task| task.status.state == TaskState::Complete)
        .map(|task| &task.slot)
        .collect();
    ended.len()
}
