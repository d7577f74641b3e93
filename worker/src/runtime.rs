//! What the worker needs of a container runtime, so that its shell can be tested on a fake one.
//!
//! `NodeRuntime` is the real one. Every act may be repeated; an error is a sentence for the user.

use crate::assignment::AssignedTask;
use crate::health::{HealthPlan, Probe};
use crate::task::{Failure, Found, ImageFacts, StartedFacts};
use shoal_agent_runtime::image::Progress;
use shoal_agent_runtime::{ContainerId, Exit, Signal};
use std::future::Future;
use std::path::PathBuf;

/// Acts on containers, each named by its task and attempt.
pub trait TaskRuntime: Send + Sync + 'static {
    /// Is the task's image here, whole?
    fn has_image(&self, task: &AssignedTask) -> impl Future<Output = bool> + Send;
    /// Pulls the task's image unless it is here, telling how far it is. May be dropped at any point.
    fn fetch(
        &self,
        task: &AssignedTask,
        progress: &Progress,
    ) -> impl Future<Output = Result<ImageFacts, Failure>> + Send;
    /// What the image says; its default where it is not here any more.
    fn inspect(&self, task: &AssignedTask) -> impl Future<Output = ImageFacts> + Send;
    fn create(
        &self,
        id: &ContainerId,
        task: &AssignedTask,
        attempt: u32,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
    /// The file of a created container's network namespace.
    fn namespace(&self, id: &ContainerId) -> impl Future<Output = Result<PathBuf, Failure>> + Send;
    /// Are the ports free that a task on the host's own network says it will listen on?
    fn check_ports(&self, task: &AssignedTask) -> impl Future<Output = Result<(), Failure>> + Send;
    fn start(&self, id: &ContainerId) -> impl Future<Output = Result<StartedFacts, Failure>> + Send;
    fn kill(&self, id: &ContainerId, signal: Signal) -> impl Future<Output = Result<(), Failure>> + Send;
    fn wait(&self, id: &ContainerId) -> impl Future<Output = Result<Exit, Failure>> + Send;
    fn probe(&self, id: &ContainerId, plan: &HealthPlan) -> impl Future<Output = Probe> + Send;
    /// Takes a container away, and its anonymous volumes: those that `task` names, without it all that bear its name.
    fn remove(
        &self,
        id: &ContainerId,
        task: Option<&AssignedTask>,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
    fn list(&self) -> impl Future<Output = Result<Vec<(ContainerId, Found)>, Failure>> + Send;
    /// The containers whose logs are here.
    fn logged(&self) -> impl Future<Output = Vec<ContainerId>> + Send;
    fn forget_logs(&self, id: &ContainerId) -> impl Future<Output = ()> + Send;
}
