//! Which tasks a request for logs or exec means.
//!
//! Pure questions to a view of the store.

use shoal_core::{
    model::{Service, ServiceId, Slot, Task, TaskState},
    resolve,
    store::StoreView,
};
use std::sync::Arc;

/// `web.3`: the task that runs in the third slot of `web`.
pub(super) fn running_in_slot<'a>(view: &'a StoreView, reference: &str) -> Option<&'a Arc<Task>> {
    let (name, slot) = reference.rsplit_once('.')?;
    let (service, slot) = (view.service_by_name(name)?, slot.parse().ok()?);
    view.tasks_of_slot(&service.id, &Slot::Replica(slot))
        .filter(|task| task.status.state == TaskState::Running)
        .max_by_key(|task| task.meta.version)
}

/// Has the task had a container, so that there may be lines of it?
pub(super) fn may_have_spoken(task: &Task) -> bool {
    task.node.is_some()
        && task.status.state >= TaskState::Starting
        && task.status.state != TaskState::Rejected
}

/// The tasks of a service that may have spoken, oldest first.
pub(super) fn speakers(view: &StoreView, service: &ServiceId) -> Vec<Arc<Task>> {
    let mut tasks: Vec<_> = view
        .tasks_of_service(service)
        .filter(|task| may_have_spoken(task))
        .cloned()
        .collect();
    tasks.sort_by_key(|task| task.meta.created_at);
    tasks
}

/// The service of a reference, or the one task that it means.
pub(super) enum Target {
    Service(Arc<Service>),
    Task(Arc<Task>),
}

/// A service first, then a task: `service logs` takes both, as Docker's does.
pub(super) fn target(view: &StoreView, reference: &str) -> Result<Target, shoal_core::refusal::Refusal> {
    match resolve::service(view, reference) {
        Ok(service) => Ok(Target::Service(Arc::clone(service))),
        Err(refusal) => match resolve::task(view, reference) {
            Ok(task) => Ok(Target::Task(Arc::clone(task))),
            Err(_) => match running_in_slot(view, reference) {
                Some(task) => Ok(Target::Task(Arc::clone(task))),
                None => Err(refusal),
            },
        },
    }
}
