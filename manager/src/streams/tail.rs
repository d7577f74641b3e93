//! Which tasks a request for logs or exec means.
//!
//! Pure questions to a view of the store.

use shoal_core::{
    model::{Service, ServiceId, Task, TaskState},
    resolve,
    store::StoreView,
};
use std::sync::Arc;

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
            Err(_) => Err(refusal),
        },
    }
}
